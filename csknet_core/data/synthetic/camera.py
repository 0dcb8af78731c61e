"""The pinhole camera both rendered images are taken with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAR_M = 0.35
"""Nothing closer than this (metres along the optical axis) is drawn."""


@dataclass(frozen=True)
class Camera:
    """A camera without roll above the plane y = 0; x right, y up, z along the street (metres).

    Attributes:
        position: (x, y, z), metres.
        yaw: turn to the right, radians.
        pitch: tilt downwards, radians.
        focal: focal length, pixels.
        width: image width, pixels.
        height: image height, pixels.
    """

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    focal: float
    width: int
    height: int
    _rotation: Floats = field(init=False, repr=False, compare=False)
    _origin: Floats = field(init=False, repr=False, compare=False)
    _forward: tuple[float, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sin_yaw, cos_yaw = math.sin(self.yaw), math.cos(self.yaw)
        sin_pitch, cos_pitch = math.sin(self.pitch), math.cos(self.pitch)
        rotation = np.array(
            [
                (cos_yaw, 0.0, -sin_yaw),
                (-sin_yaw * sin_pitch, -cos_pitch, -cos_yaw * sin_pitch),
                (sin_yaw * cos_pitch, -sin_pitch, cos_yaw * cos_pitch),
            ]
        )
        object.__setattr__(self, "_rotation", rotation)
        object.__setattr__(self, "_origin", np.array(self.position))
        object.__setattr__(self, "_forward", (sin_yaw, cos_yaw))

    @property
    def horizon(self) -> float:
        """Image row of the horizon, pixels."""
        return self.height / 2 - self.focal * math.tan(self.pitch)

    @property
    def right(self) -> Floats:
        """Unit vector (3,) pointing right in the image."""
        return self._rotation[0]

    def depth_of(self, x: float, z: float) -> float:
        """Distance of a point on the ground along the viewing direction, metres."""
        forward_x, forward_z = self._forward
        return (x - self.position[0]) * forward_x + (z - self.position[2]) * forward_z

    def to_camera(self, points: Floats) -> Floats:
        """World points (N, 3) to camera axes (N, 3): right, down, forward."""
        return (points - self._origin) @ self._rotation.T

    def to_pixels(self, points: Floats) -> Floats:
        """Camera-axes points (N, 3), all beyond `NEAR_M`, to pixels (N, 2)."""
        scale = self.focal / points[:, 2]
        pixels = points[:, :2] * scale[:, None]
        pixels[:, 0] += self.width / 2
        pixels[:, 1] += self.height / 2
        return pixels

    def ground_homography(self) -> Floats:
        """The 3x3 map of ground coordinates (x, z, 1) to homogeneous pixels."""
        intrinsic = np.array(
            [(self.focal, 0, self.width / 2), (0, self.focal, self.height / 2), (0, 0, 1)]
        )
        columns = np.stack([(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), -self._origin], axis=1)
        return intrinsic @ self._rotation @ columns

    def row_at(self, distance: float) -> float:
        """Image row of the ground at `distance` metres along the horizontal viewing direction."""
        angle = math.atan2(self.position[1], distance) - self.pitch
        return self.height / 2 + self.focal * math.tan(min(angle, 1.5))


def clip_near(polygon: Floats) -> Floats:
    """Cut a polygon (N, 3) in camera axes at the near plane; may come back empty."""
    kept: list[Floats] = []
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        inside, next_inside = start[2] >= NEAR_M, end[2] >= NEAR_M
        if inside:
            kept.append(start)
        if inside != next_inside:
            share = (NEAR_M - start[2]) / (end[2] - start[2])
            kept.append(start + share * (end - start))
    return np.array(kept).reshape(-1, 3)
