"""Thermal images of one data set in the tones of another.

A thermal camera's automatic gain control, and the contrast enhancement of a data set, decide which
grey a temperature gets. What a network learns from one data set's tones it sees less well in
another's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csknet_core.data.datasets import PairDataset
from csknet_core.image_file import write_image
from csknet_core.output_folder import link_into, own_folder
from csknet_core.runtime.preprocess import normalize_still

_SHARES = np.linspace(0.0, 1.0, 257)
_STEP = 2  # of the pixels that are measured


class ThermalTones:
    """The tones of one data set: mean quantiles of the thermal images at any brightness of RGB.

    A thermal camera sees different ranges by day and by night; how bright the RGB image is tells
    them apart.

    Args:
        pairs: the data set.
        neighbours: pairs as bright that are averaged.
        progress: called with the number of pairs read.

    Raises:
        DataError: a pair cannot be read.
    """

    def __init__(
        self,
        pairs: PairDataset,
        neighbours: int = 10,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._neighbours = neighbours
        quantiles, brightness = [], []
        for index in range(len(pairs)):
            optical, thermal = pairs.images(index)
            values = normalize_still(thermal)[::_STEP, ::_STEP]
            quantiles.append(np.quantile(values, _SHARES))
            brightness.append(_brightness(optical))
            progress(index + 1)
        self._quantiles = np.stack(quantiles)
        self._brightness = np.array(brightness)

    def quantiles(self, optical: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the values in 0..1 (257,) below which each 256th of the pixels is.

        Args:
            optical: (H, W, 3) uint8 RGB; pairs about as bright count.
        """
        # The mean of quantiles keeps the shape of a histogram, the mean of histograms widens it.
        distance = np.abs(self._brightness - _brightness(optical))
        nearest = np.argsort(distance, kind="stable")[: self._neighbours]
        mean: NDArray[np.float64] = self._quantiles[nearest].mean(0)
        return mean


def match_tones(
    optical: NDArray[np.uint8],
    thermal: NDArray[Any],
    source: ThermalTones,
    target: ThermalTones,
) -> NDArray[np.uint8]:
    """Return a thermal image (H, W) uint8 in the tones of another data set; hotter stays hotter.

    The mean histogram of the pairs of its own set that are as bright becomes that of the other's,
    so that an image that shows more heat than others of its set still does.

    Args:
        optical: (H, W, 3) uint8 RGB of the same moment.
        thermal: (H, W) raw values.
        source: of the image's own data set.
        target: of the other.

    Raises:
        ImageError: the thermal image is of another form, or without a live pixel.
    """
    own, wanted = source.quantiles(optical), target.quantiles(optical)
    # Values that many pixels share are one step of the quantiles; its middle is theirs.
    levels = np.linspace(0.0, 1.0, 256)
    below, up_to = (np.searchsorted(own, levels, side) for side in ("left", "right"))
    ranks = np.where(
        up_to > below, (below + up_to - 1) / 2, np.interp(levels, own, np.arange(len(own)))
    )
    values = np.interp(ranks / (len(own) - 1), _SHARES, wanted)
    table = np.rint(values * 255).astype(np.uint8)
    return table[np.rint(normalize_still(thermal) * 255).astype(np.uint8)]


def write_matched(
    pairs: PairDataset,
    target: PairDataset,
    out: Path,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a plain folder of pairs with its thermal images in the tones of another data set.

    RGB images, labels, boxes and lists of splits are linked.

    Args:
        pairs: a plain folder.
        target: the other.
        out: folder to write.
        progress: called with the number of images read or written; `matching_steps` in all.

    Raises:
        ConfigError: `out` is the folder of the pairs or holds other pairs.
        DataError: a pair cannot be read, or an image not be written.
        ImageError: a thermal image has no live pixel.
    """
    thermal = own_folder(out, "thermal", pairs.root)
    folders = (pairs.root / name for name in ("rgb", "labels", "boxes"))
    for entry in (*filter(Path.is_dir, folders), *pairs.root.glob("*.txt")):
        link_into(out, entry)
    wanted = ThermalTones(target, progress=progress)
    own = ThermalTones(pairs, progress=lambda done: progress(len(target) + done))
    for index, name in enumerate(pairs.names):
        matched = match_tones(*pairs.images(index), own, wanted)
        write_image(thermal / f"{name}.png", matched)
        progress(len(target) + len(pairs) + index + 1)


def matching_steps(pairs: PairDataset, target: PairDataset) -> int:
    """Return how many images `write_matched` reads and writes."""
    return len(target) + 2 * len(pairs)


def _brightness(optical: NDArray[np.uint8]) -> float:
    return float(optical[::_STEP, ::_STEP].mean())
