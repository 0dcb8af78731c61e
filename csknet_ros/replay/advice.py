"""What to tune, read off a replayed bag."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from csknet_core.modality import Modality, Reason
from csknet_ros.frames import DropReason
from csknet_ros.replay.replay import Run
from csknet_ros.replay.result import BagResult
from csknet_ros.stamps import SECOND_NS
from csknet_ros.synchronizer import clock_cure

_OFFSET_MS = 10.0
_SHARE = 0.05
_SWITCHES_A_MINUTE = 6.0


def advise(result: BagResult, run: Run) -> list[str]:
    """Return sentences, most important first; none if there is nothing to say."""
    return [
        *_reading(result),
        *_stamps(result, run),
        *_pairing(result, run),
        *_modes(result, run),
    ]


def _reading(result: BagResult) -> list[str]:
    sentences = []
    if not result.complete:
        sentences.append(f"This bag was not read to its end: {result.problem}.")
    if not result.frames and result.complete:
        sentences.append("No thermal frame in this bag: is --thermal the right topic?")
    for reason, count in result.skipped.items():
        sentences.append(f"{count} x {reason}; the first ones are listed below.")
    zero = sum(frame.reason == DropReason.ZERO_STAMP.value for frame in result.frames)
    if zero:
        sentences.append(f"{zero} thermal frames have no stamp: let the driver fill header.stamp.")
    return sentences


def _stamps(result: BagResult, run: Run) -> list[str]:
    differences = [
        f.stamp_difference_ms for f in result.frames if f.stamp_difference_ms is not None
    ]
    if not differences:
        return []
    middle = median(differences)
    ours = run.sync.offset_ns * 1e3 / SECOND_NS
    if abs(middle - ours) < _OFFSET_MS:
        return []
    return [
        f"Median stamp offset {middle:.0f} ms (RGB later than thermal is positive): set "
        f"sync.thermal_offset to {middle / 1e3:.3f}."
    ]


def _pairing(result: BagResult, run: Run) -> list[str]:
    thermal = [f for f in result.frames if f.primary == Modality.THERMAL.value and f.mode]
    unpaired = sum(f.reason == Reason.OPTICAL_UNPAIRED.value for f in thermal)
    lost = sum(f.reason == Reason.OPTICAL_LOST.value for f in thermal)
    sentences = []
    if thermal and unpaired > _SHARE * len(thermal):
        sentences.append(
            f"{100 * unpaired / len(thermal):.0f} % of thermal frames found no RGB frame within "
            f"sync.slop ({1e3 * run.sync.slop_ns / SECOND_NS:.0f} ms) in time: the cameras are not "
            "triggered together or RGB is slower; raise sync.slop or sync.max_wait."
        )
    if thermal and lost > _SHARE * len(thermal):
        difference_ms = result.sync.get("clock_difference_ms")
        why = ""
        if difference_ms is not None:
            why = f": {clock_cure(round(difference_ms * SECOND_NS / 1e3), run.sync.offset_ns)}"
        share = 100 * lost / len(thermal)
        sentences.append(f"RGB was lost for {share:.0f} % of thermal frames{why}.")
    silent = sum(f.primary == Modality.OPTICAL.value for f in result.frames)
    if silent:
        sentences.append(f"Thermal was lost or silent while {silent} RGB frames were answered.")
    if result.sync.get("clock_jumps"):
        sentences.append(f"The stamps jumped back {result.sync['clock_jumps']} times.")
    return sentences


def _modes(result: BagResult, run: Run) -> list[str]:
    answered = [f for f in result.frames if f.mode]
    sentences = []
    switches = sum(a.mode != b.mode for a, b in pairwise(answered))
    minutes = max(result.seconds, 1.0) / 60
    if switches >= 4 and switches / minutes > _SWITCHES_A_MINUTE:
        sentences.append(
            f"The mode changed {switches} times ({switches / minutes:.0f} a minute): raise "
            f"policy.hold (now {run.segmenter.policy.hold}) or sync.recover_after (now "
            f"{run.sync.recover_after})."
        )
    dark = sum(f.reason == Reason.OPTICAL_DARK.value for f in answered)
    if dark:
        sentences.append(
            f"RGB was too dark in {dark} of {len(answered)} answers; 'csknet calibrate-policy' "
            "measures where that line should be for your cameras."
        )
    return sentences
