"""What a replayed bag gave; everything in it but `timing` depends on bag and weights alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.evaluation.metrics import ConfusionMatrix
from csknet_core.modality import Modality

if TYPE_CHECKING:
    from csknet_ros.frame_status import FrameStatus


@dataclass
class Frame:
    """What became of one frame.

    Attributes:
        time_s: arrival of its primary message, from the bag's start.
        stamp_ns: the primary's stamp.
        primary: "thermal", or "optical" while thermal is lost.
        mode: a `Mode` value; "" if the frame was dropped.
        reason: a `Reason` value; a `DropReason` value if it was dropped.
        phase: what the bag's phase topic said, "" without one.
        luminance: of RGB, 0..1; None without RGB.
        stamp_difference_ms: RGB minus thermal stamp, as they are; None without a pair.
        waited_ms: for a partner, in bag time.
        miou: over the classes present in the frame's truth; None without truth.
        agreement: share of pixels on which thermal alone answers the same; None if not compared.
        flips: share of pixels per second whose label differs from the frame before.
        matrix: against the truth; None without.
    """

    time_s: float
    stamp_ns: int
    primary: str
    mode: str
    reason: str
    phase: str = ""
    luminance: float | None = None
    stamp_difference_ms: float | None = None
    waited_ms: float = 0.0
    miou: float | None = None
    agreement: float | None = None
    flips: float | None = None
    matrix: ConfusionMatrix | None = None

    @classmethod
    def from_status(
        cls, time_s: float, stamp_ns: int, status: FrameStatus, phase: str = ""
    ) -> Frame:
        """Return what a frame's status says of it.

        Args:
            time_s: arrival of its primary message, from the bag's start.
            stamp_ns: the primary's stamp.
            status: as the node publishes it.
            phase: what the bag's phase topic said.
        """
        frame = cls(time_s, stamp_ns, status.primary, status.mode, status.reason, phase)
        frame.waited_ms = status.waited_ms
        if status.optical_luminance >= 0:
            frame.luminance = status.optical_luminance
        # The one of a pair; an RGB frame that stands in for a lost thermal one has none.
        if status.optical_stamp_ns and status.primary == Modality.THERMAL.value:
            frame.stamp_difference_ms = status.stamp_difference_ms
        return frame

    def score(self, labels: NDArray[np.uint8], true: NDArray[np.uint8], classes: int) -> None:
        """Compare the frame's answer with its truth.

        Args:
            labels: (H, W) class ids of the answer.
            true: (H, W) class ids of the truth.
            classes: how many there are.

        Raises:
            DataError: shapes differ, or the truth holds an id that is no class.
        """
        matrix = ConfusionMatrix(classes)
        matrix.update(labels, true)
        miou = matrix.miou()
        self.matrix, self.miou = matrix, None if math.isnan(miou) else miou

    def to_json(self) -> dict[str, Any]:
        """Return the frame as plain data, without its matrix."""
        return {key: _rounded(value) for key, value in vars(self).items() if key != "matrix"}


@dataclass(frozen=True)
class Picture:
    """A frame worth looking at: RGB, thermal, answer and, if there is one, truth as one JPEG."""

    time_s: float
    caption: str
    score: float
    jpeg: bytes


@dataclass
class BagResult:
    """Everything about one bag in one run.

    Attributes:
        run: name of the run.
        bag: name of the bag.
        topics: which topic was what.
        classes: table of the label maps.
        seconds: length of the bag.
        received: messages of each kind.
        skipped: messages that could not be used, by reason.
        notes: the first of them, with their times.
        sync: counts of the synchroniser.
        frames: in the order they were decided.
        pictures: worst frames first.
        complete: whether the bag was read to its end.
        problem: why not.
        timing: milliseconds and rates; differs from run to run.
    """

    run: str
    bag: str
    classes: ClassTable
    topics: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    received: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sync: dict[str, Any] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    complete: bool = False
    problem: str = ""
    timing: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data; the same bytes for the same bag and weights."""
        return {
            "run": self.run,
            "bag": self.bag,
            "complete": self.complete,
            "problem": self.problem,
            "topics": self.topics,
            "seconds": _rounded(self.seconds),
            "received": self.received,
            "skipped": self.skipped,
            "notes": self.notes,
            "sync": self.sync,
            **summarize(self.frames, self.classes),
            "frames": [frame.to_json() for frame in self.frames],
        }


def summarize(frames: list[Frame], classes: ClassTable) -> dict[str, Any]:
    """Return what frames of one or several bags say together."""
    thermal = [f for f in frames if f.primary == Modality.THERMAL.value]
    answered = [f for f in frames if f.mode]
    phases = list(dict.fromkeys(f.phase for f in frames if f.phase))
    return {
        "thermal_frames": len(thermal),
        "answered": sum(bool(f.mode) for f in thermal),
        "dropped": dict(sorted(Counter(f.reason for f in frames if not f.mode).items())),
        "modes": _by_mode(answered, classes),
        "reasons": dict(sorted(Counter(f.reason for f in answered).items())),
        "phases": {
            phase: _by_mode([f for f in answered if f.phase == phase], classes) for phase in phases
        },
        "stamp_difference_ms": _middle(f.stamp_difference_ms for f in answered),
        "waited_ms": _middle(f.waited_ms for f in answered),
    }


def _by_mode(frames: list[Frame], classes: ClassTable) -> dict[str, Any]:
    modes = sorted({f.mode for f in frames})
    groups = {"all": frames, **{mode: [f for f in frames if f.mode == mode] for mode in modes}}
    return {name: _scores(group, classes) for name, group in groups.items() if group}


def _scores(frames: list[Frame], classes: ClassTable) -> dict[str, Any]:
    """Return the scores of answered frames; areas are added before dividing."""
    matrix = total_matrix(frames, len(classes))
    scored = sum(f.matrix is not None for f in frames)
    values: dict[str, Any] = {
        "frames": len(frames),
        "scored": scored,
        "agreement": _mean(f.agreement for f in frames),
        "flips_per_pixel_second": _mean(f.flips for f in frames),
    }
    if scored:
        ious = zip(classes.names, matrix.iou(), strict=True)
        values["miou"] = _rounded(matrix.miou(), 8)
        values["per_class"] = {name: _rounded(float(iou), 8) for name, iou in ious}
        values["confusion"] = matrix.counts.tolist()
    return values


def total_matrix(frames: Iterable[Frame], num_classes: int) -> ConfusionMatrix:
    """Return the sum of the frames' matrices."""
    matrix = ConfusionMatrix(num_classes)
    for frame in frames:
        if frame.matrix is not None:
            matrix.add(frame.matrix)
    return matrix


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(fmean(known)) if known else None


def _middle(values: Iterable[float | None]) -> dict[str, float] | None:
    """Return median and 95th percentile."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": _rounded(median(known)), "p95": _rounded(float(np.percentile(known, 95)))}


def _rounded(value: Any, digits: int = 4) -> Any:
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else round(value, digits)
