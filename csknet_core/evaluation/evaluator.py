"""Scores of a segmenter's engine on labelled pairs, in every mode, by day and night."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.data.datasets import Pair, PairDataset
from csknet_core.errors import DataError
from csknet_core.evaluation.boundary import BoundaryIoU
from csknet_core.evaluation.calibration import Calibration
from csknet_core.evaluation.metrics import ConfusionMatrix
from csknet_core.modality import Mode
from csknet_core.runtime.backends.base import Engine
from csknet_core.runtime.preprocess import (
    resize_labels,
    resize_optical,
    resize_thermal,
)

_TIMES = {"D": "day", "N": "night"}


class ModeScores:
    """Everything that is counted for one mode.

    Attributes:
        parts: confusion matrices of "all", "day" and "night".
        calibration: confidence against accuracy.
        boundary: boundary IoU.
        frames: mIoU of every frame by its name.
    """

    def __init__(self, classes: ClassTable) -> None:
        self.classes = classes
        count = len(classes)
        self.parts = {part: ConfusionMatrix(count) for part in ("all", "day", "night")}
        self.calibration = Calibration()
        self.boundary = BoundaryIoU(count)
        self.frames: dict[str, float] = {}

    def update(
        self, name: str, labels: NDArray[np.uint8], confidence: NDArray[np.uint8],
        true: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Add the answer for one pair, all maps (H, W)."""
        one = ConfusionMatrix(len(self.classes))
        one.update(labels, true)
        self.frames[name] = one.miou()
        self.parts["all"].add(one)
        if name[-1] in _TIMES:
            self.parts[_TIMES[name[-1]]].add(one)
        self.calibration.update(labels, confidence, true)
        self.boundary.update(labels, true)

    def to_json(self) -> dict[str, Any]:
        """Return the scores as plain data: values in 0..1, None where there is nothing to score.

        `miou` is the mean over the classes present in the ground truth; `miou_of_table` also
        counts classes that are predicted and nowhere true. `reliability` lists share of pixels,
        mean confidence and accuracy of every confidence bin.
        """
        matrix = self.parts["all"]
        curve = zip(("share", "confidence", "accuracy"), self.calibration.curve(), strict=True)
        return {
            "miou": _or_none(matrix.miou()),
            "per_class": self._by_class(matrix.iou()),
            "day": _or_none(self.parts["day"].miou()),
            "night": _or_none(self.parts["night"].miou()),
            "miou_of_table": _or_none(matrix.miou_of_table()),
            "accuracy": self._by_class(matrix.accuracy()),
            "mean_accuracy": _or_none(matrix.mean_accuracy()),
            "boundary_iou": _or_none(self.boundary.miou()),
            "boundary_per_class": self._by_class(self.boundary.iou()),
            "ece": _or_none(self.calibration.error()),
            "reliability": {key: [_or_none(v) for v in values.tolist()] for key, values in curve},
        }

    def _by_class(self, values: NDArray[np.float64]) -> dict[str, float | None]:
        return {n: _or_none(float(v)) for n, v in zip(self.classes.names, values, strict=True)}


@dataclass(frozen=True)
class Evaluation:
    """Scores of every mode on one set of pairs.

    Attributes:
        classes: the table scored.
        modes: the scores.
    """

    classes: ClassTable
    modes: dict[Mode, ModeScores] = field(default_factory=dict)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the scores of every mode as plain data, see `ModeScores.to_json`."""
        return {mode.value: scores.to_json() for mode, scores in self.modes.items()}


def evaluate(
    engine: Engine,
    folder: PairDataset,
    progress: Callable[[int], None] = lambda _: None,
    limit: int = 0,
    modes: Sequence[Mode] = tuple(Mode),
) -> Evaluation:
    """Score modes on every pair.

    Args:
        engine: its class table must be the folder's.
        folder: labelled pairs; names ending in D or N are also scored as day and night.
        progress: called with the number of pairs done.
        limit: score only so many pairs, the first ones; 0 scores all.
        modes: those scored.

    Raises:
        DataError: the folder has no labels or a pair cannot be read.
    """
    if not folder.labelled:
        raise DataError(f"{folder.root}: no labels to score against; it needs labels/NAME.png")
    result = Evaluation(engine.classes, {mode: ModeScores(engine.classes) for mode in modes})
    for index in range(len(folder))[: limit or None]:
        pair = folder[index]
        assert pair.labels is not None
        for mode, (labels, confidence) in answers(engine, pair, modes).items():
            result.modes[mode].update(pair.name, labels, confidence, pair.labels)
        progress(index + 1)
    return result


def answers(
    engine: Engine, pair: Pair, modes: Sequence[Mode] = tuple(Mode)
) -> dict[Mode, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return label map and confidence (H, W) of each of the modes, at the size of the pair.

    Raises:
        DataError: its thermal image cannot be used.
    """
    optical = resize_optical(pair.optical, engine.size)
    thermal = resize_thermal(pair.normalized_thermal(), engine.size)
    size = (pair.optical.shape[0], pair.optical.shape[1])
    result = {}
    for mode in modes:
        labels, confidence = engine.run(mode, optical, thermal)
        result[mode] = resize_labels(labels, size), resize_labels(confidence, size)
    return result


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
