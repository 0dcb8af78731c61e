"""What the node reports about itself once a second on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from csknet_core.modality import Mode
from csknet_ros.frame_status import FrameStatus
from csknet_ros.frames import DropReason
from csknet_ros.synchronizer import SyncHealth, SyncState, clock_cure

_WINDOW_S = 5.0

_CURES = {
    DropReason.ZERO_STAMP: "the camera driver must fill header.stamp",
    DropReason.DUPLICATE_STAMP: "two publishers on one topic, or a driver that repeats stamps",
    DropReason.OUT_OF_ORDER: "stamps run backwards; check the driver's clock",
    DropReason.PAUSED: "inference is paused; call ~/enable with data: true",
    DropReason.SUPERSEDED: "frames come faster than inference; lower the rate or the input size",
    DropReason.BAD_IMAGE: "messages cannot be decoded; see the log for the reason",
    DropReason.NO_USABLE_MODALITY: "neither camera shows anything; check both",
    DropReason.ENGINE_ERROR: "inference fails; see the log for the reason",
    DropReason.ENGINE_STUCK: "inference did not return and was given up; check the GPU and its "
    "driver, or raise engine.stuck_after",
}


@dataclass(frozen=True)
class Outcome:
    """One frame's end: when (monotonic seconds) and what."""

    time_s: float
    status: FrameStatus


@dataclass(frozen=True)
class Problem:
    """What went wrong last, and when (monotonic seconds)."""

    time_s: float
    text: str


class Statistics:
    """Counts all frames and remembers the last seconds. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[Outcome] = deque(maxlen=2000)
        self._modes: Counter[str] = Counter()
        self._drops: Counter[str] = Counter()
        self._mode = ""
        self._without_points = 0
        self._points_problem = Problem(0.0, "")

    def add_without_points(self, problem: str) -> None:
        """Count an answered frame that gave a costmap nothing, and why."""
        with self._lock:
            self._without_points += 1
            self._points_problem = Problem(time.monotonic(), problem)

    def add(self, status: FrameStatus) -> None:
        """Count one frame."""
        with self._lock:
            self._recent.append(Outcome(time.monotonic(), status))
            if status.answered:
                self._modes[status.mode] += 1
                self._mode = f"{status.mode} ({status.reason})"
            else:
                self._drops[status.reason] += 1

    def report(
        self,
        health: SyncHealth | None,
        engine: str,
        active: bool,
        trouble: str = "",
        node: str = "csknet",
    ) -> DiagnosticStatus:
        """Summarise the last seconds in one status, with what to do where something is wrong.

        Args:
            health: of the synchroniser, if there is one.
            engine: backend and device in use.
            active: whether the node is.
            trouble: what became of a backend that failed.
            node: its name with its namespace, so that an aggregator tells several apart.
        """
        with self._lock:
            horizon = time.monotonic() - _WINDOW_S
            recent = [entry.status for entry in self._recent if entry.time_s >= horizon]
            modes, drops, mode = dict(self._modes), dict(self._drops), self._mode
            without_points, problem = self._without_points, self._points_problem
        answered = [status for status in recent if status.answered]
        values: dict[str, object] = {
            "mode": mode or "none yet",
            "device": engine,
            "frames_per_second": f"{len(answered) / _WINDOW_S:.1f}",
        }
        if answered:
            for key, share in (("p50", 50), ("p95", 95)):
                total = np.percentile([status.total_ms for status in answered], share)
                values[f"latency_{key}_ms"] = f"{total:.1f}"
            inference = np.percentile([status.inference_ms for status in answered], 50)
            values["inference_p50_ms"] = f"{inference:.1f}"
        values.update({f"answered_{name}": count for name, count in modes.items()})
        values.update({f"dropped_{name}": count for name, count in drops.items()})
        if health is not None:
            values.update(_sync_values(health))
        if without_points:
            values["frames_without_points"] = without_points
            values["points_problem"] = problem.text
        if trouble:
            values["trouble"] = trouble
        points_problem = problem.text if problem.time_s >= horizon else ""
        level, message = _judge(recent, health, active, engine, trouble, points_problem)
        return DiagnosticStatus(
            level=level,
            name=f"{node.lstrip('/')}: segmentation",
            message=message,
            hardware_id=engine,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )


def _sync_values(health: SyncHealth) -> dict[str, object]:
    values: dict[str, object] = {"sync_state": health.state.value, "sync_matched": health.matched}
    for modality, count in health.received.items():
        values[f"received_{modality.value}"] = count
    for reason, count in health.alone.items():
        values[f"alone_{reason.value}"] = count
    if health.stamp_difference_ns is not None:
        values["stamp_difference_ms"] = f"{health.stamp_difference_ns / 1e6:.1f}"
    if health.clock_difference_ns is not None:
        values["clock_difference_ms"] = f"{health.clock_difference_ns / 1e6:.1f}"
    for dropped, count in health.optical_dropped.items():
        values[f"dropped_optical_{dropped.value}"] = count
    values["clock_jumps"] = health.clock_jumps
    values["optical_unused"] = health.optical_unused
    return values


def _why_lost(health: SyncHealth) -> str:
    """Return what is known of the loss, and what helps."""
    if health.state is SyncState.OPTICAL_LOST and health.optical_refused is not None:
        cure = _CURES.get(health.optical_refused, "")
        return f"RGB comes, but its messages are refused, {health.optical_refused.value}: {cure}"
    if health.state is SyncState.OPTICAL_LOST and health.clock_difference_ns is not None:
        return clock_cure(health.clock_difference_ns, health.offset_ns)
    return "answering with the other camera alone"


def _judge(
    recent: list[FrameStatus],
    health: SyncHealth | None,
    active: bool,
    engine: str,
    trouble: str,
    points_problem: str,
) -> tuple[bytes, str]:
    """Return level and message: the worst thing of the last seconds, and its cure."""
    if not active:
        return DiagnosticStatus.OK, "not active"
    drops = Counter(status.reason for status in recent if not status.answered)
    if drops[DropReason.ENGINE_STUCK.value]:
        return DiagnosticStatus.ERROR, f"engine_stuck: {_CURES[DropReason.ENGINE_STUCK]}"
    if drops[DropReason.ENGINE_ERROR.value]:
        return DiagnosticStatus.ERROR, f"engine_error: {trouble or _CURES[DropReason.ENGINE_ERROR]}"
    if not recent:
        return DiagnosticStatus.WARN, "no frames; check that the thermal camera publishes"
    for reason, cure in _CURES.items():
        if drops[reason.value]:
            return DiagnosticStatus.WARN, f"{drops[reason.value]} frames {reason.value}: {cure}"
    if health is not None and health.state is not SyncState.OK:
        return DiagnosticStatus.WARN, f"{health.state.value}: {_why_lost(health)}"
    if trouble:
        # Built anew, it is the first one.
        moved = not trouble.startswith(f"{engine} failed")
        cure = "; restart the node to try the first one again" * moved
        return DiagnosticStatus.WARN, trouble + cure
    if points_problem:
        return DiagnosticStatus.WARN, f"no points for the costmap: {points_problem}"
    fallback = [s for s in recent if s.answered and s.mode != Mode.FUSED.value]
    if fallback:
        last = fallback[-1]
        return DiagnosticStatus.WARN, f"{last.mode}: {last.reason}"
    return DiagnosticStatus.OK, "fused"
