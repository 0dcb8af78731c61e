"""A fixed set of rendered pairs on disk, so that every run of the ablation sees the same ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from csknet_core.data.synthetic import Drive, RenderedFrame, random_frame
from csknet_core.image_file import write_image

SIZE = (256, 320)
_VAL_DRIVES = 6
_VAL_FRAMES = 10


def write_rendered(root: Path, stills: int, progress: Callable[[int], None]) -> None:
    """Write `stills` training pairs, and validation pairs from drives through day and night.

    Args:
        root: folder of the plain layout (`open_pairs`); a complete one is left as it is.
        stills: training pairs, each of a scene of its own.
        progress: called with the number of pairs done.
    """
    if (root / "val.txt").is_file():
        return
    for kind in ("rgb", "thermal", "labels"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    names = []
    for index in range(stills):
        names.append(_write(root, f"still{index:04d}", random_frame(index, SIZE)))
        progress(index + 1)
    (root / "train.txt").write_text("\n".join(names), encoding="utf-8")
    names = []
    for seed in range(_VAL_DRIVES):
        # Seeds of stills and drives do not meet: a drive has other scenes than any still.
        drive = Drive(100_000 + seed, SIZE, 20.0, _VAL_FRAMES / 20.0, lambda t: 1.0 - t / 20.0)
        for index in range(len(drive)):
            time_of_day = "D" if index < len(drive) / 2 else "N"
            name = f"drive{seed}_{index:02d}{time_of_day}"
            names.append(_write(root, name, drive.frame(index)))
            progress(stills + len(names))
    (root / "val.txt").write_text("\n".join(names), encoding="utf-8")


def _write(root: Path, name: str, frame: RenderedFrame) -> str:
    write_image(root / "rgb" / f"{name}.png", frame.optical)
    write_image(root / "thermal" / f"{name}.png", np.asarray(frame.thermal, np.uint16))
    write_image(root / "labels" / f"{name}.png", frame.labels)
    return name
