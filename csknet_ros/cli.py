"""The `csknet` command with what works on bags added to it; needs no ROS."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from csknet_core import cli as core
from csknet_core.cli import app, console
from csknet_core.errors import ConfigError
from csknet_core.output_folder import prepare_folder
from csknet_ros.replay.compare import Comparison
from csknet_ros.replay.faults import FAULTS, parse_fault
from csknet_ros.replay.messages import Topics
from csknet_ros.replay.result import BagResult, summarize
from csknet_ros.replay.truth import topic_or_folder

if TYPE_CHECKING:
    from csknet_ros.replay.replay import Job, Run


@app.command(name="replay")
def replay_command(
    bags: Annotated[list[Path], typer.Argument(help="rosbag2 folders, .mcap or ROS 1 .bag files.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")],
    rgb: Annotated[str, typer.Option(help="RGB topic; empty looks for it.")] = "",
    thermal: Annotated[str, typer.Option(help="Thermal topic; empty looks for it.")] = "",
    labels: Annotated[
        str, typer.Option(help="Label map topic, or folder of STAMP_NS.png; empty looks for one.")
    ] = "",
    weights: Annotated[
        list[str] | None, typer.Option(help="Weights; repeat to compare with the first.")
    ] = None,
    params: Annotated[
        list[Path] | None, typer.Option(help="The node's parameter file; repeat to compare.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(help=f"What if: NAME[:VALUE][:START-END], seconds. Names: {FAULTS}."),
    ] = None,
    write_bag: Annotated[
        Path | None, typer.Option(help="Write the answers as a bag: a folder, or one .mcap file.")
    ] = None,
    device: core.Device = "",
    workers: Annotated[int, typer.Option(min=1, help="Bags at a time, in processes.")] = 1,
    scheduler: Annotated[str, typer.Option(help="Dask scheduler to spread the bags with.")] = "",
) -> None:
    """Answer recorded bags as the live node would, and report how good the answers are."""
    _check_packages()
    from csknet_ros.replay.report import PAGE, TIMING, write_json, write_report
    from csknet_ros.replay.workers import run_jobs

    prepare_folder(out)
    runs = _runs(weights or [], params or [], fault or [], device)
    topic, folder = topic_or_folder(labels)
    topics = Topics(rgb, thermal, topic)
    jobs = _jobs(bags, runs, topics, folder, write_bag)
    with _Bars(jobs, workers == 1 and not scheduler) as bars:
        results = run_jobs(jobs, workers, scheduler, bars.finish, bars.progress)
    if len(jobs) == 1 and results and not results[0].complete and not results[0].frames:
        raise ConfigError(results[0].problem)
    if not results:
        raise ConfigError("interrupted before the first bag was done")
    title = f"Replay of {bags[0].name}" + f" and {len(bags) - 1} more" * (len(bags) > 1)
    compared = write_report(out, title, runs, results)
    write_json(out / TIMING, [{"run": r.run, "bag": r.bag, **r.timing} for r in results])
    _print(results, compared)
    console.print(f"report: {out / PAGE}")
    if len(results) < len(jobs) or not all(result.complete for result in results):
        raise typer.Exit(1)


@app.command()
def make_bag(
    out: Annotated[Path, typer.Argument(help="Folder for a sqlite3 bag, or a .mcap file.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of pairs; none renders a drive.")
    ] = None,
    script: Annotated[Path | None, typer.Option(help="Phases, lights, faults; YAML.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length.")] = 30.0,
    rate: Annotated[float, typer.Option(min=0.1, help="Frames per second.")] = 5.0,
    compress: Annotated[bool, typer.Option(help="With zstd.")] = False,
) -> None:
    """Write a labelled bag, of a rendered drive or of a folder of pairs (RGB lost for a third)."""
    _check_packages()
    from csknet_ros.replay.make_bag import make_bag as write
    from csknet_ros.tools.files import config_folder
    from csknet_ros.tools.script import load_script, real_pairs_script
    from csknet_ros.tools.sources import DriveSource, FolderSource, FrameSource

    source: FrameSource
    if script is None and data is not None:
        phases = real_pairs_script(seconds)
    else:
        file = script or config_folder() / "drives" / "day_to_night.yaml"
        phases = load_script(file).scaled(seconds)
    if data is None:
        source = DriveSource(phases, rate)
    else:
        source = FolderSource(data, round(seconds * rate))
    with Progress(console=console) as progress:
        task = progress.add_task("writing", total=len(source))
        write(out, source, phases, rate, compress, lambda n: progress.update(task, completed=n))
    console.print(f"bag: {out}")


def _runs(weights: list[str], params: list[Path], faults: list[str], device: str) -> list[Run]:
    """Return one run for every weights and every parameter file, and each with faults, too."""
    from csknet_core.weights.files import find_weights, read_info
    from csknet_ros.replay.replay import Run
    from csknet_ros.replay.settings import read_settings

    parsed = tuple(parse_fault(text) for text in faults)
    runs = []
    files: list[Path | None] = [*params] or [None]
    for file, name in product(files, weights or [""]):
        settings = read_settings(file)
        segmenter = settings.segmenter
        segmenter = replace(
            segmenter, weights=name or segmenter.weights, device=device or segmenter.device
        )
        path = find_weights(segmenter.weights)
        read_info(path)
        parts = (
            [path.stem]
            if file is None
            else [file.stem]
            if len(weights) < 2
            else [path.stem, file.stem]
        )
        title = ", ".join(parts)
        run = Run(
            title,
            segmenter,
            settings.sync,
            fallback_confidence_scale=settings.fallback_confidence_scale,
            max_image_pixels=settings.max_image_pixels,
        )
        runs.append(run)
        if parsed:
            runs.append(replace(run, name=f"{title}, with faults", faults=parsed))
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(f"two runs would both be called '{max(names, key=names.count)}'; rename")
    return runs


def _jobs(
    bags: list[Path], runs: list[Run], topics: Topics, labels: Path | None, write_bag: Path | None
) -> list[Job]:
    from csknet_ros.replay.replay import Job

    if len({bag.name for bag in bags}) < len(bags):
        raise ConfigError("two bags have the same name; rename one, the report tells them by name")
    jobs = [Job(run, bag, topics, labels) for run in runs for bag in bags]
    if write_bag is None:
        return jobs
    if len(jobs) == 1:
        return [replace(jobs[0], write_bag=write_bag)]
    # Several bags: one each, in the folder, for the first run.
    first = runs[0].name
    return [
        replace(job, write_bag=write_bag / f"{job.bag.stem}.mcap") if job.run.name == first else job
        for job in jobs
    ]


class _Bars:
    """A bar for every bag in this process, or one for all bags elsewhere."""

    def __init__(self, jobs: list[Job], here: bool) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns, console=console)
        self._here = here
        titles = [f"{job.bag.name} ({job.run.name})" for job in jobs] if here else ["bags"]
        totals = [None] * len(jobs) if here else [len(jobs)]
        self._tasks = [
            self._progress.add_task(title, total=total, start=False)
            for title, total in zip(titles, totals, strict=True)
        ]

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def progress(self, index: int, done: int, total: int) -> None:
        """Move the bar of a bag."""
        task = self._tasks[index]
        if not self._progress.tasks[task].started:
            self._progress.start_task(task)
        self._progress.update(task, completed=done, total=total)

    def finish(self, index: int, result: BagResult) -> None:
        """Count a bag that is done."""
        if not self._here:
            self._progress.start_task(self._tasks[0])
            self._progress.advance(self._tasks[0])
        if not result.complete:
            self._progress.console.print(f"{result.bag}: {result.problem}")


def _print(results: list[BagResult], compared: list[Comparison]) -> None:
    table = Table(title="replayed (mIoU in %, over the classes present)")
    for column in ("run", "bag", "mode", "frames", "mIoU", "thermal alone agrees", "frames/s"):
        table.add_column(column, justify="left" if column in ("run", "bag", "mode") else "right")
    for result in results:
        summary = summarize(result.frames, result.classes)
        rate = result.timing.get("frames_per_s")
        for mode, scores in summary["modes"].items():
            table.add_row(
                result.run, result.bag, mode, str(scores["frames"]), _percent(scores.get("miou")),
                _percent(scores["agreement"]), f"{rate}" if mode == "all" else "",
            )  # fmt: skip
        dropped = sum(summary["dropped"].values())
        if dropped:
            table.add_row(result.run, result.bag, "dropped", str(dropped), "", "", "")
    console.print(table)
    for one in compared:
        console.print(
            f"{one.run} against {one.reference}: {100 * one.difference:+.1f} points "
            f"({100 * one.low:+.1f} to {100 * one.high:+.1f} with 95 % confidence)"
        )


def _check_packages() -> None:
    """Say what to install; the other commands do without these packages."""
    missing = [name for name in ("rosbags", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"bags need packages: pip install {' '.join(missing)} rosbags-image")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def main() -> None:
    """Run the command line."""
    core.main()


if __name__ == "__main__":
    main()
