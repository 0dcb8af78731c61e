"""RGB-thermal pairs on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import IGNORE_ID, MFNET, ClassTable
from csknet_core.errors import DataError

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Pair:
    """One aligned pair.

    Attributes:
        name: the files' name without suffix.
        optical: (H, W, 3) uint8, RGB order.
        thermal: (H, W) uint8 or uint16, as the file has it.
        labels: (H, W) uint8 class ids, or None where the pair has no labels.
    """

    name: str
    optical: NDArray[np.uint8]
    thermal: NDArray[Any]
    labels: NDArray[np.uint8] | None


class PairFolder:
    """A folder of aligned pairs in the MFNet layout.

    ```
    ROOT/rgb/NAME.jpg      8-bit colour (png, bmp, tif too)
    ROOT/thermal/NAME.png  8- or 16-bit grey
    ROOT/labels/NAME.png   8-bit class ids (the folder may be absent)
    ROOT/train.txt         one NAME a line, for each split (absent: all names)
    ```
    MFNet (Ha et al., IROS 2017) marks a name taken by day with a final D, by night with N.

    Args:
        root: the folder.
        split: "train", "val", ...; "" takes every pair.
        classes: ids above the table's are refused when a label map is read.

    Raises:
        DataError: a folder, split or file is missing; the message names it.
    """

    def __init__(self, root: str | Path, split: str = "", classes: ClassTable = MFNET) -> None:
        self.root = Path(root)
        self.split = split
        self.classes = classes
        for folder in ("rgb", "thermal"):
            if not (self.root / folder).is_dir():
                raise DataError(f"{self.root / folder}: no such folder; it should hold the images")
        self._optical = _files_by_name(self.root / "rgb")
        self._thermal = _files_by_name(self.root / "thermal")
        self._labels = _files_by_name(self.root / "labels")
        self.names = self._read_names()
        self._check_complete()

    @property
    def labelled(self) -> bool:
        """Whether every pair has labels."""
        return bool(self._labels)

    def _read_names(self) -> list[str]:
        if not self.split:
            return sorted(self._optical)
        path = self.root / f"{self.split}.txt"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in self.root.glob("*.txt"))) or "none"
            raise DataError(f"{path}: no such split; {self.root} has: {known}")
        return path.read_text(encoding="utf-8").split()

    def _check_complete(self) -> None:
        if not self.names:
            raise DataError(f"{self.root}: no pairs{f' in split {self.split}' * bool(self.split)}")
        kinds = {"rgb": self._optical, "thermal": self._thermal}
        if self._labels:
            kinds["labels"] = self._labels
        for name in self.names:
            for folder, files in kinds.items():
                if name not in files:
                    raise DataError(f"{self.root / folder / name}.*: missing; '{name}' needs it")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Pair:
        """Read one pair.

        Raises:
            DataError: a file is damaged, sizes differ or a label id is not in the class table.
        """
        name = self.names[index]
        optical = read_optical(self._optical[name])
        thermal = read_thermal(self._thermal[name])
        labels = self.read_labels(name) if self._labels else None
        for image, file in ((thermal, self._thermal[name]), (labels, self._labels.get(name))):
            if image is not None and image.shape != optical.shape[:2]:
                raise DataError(
                    f"{file}: {image.shape[1]}x{image.shape[0]} pixels, but its RGB image has "
                    f"{optical.shape[1]}x{optical.shape[0]}; align and resize the pair first"
                )
        return Pair(name, optical, thermal, labels)

    def read_labels(self, name: str) -> NDArray[np.uint8]:
        """Read one label map (H, W) uint8.

        Raises:
            DataError: the file is damaged or a label id is not in the class table.
        """
        file = self._labels[name]
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


def _files_by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in _IMAGE_SUFFIXES}


def read_optical(path: Path) -> NDArray[np.uint8]:
    """Read an RGB image file as (H, W, 3) uint8.

    Raises:
        DataError: the file is missing or damaged.
    """
    image = cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return image.astype(np.uint8, copy=False)


def read_thermal(path: Path) -> NDArray[Any]:
    """Read a thermal image file as (H, W) with the depth it has; of colour the first channel.

    Raises:
        DataError: the file is missing or damaged.
    """
    image = _read(path, cv2.IMREAD_UNCHANGED)
    return image if image.ndim == 2 else np.ascontiguousarray(image[..., 0])


def _read(path: Path, flag: int) -> NDArray[Any]:
    image = cv2.imread(str(path), flag)
    if image is None:
        raise DataError(f"{path}: cannot be read as an image; it is damaged or missing")
    return image
