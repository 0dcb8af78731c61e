"""Fuzz the synchroniser, the decoders and what reads files.

`python -m benchmarks.fuzz synchronizer`, `... messages`, `... files`. Ends with exit code 1 at the
first violation, and says how to see it again.
"""

from __future__ import annotations

import json
import random
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from benchmarks.fuzz.histories import draw_events, draw_settings, run, shrink
from csknet_core.runtime.machine import describe_machine
from csknet_ros.frames import FrameSet

app = typer.Typer(add_completion=False, no_args_is_help=True)
console = Console()
_JOB = 1000
_MOST_MB = 500
"""No message here is larger than 20 kB; whatever takes more memory than that is a bomb."""
_MOST_FILE_MB = 2000
"""The largest network that settings allow, and a message of the largest size, fit into it."""

Seed = Annotated[int, typer.Option(help="Of everything drawn.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures here.")]


@app.command()
def synchronizer(
    histories: Annotated[int, typer.Option(min=1, help="How many.")] = 200_000,
    seed: Seed = 0,
    json_file: Json = None,
) -> None:
    """Drive the synchroniser through random histories and check the rules after each."""
    started, events, outcomes = time.monotonic(), 0, Counter[str]()
    for index in track(range(histories), "histories", console=console):
        rng = random.Random(f"{seed}/{index}")
        settings, history = draw_settings(rng), draw_events(rng)
        done = run(settings, history)
        events += len(history)
        for came in done.came:
            what = came.what
            outcomes[what.absence.value if isinstance(what, FrameSet) else what.reason.value] += 1
        if done.problems:
            console.print(f"[red]history {index} of seed {seed}, {settings}:")
            for event in shrink(settings, history):
                console.print(f"  {event}")
            console.print("\n".join(done.problems))
            raise typer.Exit(1)
    _report("histories", histories, started, seed, {"events": events, **outcomes}, json_file)


@app.command()
def messages(
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 1_000_000,
    seed: Seed = 0,
    json_file: Json = None,
) -> None:
    """Send broken messages through the decoders of both cameras."""
    from benchmarks.fuzz.messages import MessageFuzzer, judge

    started, outcomes = time.monotonic(), Counter[str]()
    np.seterr(all="ignore")  # sums of any bytes as floats overflow
    for job in track(range(-(-count // _JOB)), "thousands of messages", console=console):
        fuzzer = MessageFuzzer(seed * 1_000_003 + job)
        for index in range(min(_JOB, count - job * _JOB)):
            message = fuzzer.message()
            try:
                judge(message, outcomes)
            except Exception:
                console.print(f"[red]message {job * _JOB + index} of seed {seed}: {message}")
                raise
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if peak > _MOST_MB:
        console.print(f"[red]a message made memory grow to {peak} MB")
        raise typer.Exit(1)
    _report("messages", count, started, seed, {"MB memory": peak, **outcomes}, json_file)


@app.command()
def files(
    kinds: Annotated[
        list[str] | None, typer.Argument(help="weights, classes, bags, ...; all without any.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many of each kind.")] = 10_000,
    seed: Seed = 0,
    keep: Annotated[
        Path, typer.Option(help="Folder for the file in work, and so for the one that broke it.")
    ] = Path("runs/fuzz"),
    json_file: Json = None,
) -> None:
    """Change files of the corpus and read them: something valid, or an error by their name."""
    from benchmarks.fuzz.files import KINDS, fuzz

    wanted = kinds or list(KINDS)
    if unknown := set(wanted) - set(KINDS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: not in {', '.join(KINDS)}")
    keep.mkdir(parents=True, exist_ok=True)
    np.seterr(all="ignore")  # numbers in files may be of any size
    started, outcomes = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as made:
        sources = {name: KINDS[name].corpus() + KINDS[name].make(Path(made)) for name in wanted}
        _bound_memory()
        for name in wanted:
            for index in track(range(count), name, console=console):
                try:
                    outcome = fuzz(KINDS[name], sources[name], keep, f"{seed}/{index}")
                except BaseException as error:
                    console.print(f"[red]{name} {index} of seed {seed}, in {keep}: {error!r}")
                    raise
                outcomes[f"{name} {outcome}"] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    _report("files", count * len(wanted), started, seed, {"MB memory": peak, **outcomes}, json_file)


def _bound_memory() -> None:
    """Let this process take no more than so much on top of what it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + (_MOST_FILE_MB << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _report(
    what: str, count: int, started: float, seed: int, outcomes: dict[str, int], path: Path | None
) -> None:
    seconds = time.monotonic() - started
    console.print(f"{count:,} {what}, seed {seed}: no violation in {seconds:.0f} s")
    for name, number in sorted(outcomes.items(), key=lambda entry: -entry[1]):
        console.print(f"  {number:>10,}  {name.replace('_', ' ')}")
    if path is not None:
        data: dict[str, Any] = {what: count, "seed": seed, "seconds": round(seconds, 1)}
        data |= {"outcomes": outcomes, "about": describe_machine()}
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
