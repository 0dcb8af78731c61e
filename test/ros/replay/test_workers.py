"""The same results from one process, from several, and from a cluster that loses a worker."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.bags import write_bag

from csknet_core.errors import ConfigError, WeightsError
from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_ros.replay import workers
from csknet_ros.replay.replay import Job, Run
from csknet_ros.replay.workers import run_jobs
from csknet_ros.synchronizer import SyncSettings

RUN = Run("small", SegmenterSettings(size=(64, 96), device="onnx-cpu"), SyncSettings())

pytestmark = pytest.mark.usefixtures("default_weights")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags")
    bags = [
        write_bag(folder / f"{name}.mcap", frames=8, rgb_lost=range(n, n + 3))
        for n, name in enumerate(("a", "b", "c", "d"))
    ]
    return [Job(RUN, bag) for bag in bags]


def text(results):
    return json.dumps([result.to_json() for result in results])


@pytest.fixture(scope="module")
def serial(jobs):
    return text(run_jobs(jobs))


def test_two_processes_give_the_bytes_of_one(jobs, serial):
    done = []
    assert text(run_jobs(jobs, 2, on_done=lambda index, _: done.append(index))) == serial
    assert sorted(done) == [0, 1, 2, 3]


def test_a_bag_that_cannot_be_read_does_not_cost_the_others(jobs, serial, tmp_path):
    bad = tmp_path / "bad.mcap"
    bad.write_bytes(jobs[0].bag.read_bytes()[:50])
    results = run_jobs([*jobs[:1], replace(jobs[0], bag=bad), *jobs[1:]])
    assert [result.complete for result in results] == [True, False, True, True, True]
    assert "bad.mcap" in results[1].problem
    assert text([results[0], *results[2:]]) == serial


def test_weights_that_are_missing_end_it(jobs):
    gone = replace(RUN, segmenter=replace(RUN.segmenter, weights="/gone/w.safetensors"))
    with pytest.raises(WeightsError, match="gone"):
        run_jobs([replace(jobs[0], run=gone)])


def _die_once(job):
    """Kill the worker the first time this bag comes up."""
    marker = Path(f"{job.bag}.killed")
    if job.bag.stem == "b" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return workers.run_job(job)


def test_bags_of_a_process_that_died_are_done_again(jobs, serial, monkeypatch):
    monkeypatch.setattr(workers, "run_job", _die_once)
    monkeypatch.setattr(_die_once, "__module__", __name__)
    try:
        assert text(run_jobs(jobs, 2)) == serial
        assert Path(f"{jobs[1].bag}.killed").exists()
    finally:
        Path(f"{jobs[1].bag}.killed").unlink(missing_ok=True)


def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(jobs, serial):
    distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        pids = {worker.pid for worker in cluster.workers.values() if worker.pid}
        assert len(pids) == 2

        def kill_one() -> None:
            time.sleep(1.0)
            os.kill(pids.pop(), signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        again = jobs * 3
        results = run_jobs(again, scheduler=cluster.scheduler_address)
        killer.join()
    assert text(results) == text(run_jobs(again))


def test_a_scheduler_that_is_not_there_is_named(jobs):
    pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1"):
        run_jobs(jobs, scheduler="tcp://127.0.0.1:1")
