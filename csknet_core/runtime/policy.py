"""Which modalities of a frame can be trusted, with reasons and hysteresis."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ConfigError
from csknet_core.modality import Mode, Reason

_SAMPLES = 64
_DARK_LEVEL = 16.0
_SATURATED_LEVEL = 250.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class ImageStats:
    """Statistics of one image, taken from a coarse grid of its pixels.

    Attributes:
        mean: mean luminance (Rec. 601) in 0..1; for thermal the mean raw value.
        dark_fraction: share of pixels with a luminance below 16 of 255; 0 for thermal.
        saturated_fraction: share of pixels with a luminance of 250 of 255 or more; 0 for thermal.
        contrast: standard deviation of the luminance in 0..1; for thermal of the raw values.
        frozen_for: how many frames in a row repeat the image before them exactly.
    """

    mean: float
    dark_fraction: float
    saturated_fraction: float
    contrast: float
    frozen_for: int


@dataclass(frozen=True)
class PolicySettings:
    """When a modality is not used.

    Attributes:
        optical_dark_enter: mean luminance (0..1) below which the optical image is too dark.
        optical_dark_leave: mean luminance above which it is bright enough again.
        saturated_enter: share of saturated pixels above which it is overexposed.
        saturated_leave: share below which it is well exposed again.
        blank_contrast: luminance contrast below which it shows nothing (lens cap, fog).
        frozen_after: repeats of the same image after which a camera counts as frozen; 0 never
            (a simulator without noise repeats images when nothing moves).
        hold: frames in a row that must agree before a camera's verdict changes. The first frame
            decides at once, and so do a frozen image and a thermal image without any contrast.
        force: answer in this mode whenever its images are there, whatever they look like.

    Raises:
        ConfigError: a value outside its range, or thresholds in the wrong order.
    """

    optical_dark_enter: float = 0.02
    optical_dark_leave: float = 0.03
    saturated_enter: float = 0.7
    saturated_leave: float = 0.6
    blank_contrast: float = 0.003
    frozen_after: int = 3
    hold: int = 2
    force: Mode | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.optical_dark_enter <= self.optical_dark_leave <= 1:
            raise ConfigError(
                "policy needs 0 <= optical_dark_enter <= optical_dark_leave <= 1, got "
                f"{self.optical_dark_enter} and {self.optical_dark_leave}"
            )
        if not 0 <= self.saturated_leave <= self.saturated_enter <= 1:
            raise ConfigError(
                "policy needs 0 <= saturated_leave <= saturated_enter <= 1, got "
                f"{self.saturated_leave} and {self.saturated_enter}"
            )
        if not 0 <= self.blank_contrast <= 1:
            raise ConfigError(f"policy blank_contrast {self.blank_contrast} must be in 0..1")
        if self.frozen_after < 0 or self.hold < 1:
            raise ConfigError("policy frozen_after must be 0 or more and hold 1 or more")


@dataclass(frozen=True)
class Decision:
    """How to answer a frame.

    Attributes:
        mode: None when no image can be trusted; `reason` then is NO_USABLE_MODALITY.
        reason: why, see `ModalityPolicy`.
        optical: statistics of the optical image, None without one.
        thermal: statistics of the thermal image, None without one.
    """

    mode: Mode | None
    reason: Reason
    optical: ImageStats | None
    thermal: ImageStats | None


_CERTAIN = (Reason.OPTICAL_FROZEN, Reason.THERMAL_FROZEN, Reason.THERMAL_BLANK)
"""Verdicts without a threshold, or counted already: they need not be seen twice."""


class _Camera:
    """The verdict on one camera's images over time."""

    def __init__(self) -> None:
        self.verdict = Reason.OK
        self._fresh = True
        self._pending = Reason.OK
        self._pending_for = 0
        self._digest: int | None = None
        self._stamp_ns: int | None = None
        self._frozen_for = 0

    def count_repeats(self, samples: NDArray[Any], stamp_ns: int | None) -> int:
        """Return how often this image has been repeated; the same stamp is the same image."""
        if stamp_ns is not None and stamp_ns == self._stamp_ns:
            return self._frozen_for
        digest = zlib.crc32(np.ascontiguousarray(samples).data)
        self._frozen_for = self._frozen_for + 1 if digest == self._digest else 0
        self._digest = digest
        self._stamp_ns = stamp_ns
        return self._frozen_for

    def update(self, seen: Reason, hold: int, at_once: bool) -> Reason:
        """Take what this frame looks like, return the verdict that holds."""
        if seen is self.verdict:
            self._pending_for = 0
        else:
            self._pending_for = self._pending_for + 1 if seen is self._pending else 1
            self._pending = seen
            if self._fresh or at_once or self._pending_for >= hold:
                self.verdict = seen
                self._pending_for = 0
        self._fresh = False
        return self.verdict


class ModalityPolicy:
    """Decides the mode of every frame.

    The first row that fits gives a camera's verdict:


    | camera  | verdict             | when                                                      |
    |---------|---------------------|-----------------------------------------------------------|
    | optical | OPTICAL_DARK        | mean luminance below the enter (held: leave) threshold    |
    | optical | OPTICAL_OVEREXPOSED | saturated share above the enter (held: leave) threshold   |
    | optical | OPTICAL_BLANK       | contrast below `blank_contrast`                           |
    | optical | OPTICAL_FROZEN      | the same image for `frozen_after` frames                  |
    | thermal | THERMAL_BLANK       | one single value, or no finite value                      |
    | thermal | THERMAL_FROZEN      | the same image for `frozen_after` frames                  |

    Both cameras usable gives FUSED (OK); one usable gives its own mode and the other one's verdict,
    or the caller's `absence`, as the reason; none gives no mode and NO_USABLE_MODALITY. A forced
    mode whose images are there comes first (FORCED).
    """

    def __init__(self, settings: PolicySettings | None = None) -> None:
        self.settings = settings or PolicySettings()
        self.reset()

    def reset(self) -> None:
        """Forget the frames seen so far."""
        self._optical = _Camera()
        self._thermal = _Camera()

    def decide(
        self,
        optical: NDArray[np.uint8] | None,
        thermal: NDArray[Any] | None,
        absence: Reason = Reason.OK,
        *,
        optical_stamp_ns: int | None = None,
        thermal_stamp_ns: int | None = None,
    ) -> Decision:
        """Decide how to answer one frame; call it for every frame, in order.

        Args:
            optical: (H, W, 3) uint8 RGB, or None.
            thermal: (H, W) raw values, or None.
            absence: why the image that is None is missing.
            optical_stamp_ns: stamp of the optical image; a slower camera's image that is paired
                twice is then not taken for a frozen one.
            thermal_stamp_ns: stamp of the thermal image.
        """
        optical_reason = thermal_reason = absence
        optical_stats = thermal_stats = None
        if optical is not None:
            optical_stats = self._optical_stats(optical, optical_stamp_ns)
            optical_reason = self._judge(self._optical, self._see_optical(optical_stats))
        if thermal is not None:
            thermal_stats = self._thermal_stats(thermal, thermal_stamp_ns)
            thermal_reason = self._judge(self._thermal, self._see_thermal(thermal_stats))
        mode, reason = self._choose(
            optical is not None, thermal is not None, optical_reason, thermal_reason
        )
        return Decision(mode, reason, optical_stats, thermal_stats)

    def _choose(
        self, has_optical: bool, has_thermal: bool, optical: Reason, thermal: Reason
    ) -> tuple[Mode | None, Reason]:
        force = self.settings.force
        present = {Mode.OPTICAL_ONLY: has_optical, Mode.THERMAL_ONLY: has_thermal}
        if force is not None and present.get(force, has_optical and has_thermal):
            return force, Reason.FORCED
        optical_usable = has_optical and optical is Reason.OK
        thermal_usable = has_thermal and thermal is Reason.OK
        if optical_usable and thermal_usable:
            return Mode.FUSED, Reason.OK
        if thermal_usable:
            return Mode.THERMAL_ONLY, optical
        if optical_usable:
            return Mode.OPTICAL_ONLY, thermal
        return None, Reason.NO_USABLE_MODALITY

    def _judge(self, camera: _Camera, seen: Reason) -> Reason:
        return camera.update(seen, self.settings.hold, at_once=seen in _CERTAIN)

    def _see_optical(self, stats: ImageStats) -> Reason:
        settings, held = self.settings, self._optical.verdict
        dark, saturated = settings.optical_dark_enter, settings.saturated_enter
        if held is Reason.OPTICAL_DARK:
            dark = settings.optical_dark_leave
        if held is Reason.OPTICAL_OVEREXPOSED:
            saturated = settings.saturated_leave
        if stats.mean < dark:
            return Reason.OPTICAL_DARK
        if stats.saturated_fraction > saturated:
            return Reason.OPTICAL_OVEREXPOSED
        if stats.contrast < settings.blank_contrast:
            return Reason.OPTICAL_BLANK
        return Reason.OPTICAL_FROZEN if self._is_frozen(stats) else Reason.OK

    def _see_thermal(self, stats: ImageStats) -> Reason:
        if not stats.contrast > 0:
            return Reason.THERMAL_BLANK
        return Reason.THERMAL_FROZEN if self._is_frozen(stats) else Reason.OK

    def _is_frozen(self, stats: ImageStats) -> bool:
        return 0 < self.settings.frozen_after <= stats.frozen_for

    def _optical_stats(self, image: NDArray[np.uint8], stamp_ns: int | None) -> ImageStats:
        samples = _sample(image)
        luminance = samples.astype(np.float32) @ _LUMA
        return ImageStats(
            mean=float(luminance.mean()) / 255,
            dark_fraction=float((luminance < _DARK_LEVEL).mean()),
            saturated_fraction=float((luminance >= _SATURATED_LEVEL).mean()),
            contrast=float(luminance.std()) / 255,
            frozen_for=self._optical.count_repeats(samples, stamp_ns),
        )

    def _thermal_stats(self, image: NDArray[Any], stamp_ns: int | None) -> ImageStats:
        samples = _sample(image)
        values = samples.astype(np.float32).ravel()
        values = values[np.isfinite(values)]
        # The spread about the first value is exactly zero for a constant image; the standard
        # deviation of large equal floats need not be.
        spread = values - values[0] if values.size else values
        return ImageStats(
            mean=float(values.mean()) if values.size else 0.0,
            dark_fraction=0.0,
            saturated_fraction=0.0,
            contrast=float(spread.std()) if values.size else 0.0,
            frozen_for=self._thermal.count_repeats(samples, stamp_ns),
        )


def _sample(image: NDArray[Any]) -> NDArray[Any]:
    """Return a strided view of about `_SAMPLES` rows and columns."""
    rows, columns = (max(1, side // _SAMPLES) for side in image.shape[:2])
    return image[rows // 2 :: rows, columns // 2 :: columns]
