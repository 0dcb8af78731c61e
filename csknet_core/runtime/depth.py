"""Where the pixels of a label map are, from a depth image on its grid (REP-118)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ImageError
from csknet_core.runtime.camera_pose import CameraPose
from csknet_core.runtime.cost_grid import CostGridSettings, empty_grid, mark_cells
from csknet_core.runtime.costmap import Pixels, finite

_MILLIMETRE = np.float32(0.001)


def to_metres(depth: NDArray[Any]) -> NDArray[np.float32]:
    """Return a depth image (H, W) in metres, NaN where nothing was measured.

    Args:
        depth: (H, W) uint16 in millimetres, or float32 in metres, along the optical axis. Values
            that are zero, negative or not finite are no measurement.

    Raises:
        ImageError: another shape or type.
    """
    if depth.ndim != 2 or depth.dtype not in (np.uint16, np.float32):
        raise ImageError(
            f"depth image is {depth.shape} {depth.dtype}; it must be (H, W) uint16 (millimetres) "
            "or float32 (metres)"
        )
    metres = depth.astype(np.float32)
    if depth.dtype == np.uint16:
        metres *= _MILLIMETRE
    metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
    return metres


def depth_points(
    rays: NDArray[np.float64],
    pose: CameraPose,
    depth: NDArray[np.float32],
    max_range: float = np.inf,
) -> NDArray[np.float32]:
    """Return where the pixels of a depth image are.

    Args:
        rays: (H, W, 3) directions of the pixels in optical axes, z = 1.
        pose: of the camera.
        depth: (H, W) metres along the optical axis, NaN where nothing was measured.
        max_range: points farther from the camera (along the ground) are left out, metres.

    Returns:
        (H, W, 3) float32 in the pose's frame, NaN where there is no depth or it is out of range.

    Raises:
        ImageError: the depth image is not of the rays' size.
    """
    if depth.shape != rays.shape[:2]:
        raise ImageError(
            f"the depth image is of {depth.shape[1]}x{depth.shape[0]} pixels, the label map of "
            f"{rays.shape[1]}x{rays.shape[0]}; they must be one grid: register depth to the camera "
            "whose grid the label map is on (depth_image_proc, or registration.grid: optical)"
        )
    offset = (rays * depth[..., None]) @ pose.rotation().T
    with np.errstate(invalid="ignore"):
        offset[~(np.hypot(offset[..., 0], offset[..., 1]) <= max_range)] = np.nan
    offset += (pose.x, pose.y, pose.height)
    return offset.astype(np.float32)


@dataclass(frozen=True)
class DepthFrame:
    """An answer at measured points; see `costmap.CostmapFrame`.

    A class that can be driven over says little of what has been measured to stand above the ground:
    background is walls, too. Only what is about as high as the ground counts as clear.

    Attributes:
        pixels: the answer.
        measured: (H, W, 3) float32 of every pixel, NaN where nothing was measured.
        grid: of the costs.
        clear_height: clear pixels farther than this from z = 0 are not clear ground, metres.
        stride: of `obstacles`, in rows and columns.
    """

    pixels: Pixels
    measured: NDArray[np.float32]
    grid: CostGridSettings
    clear_height: float
    stride: int = 1

    def obstacles(self) -> NDArray[np.float32]:
        """Return the points of all obstacle pixels of every `stride`th row and column."""
        thinned = slice(None, None, self.stride)
        mask = self.pixels.obstacle()[thinned, thinned]
        return finite(self.measured[thinned, thinned][mask])

    def clear(self) -> NDArray[np.float32]:
        """Return the end of the clear ground in every column.

        It ends at the first pixel from below that is of another class, or measured to be off the
        ground. Pixels without a measurement do not end it, and are not its end.
        """
        ground = self._on_ground()
        clear = self.pixels.clear() & (ground | ~self._known())
        reachable = np.logical_and.accumulate(clear[::-1], 0)[::-1] & ground
        columns = np.flatnonzero(reachable.any(0))
        return self.measured[reachable.argmax(0)[columns], columns]

    def points(self) -> NDArray[np.float32]:
        """Return all measured points."""
        return self.measured

    def cells(self) -> NDArray[np.int8]:
        """Return the highest cost measured in every cell; cells without a point are unknown."""
        labels, costs = self.pixels.labels, self.pixels.roles.costs
        standing = self.pixels.obstacle() & self._known()
        counted = standing | (self.pixels.sure & self._on_ground())
        cells = empty_grid(self.grid)
        mark_cells(cells, self.measured[counted], costs[labels[counted]], self.grid)
        return cells

    def _known(self) -> NDArray[np.bool_]:
        return np.isfinite(self.measured[..., 2])

    def _on_ground(self) -> NDArray[np.bool_]:
        # NaN compares false.
        return np.abs(self.measured[..., 2]) <= self.clear_height
