"""Two cameras that do not share a pixel grid: the images of one are brought onto the other's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from csknet_core.errors import ConfigError, ImageError
from csknet_core.modality import Modality
from csknet_core.runtime.pixel_map import Maps, PixelMap, Size, mark_unseen
from csknet_core.runtime.rig import Rig
from csknet_core.yaml_file import read_yaml

OUTSIDE = ("alone", "unknown")
_GRIDS_KEPT = 4
Image = TypeVar("Image", NDArray[np.uint8], NDArray[np.float32])


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

    def optical_pixels(self, thermal_size: Size, optical_size: Size) -> Maps:
        """Return where every thermal pixel is in the optical image, see `PixelMap`."""
        return map_grid(self.between(thermal_size, optical_size), thermal_size)

    def thermal_pixels(self, optical_size: Size, thermal_size: Size) -> Maps:
        """Return where every optical pixel is in the thermal image, see `PixelMap`."""
        inverse = np.linalg.inv(self.between(thermal_size, optical_size))
        return map_grid(np.asarray(inverse, np.float64), optical_size)

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
    def from_dict(cls, data: Mapping[str, Any]) -> Homography:
        """Read what `save` wrote.

        Raises:
            ConfigError, KeyError, TypeError, ValueError: something is missing or wrong.
        """
        thermal, optical = (_size(data[key]) for key in ("thermal_size", "optical_size"))
        return cls(np.array(data["thermal_to_optical"], np.float64), thermal, optical)


def load_pixel_map(path: str | Path) -> PixelMap:
    """Read what `Homography.save` or `Rig.save` wrote.

    Raises:
        ConfigError: the file cannot be read or is something else.
    """
    try:
        data = read_yaml(path)
        kind: type[Homography] | type[Rig] = Rig if "depth" in data else Homography
        return kind.from_dict(data)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"registration {path}: cannot be read ({error})") from error
    except (
        AttributeError, KeyError, TypeError, ValueError, OverflowError, ConfigError
    ) as error:  # fmt: skip
        raise ConfigError(
            f"registration {path}: cannot be used ({type(error).__name__}: {error}); "
            "'csknet register' makes one"
        ) from error


@dataclass(frozen=True)
class RegistrationSettings:
    """How the cameras' images are brought together.

    Attributes:
        file: a registration as `csknet register` writes it; "" takes the images as aligned.
        grid: whose pixels answers are on: "thermal" or "optical".
        outside: what becomes of pixels that the other camera does not see, in a fused answer:
            "alone" answers them from the grid's own camera (the network runs twice), "unknown"
            gives them no class and no confidence.

    Raises:
        ConfigError: `grid` or `outside` is not one of these, or there is a grid to choose but no
            file.
    """

    file: str = ""
    grid: str = Modality.THERMAL.value
    outside: str = "alone"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("grid", self.grid, tuple(modality.value for modality in Modality)),
            ("outside", self.outside, OUTSIDE),
        ):
            if value not in choices:
                shown = " or ".join(choices)
                raise ConfigError(f"registration {name} '{value}' is unknown; use {shown}")
        if self.grid != Modality.THERMAL.value and not self.file:
            raise ConfigError(
                f"registration grid '{self.grid}' needs a registration file; 'csknet register' "
                "makes one"
            )


class Registration:
    """Warps the images of one camera onto the grid of the other; the maps of a size are made once.

    Args:
        geometry: knows where pixels are.
        outside: see `RegistrationSettings`; may be changed at any time.
        grid: whose pixels answers are on.
    """

    def __init__(
        self, geometry: PixelMap, outside: str = "alone", grid: Modality = Modality.THERMAL
    ) -> None:
        self.geometry = geometry
        self.outside = outside
        self.grid = grid
        self._grids: dict[tuple[Size, Size], _Grid] = {}

    @classmethod
    def load(cls, settings: RegistrationSettings) -> Registration | None:
        """Load what the settings name; None for aligned cameras.

        Raises:
            ConfigError: the file cannot be used.
        """
        if not settings.file:
            return None
        return cls(load_pixel_map(settings.file), settings.outside, Modality(settings.grid))

    @property
    def grid_size(self) -> Size:
        """Height and width of the grid camera's images the registration was made for."""
        if self.grid is Modality.THERMAL:
            return self.geometry.thermal_size
        return self.geometry.optical_size

    def check(self, modality: Modality, own: Size) -> None:
        """Check that a camera's images still have the aspect they were registered with.

        Args:
            modality: the camera.
            own: height and width of its image.

        Raises:
            ImageError: they have another one: the driver crops now, or did so then.
        """
        thermal = modality is Modality.THERMAL
        made_for = self.geometry.thermal_size if thermal else self.geometry.optical_size
        if abs(own[0] * made_for[1] - own[1] * made_for[0]) > 0.01 * own[0] * made_for[1]:
            raise ImageError(
                f"{modality.value} image is {own[1]}x{own[0]}, but the registration was made for "
                f"{made_for[1]}x{made_for[0]}; register the cameras again"
            )

    def warp(self, image: Image, size: Size) -> tuple[Image, NDArray[np.bool_]]:
        """Bring an image of the other camera onto the grid, sampled at any size.

        Args:
            image: (H, W, 3) uint8 optical, or (H, W) float32 thermal if the grid is the optical
                camera's.
            size: height and width to put out; the whole image of the grid's camera is mapped
                onto it.

        Returns:
            The image at that size, zero where the camera sees nothing, and (height, width) bool,
            where it sees something.

        Raises:
            ImageError: the image has another aspect than the one the registration was made for.
        """
        # Sampling a much larger image at single points would alias.
        factor = min(image.shape[0] // size[0], image.shape[1] // size[1])
        if factor > 1:
            smaller = (image.shape[1] // factor, image.shape[0] // factor)
            small = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
            image = small.astype(image.dtype, copy=False)
        own = (image.shape[0], image.shape[1])
        if (own, size) not in self._grids:
            if len(self._grids) >= _GRIDS_KEPT:
                self._grids.clear()
            self._grids[own, size] = self._prepare(own, size)
        grid = self._grids[own, size]
        coarse, fine = grid.maps
        warped = cv2.remap(image, coarse, fine, cv2.INTER_LINEAR)  # zero outside
        return warped.astype(image.dtype, copy=False), grid.inside

    def _prepare(self, own: Size, size: Size) -> _Grid:
        onto_thermal = self.grid is Modality.THERMAL
        self.check(Modality.OPTICAL if onto_thermal else Modality.THERMAL, own)
        geometry = self.geometry
        if onto_thermal:
            x, y = geometry.optical_pixels(size, own)
        else:
            x, y = geometry.thermal_pixels(size, own)
        inside = (x >= 0) & (y >= 0) & (x <= own[1] - 1) & (y <= own[0] - 1)
        return _Grid(cv2.convertMaps(x, y, cv2.CV_16SC2), inside)


class _Grid(NamedTuple):
    """Remap tables of one size, and which of its pixels the other camera sees."""

    maps: Any
    inside: NDArray[np.bool_]


def map_grid(matrix: NDArray[np.float64], size: Size) -> Maps:
    """Return where a homography puts every pixel of a grid, see `PixelMap`."""
    ys, xs = np.mgrid[: size[0], : size[1]].astype(np.float64)
    x, y, w = np.einsum("ij,jhw->ihw", matrix, np.stack([xs, ys, np.ones_like(xs)]))
    in_front = w > 1e-9
    depth = np.where(in_front, w, 1)
    return mark_unseen(x / depth, y / depth, in_front)


def scaling(source: Size, target: Size) -> NDArray[np.float64]:
    """Return the matrix from pixel centres of one size to those of another."""
    sy, sx = target[0] / source[0], target[1] / source[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def _size(value: Any) -> Size:
    height, width = value
    if type(height) is not int or type(width) is not int:
        raise ValueError("sizes are two integers, height and width")
    return height, width
