"""Scores of a segmenter's engine on a folder of labelled pairs, in every mode, by day and night."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from csknet_core.classes import ClassTable
from csknet_core.data.datasets import Pair, PairFolder
from csknet_core.errors import DataError
from csknet_core.evaluation.metrics import ConfusionMatrix
from csknet_core.modality import Mode
from csknet_core.runtime.backends.base import Engine
from csknet_core.runtime.preprocess import (
    ThermalNormalizer,
    ThermalSettings,
    resize_labels,
    resize_optical,
    resize_thermal,
)

_TIMES = {"D": "day", "N": "night"}


def evaluate(
    engine: Engine, folder: PairFolder, progress: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Score every mode on every pair.

    Args:
        engine: its class table must be the folder's.
        folder: labelled pairs; names ending in D or N are also scored as day and night.
        progress: called with the number of pairs done.

    Returns:
        For each mode `{"miou", "per_class": {name: iou}, "day", "night"}`: IoU in 0..1, mIoU over
        the classes present in the ground truth, None where there is nothing to score.

    Raises:
        DataError: the folder has no labels or a pair cannot be read.
    """
    if not folder.labelled:
        raise DataError(f"{folder.root}: no labels to score against; it needs labels/NAME.png")
    scores = {
        mode: {part: ConfusionMatrix(len(engine.classes)) for part in ("all", "day", "night")}
        for mode in Mode
    }
    for index in range(len(folder)):
        pair = folder[index]
        _score_pair(engine, pair, scores)
        progress(index + 1)
    return {mode.value: _summary(parts, engine.classes) for mode, parts in scores.items()}


def _score_pair(engine: Engine, pair: Pair, scores: dict[Mode, dict[str, ConfusionMatrix]]) -> None:
    optical = resize_optical(pair.optical, engine.size)
    thermal = resize_thermal(ThermalNormalizer(ThermalSettings())(pair.thermal), engine.size)
    assert pair.labels is not None
    parts = ["all"] + [_TIMES[pair.name[-1]]] * (pair.name[-1] in _TIMES)
    for mode in Mode:
        labels, _ = engine.run(mode, optical, thermal)
        labels = resize_labels(labels, (pair.labels.shape[0], pair.labels.shape[1]))
        for part in parts:
            scores[mode][part].update(labels, pair.labels)


def _summary(parts: dict[str, ConfusionMatrix], classes: ClassTable) -> dict[str, Any]:
    iou = parts["all"].iou()
    return {
        "miou": _or_none(parts["all"].miou()),
        "per_class": {n: _or_none(float(v)) for n, v in zip(classes.names, iou, strict=True)},
        "day": _or_none(parts["day"].miou()),
        "night": _or_none(parts["night"].miou()),
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
