"""Folders of RGB-thermal pairs as people and the data sets' authors lay them out.

Plain, for your own data and for this project's tools:
```
ROOT/rgb/NAME.jpg      8-bit colour (png, bmp, tif too)
ROOT/thermal/NAME.png  8- or 16-bit grey
ROOT/labels/NAME.png   8-bit class ids (the folder may be absent)
ROOT/SPLIT.txt         one NAME a line, for each split
```
MFNet (Ha et al., IROS 2017): one file holds colour and, as fourth channel, thermal.
```
ROOT/images/NAME.png   ROOT/labels/NAME.png   ROOT/{train,val,test,test_day,test_night}.txt
```
MSRS (Tang et al. 2022):
```
ROOT/{train,test}/{vi,ir,Segmentation_labels}/NAME.png
```
FMB (Liu et al., ICCV 2023):
```
ROOT/{train,test}/{Visible,Infrared,Label}/NAME.png
```
PST900 (Shivakumar et al., ICRA 2020): 8-bit thermal; raw 16-bit images lie beside it.
```
ROOT/{train,test}/{rgb,thermal,thermal_raw,labels}/NAME.png
```
MVSeg (Ji et al., CVPR 2023): a split lists videos, frames with labels count.
```
ROOT/data/VIDEO/{visible/NUMBERv,infrared/NUMBERi,label/NUMBERl}.png   ROOT/{train,val,test}.txt
```
MFNet and MSRS mark a name taken by day with a final D, by night with N.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from csknet_core.classes import FMB, MFNET, MVSS, PST900, ClassTable
from csknet_core.data.datasets import PairDataset, PairFiles
from csknet_core.errors import DataError

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Layout:
    """How a data set lies in its folder.

    Attributes:
        marks: folders that tell this layout from the others, `*` standing for any name.
        classes: the table its labels are of; None takes the caller's.
        find: maps the root and a split to the files by name.
    """

    marks: tuple[str, ...]
    classes: ClassTable | None
    find: Callable[[Path, str], dict[str, PairFiles]]


def open_pairs(
    root: str | Path, split: str = "", classes: ClassTable | None = None, layout: str = "auto"
) -> PairDataset:
    """Open a folder of pairs.

    Args:
        root: the folder.
        split: "train", "val", "test", ...; "" takes every pair.
        classes: the table wanted; None takes the data set's own (MFNet's for a plain folder).
        layout: a name in `LAYOUTS`, or "auto" to tell it from the folders.

    Raises:
        DataError: the layout is not recognised, its labels are of another table, or a split or
            file is missing; the message names it.
    """
    root = Path(root)
    found = _recognise(root) if layout == "auto" else layout
    if found not in LAYOUTS:
        raise DataError(f"layout '{found}' is unknown; use auto, {', '.join(LAYOUTS)}")
    own = LAYOUTS[found].classes
    if own is not None and classes is not None and own.names != classes.names:
        raise DataError(
            f"{root}: {found} has labels of table '{own.name}', not of '{classes.name}'; choose "
            f"'{own.name}'"
        )
    files = LAYOUTS[found].find(root, split)
    if not files:
        raise DataError(f"{root}: no pairs{f' in split {split}' * bool(split)}")
    return PairDataset(root, files, classes or own or MFNET)


def _recognise(root: Path) -> str:
    for name, layout in LAYOUTS.items():
        if all(any(root.glob(mark)) for mark in layout.marks):
            return name
    known = "; ".join(f"{name}: {', '.join(entry.marks)}" for name, entry in LAYOUTS.items())
    raise DataError(f"{root}: no such folder, or not one of pairs; looked for {known}")


def _find_plain(root: Path, split: str) -> dict[str, PairFiles]:
    return _join(root, split, "rgb", "thermal", "labels")


def _find_mfnet(root: Path, split: str) -> dict[str, PairFiles]:
    files = _join(root, split, "images", "images", "labels")
    return {name: PairFiles(f.optical, f.thermal, f.labels, 3) for name, f in files.items()}


def _split_folders(
    optical: str, thermal: str, labels: str
) -> Callable[[Path, str], dict[str, PairFiles]]:
    """Make the finder of a layout with a folder for each split."""

    def find(root: Path, split: str) -> dict[str, PairFiles]:
        splits = sorted(p.name for p in root.iterdir() if (p / optical).is_dir())
        if split and split not in splits:
            raise DataError(f"{root / split}: no such split; {root} has: {', '.join(splits)}")
        files: dict[str, PairFiles] = {}
        for folder in [split] if split else splits:
            found = _join(root / folder, "", optical, thermal, labels)
            prefix = "" if split else f"{folder}/"
            files |= {prefix + name: entry for name, entry in found.items()}
        return files

    return find


def _find_mvss(root: Path, split: str) -> dict[str, PairFiles]:
    data = root / "data"
    videos = read_split(root, split) if split else sorted(p.name for p in data.iterdir())
    files: dict[str, PairFiles] = {}
    for video in videos:
        optical, thermal, labels = (
            {stem[:-1]: file for stem, file in _files_by_name(data / video / kind).items()}
            for kind in ("visible", "infrared", "label")
        )
        if not labels:
            raise DataError(f"{data / video / 'label'}: no labels; split '{split}' lists {video}")
        for number, label in labels.items():
            for kind, images in (("visible", optical), ("infrared", thermal)):
                if number not in images:
                    raise DataError(f"{data / video / kind / number}*: missing; {label} needs it")
            files[f"{video}/{number}"] = PairFiles(optical[number], thermal[number], label)
    return files


def _join(root: Path, split: str, optical: str, thermal: str, labels: str) -> dict[str, PairFiles]:
    """Join three folders by file name."""
    kinds = {kind: _files_by_name(root / kind) for kind in (optical, thermal, labels)}
    names = read_split(root, split) if split else sorted(kinds[optical])
    labelled = bool(kinds[labels])
    for name in names:
        for kind in (optical, thermal) + (labels,) * labelled:
            if name not in kinds[kind]:
                raise DataError(f"{root / kind / name}.*: missing; '{name}' needs it")
    return {
        name: PairFiles(kinds[optical][name], kinds[thermal][name], kinds[labels].get(name))
        for name in names
    }


def read_split(root: Path, split: str) -> list[str]:
    """Return the names in `SPLIT.txt`.

    Raises:
        DataError: there is no such list; the message names those there are.
    """
    path = root / f"{split}.txt"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in root.glob("*.txt"))) or "none"
        raise DataError(f"{path}: no such split; {root} has: {known}")
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _files_by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in _IMAGE_SUFFIXES}


LAYOUTS = {
    "plain": Layout(("rgb", "thermal"), None, _find_plain),
    "mfnet": Layout(("images", "labels"), MFNET, _find_mfnet),
    "msrs": Layout(("*/vi", "*/ir"), MFNET, _split_folders("vi", "ir", "Segmentation_labels")),
    "fmb": Layout(("*/Visible", "*/Infrared"), FMB, _split_folders("Visible", "Infrared", "Label")),
    "pst900": Layout(("*/rgb", "*/thermal"), PST900, _split_folders("rgb", "thermal", "labels")),
    "mvss": Layout(("data/*/visible", "data/*/infrared"), MVSS, _find_mvss),
}
"""Known layouts, in the order they are looked for."""
