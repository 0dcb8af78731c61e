"""Pairs of folders as samples, as training and copy-paste read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from csknet_core.classes import IGNORE_ID
from csknet_core.data.datasets import PairDataset
from csknet_core.data.transforms import Sample

PairIndex = tuple[PairDataset, int]
"""One pair: its folder and its number there."""


def list_pairs(folders: Sequence[PairDataset], limit: int = 0) -> list[PairIndex]:
    """Return the pairs of folders, of each at most `limit`, its first ones; 0 takes all."""
    return [(folder, i) for folder in folders for i in range(len(folder))[: limit or None]]


def read_sample(folder: PairDataset, index: int) -> Sample:
    """Read one pair; without labels every pixel is 255.

    Raises:
        DataError: the pair cannot be read, or its thermal image not be used.
    """
    pair = folder[index]
    thermal = pair.normalized_thermal()
    labels = pair.labels
    if labels is None:
        labels = np.full(thermal.shape, IGNORE_ID, np.uint8)
    return Sample(pair.optical, thermal, labels)
