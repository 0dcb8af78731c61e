"""Where on the ground the pixels of a label map are, and which of them a robot must not drive over.

Axes follow REP-103: x forward, y left, z up, metres and radians; an image's optical axes are z
forward, x right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ConfigError, PoseError
from csknet_core.runtime.camera_pose import CameraPose

# Optical axes (right, down, forward) in body axes (forward, left, up).
_OPTICAL_TO_BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
MOUNT_SOURCES = ("parameters", "tf")
DEPTH_SOURCES = ("ground", "depth_image")
DISTORTION_MODELS = ("plumb_bob", "rational_polynomial")
_COEFFICIENTS = (0, 4, 5, 8, 12, 14)
"""How many OpenCV takes."""
_LEAST_DROP = 1e-3  # a ray must fall at least 1 m in 1 km to count as meeting the ground


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera as sensor_msgs/CameraInfo describes it.

    Attributes:
        fx, fy, cx, cy: focal lengths and principal point, pixels.
        width, height: of the image, pixels.
        distortion: plumb_bob or rational_polynomial coefficients; () for none.

    Raises:
        ConfigError: a focal length or size is not positive (an uncalibrated camera sends zeros), a
            value is not finite, or there is another number of coefficients than the models have.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (self.fx > 0 and self.fy > 0 and self.width > 0 and self.height > 0):
            raise ConfigError(
                f"camera_info has focal lengths {self.fx}, {self.fy} and size {self.width}x"
                f"{self.height}; calibrate the camera"
            )
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if len(self.distortion) not in _COEFFICIENTS or not np.isfinite(values).all():
            raise ConfigError(
                f"camera_info has distortion coefficients d = {list(self.distortion)} and center "
                f"{self.cx}, {self.cy}: all must be finite, the coefficients 4, 5, 8, 12 or 14 "
                "numbers, or none"
            )

    @classmethod
    def from_calibration(
        cls,
        matrix: Sequence[float],
        distortion: Sequence[float],
        model: str,
        size: tuple[int, int],
    ) -> Intrinsics:
        """Return the camera of a calibration.

        Args:
            matrix: the camera matrix, row by row.
            distortion: coefficients; all zero, as drivers send for rectified images, are none.
            model: of the distortion.
            size: height and width, pixels.

        Raises:
            ConfigError: the distortion is of another model, or as above.
        """
        coefficients = tuple(float(value) for value in distortion) if any(distortion) else ()
        if coefficients and model not in DISTORTION_MODELS:
            raise ConfigError(
                f"camera_info has distortion model '{model}'; use "
                f"{' or '.join(DISTORTION_MODELS)}, or rectified images with no distortion"
            )
        fx, _, cx, _, fy, cy, *_ = (float(value) for value in matrix)
        return cls(fx, fy, cx, cy, size[1], size[0], coefficients)

    def rays(self) -> NDArray[np.float64]:
        """Return the direction (H, W, 3) of every pixel in optical axes, z = 1."""
        xs, ys = np.meshgrid(np.arange(self.width), np.arange(self.height))
        pixels = np.stack([xs, ys], -1).reshape(-1, 1, 2).astype(np.float64)
        coefficients = np.array(self.distortion or (0.0,) * 4)
        flat = cv2.undistortPoints(pixels, self._matrix(), coefficients)
        plane = np.asarray(flat, np.float64).reshape(self.height, self.width, 2)
        return np.concatenate([plane, np.ones((self.height, self.width, 1))], 2)

    def project(
        self, points: NDArray[np.float64], nearest: float
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return where points are in the image's plane, and which of them can be seen there.

        Args:
            points: (H, W, 3) in optical axes; NaN is nowhere.
            nearest: points less far in front of the camera are not seen.

        Returns:
            x and y (H, W, 2) in pixels, also outside the image; and (H, W) bool.
        """
        seen = points[..., 2] > nearest  # false for NaN
        safe = np.where(seen[..., None], points, [0.0, 0.0, 1.0])
        # Distortion polynomials fold back far outside the image they were fitted to.
        slope = np.abs(safe[..., :2] / safe[..., 2:])
        limit = 1.5 * np.array(
            [max(self.cx, self.width - self.cx) / self.fx,
             max(self.cy, self.height - self.cy) / self.fy]
        )  # fmt: skip
        seen &= (slope <= limit).all(-1)
        coefficients, zero = np.array(self.distortion or (0.0,) * 4), np.zeros(3)
        flat, _ = cv2.projectPoints(
            safe.reshape(-1, 1, 3), zero, zero, self._matrix(), coefficients
        )
        return np.asarray(flat, np.float64).reshape(*seen.shape, 2), seen

    def _matrix(self) -> NDArray[np.float64]:
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])


@dataclass(frozen=True)
class Mount:
    """Where the camera is on the robot, in the frame the points are wanted in.

    Attributes:
        x, y, height: of the camera, metres; the ground is at z = 0.
        roll, pitch, yaw: of the camera's body axes, radians; a positive pitch looks down.

    Raises:
        ConfigError: the camera is not above the ground.
    """

    x: float = 0.0
    y: float = 0.0
    height: float = 1.0
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0

    def __post_init__(self) -> None:
        if not self.height > 0:
            raise ConfigError(f"camera height {self.height} m: it must be above the ground")

    def rotation(self) -> NDArray[np.float64]:
        """Return the (3, 3) rotation from optical axes to the robot's."""
        sr, cr = np.sin(self.roll), np.cos(self.roll)
        sp, cp = np.sin(self.pitch), np.cos(self.pitch)
        sy, cy = np.sin(self.yaw), np.cos(self.yaw)
        about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        return np.asarray(about_z @ about_y @ about_x @ _OPTICAL_TO_BODY)


@dataclass(frozen=True)
class NavigationSettings:
    """What to make of label maps for a costmap.

    Attributes:
        frame: frame of the points, such as base_link; "" turns these outputs off.
        mount: where the camera is in that frame, if the source is "parameters".
        mount_source: "parameters", or "tf" for what tf2 knows at every image's time.
        max_range: farthest points, metres.
        obstacles: names of classes that must not be driven over; () takes all but the first.
        clear: names of classes that can be.
        least_confidence: pixels below it are no obstacles and not clear, 0..1.
        depth: how far away pixels are: "ground" takes them to be on flat ground, "depth_image"
            takes a depth image on the label map's grid.
        clear_height: with a depth image, clear pixels farther from z = 0 are no ground, metres.
        stride: with a depth image, rows and columns from one obstacle point to the next.
    """

    frame: str = ""
    mount: Mount = field(default_factory=Mount)
    mount_source: str = "parameters"
    max_range: float = 10.0
    obstacles: tuple[str, ...] = ()
    clear: tuple[str, ...] = ("background",)
    least_confidence: float = 0.3
    depth: str = "ground"
    clear_height: float = 0.2
    stride: int = 1


def ground_points(
    intrinsics: Intrinsics, pose: CameraPose, max_range: float = np.inf
) -> NDArray[np.float32]:
    """Return where every pixel's ray meets the ground.

    Args:
        intrinsics: of the image.
        pose: of the camera.
        max_range: points farther from the camera (along the ground) are left out, metres.

    Returns:
        (H, W, 3) float32 in the pose's frame, z = 0; NaN for pixels at or above the horizon and
        for points out of range.

    Raises:
        PoseError: the camera is not above the ground.
    """
    return meet_ground(intrinsics.rays(), pose, max_range)


def meet_ground(
    rays: NDArray[np.float64], pose: CameraPose, max_range: float = np.inf
) -> NDArray[np.float32]:
    """Return where rays (H, W, 3) in optical axes meet the ground, see `ground_points`."""
    if not pose.height > 0:
        raise PoseError(
            f"the camera is at z = {pose.height:g} m: it must be above the ground, which is z = 0 "
            "of navigation.frame"
        )
    directions = rays @ pose.rotation().T
    falls = -directions[..., 2] > _LEAST_DROP
    scale = pose.height / np.where(falls, -directions[..., 2], 1.0)
    offset = directions[..., :2] * scale[..., None]
    seen = falls & (np.hypot(offset[..., 0], offset[..., 1]) <= max_range)
    points = np.zeros(rays.shape)
    points[..., :2] = offset + np.array([pose.x, pose.y])
    points[~seen] = np.nan
    return points.astype(np.float32)


def contact_mask(obstacle: NDArray[np.bool_], least_height: int = 3) -> NDArray[np.bool_]:
    """Return the pixels (H, W) where obstacles stand on the ground.

    In every column these are the lowest pixels of runs of obstacle pixels; the pixels above them
    are the obstacle's body, whose rays meet the ground behind it.

    Args:
        obstacle: (H, W) whether a pixel is of an obstacle.
        least_height: shorter runs are taken for noise, pixels.
    """
    height = obstacle.shape[0]
    below = np.zeros_like(obstacle)
    below[:-1] = obstacle[1:]
    lowest = obstacle & ~below
    tall = obstacle.copy()
    for step in range(1, min(least_height, height)):
        tall[step:] &= obstacle[:-step]
        tall[:step] = False
    return lowest & tall


def clear_mask(clear: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the farthest pixel (H, W) of the clear ground that starts at the image's bottom.

    One pixel in every column whose lowest pixel is clear: a ray to it crosses clear ground only.

    Args:
        clear: (H, W) whether a pixel is of a class that can be driven over.
    """
    reachable = np.logical_and.accumulate(clear[::-1], 0)[::-1]
    above = np.zeros_like(reachable)
    above[1:] = reachable[:-1]
    return reachable & ~above


def class_mask(labels: NDArray[np.uint8], ids: Sequence[int]) -> NDArray[np.bool_]:
    """Return which pixels (H, W) are of one of the classes."""
    table = np.zeros(256, np.bool_)
    table[list(ids)] = True
    return table[labels]
