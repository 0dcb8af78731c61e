"""Copy-paste (Ghiasi et al., CVPR 2021) for two images: objects of labelled pairs put into others.

Where only a few pairs show a class, the network learns their places instead of the class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.data.samples import PairIndex, read_sample
from csknet_core.data.transforms import Sample, present_classes

_LEAST_PIXELS = 60  # of an object; what is smaller hardly shows what it is
_MARGIN = 4  # pixels around an object's box that are kept, for its edge and what is around it
_FEATHER = 0.8  # pixels, sigma of the blend across an outline
_LIKELY = 0.5  # share of a class's objects, those from light most like the target's
_SHIFT = 0.06  # of the height up or down, so that an object keeps its size for its distance
_COVERED = 0.2  # share of an object that may hide objects of the target
_GAIN = (0.6, 1.6)  # of an RGB object, towards the brightness around where it is put

ImageT = TypeVar("ImageT", bound=np.generic)


@dataclass(frozen=True)
class PairObject:
    """One object cut out of a pair with a margin.

    Attributes:
        class_id: of the object.
        optical: (h, w, 3) uint8 RGB.
        thermal: (h, w) float32 in 0..1.
        mask: (h, w) bool, the object's pixels.
        corner: row and column of the cut in its pair.
        size: height and width of its pair.
        brightness: mean of its whole RGB image.
    """

    class_id: int
    optical: NDArray[np.uint8]
    thermal: NDArray[np.float32]
    mask: NDArray[np.bool_]
    corner: tuple[int, int]
    size: tuple[int, int]
    brightness: float


class ObjectBank:
    """The objects of labelled pairs by class; pairs of one size give and get them.

    An object is a connected region of one class other than 0, the background. What the frame cuts
    off is left out. All are kept in memory, 8 bytes a pixel: 25 MB for 100 pairs of MFNet.

    Args:
        pairs: labelled ones, in which things stand before background: where a class covers
            everything, as in sets with a class for road and one for sky, nothing finds room.
        progress: called with the number of pairs read.

    Raises:
        DataError: a pair cannot be used.
    """

    def __init__(
        self,
        pairs: Sequence[PairIndex],
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._objects: dict[int, list[PairObject]] = {}
        for done, pair in enumerate(pairs, 1):
            for found in cut_objects(read_sample(*pair)):
                self._objects.setdefault(found.class_id, []).append(found)
            progress(done)

    def __len__(self) -> int:
        return sum(map(len, self._objects.values()))

    def paste_into(self, sample: Sample, rng: np.random.Generator, most: int = 3) -> Sample:
        """Return a sample with up to `most` objects more, one at least drawn.

        Rare classes are drawn more often than they occur, but not as often as others: a handful of
        objects would be learnt by heart. An object that finds no room is left out.
        """
        if not self._objects:
            return sample
        brightness = float(sample.optical.mean())
        for _ in range(int(rng.integers(1, most + 1))):
            chosen = self._choose(brightness, sample.labels.shape, rng)
            if chosen is not None:
                sample = paste(chosen, sample, rng)
        return sample

    def _choose(
        self, brightness: float, size: tuple[int, ...], rng: np.random.Generator
    ) -> PairObject | None:
        """Draw an object from light like the target's: a daylight one at night would tell."""
        weights = np.sqrt([len(objects) for objects in self._objects.values()])
        class_id = int(rng.choice(list(self._objects), p=weights / weights.sum()))
        objects = self._objects[class_id]
        fitting = [entry for entry in objects if entry.size == size]
        if not fitting:
            return None
        fitting.sort(key=lambda entry: abs(entry.brightness - brightness))
        return fitting[int(rng.integers(max(1, round(len(fitting) * _LIKELY))))]


def cut_objects(sample: Sample) -> list[PairObject]:
    """Return the objects of one pair that are neither tiny nor cut off by the frame."""
    height, width = sample.labels.shape
    brightness = float(sample.optical.mean())
    found = []
    for class_id in map(int, present_classes(sample.labels)):
        is_class = (sample.labels == class_id).astype(np.uint8)
        _, regions, stats, _ = cv2.connectedComponentsWithStats(is_class)
        for region, (left, top, across, down, pixels) in enumerate(stats.tolist()):
            cut_off = left == 0 or top == 0 or left + across == width or top + down == height
            if region == 0 or pixels < _LEAST_PIXELS or cut_off:
                continue
            corner = max(0, top - _MARGIN), max(0, left - _MARGIN)
            window = np.s_[corner[0] : top + down + _MARGIN, corner[1] : left + across + _MARGIN]
            found.append(
                PairObject(
                    class_id, sample.optical[window].copy(), sample.thermal[window].copy(),
                    regions[window] == region, corner, (height, width), brightness,
                )
            )  # fmt: skip
    return found


def paste(entry: PairObject, sample: Sample, rng: np.random.Generator) -> Sample:
    """Return a sample with an object of a pair of its size, mirrored half of the time.

    It keeps about its height in the image, and is put anywhere along it. Both images take the
    level of what is around it there. Where it would hide other objects nothing is pasted.
    """
    height, width = sample.labels.shape
    optical, thermal, mask = entry.optical, entry.thermal, entry.mask
    if rng.random() < 0.5:
        optical, thermal, mask = optical[:, ::-1], thermal[:, ::-1], mask[:, ::-1]
    rows, columns = mask.shape
    reach = round(_SHIFT * height)
    top = int(np.clip(entry.corner[0] + rng.integers(-reach, reach + 1), 0, height - rows))
    left = int(rng.integers(0, width - columns + 1))
    window = np.s_[top : top + rows, left : left + columns]
    under = sample.labels[window]
    if (under[mask] != 0).mean() > _COVERED:
        return sample

    around = ~mask & (under == 0)
    gain, offset = 1.0, 0.0
    if around.any():
        gain = np.clip(_level(sample.optical[window], around) / _level(optical, ~mask), *_GAIN)
        offset = _level(sample.thermal[window], around) - _level(thermal, ~mask)
    share = np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _FEATHER), np.float32)
    labels = sample.labels.copy()
    labels[window][mask] = entry.class_id
    return Sample(
        _blend(sample.optical, window, np.clip(optical * gain, 0, 255), share[..., None]),
        _blend(sample.thermal, window, np.clip(thermal + offset, 0, 1), share),
        labels,
    )


def _level(image: NDArray[Any], where: NDArray[np.bool_]) -> float:
    """Return the mean over some pixels, never quite 0."""
    return max(1e-3, float(image[where].mean()))


def _blend(
    image: NDArray[ImageT], window: Any, above: NDArray[Any], share: NDArray[np.float32]
) -> NDArray[ImageT]:
    """Return a copy with `above` laid over a window of it."""
    result = image.copy()
    result[window] = (image[window] * (1 - share) + above * share).astype(image.dtype)
    return result
