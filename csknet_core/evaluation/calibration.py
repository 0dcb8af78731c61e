"""Whether confidence means what it says: the expected calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import IGNORE_ID

BINS = 15


class Calibration:
    """Confidence against accuracy over all labelled pixels of any number of label maps.

    All labelled pixels count, background too, as they do for IoU: a costmap reads every pixel's
    confidence. A pixel without an answer counts as wrong. Every level of the uint8 confidence is
    counted on its own, so that bins are exact.
    """

    def __init__(self) -> None:
        self._pixels: NDArray[np.int64] = np.zeros(256, np.int64)
        self._hits: NDArray[np.int64] = np.zeros(256, np.int64)

    def update(
        self,
        predicted: NDArray[np.uint8],
        confidence: NDArray[np.uint8],
        true: NDArray[np.uint8],
    ) -> None:
        """Add one label map, its confidence (255 = certain) and its ground truth, (H, W) each."""
        known = true != IGNORE_ID
        levels, hit = confidence[known], (predicted == true)[known]
        self._pixels += np.bincount(levels, minlength=256)
        self._hits += np.bincount(levels[hit], minlength=256)

    def curve(self, bins: int = BINS) -> tuple[NDArray[np.float64], ...]:
        """Return share of pixels, mean confidence and accuracy (bins,) of equally wide bins.

        Bin b holds confidences from b / bins up to, not with, (b + 1) / bins; the last one holds 1
        too. Confidence and accuracy of an empty bin are NaN.
        """
        levels = np.arange(256)
        probability = levels / 255
        of = np.minimum(levels * bins // 255, bins - 1)

        def total(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(of, values, bins).astype(np.float64)

        pixels = total(self._pixels)
        with np.errstate(invalid="ignore", divide="ignore"):
            confidence = total(self._pixels * probability) / pixels
            accuracy = total(self._hits) / pixels
        return pixels / max(1.0, float(pixels.sum())), confidence, accuracy

    def error(self, bins: int = BINS) -> float:
        """Return the ECE (Guo et al. 2017): `sum_b share_b |accuracy_b - confidence_b|`.

        NaN without any labelled pixel.
        """
        if not self._pixels.sum():
            return float("nan")
        share, confidence, accuracy = self.curve(bins)
        return float(np.nansum(share * np.abs(accuracy - confidence)))
