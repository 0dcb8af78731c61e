"""Keeps pictures of the worst frames while a bag is replayed."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.image_file import encode_image
from csknet_core.runtime.overlay import colorize, draw_overlay, thermal_to_rgb
from csknet_core.runtime.preprocess import resize_labels
from csknet_ros.decoding import Decoded
from csknet_ros.replay.result import Frame, Picture

_MOST = 6
_SIZE = (240, 320)
_PANEL = _SIZE[::-1]
_APART_S = 1.0
"""Two pictures are at least so far apart, or all would show the same second."""


class Gallery:
    """The worst frames so far.

    Args:
        classes: gives the colours.
        most: how many to keep.
    """

    def __init__(self, classes: ClassTable, most: int = _MOST) -> None:
        self._classes = classes
        self._most = most
        self._kept: list[tuple[float, int, float, str, _Small]] = []
        self._order = 0

    def offer(
        self,
        frame: Frame,
        score: float,
        images: Decoded,
        labels: NDArray[np.uint8],
        other: NDArray[np.uint8],
    ) -> None:
        """Keep a frame if it is among the worst.

        Args:
            frame: the record.
            score: lower is worse.
            images: what the cameras showed.
            labels: (H, W) the answer.
            other: (H, W) the truth, or the answer it is compared with.
        """
        worst = len(self._kept) == self._most and score >= -self._kept[0][0]
        near = [entry for entry in self._kept if abs(entry[2] - frame.time_s) < _APART_S]
        if worst or any(score >= -entry[0] for entry in near):
            return
        for entry in near:
            self._kept.remove(entry)
        heapq.heapify(self._kept)
        small = _Small.of(images, labels, other)
        caption = f"{frame.mode.replace('_', ' ')}, {frame.reason.replace('_', ' ')}"
        self._order += 1
        heapq.heappush(self._kept, (-score, self._order, frame.time_s, caption, small))
        if len(self._kept) > self._most:
            heapq.heappop(self._kept)

    def pictures(self) -> list[Picture]:
        """Return what is kept, worst first."""
        return [
            Picture(time_s, caption, -score, encode_image(small.draw(self._classes), ".jpg"))
            for score, _, time_s, caption, small in sorted(self._kept, key=lambda e: -e[0])
        ]


@dataclass(frozen=True)
class _Small:
    """A frame in the size it is shown in; most are thrown away before anybody draws them."""

    optical: NDArray[Any] | None
    thermal: NDArray[Any] | None
    labels: NDArray[np.uint8]
    other: NDArray[np.uint8]

    @classmethod
    def of(cls, images: Decoded, labels: NDArray[np.uint8], other: NDArray[np.uint8]) -> _Small:
        """Shrink everything."""
        optical, thermal = (
            None if image is None else cv2.resize(image, _PANEL, interpolation=cv2.INTER_AREA)
            for image in (images.optical, images.thermal)
        )
        return cls(optical, thermal, resize_labels(labels, _SIZE), resize_labels(other, _SIZE))

    def draw(self, classes: ClassTable) -> NDArray[np.uint8]:
        """Return RGB, thermal, answer and the other answer side by side."""
        background = self.thermal if self.optical is None else self.optical
        blank = np.full((*_SIZE, 3), 40, np.uint8)
        panels = [
            blank if self.optical is None else self.optical,
            blank if self.thermal is None else thermal_to_rgb(self.thermal),
            draw_overlay(blank if background is None else background, self.labels, classes),
            colorize(self.other, classes),
        ]
        return np.hstack(panels).astype(np.uint8, copy=False)
