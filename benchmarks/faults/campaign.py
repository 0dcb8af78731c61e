"""Runs a schedule against the node and returns the record."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor

from benchmarks.faults.cameras import FaultyCameras
from benchmarks.faults.host import Host, Supervisor
from benchmarks.faults.record import Receipts, Record, listen
from benchmarks.faults.schedule import Episode
from csknet_core.modality import Mode

_SETTLE_S = 2.0
_PATIENCE_S = 60.0
"""How long the next fault waits for a node that has not recovered from the one before."""


@dataclass(frozen=True)
class Happened:
    """An episode as it really went; times monotonic ns.

    Attributes:
        fault: its name.
        bound_s: longest time to recover.
        began_ns, ended_ns: of the fault.
        until_ns: end of the time without faults after it.
    """

    fault: str
    bound_s: float
    began_ns: int
    ended_ns: int
    until_ns: int


@dataclass
class Campaign:
    """A schedule that has been run: what happened, the record of it, and where and how it ran."""

    rate_hz: float
    happened: list[Happened] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    deaths: int = 0
    about: dict[str, Any] = field(default_factory=dict)


def run(
    episodes: list[Episode],
    rate_hz: float,
    seed: int,
    folder: Path,
    progress: Callable[[float, str], None] = lambda *_: None,
) -> Campaign:
    """Run a schedule in real time.

    Args:
        episodes: the schedule.
        rate_hz: pairs a second.
        seed: of what the cameras draw.
        folder: gets the node's log.
        progress: told the seconds gone and the fault that is on.

    Raises:
        RuntimeError: the node does not come up.
    """
    campaign = Campaign(rate_hz)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("campaign", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    listen(node, campaign.record)
    stop = threading.Event()
    spinner = threading.Thread(target=_spin, args=(executor, stop), daemon=True)
    spinner.start()
    try:
        with (
            Receipts(campaign.record) as receipts,
            Supervisor(receipts, folder / "node.log", folder / "bundles") as supervisor,
        ):
            cameras = FaultyCameras(node, seed)
            campaign.record.sent = cameras.sent
            host = Host(node, supervisor, campaign.record)
            try:
                host.wait_until_up()
                while not cameras.listeners():
                    time.sleep(0.05)
                time.sleep(_SETTLE_S)
                _play(episodes, cameras, host, campaign, progress)
            finally:
                host.stop_busy()
            campaign.deaths = supervisor.deaths
    finally:
        stop.set()
        spinner.join()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    return campaign


def _spin(executor: SingleThreadedExecutor, stop: threading.Event) -> None:
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.05)


def _play(
    episodes: list[Episode],
    cameras: FaultyCameras,
    host: Host,
    campaign: Campaign,
    progress: Callable[[float, str], None],
) -> None:
    clock = _Ticks(campaign.rate_hz, cameras, progress)
    clock.tick(episodes[0].start_s, "")
    for episode in episodes:
        name = episode.fault.name
        host.begin(name)
        cameras.begin(name)
        began = time.monotonic_ns()
        clock.tick(episode.end_s - episode.start_s, name)
        host.end(name)
        cameras.begin("")
        ended = time.monotonic_ns()
        clock.tick(episode.gap_s, "")
        _wait_until_recovered(campaign, ended, clock)
        campaign.happened.append(
            Happened(name, episode.fault.bound_s, began, ended, time.monotonic_ns())
        )
    time.sleep(_SETTLE_S)


def _wait_until_recovered(campaign: Campaign, ended_ns: int, clock: _Ticks) -> None:
    """Tick on until a frame sent after the fault has been answered fused.

    The next fault would otherwise meet a node that is still busy with this one, on a slow machine:
    a kill, say, while an engine is being opened.
    """
    record = campaign.record
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        after = {s.stamp_ns for s in record.sent[-2000:] if s.sent_ns >= ended_ns}
        if any(
            entry.stamp_ns in after and entry.status.mode == Mode.FUSED.value
            for entry in record.statuses[-1000:]
        ):
            return
        clock.tick(0.2, "recovering")


class _Ticks:
    """Makes the cameras tick at a steady rate."""

    def __init__(
        self, rate_hz: float, cameras: FaultyCameras, progress: Callable[[float, str], None]
    ) -> None:
        self._rate = rate_hz
        self._cameras = cameras
        self._progress = progress
        self._start = time.monotonic()
        self._count = 0
        self._end = 0.0

    def tick(self, seconds: float, fault: str) -> None:
        """Tick for so many seconds more."""
        self._end += seconds
        while self._count / self._rate < self._end:
            wait = self._start + self._count / self._rate - time.monotonic()
            time.sleep(max(0.0, wait))
            self._cameras.tick()
            self._count += 1
            self._progress(self._count / self._rate, fault)
