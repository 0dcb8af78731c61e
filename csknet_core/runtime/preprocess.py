"""From camera arrays to network inputs: thermal range, resizing.

Training, evaluation and the live node all normalise thermal images here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ConfigError, ImageError

THERMAL_DTYPES = (np.uint8, np.uint16, np.float32)
TELEMETRY_LOCATIONS = ("footer", "header")
_SUBSAMPLE = 4


@dataclass(frozen=True)
class ThermalSettings:
    """How raw thermal values become 0..1.

    Attributes:
        mode: "auto" follows the scene by percentiles (automatic gain control); 8-bit images, whose
            camera has already done so, are only scaled by 1/255. "fixed" maps `minimum`..`maximum`.
        minimum: raw value that becomes 0 in fixed mode.
        maximum: raw value that becomes 1 in fixed mode.
        low_percentile: percentile that becomes 0 in auto mode.
        high_percentile: percentile that becomes 1 in auto mode.
        minimum_span: smallest raw range that is stretched to 0..1 in auto mode, so that a flat
            scene does not become amplified noise; 0 takes 400 for uint16 (4 K in centikelvin) and
            4 for float32 (4 K or 4 degrees Celsius).
        smoothing: share of the old range kept at every frame, 0..1; a jump of more than half the
            range is followed at once.
        telemetry_rows: rows that hold camera telemetry instead of an image.
        telemetry_location: where they are: "footer" at the bottom, "header" at the top.

    Raises:
        ConfigError: a value outside its range.
    """

    mode: str = "auto"
    minimum: float = 0.0
    maximum: float = 65535.0
    low_percentile: float = 1.0
    high_percentile: float = 99.0
    minimum_span: float = 0.0
    smoothing: float = 0.5
    telemetry_rows: int = 0
    telemetry_location: str = "footer"

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "fixed"):
            raise ConfigError(f"thermal mode '{self.mode}' is unknown; use auto or fixed")
        if self.telemetry_location not in TELEMETRY_LOCATIONS:
            raise ConfigError(
                f"thermal telemetry_location '{self.telemetry_location}' is unknown; use "
                f"{' or '.join(TELEMETRY_LOCATIONS)}"
            )
        if not self.minimum < self.maximum:
            raise ConfigError(
                f"thermal minimum {self.minimum} must be below thermal maximum {self.maximum}"
            )
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise ConfigError("thermal percentiles must satisfy 0 <= low < high <= 100")
        if self.minimum_span < 0 or not 0 <= self.smoothing < 1 or self.telemetry_rows < 0:
            raise ConfigError(
                "thermal minimum_span and telemetry_rows must not be negative and smoothing must "
                "be in 0..1 (1 excluded)"
            )


class ThermalNormalizer:
    """Maps raw thermal images of one camera to 0..1, keeping the range steady between frames."""

    def __init__(self, settings: ThermalSettings) -> None:
        self.settings = settings
        self._range: tuple[float, float] | None = None

    def reset(self) -> None:
        """Forget the range of the frames seen so far."""
        self._range = None

    def __call__(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Normalise one image.

        Args:
            image: (H, W) uint8, uint16 or float32. In uint16, 0 marks a dead pixel; in float32
                any value that is not finite does. Dead pixels do not move the range and become 0.

        Returns:
            (H, W) float32 in 0..1; telemetry rows become 0.

        Raises:
            ImageError: another shape or type, or no live pixel.
        """
        rows = self._image_rows(image)
        low, high = self._find_range(image[rows])
        scale = np.float32(1.0 / (high - low))
        if image.dtype == np.float32:
            image = np.nan_to_num(image, nan=low, posinf=low, neginf=low)
        normalized = image.astype(np.float32)
        normalized -= np.float32(low)
        normalized *= scale
        np.clip(normalized, 0.0, 1.0, out=normalized)
        normalized[: rows.start] = 0.0
        normalized[rows.stop :] = 0.0
        return normalized

    def without_telemetry(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return a view of the rows (H', W) of an image (H, W) that show the scene.

        Raises:
            ImageError: another shape or type, or nothing but telemetry.
        """
        return image[self._image_rows(image)]

    def _image_rows(self, image: NDArray[Any]) -> slice:
        """Return which rows are of the image after checking shape and type."""
        check_thermal(image)
        settings = self.settings
        rows = image.shape[0] - settings.telemetry_rows
        if rows < 1:
            raise ImageError(
                f"thermal image has {image.shape[0]} rows, telemetry_rows is "
                f"{settings.telemetry_rows}; nothing is left"
            )
        top = settings.telemetry_rows if settings.telemetry_location == "header" else 0
        return slice(top, top + rows)

    def _find_range(self, image: NDArray[Any]) -> tuple[float, float]:
        settings = self.settings
        if settings.mode == "fixed":
            return settings.minimum, settings.maximum
        if image.dtype == np.uint8:
            return 0.0, 255.0
        first_row, first_column = ((min(_SUBSAMPLE, side) - 1) // 2 for side in image.shape)
        live = _live(image[first_row::_SUBSAMPLE, first_column::_SUBSAMPLE])
        if not live.size:
            live = _live(image)
        if not live.size:
            raise ImageError("thermal image has no live pixel (all NaN or zero)")
        low, high = np.percentile(live, (settings.low_percentile, settings.high_percentile))
        low, high = self._widen(float(low), float(high), image.dtype)
        if self._range is not None:
            old_low, old_high = self._range
            jump = max(abs(low - old_low), abs(high - old_high))
            if jump <= 0.5 * (old_high - old_low):
                keep = settings.smoothing
                low = keep * old_low + (1 - keep) * low
                high = keep * old_high + (1 - keep) * high
        self._range = low, high
        return low, high

    def _widen(self, low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float]:
        span = self.settings.minimum_span or (400.0 if dtype == np.uint16 else 4.0)
        missing = max(0.0, span - (high - low))
        return low - missing / 2, high + missing / 2


def _live(image: NDArray[Any]) -> NDArray[Any]:
    """Return the values (N,) of the pixels that are not dead."""
    values = image.ravel()
    return values[np.isfinite(values) if image.dtype == np.float32 else values > 0]


def normalize_still(image: NDArray[Any]) -> NDArray[np.float32]:
    """Normalise one thermal still as the live node normalises the first frame of a stream.

    Args:
        image: (H, W) raw values, see `THERMAL_DTYPES`.

    Returns:
        (H, W) float32 in 0..1.

    Raises:
        ImageError: not such an image.
    """
    return ThermalNormalizer(ThermalSettings())(image)


def resize_optical(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to `size` (height, width); the input itself where it fits.

    Raises:
        ImageError: the image is not (H, W, 3) uint8.
    """
    check_optical(image)
    return np.ascontiguousarray(_resize(image, size))


def check_optical(image: NDArray[Any]) -> None:
    """Check the form of an optical image.

    Raises:
        ImageError: the image is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(
            f"optical image is {image.shape} {image.dtype}; it must be (H, W, 3) uint8"
        )


def check_thermal(image: NDArray[Any]) -> None:
    """Check the form of a raw thermal image.

    Raises:
        ImageError: the image is not (H, W) uint8, uint16 or float32.
    """
    if image.ndim != 2 or not image.size:
        raise ImageError(f"thermal image has shape {image.shape}; it must be (H, W)")
    if image.dtype not in THERMAL_DTYPES:
        raise ImageError(f"thermal image is {image.dtype}; use uint8, uint16 or float32")


def resize_thermal(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize (H, W) float32 to `size` (height, width); the input itself where it fits."""
    return np.ascontiguousarray(_resize(image, size))


def resize_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a map (H, W) uint8 to `size` (height, width) by nearest neighbour."""
    if labels.shape == size:
        return labels
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(
        np.uint8, copy=False
    )


def _resize(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    smaller = size[0] * size[1] < height * width
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, size[::-1], interpolation=interpolation)
