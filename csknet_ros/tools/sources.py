"""Where the camera node's frames come from: a rendered drive or a folder of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from csknet_core.data.layouts import open_pairs
from csknet_core.data.synthetic import Drive
from csknet_ros.tools.script import Script

RGB_FRAME_ID, THERMAL_FRAME_ID = "rgb_optical_frame", "thermal_optical_frame"
"""frame_id of their images, played live or written into a bag."""


@dataclass(frozen=True)
class SourceFrame:
    """One pair: optical (H, W, 3) RGB, thermal (H, W), labels (H, W) or None."""

    optical: NDArray[np.uint8]
    thermal: NDArray[Any]
    labels: NDArray[np.uint8] | None


class FrameSource(Protocol):
    """A finite sequence of pairs."""

    def __len__(self) -> int:
        """Return how many pairs there are."""
        ...

    def frame(self, index: int) -> SourceFrame:
        """Return one pair."""
        ...


class DriveSource:
    """Frames of a rendered drive that follows a script's light."""

    def __init__(self, script: Script, rate_hz: float) -> None:
        self._drive = Drive(script.seed, script.size, script.seconds, rate_hz, script.daylight_at)

    def __len__(self) -> int:
        return len(self._drive)

    def frame(self, index: int) -> SourceFrame:
        """Render one pair."""
        frame = self._drive.frame(index)
        return SourceFrame(frame.optical, frame.thermal, frame.labels)


class FolderSource:
    """Pairs of a folder, over and over; its val split where it has one.

    Raises:
        DataError: the folder is not a folder of pairs.
    """

    def __init__(self, folder: Path, count: int | None = None) -> None:
        split = "val" if (folder / "val.txt").is_file() else ""
        self._pairs = open_pairs(folder, split)
        self._count = count or len(self._pairs)

    def __len__(self) -> int:
        return self._count

    def frame(self, index: int) -> SourceFrame:
        """Read one pair."""
        pair = self._pairs[index % len(self._pairs)]
        return SourceFrame(pair.optical, pair.thermal, pair.labels)
