"""Keeps pictures of the worst frames while a bag is replayed."""

from __future__ import annotations

import heapq
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.runtime.overlay import colorize, draw_overlay, thermal_to_rgb
from csknet_ros.decoding import Decoded
from csknet_ros.replay.result import Frame, Picture

_MOST = 6
_PANEL = (320, 240)
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
        self._kept: list[tuple[float, int, float, str, NDArray[np.uint8]]] = []
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
        strip = _strip(images, labels, other, self._classes)
        caption = f"{frame.mode.replace('_', ' ')}, {frame.reason.replace('_', ' ')}"
        self._order += 1
        heapq.heappush(self._kept, (-score, self._order, frame.time_s, caption, strip))
        if len(self._kept) > self._most:
            heapq.heappop(self._kept)

    def pictures(self) -> list[Picture]:
        """Return what is kept, worst first."""
        return [
            Picture(time_s, caption, -score, _jpeg(strip))
            for score, _, time_s, caption, strip in sorted(self._kept, key=lambda e: -e[0])
        ]


def _strip(
    images: Decoded, labels: NDArray[np.uint8], other: NDArray[np.uint8], classes: ClassTable
) -> NDArray[np.uint8]:
    background = images.thermal if images.optical is None else images.optical
    panels = [
        _blank() if images.optical is None else images.optical,
        _blank() if images.thermal is None else thermal_to_rgb(images.thermal),
        draw_overlay(labels if background is None else background, labels, classes),
        colorize(other, classes),
    ]
    return np.hstack([cv2.resize(p, _PANEL, interpolation=cv2.INTER_AREA) for p in panels]).astype(
        np.uint8, copy=False
    )


def _blank() -> NDArray[Any]:
    return np.full((_PANEL[1], _PANEL[0], 3), 40, np.uint8)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()
