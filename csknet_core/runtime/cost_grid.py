"""Costs on the ground around the robot, from a label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ConfigError
from csknet_core.runtime.camera_pose import CameraPose
from csknet_core.runtime.ground import Intrinsics, class_mask, contact_mask

UNKNOWN = -1
LETHAL = 100
_NEAR = 1e-3


@dataclass(frozen=True)
class CostGridSettings:
    """Where and how fine a grid is, and what classes cost.

    Attributes:
        size: of its sides, metres; the robot's frame is in the middle.
        resolution: of its cells, metres.
        costs: of classes by name, 0 (free) to 100 (lethal), or -1 (unknown); classes that are not
            named cost 100 if they are obstacles, 0 if they are clear, and are unknown else.

    Raises:
        ConfigError: a value outside its range, or more than four million cells.
    """

    size: float = 8.0
    resolution: float = 0.1
    costs: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if not (self.resolution > 0 and self.size >= self.resolution):
            raise ConfigError(
                f"cost grid of {self.size} m with cells of {self.resolution} m: both must be "
                "positive, and a cell no larger than the grid"
            )
        if self.cells > 2000:
            raise ConfigError(
                f"cost grid of {self.cells} cells a side: more than 2000; use larger cells"
            )
        for name, cost in (self.costs or {}).items():
            if not UNKNOWN <= cost <= LETHAL:
                raise ConfigError(f"cost {cost} of class {name!r}: use 0 to 100, or -1 for unknown")

    @property
    def cells(self) -> int:
        """Cells a side."""
        return round(self.size / self.resolution)


def class_costs(
    names: Sequence[str],
    costs: Mapping[str, int],
    obstacles: Sequence[int],
    clear: Sequence[int],
) -> NDArray[np.int8]:
    """Return the cost of every id of a label map, (256,) int8.

    Args:
        names: of the classes, by id.
        costs: of classes by name.
        obstacles: ids that cost 100 unless named.
        clear: ids that cost 0 unless named.

    Raises:
        ConfigError: a name that is no class.
    """
    table = np.full(256, UNKNOWN, np.int8)
    table[list(clear)] = 0
    table[list(obstacles)] = LETHAL
    for name, cost in costs.items():
        if name not in names:
            raise ConfigError(f"cost of class {name!r}: the classes are {', '.join(names)}")
        table[list(names).index(name)] = cost
    return table


class CostGrid:
    """Makes grids for one camera; where cells are in the image is worked out once.

    Every cell that the camera sees takes the cost of the pixel that its centre is seen at. An
    obstacle hides the ground behind it, so that its pixels say nothing of the cells they are seen
    at; it costs where it stands.

    Args:
        intrinsics: of the label map.
        pose: of the camera.
        max_range: cells farther from the camera are unknown, metres.
        settings: of the grid.
    """

    def __init__(
        self, intrinsics: Intrinsics, pose: CameraPose, max_range: float, settings: CostGridSettings
    ) -> None:
        self._settings = settings
        cells = settings.cells
        along = (np.arange(cells) + 0.5) * settings.resolution - settings.size / 2
        x, y = np.meshgrid(along, along)
        rotation = pose.rotation()
        offset = np.stack([x - pose.x, y - pose.y, np.full_like(x, -pose.height)], -1)
        points = offset @ rotation  # robot axes to optical ones
        pixels, seen = intrinsics.project(points, _NEAR)
        # Far outside the image pixels may be larger than integers are.
        u, v = np.moveaxis(np.rint(pixels).clip(-1, 1 << 20).astype(np.int64), -1, 0)
        within = (u >= 0) & (v >= 0) & (u < intrinsics.width) & (v < intrinsics.height)
        in_range = np.hypot(x - pose.x, y - pose.y) <= max_range
        self._inside = seen & within & in_range
        self._index = np.where(self._inside, v * intrinsics.width + u, 0)

    def fill(
        self,
        labels: NDArray[np.uint8],
        sure: NDArray[np.bool_],
        points: NDArray[np.float32],
        costs: NDArray[np.int8],
        obstacles: Sequence[int],
    ) -> NDArray[np.int8]:
        """Return the grid.

        Args:
            labels: (H, W) class ids.
            sure: (H, W) which of them count.
            points: (H, W, 3) where pixels are on the ground, NaN for those that are not.
            costs: (256,) of ids.
            obstacles: ids of what stands on the ground.

        Returns:
            (rows, columns) int8 with x along columns and y along rows, as in an OccupancyGrid: 0 to
            100, -1 where nothing is known.
        """
        standing = class_mask(labels, obstacles) & sure
        values = np.where(sure & ~standing, costs[labels], np.int8(UNKNOWN))
        grid = np.where(self._inside, values.reshape(-1)[self._index], np.int8(UNKNOWN))
        feet = contact_mask(standing) & np.isfinite(points[..., 0])
        mark_cells(grid, points[feet], costs[labels[feet]], self._settings)
        return grid


def empty_grid(settings: CostGridSettings) -> NDArray[np.int8]:
    """Return a grid (rows, columns) of which nothing is known."""
    return np.full((settings.cells, settings.cells), UNKNOWN, np.int8)


def mark_cells(
    grid: NDArray[np.int8],
    points: NDArray[np.float32],
    costs: NDArray[np.int8],
    settings: CostGridSettings,
) -> None:
    """Raise the cells that points are in to the points' costs; points off the grid are left out.

    Args:
        grid: (rows, columns), changed.
        points: (N, 3) finite.
        costs: (N,) of the points.
        settings: of the grid.
    """
    half, resolution = settings.size / 2, settings.resolution
    columns, rows = np.floor((points[:, :2] + half) / resolution).astype(np.int64).T
    within = (rows >= 0) & (columns >= 0) & (rows < len(grid)) & (columns < len(grid))
    np.maximum.at(grid, (rows[within], columns[within]), costs[within])
