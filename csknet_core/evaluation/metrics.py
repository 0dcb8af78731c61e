"""Intersection over union from a confusion matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import IGNORE_ID
from csknet_core.errors import DataError


class ConfusionMatrix:
    """Counts of (true class, predicted class) pixels, accumulated over any number of label maps.

    Areas are accumulated first and divided last, so that every pixel weighs the same.

    Attributes:
        counts: (C, C) int64, rows are the true class, columns the predicted one.
        unanswered: (C,) int64, pixels of each true class whose prediction is no class.
    """

    def __init__(self, num_classes: int, ignore_id: int = IGNORE_ID) -> None:
        self.num_classes = num_classes
        self.ignore_id = ignore_id
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)
        self.unanswered: NDArray[np.int64] = np.zeros(num_classes, np.int64)
        ids = np.arange(256)
        # After the classes' rows one for ignored pixels, and one for ids that are no class.
        rows = np.where(ids < num_classes, ids, np.where(ids == ignore_id, num_classes, -1))
        rows[rows < 0] = num_classes + 1
        self._rows = (rows * (num_classes + 1)).astype(np.uint32)
        self._columns = np.minimum(ids, num_classes).astype(np.uint32)

    def update(self, predicted: NDArray[np.uint8], true: NDArray[np.uint8]) -> None:
        """Add one label map (H, W) and its ground truth (H, W).

        A pixel predicted as `ignore_id` (no answer) counts as a miss of its true class.

        Raises:
            DataError: shapes differ, or the ground truth holds an id that is no class.
        """
        if predicted.shape != true.shape:
            raise DataError(f"label map is {predicted.shape}, its ground truth {true.shape}")
        # Tables turn two maps into one index without masks or wide intermediate arrays.
        index = np.take(self._rows, true) + np.take(self._columns, predicted)
        width = self.num_classes + 1
        added = np.bincount(index.ravel(), minlength=(self.num_classes + 2) * width)
        added = added.reshape(-1, width)
        if added[-1].any():
            wrong = true[(true >= self.num_classes) & (true != self.ignore_id)]
            raise DataError(f"ground truth id {wrong.max()} is not below {self.num_classes}")
        self.unanswered += added[: self.num_classes, -1]
        self.counts += added[: self.num_classes, :-1]

    def add(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix of the same classes."""
        self.counts += other.counts
        self.unanswered += other.unanswered

    def iou(self) -> NDArray[np.float64]:
        """Return the IoU (C,) of every class, NaN for classes absent from the ground truth."""
        hits = self.counts.diagonal().astype(np.float64)
        true = self.counts.sum(1) + self.unanswered
        union = true + self.counts.sum(0) - hits
        return np.where(true > 0, hits / np.maximum(union, 1), np.nan)

    def miou(self) -> float:
        """Return the mean IoU over the classes present in the ground truth, NaN without any."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    def accuracy(self) -> NDArray[np.float64]:
        """Return the share (C,) of every class's pixels that is found, NaN for absent classes."""
        true = self.counts.sum(1) + self.unanswered
        return np.where(true > 0, self.counts.diagonal() / np.maximum(true, 1), np.nan)

    def mean_accuracy(self) -> float:
        """Return the mean accuracy over the classes of the ground truth, NaN without any."""
        accuracy = self.accuracy()
        return float(np.nanmean(accuracy)) if np.isfinite(accuracy).any() else float("nan")

    def shares(self) -> NDArray[np.float64]:
        """Return the share (C, C) of every true class's pixels predicted as each class.

        A row adds up to less than 1 where pixels are unanswered; rows of absent classes are NaN.
        """
        true = (self.counts.sum(1) + self.unanswered)[:, None]
        return np.where(true > 0, self.counts / np.maximum(true, 1), np.nan)

    def miou_of_table(self) -> float:
        """Return the mean IoU over all classes that are in the ground truth or predicted.

        A class that is predicted but nowhere true counts as 0; one that is neither has no IoU and
        is left out. NaN without any pixel.
        """
        iou = self.iou()
        iou[np.isnan(iou) & (self.counts.sum(0) > 0)] = 0.0
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")
