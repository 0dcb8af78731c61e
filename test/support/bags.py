"""Small bags: 64x96 pixels, a warm square for a person, bright RGB for a car."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from csknet_ros.replay.writer import BagWriter
from support.engines import PERSON, SIZE

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000


def scene(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return RGB, thermal (8 bit) and truth of one frame; the person walks to the right."""
    rng = np.random.default_rng(index)
    optical = rng.integers(80, 160, (*SIZE, 3), np.uint8)
    thermal = rng.integers(20, 60, SIZE, np.uint8)
    labels = np.zeros(SIZE, np.uint8)
    left = 4 + index % 60
    thermal[20:40, left : left + 16] = 220
    labels[20:40, left : left + 16] = PERSON
    return optical, thermal, labels


def write_bag(
    path: Path,
    frames: int = 12,
    rgb_lost: range = range(0),
    labels: bool = True,
    phases: dict[int, str] | None = None,
    rgb_shift_ns: int = 0,
    compress: bool = False,
) -> Path:
    """Write a bag of scenes at 10 Hz; frame i is stamped START_NS + i * PERIOD_NS."""
    with BagWriter(path, compress) as writer:
        for index in range(frames):
            now = START_NS + index * PERIOD_NS
            optical, thermal, true = scene(index)
            if phases and index in phases:
                writer.text("/phase", now, phases[index])
            if index not in rgb_lost:
                writer.image("/rgb/image", now, now + rgb_shift_ns, "rgb", optical)
            writer.image("/thermal/image", now, now, "thermal", thermal)
            if labels:
                writer.image("/truth/label_map", now, now, "thermal", true)
    return path
