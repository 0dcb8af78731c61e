"""How dark RGB may get before thermal alone answers better: the dark threshold, measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csknet_core.data.datasets import PairDataset
from csknet_core.data.transforms import darken
from csknet_core.errors import ConfigError, DataError
from csknet_core.evaluation.metrics import ConfusionMatrix
from csknet_core.modality import Mode
from csknet_core.runtime.backends.base import Engine
from csknet_core.runtime.policy import ModalityPolicy
from csknet_core.runtime.preprocess import (
    resize_labels,
    resize_optical,
    resize_thermal,
)

FACTORS = tuple(2.0**-stop for stop in range(7))
"""Full light down to 1/64 of it."""

LEVELS = tuple(2.0**-stop for stop in range(11))
"""Edges of the luminance bins, bright to dark; the last bin holds everything below."""

_NOISE_SIGMA = 1.5  # of 255, a camera at high gain
_LEAST_PAIRS = 5


@dataclass(frozen=True)
class Bin:
    """Scores of the frames of similar luminance.

    Attributes:
        luminance: their mean luminance, 0..1.
        frames: how many there are.
        fused: mIoU of the fused mode.
        thermal: mIoU of thermal-only on the same frames.
    """

    luminance: float
    frames: int
    fused: float
    thermal: float


@dataclass(frozen=True)
class DarknessStudy:
    """Result of a study.

    Attributes:
        bins: bright to dark.
        threshold: mean luminance below which thermal-only is better; 0 where it nowhere is.
    """

    bins: tuple[Bin, ...]
    threshold: float


def study_darkness(
    engine: Engine,
    pairs: PairDataset,
    factors: Sequence[float] = FACTORS,
    progress: Callable[[int], None] = lambda _: None,
) -> DarknessStudy:
    """Dim every RGB image step by step, with sensor noise, and score fused against thermal-only.

    Args:
        engine: answers.
        pairs: labelled pairs.
        factors: what pixel values are multiplied with.
        progress: called with the number of pairs done.

    Raises:
        DataError: the pairs have no labels, or one of them cannot be used.
    """
    if not pairs.labelled:
        raise DataError(f"{pairs.root}: no labels to score against")
    count = len(engine.classes)
    scores = [(ConfusionMatrix(count), ConfusionMatrix(count), list[float]()) for _ in LEVELS]
    for index in range(len(pairs)):
        pair = pairs[index]
        assert pair.labels is not None
        size = (pair.labels.shape[0], pair.labels.shape[1])
        thermal = resize_thermal(pair.normalized_thermal(), engine.size)
        alone = resize_labels(engine.run(Mode.THERMAL_ONLY, None, thermal)[0], size)
        rng = np.random.default_rng(index)
        for factor in factors:
            optical = pair.optical
            if factor < 1:
                optical = darken(optical, factor, _NOISE_SIGMA, rng)
            stats = ModalityPolicy().decide(optical, None).optical
            assert stats is not None
            both = engine.run(Mode.FUSED, resize_optical(optical, engine.size), thermal)[0]
            fused, single, luminances = scores[_bin_of(stats.mean)]
            fused.update(resize_labels(both, size), pair.labels)
            single.update(alone, pair.labels)
            luminances.append(stats.mean)
        progress(index + 1)
    bins = tuple(
        Bin(float(np.mean(luminances)), len(luminances), fused.miou(), single.miou())
        for fused, single, luminances in scores
        if len(luminances) >= _LEAST_PAIRS
    )
    return DarknessStudy(bins, find_crossing(bins))


def _bin_of(luminance: float) -> int:
    """Return the bin of a luminance; a bin spans a factor of two."""
    below = sum(luminance < level for level in LEVELS)
    return min(max(0, below - 1), len(LEVELS) - 1)


def find_crossing(bins: Sequence[Bin]) -> float:
    """Return the luminance below which thermal-only stays better, 0 where it never does.

    Between the last bin in which fused is at least as good and the next darker one, the difference
    is taken to change linearly with the logarithm of the luminance. Where thermal-only is better in
    every bin the brightest one's luminance is returned.
    """
    darker: Bin | None = None
    for entry in sorted(bins, key=lambda entry: entry.luminance):
        gain = entry.thermal - entry.fused
        if gain <= 0:
            if darker is None:
                return 0.0
            other = darker.thermal - darker.fused
            share = gain / (gain - other)
            low, high = (math.log(max(b.luminance, 1e-4)) for b in (darker, entry))
            return math.exp(high + share * (low - high))
        darker = entry
    return darker.luminance if darker is not None else 0.0


def draw_study(study: DarknessStudy, path: Path) -> None:
    """Draw both curves over the luminance into a PNG.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"the picture needs a package: pip install matplotlib ({error})"
        ) from error
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    luminance = [entry.luminance for entry in study.bins]
    axis.plot(luminance, [100 * b.fused for b in study.bins], marker="o", label="fused")
    axis.plot(luminance, [100 * b.thermal for b in study.bins], marker="o", label="thermal only")
    if study.threshold > 0:
        axis.axvline(study.threshold, color="grey", linestyle="--", label="threshold")
    axis.set_xscale("log")
    axis.set_xlabel("mean luminance of the RGB image (1 = white)")
    axis.set_ylabel("mIoU in %")
    axis.grid(alpha=0.3)
    axis.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
