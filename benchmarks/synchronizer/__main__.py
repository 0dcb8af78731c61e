"""Measure pairing: `python -m benchmarks.synchronizer --json synchronizer.json`.

RGB at 30 Hz and thermal at 9 Hz, with jitter, delay and loss, go through the pair-or-alone
synchroniser and the rule of message_filters: how many thermal frames get an answer, how good
the pairs are, how long frames wait, and what a message costs.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.synchronizer.approximate_time import ApproximateTime
from csknet_core.modality import Modality
from csknet_core.runtime.machine import describe_machine
from csknet_ros.frames import FrameSet
from csknet_ros.synchronizer import PairOrAlone, SyncSettings

MS = 1_000_000
_DEPTH = 16
console = Console()


@dataclass(frozen=True)
class Arrival:
    """A message: which camera, its stamp and when it arrives, nanoseconds."""

    modality: Modality
    stamp_ns: int
    arrival_ns: int


@dataclass(frozen=True)
class Outcome:
    """What a synchroniser made of a stream.

    Attributes:
        name: of the synchroniser.
        thermal: thermal frames in.
        paired, alone: thermal frames put out with and without partner.
        unanswered: thermal frames for which nothing ever came out.
        error_ms: mean stamp difference of the pairs.
        wait_ms_median, wait_ms_p95: from a thermal frame's arrival to its answer.
        us_per_message: processor time of the code.
        messages_per_second: what the code alone could take.
    """

    name: str
    thermal: int
    paired: int
    alone: int
    unanswered: int
    error_ms: float
    wait_ms_median: float
    wait_ms_p95: float
    us_per_message: float
    messages_per_second: int


def make_streams(seconds: float, seed: int, outage: tuple[float, float]) -> list[Arrival]:
    """Return 30 Hz RGB and 9 Hz thermal with jitter, transport delay and 2 % loss, by arrival.

    Args:
        seconds: length.
        seed: of everything random.
        outage: no RGB from and to, seconds.
    """
    rng = np.random.default_rng(seed)
    arrivals = []
    for modality, rate, delay_ms in ((Modality.OPTICAL, 30.0, 25.0), (Modality.THERMAL, 9.0, 8.0)):
        for index in range(int(seconds * rate)):
            at = index / rate
            lost = modality is Modality.OPTICAL and outage[0] <= at < outage[1]
            if lost or rng.random() < 0.02:
                continue
            stamp = 1_000_000_000 + round(1e9 * at + rng.normal(0, 2.0) * MS)
            delay = delay_ms + rng.exponential(4.0)
            arrivals.append(Arrival(modality, stamp, stamp + round(delay * MS)))
    return sorted(arrivals, key=lambda arrival: arrival.arrival_ns)


def stream_hash(arrivals: list[Arrival]) -> str:
    """Return what identifies the streams."""
    text = ";".join(f"{a.modality.value},{a.stamp_ns},{a.arrival_ns}" for a in arrivals)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_ours(arrivals: list[Arrival], settings: SyncSettings) -> Outcome:
    """Put the streams through the pair-or-alone synchroniser; time is that of the arrivals."""
    answers: list[FrameSet[Arrival]] = []
    sync: PairOrAlone[Arrival] = PairOrAlone(settings, answers.append, clock=lambda: now)
    now = arrivals[0].arrival_ns
    start = time.process_time()
    for arrival in arrivals:
        while (deadline := sync.poll(now)) is not None and deadline <= arrival.arrival_ns:
            now = max(now, deadline)
        now = arrival.arrival_ns
        sync.add(arrival.modality, arrival.stamp_ns, arrival, now)
    sync.flush(now + settings.max_wait_ns)
    spent = time.process_time() - start
    thermal = [a for a in answers if a.thermal is not None]
    pairs = [a for a in thermal if a.optical is not None]
    errors = [abs(a.optical.stamp_ns - a.thermal.stamp_ns) / MS for a in pairs]  # type: ignore[union-attr]
    waits = [a.waited_ns / MS for a in thermal]
    return _outcome("pair or alone", arrivals, len(pairs), len(thermal), errors, waits, spent)


def run_theirs(arrivals: list[Arrival], slop_ns: int) -> Outcome:
    """Put the streams through the rule of message_filters."""
    pairs: list[tuple[Arrival, Arrival, int]] = []
    now = 0
    sync: ApproximateTime[Arrival] = ApproximateTime(
        slop_ns, _DEPTH, lambda optical, thermal: pairs.append((optical, thermal, now))
    )
    start = time.process_time()
    for arrival in arrivals:
        now = arrival.arrival_ns
        sync.add(arrival.modality, arrival.stamp_ns, arrival)
    spent = time.process_time() - start
    errors = [abs(optical.stamp_ns - thermal.stamp_ns) / MS for optical, thermal, _ in pairs]
    waits = [(at - thermal.arrival_ns) / MS for _, thermal, at in pairs]
    return _outcome("ApproximateTime", arrivals, len(pairs), len(pairs), errors, waits, spent)


def _outcome(
    name: str,
    arrivals: list[Arrival],
    paired: int,
    answered: int,
    errors: list[float],
    waits: list[float],
    spent_s: float,
) -> Outcome:
    thermal = sum(arrival.modality is Modality.THERMAL for arrival in arrivals)
    return Outcome(
        name=name,
        thermal=thermal,
        paired=paired,
        alone=answered - paired,
        unanswered=thermal - answered,
        error_ms=round(float(np.mean(errors)), 3) if errors else 0.0,
        wait_ms_median=round(float(np.median(waits)), 2) if waits else 0.0,
        wait_ms_p95=round(float(np.percentile(waits, 95)), 2) if waits else 0.0,
        us_per_message=round(1e6 * spent_s / len(arrivals), 2),
        messages_per_second=round(len(arrivals) / spent_s) if spent_s else 0,
    )


def main(
    seconds: Annotated[float, typer.Option(help="Length of the streams.")] = 600.0,
    seed: Annotated[int, typer.Option(help="Of jitter, delay and loss.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
) -> None:
    """Run both on the same streams; RGB is lost for a tenth of the time."""
    arrivals = make_streams(seconds, seed, (0.4 * seconds, 0.5 * seconds))
    settings = SyncSettings()
    outcomes = [run_ours(arrivals, settings), run_theirs(arrivals, settings.slop_ns)]
    table = Table(title=f"{seconds:.0f} s, RGB 30 Hz (lost for a tenth), thermal 9 Hz, 2 % loss")
    table.add_column("")
    for outcome in outcomes:
        table.add_column(outcome.name, justify="right")
    for name in asdict(outcomes[0]):
        if name != "name":
            table.add_row(name.replace("_", " "), *(str(getattr(o, name)) for o in outcomes))
    console.print(table)
    if json_file:
        about = {**describe_machine(), "input_sha256": stream_hash(arrivals)}
        data = {"about": about, "seconds": seconds, "seed": seed,
                "outcomes": [asdict(outcome) for outcome in outcomes]}  # fmt: skip
        json_file.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
