"""What it takes to bring the images of two cameras onto one grid."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""Height and width."""
Maps = tuple[NDArray[np.float32], NDArray[np.float32]]
"""x and y, (H, W) float32 each; pixel centres have integer coordinates, x right, y down."""
_NOWHERE = -10.0
_FARTHEST = 1e6  # pixels; no image is as large, and OpenCV rounds it to integers


class PixelMap(Protocol):
    """Knows where the pixels of one camera are in the other.

    Pixels that are nowhere in the other image's plane are at (-10, -10).
    """

    @property
    def thermal_size(self) -> Size:
        """Size of the thermal images it was made for; others must have their aspect."""
        ...

    @property
    def optical_size(self) -> Size:
        """Size of the optical images it was made for."""
        ...

    def optical_pixels(self, thermal_size: Size, optical_size: Size) -> Maps:
        """Return where every pixel of a thermal image is in an optical one, of these sizes."""
        ...

    def thermal_pixels(self, optical_size: Size, thermal_size: Size) -> Maps:
        """Return where every pixel of an optical image is in a thermal one, of these sizes."""
        ...


def mark_unseen(x: NDArray[np.float64], y: NDArray[np.float64], seen: NDArray[np.bool_]) -> Maps:
    """Return maps of x and y, nowhere where they are not `seen` or not in reach of any image."""
    seen = seen & (np.abs(x) < _FARTHEST) & (np.abs(y) < _FARTHEST)  # false for NaN
    first, second = (np.where(seen, value, _NOWHERE).astype(np.float32) for value in (x, y))
    return first, second
