"""From a drawn canvas to what the two cameras deliver: light, noise, optics."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.data.synthetic.canvas import Canvas
from csknet_core.data.synthetic.climate import brightness_at, lamps_at

_NOISE_SIDE = 1200


class Sensors:
    """The two cameras' own properties, fixed over a drive.

    Args:
        rng: source of them.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.gain = rng.uniform(0.8, 1.15)
        self.tint = np.clip(rng.normal(1.0, 0.05, 3), 0.85, 1.15).astype(np.float32)
        self.vignette = rng.uniform(0.0, 0.35)
        self.read_noise = rng.uniform(0.8, 2.2)
        self.blur = rng.uniform(0.0, 0.8)
        self.headlight = rng.uniform(0.0, 0.35) if rng.random() < 0.6 else 0.0
        self.thermal_noise = rng.uniform(3.0, 9.0)
        self.thermal_blur = rng.uniform(0.5, 1.1)
        self.fixed_pattern = rng.uniform(0.0, 6.0)
        self.drift = rng.uniform(0.0, 60.0)

    def optical(
        self, canvas: Canvas, daylight: float, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Expose the optical image (H, W, 3) uint8 RGB."""
        height, width = canvas.temperature.shape
        brightness, lamps = brightness_at(daylight), lamps_at(daylight)
        light = _vignette(height, width, round(self.vignette, 2)) * np.float32(brightness)
        if lamps:
            local = np.array(canvas.local_light, np.float32)[canvas.numbers]
            local += _headlight(height, width) * np.float32(self.headlight * lamps)
            light = light + local
        rgb: NDArray[Any] = canvas.reflectance[..., :3].astype(np.float32)
        rgb *= (light * np.float32(self.gain))[..., None]
        rgb *= self.tint
        glow = np.float32(0.6 * lamps + 0.3 * brightness + 0.01)
        emission = canvas.reflectance[..., 3]
        if emission.any():
            halo = emission.astype(np.float32) * glow
            if lamps:
                halo = np.maximum(halo, cv2.GaussianBlur(halo, (0, 0), width / 120) * 1.5)
            rgb += halo[..., None]
        if self.blur > 0.3:
            rgb = cv2.GaussianBlur(rgb, (0, 0), self.blur)
        noise = _noise_crop(rng, height, width * 3).reshape(height, width, 3)
        sigma = self.read_noise * (1 + 0.8 * (1 - brightness))
        rgb += noise * np.float32(sigma)
        return np.clip(rgb, 0, 255).astype(np.uint8)

    def thermal(
        self, canvas: Canvas, time_s: float, rng: np.random.Generator
    ) -> NDArray[np.uint16]:
        """Expose the thermal image (H, W) uint16, centikelvin."""
        height, width = canvas.temperature.shape
        kelvin: NDArray[Any] = canvas.temperature.astype(np.float32)
        kelvin = cv2.GaussianBlur(kelvin, (0, 0), self.thermal_blur * max(width / 640, 0.5))
        kelvin += _noise_crop(rng, height, width) * np.float32(self.thermal_noise)
        kelvin += _columns(width) * np.float32(self.fixed_pattern)
        kelvin += np.float32(self.drift * math.sin(0.05 * time_s))
        return np.clip(kelvin, 1, 65535).astype(np.uint16)


@lru_cache(maxsize=1)
def _noise_bank() -> NDArray[np.float32]:
    rng = np.random.default_rng(20240101)
    return rng.standard_normal(_NOISE_SIDE * _NOISE_SIDE, np.float32)


def _noise_crop(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Cut a run of the noise bank; drawing a million normal numbers a frame would be slow."""
    bank = _noise_bank()
    count = height * width
    if count > bank.size:
        return rng.standard_normal((height, width), np.float32)
    start = int(rng.integers(bank.size - count + 1))
    return bank[start : start + count].reshape(height, width)


@lru_cache(maxsize=8)
def _vignette(height: int, width: int, strength: float) -> NDArray[np.float32]:
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    return (1 - strength * (x * x + y * y) / 2).astype(np.float32)


@lru_cache(maxsize=4)
def _headlight(height: int, width: int) -> NDArray[np.float32]:
    """A cone of light from the robot's own lamp onto the middle of the lower half."""
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    return np.exp(-(((y - 0.75) / 0.25) ** 2) - (x / 0.6) ** 2).astype(np.float32)


@lru_cache(maxsize=4)
def _columns(width: int) -> NDArray[np.float32]:
    return np.random.default_rng(5).standard_normal(width, np.float32)
