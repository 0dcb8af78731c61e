"""Two calibrated cameras: where the pixels of one are in the other, at a reference surface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from csknet_core.errors import ConfigError
from csknet_core.runtime.camera_pose import rotation_from_quaternion
from csknet_core.runtime.ground import Intrinsics, Mount
from csknet_core.runtime.pixel_map import Maps, Size, mark_unseen
from csknet_core.yaml_file import read_yaml

_GRAZING = 1e-6


@dataclass(frozen=True)
class Ground:
    """The ground under the thermal camera, flat.

    Attributes:
        height: of the camera above it, metres.
        roll, pitch: of the camera's body, radians (REP-103); positive pitch looks down.

    Raises:
        ConfigError: the camera is not above the ground.
    """

    height: float
    roll: float = 0.0
    pitch: float = 0.0

    def __post_init__(self) -> None:
        self.down()  # checks them now, not with the first images

    def down(self) -> NDArray[np.float64]:
        """Return the direction of gravity (3,) in the thermal camera's optical axes."""
        mount = Mount(height=self.height, roll=self.roll, pitch=self.pitch)
        return mount.rotation().T @ np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True)
class Rig:
    """Intrinsics of both cameras, and how they stand to each other.

    A pixel of one camera is in the other where the surface it is assumed to see is: a plane at
    `depth` in front of the thermal camera, or the ground where that is nearer. The farther the true
    surface is from the assumed one, the larger the error (baseline times focal length times the
    difference of the inverse depths).

    Attributes:
        thermal, optical: the cameras.
        rotation, translation: (3, 3) and (3,), metres; a point of the thermal camera's optical axes
            (z forward, x right, y down) is at `rotation @ point + translation` in the optical
            camera's.
        depth: of the reference plane, metres.
        ground: nearer than that plane it is the ground that is seen; None for no ground.

    Raises:
        ConfigError: the rotation is none, the depth is not positive, or a camera has values that
            are not finite or a number of distortion coefficients that no model has.
    """

    thermal: Intrinsics
    optical: Intrinsics
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    depth: float = 10.0
    ground: Ground | None = None

    def __post_init__(self) -> None:
        rotation = np.asarray(self.rotation, np.float64)
        translation = np.asarray(self.translation, np.float64)
        if rotation.shape != (3, 3) or translation.shape != (3,):
            raise ConfigError("a rig needs a 3x3 rotation and a translation of 3 numbers")
        proper = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
        if not (proper and np.linalg.det(rotation) > 0 and np.isfinite(translation).all()):
            raise ConfigError("the rotation between the cameras is no rotation")
        if not self.depth > 0:
            raise ConfigError(f"reference depth {self.depth} m must be positive")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    @property
    def thermal_size(self) -> Size:
        """Height and width the thermal camera was calibrated at."""
        return self.thermal.height, self.thermal.width

    @property
    def optical_size(self) -> Size:
        """Height and width the optical camera was calibrated at."""
        return self.optical.height, self.optical.width

    def optical_pixels(self, thermal_size: Size, optical_size: Size) -> Maps:
        """Return where every thermal pixel is in the optical image, see `PixelMap`."""
        rays = resized(self.thermal, thermal_size).rays()
        points = _meet(rays, self._surfaces()) @ self.rotation.T + self.translation
        return _project(points, resized(self.optical, optical_size))

    def thermal_pixels(self, optical_size: Size, thermal_size: Size) -> Maps:
        """Return where every optical pixel is in the thermal image, see `PixelMap`."""
        rays = resized(self.optical, optical_size).rays()
        surfaces = []
        for normal, distance in self._surfaces():
            turned = self.rotation @ normal
            surfaces.append((turned, distance + float(turned @ self.translation)))
        points = (_meet(rays, surfaces) - self.translation) @ self.rotation
        return _project(points, resized(self.thermal, thermal_size))

    def _surfaces(self) -> list[tuple[NDArray[np.float64], float]]:
        """Return normals and distances of the planes, in the thermal camera's optical axes."""
        surfaces = [(np.array([0.0, 0.0, 1.0]), self.depth)]
        if self.ground is not None:
            surfaces.append((self.ground.down(), self.ground.height))
        return surfaces

    def save(self, path: Path) -> None:
        """Write it as YAML."""
        data: dict[str, Any] = {
            "thermal": _to_dict(self.thermal),
            "optical": _to_dict(self.optical),
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
            "depth": self.depth,
        }
        if self.ground is not None:
            data["ground"] = asdict(self.ground)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rig:
        """Read what `save` wrote.

        Raises:
            ConfigError, KeyError, TypeError, ValueError: something is missing or wrong.
        """
        ground = data.get("ground")
        return cls(
            _from_dict(data["thermal"]),
            _from_dict(data["optical"]),
            np.array(data["rotation"], np.float64),
            np.array(data["translation"], np.float64),
            float(data["depth"]),
            None if ground is None else Ground(**{k: float(v) for k, v in ground.items()}),
        )


def rig_from_calibrations(
    thermal: Path,
    optical: Path,
    extrinsics: Sequence[float],
    depth: float,
    ground: Sequence[float] | None = None,
) -> Rig:
    """Make a rig from what ROS knows of two cameras.

    Args:
        thermal: calibration file of the thermal camera, see `read_camera_info`.
        optical: that of the optical camera.
        extrinsics: x, y, z (metres) and quaternion x, y, z, w of the thermal camera's optical frame
            in the optical camera's, as tf gives it.
        depth: of the reference plane, metres.
        ground: height, roll and pitch of the thermal camera, see `Ground`.

    Raises:
        ConfigError: a file or value cannot be used.
    """
    return Rig(
        read_camera_info(thermal),
        read_camera_info(optical),
        rotation_from_quaternion(*extrinsics[3:]),
        np.array(extrinsics[:3], np.float64),
        depth,
        None if ground is None else Ground(*ground),
    )


def read_camera_info(path: Path) -> Intrinsics:
    """Read a calibration as ROS's camera_calibration and camera_info_manager write it.

    Raises:
        ConfigError: the file cannot be read or is something else.
    """
    try:
        data = read_yaml(path)
        model = data.get("distortion_model", "plumb_bob")
        distortion = [float(v) for v in data["distortion_coefficients"]["data"]]
        matrix = [float(v) for v in data["camera_matrix"]["data"]]
        size = int(data["image_height"]), int(data["image_width"])
        return Intrinsics.from_calibration(matrix, distortion, model, size)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"calibration {path}: cannot be read ({error})") from error
    except (
        AttributeError, KeyError, TypeError, ValueError, OverflowError, ConfigError
    ) as error:  # fmt: skip
        raise ConfigError(
            f"calibration {path}: not a camera_info file ({error}); it needs image_width, "
            "image_height, camera_matrix and distortion_coefficients"
        ) from error


def resized(camera: Intrinsics, size: Size) -> Intrinsics:
    """Return the intrinsics of the same camera's images at another size (height, width)."""
    sy, sx = size[0] / camera.height, size[1] / camera.width
    return Intrinsics(
        camera.fx * sx,
        camera.fy * sy,
        (camera.cx + 0.5) * sx - 0.5,
        (camera.cy + 0.5) * sy - 0.5,
        size[1],
        size[0],
        camera.distortion,
    )


def _meet(
    rays: NDArray[np.float64], planes: list[tuple[NDArray[np.float64], float]]
) -> NDArray[np.float64]:
    """Return where rays (H, W, 3) meet the nearest plane in front; NaN where there is none.

    A plane is the points with `normal @ point == distance`.
    """
    nearest = np.full(rays.shape[:2], np.inf)
    for normal, distance in planes:
        along = rays @ normal
        scale = distance / np.where(np.abs(along) > _GRAZING, along, np.nan)
        nearest = np.fmin(nearest, np.where(scale > 0, scale, np.inf))
    return rays * np.where(np.isfinite(nearest), nearest, np.nan)[..., None]


def _project(points: NDArray[np.float64], camera: Intrinsics) -> Maps:
    pixels, seen = camera.project(points, _GRAZING)
    return mark_unseen(pixels[..., 0], pixels[..., 1], seen)


def _to_dict(camera: Intrinsics) -> dict[str, Any]:
    return {
        "size": [camera.height, camera.width],
        "focal": [camera.fx, camera.fy],
        "center": [camera.cx, camera.cy],
        "distortion": list(camera.distortion),
    }


def _from_dict(data: Mapping[str, Any]) -> Intrinsics:
    height, width = (int(v) for v in data["size"])
    fx, fy = (float(v) for v in data["focal"])
    cx, cy = (float(v) for v in data["center"])
    return Intrinsics(fx, fy, cx, cy, width, height, tuple(float(v) for v in data["distortion"]))
