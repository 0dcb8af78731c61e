"""Spreads bags over this process, over processes of this machine, or over a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context

from csknet_core.classes import ClassTable
from csknet_core.errors import ConfigError, CsknetError, DataError
from csknet_core.runtime.segmenter import Segmenter
from csknet_core.weights.files import find_weights, read_info
from csknet_ros.replay.replay import Job, replay
from csknet_ros.replay.result import BagResult
from csknet_ros.replay.writer import AnswerWriter, BagWriter

_TRIES = 3
OnDone = Callable[[int, BagResult], None]
OnProgress = Callable[[int, int, int], None]


def run_jobs(
    jobs: Sequence[Job],
    workers: int = 1,
    scheduler: str = "",
    on_done: OnDone = lambda index, result: None,
    on_progress: OnProgress = lambda index, done, total: None,
) -> list[BagResult]:
    """Replay bags; the results, in the order of the jobs, do not depend on where they ran.

    An interrupt ends it with what is done. A worker that dies has its bags done again.

    Args:
        jobs: what to replay.
        workers: processes; 1 stays in this one.
        scheduler: address of a Dask scheduler instead; its workers must see the bags and weights
            at the same paths and have this package installed.
        on_done: called with a job's index and its result.
        on_progress: called with a job's index and its thermal messages done and in all; only
            within this process.

    Raises:
        ConfigError: a setting cannot be used, or dask is not installed.
        WeightsError: weights cannot be used.
        EngineError: no backend can run them.
    """
    results: dict[int, BagResult] = {}
    if scheduler:
        stream = _on_cluster(jobs, scheduler)
    elif workers > 1:
        stream = _in_processes(jobs, workers)
    else:
        stream = _here(jobs, on_progress)
    try:
        for index, result in stream:
            results[index] = result
            on_done(index, result)
    except KeyboardInterrupt:
        pass
    return [results[index] for index in sorted(results)]


def run_job(
    job: Job,
    segmenter: Segmenter | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BagResult:
    """Replay one bag; one that cannot be read gives a result that says so.

    Args:
        job: what to do.
        segmenter: opened from the job's settings; None opens one.
        progress: called with thermal messages done and in all.

    Raises:
        CsknetError: something other than the bag is at fault.
    """
    with ExitStack() as stack:
        if segmenter is None:
            segmenter = Segmenter.load(job.run.segmenter)
            stack.callback(segmenter.close)
        try:
            sink = None
            if job.write_bag is not None:
                writer = stack.enter_context(BagWriter(job.write_bag))
                sink = AnswerWriter(writer, segmenter.classes)
            return replay(job, segmenter, sink, progress)
        except DataError as error:
            return _failed(job, segmenter.classes, error)


def _failed(job: Job, classes: ClassTable, error: Exception) -> BagResult:
    return BagResult(job.run.name, job.bag.name, classes, problem=str(error))


def _here(jobs: Sequence[Job], on_progress: OnProgress) -> Iterator[tuple[int, BagResult]]:
    """Replay one after the other; jobs with the same settings share an engine."""
    segmenter, settings = None, None
    try:
        for index, job in enumerate(jobs):
            if segmenter is None or job.run.segmenter != settings:
                if segmenter is not None:
                    segmenter.close()
                segmenter, settings = Segmenter.load(job.run.segmenter), job.run.segmenter

            def report(done: int, total: int, index: int = index) -> None:
                on_progress(index, done, total)

            result = run_job(job, segmenter, report)
            yield index, result
            if result.problem == "interrupted":
                return
    finally:
        if segmenter is not None:
            segmenter.close()


def _in_processes(jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, BagResult]]:
    threads = max(1, (os.cpu_count() or 1) // workers)
    todo = {index: with_threads(job, threads) for index, job in enumerate(jobs)}
    for last in [False] * (_TRIES - 1) + [True]:
        # Forked processes would inherit the locks of this one's threads.
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            futures = {pool.submit(run_job, job): index for index, job in todo.items()}
            for future in as_completed(futures):
                index = futures[future]
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    if last:
                        classes = read_info(find_weights(todo[index].run.segmenter.weights)).classes
                        yield index, _failed(todo[index], classes, error)
                    continue
                del todo[index]
                yield index, result
        if not todo:
            return


def _on_cluster(jobs: Sequence[Job], scheduler: str) -> Iterator[tuple[int, BagResult]]:
    try:
        from distributed import Client
        from distributed import as_completed as as_completed_there
    except ImportError as error:
        raise ConfigError(
            f"--scheduler needs a package: pip install distributed ({error})"
        ) from error
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise ConfigError(f"scheduler {scheduler}: cannot be reached ({error})") from error
    with client:
        futures = {
            client.submit(run_job, job, pure=False, retries=_TRIES): index
            for index, job in enumerate(jobs)
        }
        for future in as_completed_there(list(futures)):
            index = futures[future]
            try:
                yield index, future.result()
            except CsknetError:
                raise
            except Exception as error:  # whatever Dask says of workers that keep dying
                classes = read_info(find_weights(jobs[index].run.segmenter.weights)).classes
                yield index, _failed(jobs[index], classes, error)


def with_threads(job: Job, threads: int) -> Job:
    """Return the job with so many threads for its engine, unless it says how many."""
    settings = job.run.segmenter
    if settings.threads:
        return job
    return replace(job, run=replace(job.run, segmenter=replace(settings, threads=threads)))
