"""Label maps for unlabelled pairs: what networks are sure of, within what boxes allow.

Boxes are weak labels, far cheaper than label maps. They say two things: a boxed class is nowhere
outside its boxes, and inside one it is likely. Both are put into the probabilities before the sure
pixels are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from csknet_core.classes import IGNORE_ID, ClassTable
from csknet_core.data.datasets import PairDataset
from csknet_core.data.derived import DerivedFolder
from csknet_core.errors import ConfigError, DataError
from csknet_core.image_file import write_image
from csknet_core.input_size import check_size
from csknet_core.modality import Mode
from csknet_core.model.csknet import CSKNet
from csknet_core.model.zoo import load_network
from csknet_core.runtime.preprocess import resize_optical, resize_thermal


@dataclass(frozen=True)
class Box:
    """A box of one class: its id and its edges as shares of the image's width and height."""

    class_id: int
    left: float
    top: float
    right: float
    bottom: float

    def cut(self, size: tuple[int, int], margin: int = 0) -> tuple[slice, slice]:
        """Return rows and columns of the box in an image of `size`, grown by `margin` pixels."""
        height, width = size
        rows = round(self.top * height) - margin, round(self.bottom * height) + margin
        columns = round(self.left * width) - margin, round(self.right * width) + margin
        (first, last), (left, right) = (
            (max(0, start), max(0, end)) for start, end in (rows, columns)
        )
        return slice(first, last), slice(left, right)


@dataclass(frozen=True)
class PseudoSettings:
    """What is taken as a label.

    Attributes:
        size: height and width the networks see.
        threshold: least probability outside boxes; less is unknown (255).
        box_threshold: least probability inside boxes.
        box_odds: factor on the odds of a class inside its boxes.
        least_fill: in a box of which a smaller share gets its class nothing is background (id 0):
            pixels that would be are unknown.
        box_share: share of a box that gets its class, its likeliest pixels, where the networks are
            sure of less than `least_fill` of it; 0 leaves them unknown. For networks that hardly
            know the boxed classes yet.
        margin: pixels by which boxes may be too small.

    Raises:
        ConfigError: a side of `size` is no multiple of 32.
    """

    size: tuple[int, int] = (480, 640)
    threshold: float = 0.8
    box_threshold: float = 0.6
    box_odds: float = 6.0
    least_fill: float = 0.15
    box_share: float = 0.0
    margin: int = 3

    def __post_init__(self) -> None:
        check_size(self.size)


def label_pairs(
    weights: Sequence[str],
    pairs: PairDataset,
    out: Path,
    settings: PseudoSettings,
    boxed: Sequence[str] = (),
    progress: Callable[[int], None] = lambda _: None,
) -> NDArray[np.int64]:
    """Write a plain folder of labelled pairs: links to the images, `labels/NAME.png`, `train.txt`.

    Args:
        weights: networks whose probabilities are averaged, over mirrored images too; they run on
            a GPU where there is one.
        pairs: a plain folder; `boxes/NAME.txt` lists its boxes if `boxed` names classes.
        out: folder to write.
        settings: see there.
        boxed: class names of the box ids 0, 1, ... in those files.
        progress: called with the number of pairs done.

    Returns:
        (C + 1,) pixels given each class, and pixels left unknown.

    Raises:
        ConfigError: the networks have different class tables, `boxed` names no class of theirs, or
            `out` holds something else.
        DataError: a pair or its boxes cannot be read.
    """
    networks, temperatures, classes = _load(weights)
    ids = [_class_id(classes, name) for name in boxed]
    folder = DerivedFolder(out, pairs)
    counts = np.zeros(len(classes) + 1, np.int64)
    for index, name in enumerate(pairs.names):
        optical, thermal = pairs.normalized_images(index)
        boxes = read_boxes(pairs.root / "boxes" / f"{name}.txt", ids) if ids else []
        probabilities = average_probabilities(
            networks, optical, thermal, settings.size, temperatures
        )
        labels = choose_labels(probabilities, boxes, ids, settings)
        for kind in ("rgb", "thermal"):
            folder.link(kind, name)
        write_image(folder.new_file("labels", name), labels)
        counts += np.bincount(np.minimum(labels, len(classes)).ravel(), minlength=len(counts))
        progress(index + 1)
    folder.write_list("train", pairs.names)
    return counts


def read_boxes(file: Path, ids: Sequence[int]) -> list[Box]:
    """Read boxes in YOLO's form: one `id x y width height` a line, as shares of the image.

    Args:
        file: the text file.
        ids: class ids of the box ids.

    Raises:
        DataError: the file is missing, or a line is not of that form.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read; every pair needs its boxes, or none") from error
    boxes = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            boxes.append(_read_box(line, ids))
        except ValueError as error:
            raise DataError(
                f"{file}:{number}: '{line}' is not 'id x y width height' with an id below "
                f"{len(ids)} and the box, its centre first, in shares of the image"
            ) from error
    return boxes


def _read_box(line: str, ids: Sequence[int]) -> Box:
    """Return the box of a line; ValueError says that it is none."""
    box_id, *values = line.split()
    x, y, width, height = (float(value) for value in values)
    centred = 0 <= x <= 1 and 0 <= y <= 1  # not so in pixels, nor of NaN
    if int(box_id) not in range(len(ids)) or not (centred and 0 < width <= 1 and 0 < height <= 1):
        raise ValueError("out of range")
    return Box(ids[int(box_id)], x - width / 2, y - height / 2, x + width / 2, y + height / 2)


@torch.no_grad()
def average_probabilities(
    networks: Sequence[CSKNet],
    optical: NDArray[np.uint8],
    thermal: NDArray[np.float32],
    size: tuple[int, int],
    temperatures: Sequence[float] = (),
) -> NDArray[np.float32]:
    """Return fused probabilities (C, H, W) at the images' size, averaged over networks and mirror.

    Args:
        networks: in evaluation mode, on one device.
        optical: (H, W, 3) uint8 RGB.
        thermal: (H, W) float32 in 0..1.
        size: height and width the networks see.
        temperatures: of the networks' fused answers; without any all are 1.
    """
    images = resize_optical(optical, size), resize_thermal(thermal, size)
    device = next(networks[0].parameters()).device
    pair = [_tensor(image).to(device) for image in images]
    total: Tensor | None = None
    for network, temperature in zip(networks, temperatures or [1.0] * len(networks), strict=True):
        for mirror in (False, True):
            views = [t.flip(3) for t in pair] if mirror else pair
            logits = network.predict(Mode.FUSED, views[0], views[1]) / temperature
            full = F.interpolate(logits, optical.shape[:2], mode="bilinear", align_corners=False)
            seen = full.softmax(1).flip(3) if mirror else full.softmax(1)
            total = seen if total is None else total + seen
    assert total is not None
    return np.asarray((total[0] / (2 * len(networks))).cpu())


def choose_labels(
    probabilities: NDArray[np.float32],
    boxes: Sequence[Box],
    boxed: Sequence[int],
    settings: PseudoSettings,
) -> NDArray[np.uint8]:
    """Return the label map (H, W) uint8 of what is sure, 255 elsewhere.

    Args:
        probabilities: (C, H, W).
        boxes: all boxes of the image.
        boxed: ids of the classes that have boxes; others are not touched.
        settings: see there.
    """
    size = probabilities.shape[1], probabilities.shape[2]
    inside = np.zeros(size, bool)
    odds = probabilities.copy()
    for class_id in boxed:
        allowed = np.zeros(size, bool)
        likely = np.zeros(size, bool)
        for box in boxes:
            if box.class_id == class_id:
                allowed[box.cut(size, settings.margin)] = True
                likely[box.cut(size)] = True
        odds[class_id] *= np.where(likely, settings.box_odds, 1.0) * allowed
        inside |= allowed
    sure = odds / np.maximum(odds.sum(0), 1e-9)
    labels = sure.argmax(0).astype(np.uint8)
    least = np.where(inside, settings.box_threshold, settings.threshold)
    result = np.where(sure.max(0) >= least, labels, IGNORE_ID).astype(np.uint8)
    for box in boxes:
        cut = box.cut(size)
        found = labels[cut] == box.class_id
        if found.size and found.mean() < settings.least_fill:
            # An object that the networks miss must not be taught as background.
            result[cut] = np.where(labels[cut] == 0, IGNORE_ID, result[cut])
    for box in boxes if settings.box_share else ():
        cut = box.cut(size)
        given = result[cut] == box.class_id
        if given.size and given.mean() < settings.least_fill:
            likely = _likeliest(odds[:, cut[0], cut[1]], box.class_id, settings.box_share)
            # Of overlapping boxes, such as a rider's and a bike's, the first keeps its pixels.
            result[cut][likely & (result[cut] == IGNORE_ID)] = box.class_id
    return result


def _likeliest(odds: NDArray[np.float32], class_id: int, share: float) -> NDArray[np.bool_]:
    """Return the pixels (H, W) of a box that are a given share of it and likeliest of its class.

    The bias of a class is raised until enough of its box has it, as in Papandreou et al.,
    "Weakly- and Semi-Supervised Learning of a Deep Convolutional Network for Semantic Image
    Segmentation" (ICCV 2015). Objects fill the middle of their boxes, so that the corners count
    less.
    """
    rivals = np.delete(odds, class_id, axis=0).max(0)
    rows, columns = (np.linspace(-1, 1, length) for length in rivals.shape)
    middle = -(rows[:, None] ** 2 + columns[None] ** 2)
    score = np.log(odds[class_id] + 1e-6) - np.log(rivals + 1e-6) + middle
    return np.asarray(score >= np.quantile(score, 1 - share))


def _load(weights: Sequence[str]) -> tuple[list[CSKNet], list[float], ClassTable]:
    """Return the networks, the temperatures of their fused answers, and their class table."""
    if not weights:
        raise ConfigError("no weights to label with; name one file or more")
    loaded = [load_network(path) for path in weights]
    infos = [info for _, info in loaded]
    for path, info in zip(weights, infos, strict=True):
        if info.classes.names != infos[0].classes.names:
            raise ConfigError(f"{path}: other classes than {weights[0]}; they cannot be averaged")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks = [network.eval().requires_grad_(False).to(device) for network, _ in loaded]
    temperatures = [info.temperature.get(Mode.FUSED, 1.0) for info in infos]
    return networks, temperatures, infos[0].classes


def _class_id(classes: ClassTable, name: str) -> int:
    if name not in classes.names:
        raise ConfigError(
            f"box class '{name}' is not in table '{classes.name}': {', '.join(classes.names)}"
        )
    return classes.names.index(name)


def _tensor(image: NDArray[np.generic]) -> Tensor:
    """Return (H, W, 3) uint8 or (H, W) float32 as (1, C, H, W) in 0..1."""
    if image.ndim == 2:
        return torch.from_numpy(np.ascontiguousarray(image))[None, None]
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
