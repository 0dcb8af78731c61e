"""Finds the ground truth of an answer, from a topic or from a folder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.errors import DataError, ImageError
from csknet_core.image_header import read_image
from csknet_ros.images import labels_from_message

_MOST_WAITING = 128

Answer = tuple[int, tuple[int, ...], NDArray[np.uint8]]
OnPair = Callable[[int, NDArray[np.uint8], NDArray[np.uint8]], None]
OnProblem = Callable[[str, str], None]


def topic_or_folder(labels: str) -> tuple[str, Path | None]:
    """Return what names the label maps as a topic, or as the folder that it is."""
    return ("", Path(labels)) if labels and Path(labels).is_dir() else (labels, None)


class Truth:
    """Joins answers and label maps by stamp, whichever comes first; memory is bounded.

    A label map belongs to an answer if it has the stamp of its thermal or else of its RGB image.

    Args:
        classes: ids outside it, but for its ignore id, are refused.
        folder: label maps as `STAMP_IN_NANOSECONDS.png`; None takes those handed to `add_label`.
        on_pair: called with an answer's key, its label map and its truth, both (H, W) uint8.
        on_problem: called with a reason and details when a label map cannot be used.

    Raises:
        DataError: the folder is missing or has no label maps of that form.
    """

    def __init__(
        self, classes: ClassTable, folder: Path | None, on_pair: OnPair, on_problem: OnProblem
    ) -> None:
        self._classes = classes
        self._folder = folder
        self._on_pair = on_pair
        self._on_problem = on_problem
        self._labels: OrderedDict[int, Any] = OrderedDict()
        self._answers: OrderedDict[int, Answer] = OrderedDict()
        check_labels(folder)

    def add_answer(self, key: int, stamps: tuple[int, ...], labels: NDArray[np.uint8]) -> None:
        """Take an answer.

        Args:
            key: handed on.
            stamps: of its thermal and RGB image, as far as there are any, thermal first.
            labels: (H, W) uint8.
        """
        if self._folder is not None:
            self._look_up(key, stamps, labels)
            return
        for stamp in stamps:
            if stamp in self._labels:
                self._join(key, labels, self._labels[stamp])
                return
        for stamp in stamps:
            self._answers[stamp] = (key, stamps, labels)
        _trim(self._answers)

    def add_label(self, stamp_ns: int, message: Any) -> None:
        """Take a label map's message."""
        self._labels[stamp_ns] = message
        _trim(self._labels)
        waiting = self._answers.get(stamp_ns)
        if waiting is not None:
            key, stamps, labels = waiting
            for stamp in stamps:
                self._answers.pop(stamp, None)
            self._join(key, labels, message)

    def _look_up(self, key: int, stamps: tuple[int, ...], labels: NDArray[np.uint8]) -> None:
        assert self._folder is not None
        for stamp in stamps:
            path = self._folder / f"{stamp}.png"
            if path.is_file():
                try:
                    image = read_image(path, cv2.IMREAD_UNCHANGED)
                except ImageError as error:
                    self._on_problem("label map damaged", f"{path}: {error}")
                    return
                if image is None or image.ndim != 2 or image.dtype != np.uint8:
                    self._on_problem("label map damaged", f"{path}: not a grey 8-bit image")
                else:
                    self._check(key, labels, image.astype(np.uint8, copy=False))
                return

    def _join(self, key: int, labels: NDArray[np.uint8], message: Any) -> None:
        try:
            true = labels_from_message(message)
        except ImageError as error:
            self._on_problem("label map damaged", str(error))
            return
        self._check(key, labels, true)

    def _check(self, key: int, labels: NDArray[np.uint8], true: NDArray[np.uint8]) -> None:
        if true.shape != labels.shape:
            height, width = true.shape
            self._on_problem(
                "label map of another size",
                f"{width}x{height} pixels, the answer has {labels.shape[1]}x{labels.shape[0]}",
            )
            return
        wrong = true[(true >= len(self._classes)) & (true != self._classes.ignore_id)]
        if wrong.size:
            self._on_problem(
                "label map of other classes",
                f"id {wrong[0]}, but table '{self._classes.name}' ends at {len(self._classes) - 1}",
            )
            return
        self._on_pair(key, labels, true)


def check_labels(folder: Path | None) -> None:
    """Check that a folder has label maps; None is none.

    Raises:
        DataError: it is missing or has no label maps of that form.
    """
    if folder is not None and not any(p.stem.isdigit() for p in folder.glob("*.png")):
        raise DataError(f"{folder}: no label maps; they are named STAMP_IN_NANOSECONDS.png")


def _trim(waiting: OrderedDict[int, Any]) -> None:
    while len(waiting) > _MOST_WAITING:
        waiting.popitem(last=False)
