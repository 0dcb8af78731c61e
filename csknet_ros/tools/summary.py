"""Accounting of a recorded run: what became of every frame, and how good the answers were.

Every thermal frame the camera published is exactly one of

- out: one frame status says answered, and exactly one label map carries its stamp;
- dropped: one frame status says dropped, with a reason, and there is no label map;
- lost: neither status nor label map came, the frame never reached the node;
- unaccounted: anything else. This must never happen. A label map whose stamp is nobody's
  counts here too.

While the thermal camera is silent the node answers RGB frames in its place and announces each
in a status of its own. Those are answers, but not to a thermal frame, so they count nowhere.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from csknet_core.classes import MFNET
from csknet_core.evaluation.metrics import ConfusionMatrix
from csknet_ros.tools.recorder import Recording
from csknet_ros.tools.script import Phase, Script


@dataclass(frozen=True)
class PlayedFrame:
    """A thermal frame the camera published."""

    stamp_ns: int
    phase: str


def outcome_of(recording: Recording, stamp_ns: int) -> str:
    """Return "out", "dropped", "lost" or "unaccounted" for one thermal frame."""
    statuses = recording.statuses.get(stamp_ns, [])
    maps = recording.answers[stamp_ns] - recording.optical_answers[stamp_ns]
    if not statuses and not maps:
        return "lost"
    if len(statuses) == 1 and maps == int(statuses[0].answered):
        return "out" if statuses[0].answered else "dropped"
    return "unaccounted"


def summarize(
    recording: Recording, played: list[PlayedFrame], script: Script, rmw: str
) -> dict[str, Any]:
    """Return the run's summary, as written to summary.json.

    Args:
        recording: what came out.
        played: what went in.
        script: says which mode each phase should be answered in.
        rmw: name of the ROS middleware.
    """
    outcomes = Counter(outcome_of(recording, frame.stamp_ns) for frame in played)
    answered = [f for f in played if outcome_of(recording, f.stamp_ns) == "out"]
    modes = Counter(recording.statuses[f.stamp_ns][0].mode for f in answered)
    drops = Counter(
        recording.statuses[f.stamp_ns][0].reason
        for f in played
        if outcome_of(recording, f.stamp_ns) == "dropped"
    )
    stamps = {frame.stamp_ns for frame in played}
    strays = sum(
        count - recording.optical_answers[stamp]
        for stamp, count in recording.answers.items()
        if stamp not in stamps
    )
    latency = [(recording.received_ns[f.stamp_ns] - f.stamp_ns) / 1e6 for f in answered]
    backend = next((recording.statuses[f.stamp_ns][0].hardware_id for f in answered), "none")
    return {
        "frames_in": len(played),
        "frames_out": outcomes["out"],
        "lost": outcomes["lost"],
        "unaccounted": outcomes["unaccounted"] + max(0, strays),
        "modes": dict(modes),
        "phases": [_phase_summary(recording, played, phase) for phase in script.phases],
        "latency_ms": _percentiles(latency),
        "rmw": rmw,
        "backend": backend,
        "dropped": dict(drops),
        "miou_by_mode": _miou_by_mode(recording, answered),
    }


def failures(summary: dict[str, Any]) -> list[str]:
    """Return why a run is not acceptable; empty when it is."""
    problems = []
    if summary["unaccounted"]:
        problems.append(f"{summary['unaccounted']} frame(s) unaccounted for")
    if not summary["frames_out"]:
        problems.append("no frame was answered")
    for phase in summary["phases"]:
        share = phase["share_in_expected_mode"]
        if share is None and phase["frames"]:
            problems.append(f"phase '{phase['name']}' got no answer")
        elif share is not None and share < 0.5:
            problems.append(
                f"phase '{phase['name']}' was in {phase['expected_mode']} for only {share:.0%}"
            )
    return problems


def _phase_summary(recording: Recording, played: list[PlayedFrame], phase: Phase) -> dict[str, Any]:
    frames = [f for f in played if f.phase == phase.name]
    answered = [f for f in frames if outcome_of(recording, f.stamp_ns) == "out"]
    expected = [
        f for f in answered if recording.statuses[f.stamp_ns][0].mode == phase.expected_mode.value
    ]
    return {
        "name": phase.name,
        "expected_mode": phase.expected_mode.value,
        "share_in_expected_mode": round(len(expected) / len(answered), 4) if answered else None,
        "miou": _miou(recording, answered),
        "frames": len(frames),
    }


def _miou_by_mode(recording: Recording, answered: list[PlayedFrame]) -> dict[str, float | None]:
    by_mode: dict[str, list[PlayedFrame]] = {}
    for frame in answered:
        by_mode.setdefault(recording.statuses[frame.stamp_ns][0].mode, []).append(frame)
    return {mode: _miou(recording, frames) for mode, frames in by_mode.items()}


def _miou(recording: Recording, frames: list[PlayedFrame]) -> float | None:
    """Return the mIoU over the classes present in the truth, None without any truth.

    Raises:
        DataError: the truth holds an id that is no class.
    """
    matrix = ConfusionMatrix(len(MFNET))
    for frame in frames:
        truth = recording.truth.get(frame.stamp_ns)
        labels = recording.label_maps.get(frame.stamp_ns)
        # On another grid than the truth's there is nothing to compare.
        if truth is not None and labels is not None and truth.shape == labels.shape:
            matrix.update(labels, truth)
    value = matrix.miou()
    return None if math.isnan(value) else round(value, 4)


def _percentiles(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"p50": None, "p95": None, "p99": None}
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 95, 99)}
