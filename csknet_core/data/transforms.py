"""Paired augmentation: one geometric transform for both images and the labels, two photometric."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import IGNORE_ID
from csknet_core.runtime.preprocess import resize_labels, resize_optical, resize_thermal


@dataclass(frozen=True)
class Sample:
    """A training sample.

    Attributes:
        optical: (H, W, 3) uint8 RGB.
        thermal: (H, W) float32 in 0..1.
        labels: (H, W) uint8 class ids.
    """

    optical: NDArray[np.uint8]
    thermal: NDArray[np.float32]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class AugmentSettings:
    """How strongly to augment; a probability of 0 turns a step off.

    Attributes:
        crop: height and width of the crop in pixels.
        scale: range of the resize before the crop.
        rare_crop: probability of centring the crop on a pixel of a class drawn uniformly from
            those present, instead of anywhere.
        flip, photometric, night, misregister: probabilities of the steps of those names.
        misregister_pixels: largest shift of the optical image against thermal and labels.
        tone_curve: the photometric step gives thermal images a random tone curve, see
            `draw_tone_curve`, instead of gain, offset and gamma.
    """

    crop: tuple[int, int] = (256, 320)
    scale: tuple[float, float] = (0.55, 1.3)
    rare_crop: float = 0.6
    flip: float = 0.5
    photometric: float = 0.8
    night: float = 0.2
    misregister: float = 0.2
    misregister_pixels: int = 3
    tone_curve: bool = False


def augment(sample: Sample, settings: AugmentSettings, rng: np.random.Generator) -> Sample:
    """Return an augmented crop of a sample, sides exactly `settings.crop`."""
    sample = crop(rescale(sample, settings, rng), settings, rng)
    optical, thermal, labels = sample.optical, sample.thermal, sample.labels
    if rng.random() < settings.flip:
        optical, thermal, labels = optical[:, ::-1], thermal[:, ::-1], labels[:, ::-1]
    if rng.random() < settings.misregister:
        reach = settings.misregister_pixels
        shift = rng.integers(-reach, reach + 1, 2)
        optical = np.roll(optical, shift, (0, 1))
    if rng.random() < settings.photometric:
        optical = jitter_optical(optical, rng)
    if rng.random() < settings.photometric:
        change = draw_tone_curve if settings.tone_curve else draw_gain
        thermal = spoil_thermal(change(thermal, rng), rng)
    if rng.random() < settings.night:
        factor, sigma = 2.0 ** -rng.uniform(1.0, 5.0), rng.uniform(0.5, 4.0)
        optical = darken(optical, factor, sigma, rng)
    return Sample(
        np.ascontiguousarray(optical), np.ascontiguousarray(thermal), np.ascontiguousarray(labels)
    )


def rescale(sample: Sample, settings: AugmentSettings, rng: np.random.Generator) -> Sample:
    """Resize by a random factor, but never below the crop's size."""
    height, width = sample.labels.shape
    least = max(settings.crop[0] / height, settings.crop[1] / width)
    factor = max(least, float(rng.uniform(*settings.scale)))
    size = (
        max(settings.crop[0], round(height * factor)),
        max(settings.crop[1], round(width * factor)),
    )
    return Sample(
        resize_optical(sample.optical, size),
        resize_thermal(sample.thermal, size),
        resize_labels(sample.labels, size),
    )


def crop(sample: Sample, settings: AugmentSettings, rng: np.random.Generator) -> Sample:
    """Cut out a window, often around a class that would otherwise rarely be seen."""
    height, width = settings.crop
    rows, columns = sample.labels.shape
    top = int(rng.integers(0, rows - height + 1))
    left = int(rng.integers(0, columns - width + 1))
    if rng.random() < settings.rare_crop:
        present = present_classes(sample.labels)
        if present.size:
            ys, xs = np.nonzero(sample.labels == rng.choice(present))
            pick = int(rng.integers(ys.size))
            top = _window_start(int(ys[pick]), height, rows, rng)
            left = _window_start(int(xs[pick]), width, columns, rng)
    window = np.s_[top : top + height, left : left + width]
    return Sample(sample.optical[window], sample.thermal[window], sample.labels[window])


def present_classes(labels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the ids in a label map, ascending, without background (0) and unknown (255)."""
    return np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:IGNORE_ID]) + 1


def _window_start(pixel: int, side: int, limit: int, rng: np.random.Generator) -> int:
    """Place a window so that the pixel falls in its middle half."""
    start = pixel - int(side * rng.uniform(0.25, 0.75))
    return min(max(0, start), limit - side)


def jitter_optical(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast, gamma, saturation and white balance of (H, W, 3) uint8."""
    gain = rng.uniform(0.6, 1.5) / 255 * rng.uniform(0.88, 1.14, 3)
    saturation, contrast = rng.uniform(0.4, 1.5), rng.uniform(0.7, 1.3)
    gamma = float(rng.uniform(0.75, 1.35))
    # All but gamma is one affine map of the three channels: one pass over the image, not ten.
    colour = ((1 - saturation) / 3 + saturation * np.eye(3)) * gain
    mean = (colour @ cv2.mean(image)[:3]).mean()
    affine = np.column_stack([contrast * colour, np.full(3, (1 - contrast) * mean)])
    values = cv2.transform(image.astype(np.float32), affine.astype(np.float32))
    values = cv2.pow(np.clip(values, 0, 1, out=values), gamma)
    if rng.random() < 0.3:
        values = cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.5, 1.6)))
    return (values * 255).astype(np.uint8)


def darken(
    image: NDArray[np.uint8], factor: float, sigma: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Simulate less light.

    Args:
        image: (H, W, 3) uint8.
        factor: what the values are multiplied with.
        sigma: of the sensor's noise, in levels of 255.
        rng: of the noise.
    """
    values = image.astype(np.float32) * np.float32(factor)
    values += rng.standard_normal(values.shape, np.float32) * np.float32(sigma)
    return np.clip(values, 0, 255).astype(np.uint8)


def draw_gain(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change gain, offset and gamma of (H, W) float32 in 0..1, as AGC drift does."""
    mean = np.float32(image.mean())
    values = mean + (image - mean) * np.float32(rng.uniform(0.6, 1.5))
    values = np.clip(values + np.float32(rng.uniform(-0.15, 0.15)), 0, 1)
    return np.asarray(values ** np.float32(rng.uniform(0.7, 1.45)))


def draw_tone_curve(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Redraw (H, W) float32 in 0..1 by a random rising curve, as another camera's AGC would.

    The curve bends within the range of greys that the image has, which a cold night leaves narrow;
    that range becomes another one, which need not be within 0..1. The few pixels beyond it go on
    straight.
    """
    low, high = np.quantile(image[::4, ::4], (0.005, 0.995))
    span = max(high - low, 0.02)
    steps = np.exp(rng.normal(0, 0.5, 6))
    far = 1.0 / span  # beyond all greys there are
    before = np.array([-far, *np.linspace(0, 1, 7), 1 + far])
    after = np.array([-far, 0, *np.cumsum(steps) / steps.sum(), 1 + far])
    wanted = min(1.2, span * float(np.exp(rng.uniform(-0.6, 0.9))))
    bottom = low + (span - wanted) / 2 + rng.uniform(-0.15, 0.15)
    curve = np.interp(image, low + span * before, bottom + wanted * after)
    return curve.astype(np.float32)


def spoil_thermal(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Blur some of the images (H, W) float32, add noise, and cut to 0..1."""
    if rng.random() < 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 1.6))))
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0, 0.02))
    return np.clip(image + noise, 0, 1).astype(np.float32, copy=False)
