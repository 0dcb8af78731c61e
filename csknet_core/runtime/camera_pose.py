"""Where a camera is on the robot, however that is known.

Axes follow REP-103: x forward, y left, z up, metres; an image's optical axes are z forward,
x right, y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ConfigError

_UNIT_TOLERANCE = 1e-2


class CameraPose(Protocol):
    """Where a camera is in the robot's frame, whose ground is at z = 0.

    Attributes:
        x, y, height: of the camera, metres.
    """

    @property
    def x(self) -> float:
        """Ahead of the frame, metres."""

    @property
    def y(self) -> float:
        """To the left of it, metres."""

    @property
    def height(self) -> float:
        """Above the ground, metres."""

    def rotation(self) -> NDArray[np.float64]:
        """Return the (3, 3) rotation from optical axes to the robot's."""


@dataclass(frozen=True)
class OpticalPose:
    """The pose of an optical frame, as a transform from it to the robot's frame tells it.

    Attributes:
        x, y, height: of the camera, metres; the ground is at z = 0.
        orientation: quaternion (x, y, z, w) that turns optical axes into the robot's.

    Raises:
        ConfigError: a number is not finite, or the quaternion is not of unit length.
    """

    x: float
    y: float
    height: float
    orientation: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        numbers = (self.x, self.y, self.height, *self.orientation)
        length = math.hypot(*self.orientation)
        if not all(map(math.isfinite, numbers)) or abs(length - 1) > _UNIT_TOLERANCE:
            raise ConfigError(
                f"a camera at ({self.x}, {self.y}, {self.height}) turned by quaternion "
                f"{self.orientation}: numbers must be finite and the quaternion of length 1"
            )

    def rotation(self) -> NDArray[np.float64]:
        """Return the (3, 3) rotation from optical axes to the robot's."""
        return rotation_from_quaternion(*self.orientation)


def rotation_from_quaternion(x: float, y: float, z: float, w: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation of a quaternion of any length.

    Raises:
        ConfigError: it is zero or not finite.
    """
    length = math.hypot(x, y, z, w)
    if not (math.isfinite(length) and length > 1e-9):
        raise ConfigError(f"quaternion {x} {y} {z} {w} is no rotation")
    vector, real = np.array([x, y, z]) / length, w / length
    cross = np.array(
        [[0, -vector[2], vector[1]], [vector[2], 0, -vector[0]], [-vector[1], vector[0], 0]]
    )
    return np.asarray(np.eye(3) + 2 * real * cross + 2 * cross @ cross)
