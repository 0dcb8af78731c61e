"""RGB-thermal pairs on disk; `layouts.open_pairs` finds them in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import IGNORE_ID, ClassTable
from csknet_core.errors import DataError, ImageError
from csknet_core.image_header import read_image, read_size
from csknet_core.runtime.preprocess import normalize_still


@dataclass(frozen=True)
class Pair:
    """One aligned pair.

    Attributes:
        name: of the pair.
        optical: (H, W, 3) uint8, RGB order.
        thermal: (H, W) uint8 or uint16, as the file has it.
        labels: (H, W) uint8 class ids, or None where the pair has no labels.
        thermal_file: where the thermal image is from.
    """

    name: str
    optical: NDArray[np.uint8]
    thermal: NDArray[Any]
    labels: NDArray[np.uint8] | None
    thermal_file: Path

    def normalized_thermal(self) -> NDArray[np.float32]:
        """Return the thermal image (H, W) float32 in 0..1, see `normalize_still`.

        Raises:
            DataError: it cannot be used; the message names its file.
        """
        return _normalize(self.thermal, self.thermal_file)


@dataclass(frozen=True)
class PairFiles:
    """Where one pair is.

    Attributes:
        optical: the colour image.
        thermal: the thermal image; may be the same file.
        labels: the label map, or None.
        thermal_channel: channel of the thermal file that holds it, where there are several.
    """

    optical: Path
    thermal: Path
    labels: Path | None
    thermal_channel: int = 0

    @property
    def all(self) -> list[Path]:
        """Every file of the pair."""
        return [file for file in (self.optical, self.thermal, self.labels) if file is not None]


class PairDataset:
    """Aligned pairs by name.

    Args:
        root: the data set's folder, for messages.
        files: where every pair is, by its name.
        classes: ids above the table's are refused when a label map is read.

    Raises:
        DataError: there is no pair, or some pairs have labels and others do not.
    """

    def __init__(self, root: Path, files: dict[str, PairFiles], classes: ClassTable) -> None:
        self.root = root
        self.classes = classes
        self.names = list(files)
        self._files = files
        if not files:
            raise DataError(f"{root}: no pairs")
        bare = [name for name, entry in files.items() if entry.labels is None]
        if bare and len(bare) < len(files):
            raise DataError(f"{root}: '{bare[0]}' has no labels, other pairs have")
        self.labelled = not bare

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Pair:
        """Read one pair.

        Raises:
            DataError: a file is damaged, sizes differ or a label id is not in the class table.
        """
        name = self.names[index]
        files = self._files[name]
        optical, thermal = self.images(index)
        labels = None if files.labels is None else self.read_labels(files.labels)
        for image, file in ((thermal, files.thermal), (labels, files.labels)):
            if image is not None and image.shape != optical.shape[:2]:
                raise _wrong_size(file, image.shape[::-1], optical.shape[1::-1])
        return Pair(name, optical, thermal, labels, files.thermal)

    def files(self, name: str) -> PairFiles:
        """Return where a pair is."""
        return self._files[name]

    def images(self, index: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Read the optical and the thermal image of one pair, whatever their sizes.

        Raises:
            DataError: a file is damaged.
        """
        files = self._files[self.names[index]]
        return read_optical(files.optical), read_thermal(files.thermal, files.thermal_channel)

    def normalized_images(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Read the images of one pair, whatever their sizes, the thermal one in 0..1.

        Raises:
            DataError: a file is damaged, or the thermal image cannot be used.
        """
        optical, thermal = self.images(index)
        return optical, _normalize(thermal, self._files[self.names[index]].thermal)

    def read_labels(self, file: Path) -> NDArray[np.uint8]:
        """Read one label map (H, W) uint8.

        Raises:
            DataError: the file is damaged or a label id is not in the class table.
        """
        labels = _read(file, cv2.IMREAD_UNCHANGED)
        if labels.ndim != 2:
            raise DataError(f"{file}: {labels.ndim} axes; a label map is one grey channel of ids")
        wrong = labels[(labels >= len(self.classes)) & (labels != IGNORE_ID)]
        if wrong.size:
            raise DataError(
                f"{file}: class id {int(wrong[0])}, but table '{self.classes.name}' ends at "
                f"{len(self.classes) - 1}; use the data set's class table"
            )
        return labels.astype(np.uint8, copy=False)

    def check(self, progress: Callable[[int], None] = lambda _: None) -> None:
        """Look at every file before a long run does: present, same size, known label ids.

        Images are opened but not decoded; label maps are read.

        Args:
            progress: called with the number of pairs done.

        Raises:
            DataError: the first file that cannot be used.
        """
        for index, files in enumerate(self._files.values()):
            size = _image_size(files.optical)
            for file in files.all[1:]:
                if _image_size(file) != size:
                    raise _wrong_size(file, _image_size(file), size)
            if files.labels is not None:
                self.read_labels(files.labels)
            progress(index + 1)


def read_optical(path: Path) -> NDArray[np.uint8]:
    """Read an RGB image file as (H, W, 3) uint8.

    Pixels are taken as they lie in the file, as those of the thermal image and the labels are: an
    orientation in the EXIF data turns none of them.

    Raises:
        DataError: the file is missing or damaged.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.cvtColor(_read(path, flags), cv2.COLOR_BGR2RGB)
    return image.astype(np.uint8, copy=False)


def read_thermal(path: Path, channel: int = 0) -> NDArray[Any]:
    """Read a thermal image file as (H, W) with the depth it has.

    Args:
        path: the file.
        channel: the one to take of an image that has several.

    Raises:
        DataError: the file is missing or damaged, or has no such channel.
    """
    image = _read(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 2 and channel == 0:
        return image
    if image.ndim == 2 or image.shape[2] <= channel:
        raise DataError(f"{path}: no channel {channel}, where this layout has its thermal image")
    return np.ascontiguousarray(image[..., channel])


def _normalize(thermal: NDArray[Any], file: Path) -> NDArray[np.float32]:
    try:
        return normalize_still(thermal)
    except ImageError as error:
        raise DataError(f"{file}: {error}") from error


def _read(path: Path, flag: int) -> NDArray[Any]:
    try:
        image = read_image(path, flag)
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error
    if image is None:
        raise _unreadable(path)
    return image


def _image_size(path: Path) -> tuple[int, int]:
    """Return width and height from the header of an image file."""
    try:
        size = read_size(path)
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error
    if size is None:
        raise _unreadable(path)
    return size[1], size[0]


def _unreadable(path: Path) -> DataError:
    return DataError(f"{path}: cannot be read as an image; it is damaged or missing")


def _wrong_size(file: Path | None, own: tuple[int, ...], optical: tuple[int, ...]) -> DataError:
    return DataError(
        f"{file}: {own[0]}x{own[1]} pixels, but its RGB image has {optical[0]}x{optical[1]}; align "
        "and resize the pair first"
    )
