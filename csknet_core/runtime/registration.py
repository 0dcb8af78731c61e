"""Two cameras that do not share a pixel grid: optical images are brought onto the thermal grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from csknet_core.errors import ConfigError, ImageError
from csknet_core.yaml_file import read_yaml

OUTSIDE = ("thermal", "unknown")
_GRIDS_KEPT = 4
Size = tuple[int, int]


@dataclass(frozen=True)
class Homography:
    """Where every thermal pixel is in the optical image.

    Exact for a plane, and for scenes much farther away than the cameras are apart. Pixel centres
    have integer coordinates (x right, y down).

    Attributes:
        matrix: (3, 3) float64; `[x, y, 1]` of the thermal image to optical `[x', y', w]`.
        thermal_size: height and width it was made for.
        optical_size: height and width it was made for.

    Raises:
        ConfigError: the matrix is not (3, 3), finite and invertible, or a size is not positive.
    """

    matrix: NDArray[np.float64]
    thermal_size: Size
    optical_size: Size

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise ConfigError("a homography is a 3x3 matrix of finite numbers")
        if abs(np.linalg.det(matrix)) < 1e-9:
            raise ConfigError("the homography cannot be inverted; estimate it again")
        if min(*self.thermal_size, *self.optical_size) < 1:
            raise ConfigError("the sizes of a homography must be positive")
        object.__setattr__(self, "matrix", matrix)

    def between(self, thermal_size: Size, optical_size: Size) -> NDArray[np.float64]:
        """Return the matrix for images of other sizes that show the same scene."""
        to_own = scaling(thermal_size, self.thermal_size)
        to_optical = scaling(self.optical_size, optical_size)
        return to_optical @ self.matrix @ to_own

    def save(self, path: Path) -> None:
        """Write it as YAML."""
        data = {
            "thermal_size": list(self.thermal_size),
            "optical_size": list(self.optical_size),
            "thermal_to_optical": self.matrix.tolist(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Homography:
        """Read what `save` wrote.

        Raises:
            ConfigError: the file cannot be read or is something else.
        """
        try:
            data = read_yaml(path)
            thermal, optical = (_size(data[key]) for key in ("thermal_size", "optical_size"))
            return cls(np.array(data["thermal_to_optical"], np.float64), thermal, optical)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"registration {path}: cannot be read ({error})") from error
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ConfigError(
                f"registration {path}: not a homography ({error}); it needs thermal_size, "
                "optical_size and thermal_to_optical; 'csknet register' makes one"
            ) from error


@dataclass(frozen=True)
class RegistrationSettings:
    """How the cameras' images are brought together.

    Attributes:
        file: a homography as `csknet register` writes it; "" takes the images as aligned.
        outside: what becomes of thermal pixels that RGB does not see, in a fused answer: "thermal"
            answers them from thermal alone (the network runs twice), "unknown" gives them no
            class and no confidence.

    Raises:
        ConfigError: `outside` is not one of these.
    """

    file: str = ""
    outside: str = "thermal"

    def __post_init__(self) -> None:
        if self.outside not in OUTSIDE:
            raise ConfigError(
                f"registration outside '{self.outside}' is unknown; use {' or '.join(OUTSIDE)}"
            )


class Registration:
    """Warps optical images onto the thermal grid; the maps of a size are made once."""

    def __init__(self, homography: Homography, outside: str = "thermal") -> None:
        self.homography = homography
        self.outside = outside
        self._grids: dict[tuple[Size, Size], _Grid] = {}

    @classmethod
    def load(cls, settings: RegistrationSettings) -> Registration | None:
        """Load what the settings name; None for aligned cameras.

        Raises:
            ConfigError: the file cannot be used.
        """
        if not settings.file:
            return None
        return cls(Homography.load(settings.file), settings.outside)

    def warp(
        self, optical: NDArray[np.uint8], size: Size
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Bring an optical image onto the thermal grid, sampled at any size.

        Args:
            optical: (H, W, 3) uint8.
            size: height and width to put out; the whole thermal image is mapped onto it.

        Returns:
            The image (height, width, 3) uint8, black where RGB sees nothing, and (height, width)
            bool, where it sees something.

        Raises:
            ImageError: the optical image has another aspect than the homography's.
        """
        # Sampling a much larger image at single points would alias.
        factor = min(optical.shape[0] // size[0], optical.shape[1] // size[1])
        if factor > 1:
            smaller = (optical.shape[1] // factor, optical.shape[0] // factor)
            optical = cv2.resize(optical, smaller, interpolation=cv2.INTER_AREA).astype(np.uint8)
        own = (optical.shape[0], optical.shape[1])
        if (own, size) not in self._grids:
            if len(self._grids) >= _GRIDS_KEPT:
                self._grids.clear()
            self._grids[own, size] = self._prepare(own, size)
        grid = self._grids[own, size]
        coarse, fine = grid.maps
        warped = cv2.remap(optical, coarse, fine, cv2.INTER_LINEAR)  # black outside
        return warped.astype(np.uint8, copy=False), grid.inside

    def _prepare(self, own: Size, size: Size) -> _Grid:
        made_for = self.homography.optical_size
        if abs(own[0] * made_for[1] - own[1] * made_for[0]) > 0.01 * own[0] * made_for[1]:
            raise ImageError(
                f"optical image is {own[1]}x{own[0]}, but the registration was made for "
                f"{made_for[1]}x{made_for[0]}; register the cameras again"
            )
        x, y = map_grid(self.homography.between(size, own), size)
        inside = (x >= 0) & (y >= 0) & (x <= own[1] - 1) & (y <= own[0] - 1)
        return _Grid(cv2.convertMaps(x, y, cv2.CV_16SC2), inside)


class _Grid(NamedTuple):
    """Remap tables of one size, and which of its pixels the optical camera sees."""

    maps: Any
    inside: NDArray[np.bool_]


def map_grid(
    matrix: NDArray[np.float64], size: Size
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where a homography puts every pixel of a grid: x and y, (height, width) float32.

    Pixels it puts behind the camera are at (-10, -10).
    """
    ys, xs = np.mgrid[: size[0], : size[1]].astype(np.float64)
    x, y, w = np.einsum("ij,jhw->ihw", matrix, np.stack([xs, ys, np.ones_like(xs)]))
    in_front = w > 1e-9
    depth = np.where(in_front, w, 1)
    x, y = (np.where(in_front, value / depth, -10).astype(np.float32) for value in (x, y))
    return x, y


def scaling(source: Size, target: Size) -> NDArray[np.float64]:
    """Return the matrix from pixel centres of one size to those of another."""
    sy, sx = target[0] / source[0], target[1] / source[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def _size(value: Any) -> Size:
    height, width = value
    if type(height) is not int or type(width) is not int:
        raise ValueError("sizes are two integers, height and width")
    return height, width
