"""Boundary IoU: how well outlines fit, which IoU hardly notices on large objects."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import IGNORE_ID

_BAND = 0.02  # of the image diagonal
_KERNEL = np.ones((3, 3), np.uint8)


class BoundaryIoU:
    """Boundary IoU (Cheng et al. 2021) of every class, accumulated over any number of label maps.

    For every class, the pixels of its mask within a band along the mask's own outline are compared
    between label map and ground truth: `|P_d & G_d| / |P_d | G_d|`. The band is 2 % of the image
    diagonal wide; the image border counts as an outline. Pixels without ground truth are cut out
    of both masks before the bands are drawn: the hole then outlines both alike, and an answer that
    goes on below it loses nothing.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._both: NDArray[np.int64] = np.zeros(num_classes, np.int64)
        self._either: NDArray[np.int64] = np.zeros(num_classes, np.int64)
        self._present: NDArray[np.bool_] = np.zeros(num_classes, np.bool_)

    def update(self, predicted: NDArray[np.uint8], true: NDArray[np.uint8]) -> None:
        """Add one label map (H, W) and its ground truth (H, W)."""
        width = max(1, round(_BAND * float(np.hypot(*true.shape))))
        known = true != IGNORE_ID
        present = np.bincount(true.ravel(), minlength=256)[: self.num_classes] > 0
        seen = np.bincount(predicted[known], minlength=256)[: self.num_classes] > 0
        self._present |= present
        for index in np.flatnonzero(present | seen):
            bands = [band((labels == index) & known, width) for labels in (predicted, true)]
            self._both[index] += np.count_nonzero(bands[0] & bands[1])
            self._either[index] += np.count_nonzero(bands[0] | bands[1])

    def iou(self) -> NDArray[np.float64]:
        """Return the boundary IoU (C,), NaN for classes absent from the ground truth."""
        return np.where(self._present, self._both / np.maximum(self._either, 1), np.nan)

    def miou(self) -> float:
        """Return the mean over the classes present in the ground truth, NaN without any."""
        return float(np.nanmean(self.iou())) if self._present.any() else float("nan")


def band(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Return the pixels of a mask (H, W) that are at most `width` pixels inside its outline."""
    inner = cv2.erode(
        mask.astype(np.uint8), _KERNEL, iterations=width, borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )  # fmt: skip
    return mask & (inner == 0)
