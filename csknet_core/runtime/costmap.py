"""What a costmap needs of an answer: obstacles, clear ground, a point for every pixel, cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from csknet_core.runtime.camera_pose import CameraPose
from csknet_core.runtime.cost_grid import CostGrid, CostGridSettings
from csknet_core.runtime.ground import (
    Intrinsics,
    class_mask,
    clear_mask,
    contact_mask,
    meet_ground,
)


@dataclass(frozen=True)
class Roles:
    """What classes mean for driving.

    Attributes:
        obstacles: ids of what must not be driven over.
        clear: ids of what can be.
        costs: (256,) int8 of all ids in a grid of costs.
    """

    obstacles: tuple[int, ...]
    clear: tuple[int, ...]
    costs: NDArray[np.int8]


@dataclass(frozen=True)
class Pixels:
    """The pixels of one answer.

    Attributes:
        labels: (H, W) uint8 class ids.
        sure: (H, W) which of them count.
        roles: what the ids mean.
    """

    labels: NDArray[np.uint8]
    sure: NDArray[np.bool_]
    roles: Roles

    def obstacle(self) -> NDArray[np.bool_]:
        """Return which pixels (H, W) are surely of an obstacle."""
        return class_mask(self.labels, self.roles.obstacles) & self.sure

    def clear(self) -> NDArray[np.bool_]:
        """Return which pixels (H, W) are surely of a class that can be driven over."""
        return class_mask(self.labels, self.roles.clear) & self.sure


class CostmapFrame(Protocol):
    """One answer in the robot's frame, metres; every part is made when it is asked for."""

    def obstacles(self) -> NDArray[np.float32]:
        """Return points (N, 3) of obstacles, to mark cells."""

    def clear(self) -> NDArray[np.float32]:
        """Return the end (N, 3) of the clear ground in every column, to clear cells by ray."""

    def points(self) -> NDArray[np.float32]:
        """Return the point of every pixel (H, W, 3), NaN where there is none."""

    def cells(self) -> NDArray[np.int8]:
        """Return costs (rows, columns) around the robot, see `CostGrid`."""


@dataclass(frozen=True)
class GroundFrame:
    """An answer on ground that is taken to be flat; see `CostmapFrame`.

    Attributes:
        pixels: the answer.
        ground: (H, W, 3) float32 where pixels meet the ground, NaN where they do not.
        grid: gives the grid of costs for this camera and pose.
    """

    pixels: Pixels
    ground: NDArray[np.float32]
    grid: Callable[[], CostGrid]

    def obstacles(self) -> NDArray[np.float32]:
        """Return where obstacles stand."""
        return finite(self.ground[contact_mask(self.pixels.obstacle())])

    def clear(self) -> NDArray[np.float32]:
        """Return the end of the clear ground that starts at the image's bottom.

        A class that can be driven over may go on above the horizon, as background does: there the
        ground ends where it is last seen.
        """
        seen = np.isfinite(self.ground[..., 0])
        return self.ground[clear_mask(self.pixels.clear() & seen)]

    def points(self) -> NDArray[np.float32]:
        """Return the ground points; the body of an obstacle, above the ground, has none."""
        obstacle = class_mask(self.pixels.labels, self.pixels.roles.obstacles)
        body = obstacle & ~contact_mask(obstacle)
        return np.where(body[..., None], np.float32(np.nan), self.ground)

    def cells(self) -> NDArray[np.int8]:
        """Return the costs."""
        roles = self.pixels.roles
        return self.grid().fill(
            self.pixels.labels, self.pixels.sure, self.ground, roles.costs, roles.obstacles
        )


class GroundProjection:
    """Makes `GroundFrame`s; what does not change while the camera does not move is kept.

    Args:
        max_range: farthest points, metres.
        grid: the grid of costs.
    """

    def __init__(self, max_range: float, grid: CostGridSettings) -> None:
        self._max_range = max_range
        self._settings = grid
        self._intrinsics: Intrinsics | None = None
        self._pose: CameraPose | None = None
        self._points: NDArray[np.float32] = np.empty((0, 0, 3), np.float32)
        self._grid: CostGrid | None = None

    def frame(
        self,
        pixels: Pixels,
        intrinsics: Intrinsics,
        rays: NDArray[np.float64],
        pose: CameraPose,
    ) -> GroundFrame:
        """Return an answer on the ground.

        Args:
            pixels: the answer.
            intrinsics: of its grid.
            rays: of the intrinsics.
            pose: of the camera.

        Raises:
            PoseError: the camera is not above the ground.
        """
        if (intrinsics, pose) != (self._intrinsics, self._pose):
            self._points = meet_ground(rays, pose, self._max_range)
            self._intrinsics, self._pose, self._grid = intrinsics, pose, None
        return GroundFrame(pixels, self._points, self._cost_grid)

    def _cost_grid(self) -> CostGrid:
        assert self._intrinsics is not None
        assert self._pose is not None
        if self._grid is None:
            self._grid = CostGrid(self._intrinsics, self._pose, self._max_range, self._settings)
        return self._grid


def finite(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return those of points (N, 3) that are known."""
    return points[np.isfinite(points[:, 0])]
