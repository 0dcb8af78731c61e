"""Estimate the homography between two cameras from pairs they took, or from points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from csknet_core.errors import ConfigError, DataError
from csknet_core.runtime.overlay import thermal_to_rgb
from csknet_core.runtime.pixel_map import PixelMap, Size
from csknet_core.runtime.registration import Homography, Registration, map_grid, scaling
from csknet_core.yaml_file import read_yaml

_WORK_WIDTH = 320
_LEVELS = ((5.0, 3), (3.0, 2), (1.5, 1))  # blur and distance of the pixels used, coarse to fine
_TREND = 12.0
_ITERATIONS = 25
_STEP_DONE = 0.02  # pixels
_LEAST_PAIRS = 4
_LEAST_OVERLAP = 0.3
# Pairs of real cameras reach 0.27 to 0.55, by night too, pairs of different scenes 0.05 at most.
_LEAST_CORRELATION = 0.12
_FARTHEST = 1e6  # pixels
_BLACK = 2  # of 255; compressed images ring a little
_FRINGE = 11  # pixels: edges reach so far


@dataclass(frozen=True)
class Estimate:
    """A homography and how well it is known.

    Attributes:
        homography: thermal to optical.
        residual: in optical pixels. From pairs: the largest distance between where the two halves
            of the pairs, taken alone, put the corners of the thermal image. From points: the
            median distance to them.
        correlation: of the edges under the homography, -1..1; NaN from points.
    """

    homography: Homography
    residual: float
    correlation: float


def estimate_from_pairs(
    pairs: Iterable[tuple[NDArray[np.uint8], NDArray[Any]]],
    progress: Callable[[int], None] = lambda _: None,
) -> Estimate:
    """Match the edges of optical and thermal images.

    One homography is fitted to all pairs together, since a single pair has too many edges that
    only one camera sees: Gauss-Newton on the difference of normalised edge maps (Lucas & Kanade
    1981; OpenCV's ECC takes one pair), coarse to fine, with the four corners as parameters.

    Args:
        pairs: (H, W, 3) uint8 RGB and (h, w) thermal images of one rigid pair of cameras, with
            edges all over the image that both see; 10 or more.
        progress: called with the number of pairs read.

    Raises:
        DataError: images change size, there are too few pairs, or their edges do not match.
    """
    small, sizes = [], set()
    for index, (optical, thermal) in enumerate(pairs):
        sizes.add((_size(thermal), _size(optical)))
        if len(sizes) > 1:
            raise DataError(
                "the pairs have different sizes; register one pair of cameras at a time"
            )
        small.append(_shrink(optical, thermal))
        progress(index + 1)
    if len(small) < _LEAST_PAIRS:
        raise DataError(f"{len(small)} pairs are too few to register cameras; take 10 or more")
    known = _known(small)
    edges = [_strengths(images, known) for images in small]
    thermal_size, optical_size = sizes.pop()
    matrix, correlation = _fit(edges)
    if not correlation >= _LEAST_CORRELATION:
        raise _no_match()
    halves = [_fit(half)[0] for half in (edges[::2], edges[1::2])]
    work = edges[0][0].shape
    from_work = scaling((work[0], work[1]), optical_size)
    ends = [_move(_move(_corners((work[0], work[1])), half), from_work) for half in halves]
    residual = float(np.linalg.norm(ends[0] - ends[1], axis=1).max())
    full = from_work @ matrix @ scaling(thermal_size, (work[0], work[1]))
    return Estimate(
        Homography(full / full[2, 2], thermal_size, optical_size), residual, correlation
    )


def estimate_from_points(path: Path) -> Estimate:
    """Fit a homography to points picked by hand or found on a calibration board.

    Args:
        path: YAML with `thermal_size`, `optical_size` ([height, width]) and `points`, a list of
            `[[thermal x, thermal y], [optical x, optical y]]`, four or more.

    Raises:
        ConfigError: the file cannot be read, or its points do not fix a homography.
    """
    try:
        data = read_yaml(path)
        points = np.array(data["points"], np.float64)
        sizes = [(int(data[k][0]), int(data[k][1])) for k in ("thermal_size", "optical_size")]
        if points.ndim != 3 or points.shape[1:] != (2, 2) or len(points) < 4:
            raise ValueError("points: a list of four or more [[x, y], [x, y]]")
        if not (np.abs(points) < _FARTHEST).all():  # NaN neither
            raise ValueError(f"points: coordinates are within {_FARTHEST:g} pixels")
    except (
        OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError, ValueError,
        OverflowError,
    ) as error:  # fmt: skip
        raise ConfigError(f"points {path}: cannot be used ({error})") from error
    thermal, optical = points[:, 0], points[:, 1]
    matrix, inliers = cv2.findHomography(thermal, optical, cv2.RANSAC, 3.0)
    if matrix is None:
        raise ConfigError(f"points {path}: they do not fix a homography; spread them out")
    try:
        homography = Homography(np.asarray(matrix, np.float64), sizes[0], sizes[1])
    except ConfigError as error:
        raise ConfigError(f"points {path}: {error}") from error
    moved = _move(thermal, homography.matrix)
    distance = np.linalg.norm(moved - optical, axis=1)[inliers.ravel() > 0]
    return Estimate(homography, float(np.median(distance)), float("nan"))


Edges = tuple[NDArray[np.float32], NDArray[np.float32]]
Grey = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Masks = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def _shrink(optical: NDArray[np.uint8], thermal: NDArray[Any]) -> Grey:
    """Return both images in grey and of the same small size.

    Differences of aspect are the homography's to find.
    """
    height = round(_WORK_WIDTH * thermal.shape[0] / thermal.shape[1])
    sources = cv2.cvtColor(optical, cv2.COLOR_RGB2GRAY), thermal_to_rgb(thermal)[..., 0]
    small = [
        cv2.resize(image, (_WORK_WIDTH, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
        for image in sources
    ]
    return small[0], small[1]


def _known(small: Sequence[Grey]) -> Masks:
    """Return which pixels show something.

    What is black in every image is what rectifying a camera leaves at the borders, and its outline
    is the strongest edge of all.
    """
    optical, thermal = (np.max([images[i] for images in small], 0) > _BLACK for i in (0, 1))
    return optical, thermal


def _strengths(images: Grey, known: Masks | None = None) -> Edges:
    """Return edge strengths of both images, which modalities share more than brightness."""
    strengths = []
    for index, image in enumerate(images):
        mask = np.ones(image.shape, np.uint8) if known is None else known[index].astype(np.uint8)
        smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
        dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
        far = cv2.erode(mask, np.ones((_FRINGE, _FRINGE)), borderValue=1).astype(np.float32)
        # Compressed, so that a few strong edges do not decide alone.
        strength = np.log1p(cv2.magnitude(dx, dy)) * far
        # Without the trend: that there is more to see at the horizon matches anywhere.
        weight = np.maximum(cv2.GaussianBlur(far, (0, 0), _TREND), 1e-3)
        local = (strength - cv2.GaussianBlur(strength, (0, 0), _TREND) / weight) * far
        strengths.append(local.astype(np.float32, copy=False))
    return strengths[0], strengths[1]


def draw_check(
    pairs: Iterable[tuple[NDArray[np.uint8], NDArray[Any]]], geometry: PixelMap
) -> NDArray[np.uint8]:
    """Draw pairs before (left) and after (right): optical edges in green over thermal ones in red.

    Where both meet they are yellow. Returns (H, W, 3) uint8 RGB.
    """
    rows = []
    for optical, thermal in pairs:
        size = (round(_WORK_WIDTH * thermal.shape[0] / thermal.shape[1]), _WORK_WIDTH)
        before = cv2.resize(optical, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
        after, _ = Registration(geometry).warp(optical, size)
        rows.append(np.hstack([_edge_picture(image, thermal) for image in (before, after)]))
    return np.vstack(rows)


def _edge_picture(optical: NDArray[np.uint8], thermal: NDArray[Any]) -> NDArray[np.uint8]:
    green, red = (
        np.clip(255 * edges / max(float(np.percentile(edges, 99)), 1e-6), 0, 255)
        for edges in _strengths(_shrink(optical, thermal))
    )
    return np.stack([red, green, np.zeros_like(red)], 2).astype(np.uint8)


def _fit(edges: list[Edges]) -> tuple[NDArray[np.float64], float]:
    """Return the homography of all pairs at their small size, and the edges' correlation.

    Raises:
        DataError: the fit runs away.
    """
    height, width = edges[0][0].shape
    source = _corners((height, width))
    target = source.copy()
    correlation = 0.0
    for blur, stride in _LEVELS:
        blurred = [tuple(cv2.GaussianBlur(e, (0, 0), blur) for e in pair) for pair in edges]
        for _ in range(_ITERATIONS):
            normal, right, correlation = _equations(blurred, stride, source, target)
            if not np.trace(normal) > 0:  # RGB without any edge fits everywhere
                raise _no_match()
            damping = 0.01 * np.trace(normal) / 8 * np.eye(8)
            step = np.linalg.solve(normal + damping, right).reshape(4, 2)
            target += np.clip(step, -4, 4)
            if np.abs(step).max() < _STEP_DONE:
                break
    return _matrix(source, target), correlation


def _equations(
    edges: list[Any], stride: int, source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the normal equations of one Gauss-Newton step and the mean correlation."""
    height, width = edges[0][0].shape
    maps = _sample(_matrix(source, target), (height, width), stride)
    inside = (maps[0] > 1) & (maps[1] > 1) & (maps[0] < width - 2) & (maps[1] < height - 2)
    if inside.mean() < _LEAST_OVERLAP:
        raise _no_match()
    moves = []
    for index in range(8):
        shifted = target.copy()
        shifted.flat[index] += 0.5
        moved = _sample(_matrix(source, shifted), (height, width), stride)
        moves.append([2 * (m - own)[inside] for m, own in zip(moved, maps, strict=True)])
    normal, right, correlations = np.zeros((8, 8)), np.zeros(8), []
    for optical, thermal in edges:
        slopes = [cv2.Sobel(optical, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1))]
        values, dx, dy = (
            cv2.remap(image, *maps, cv2.INTER_LINEAR)[inside] for image in (optical, *slopes)
        )
        own, scale = _normalized(values)
        wanted, _ = _normalized(thermal[::stride, ::stride][inside])
        jacobian = np.stack([dx * mx + dy * my for mx, my in moves], 1) / scale
        jacobian -= jacobian.mean(0)
        normal += jacobian.T @ jacobian
        right += jacobian.T @ (wanted - own)
        correlations.append(float(wanted @ own))
    return normal, right, float(np.mean(correlations))


def _no_match() -> DataError:
    return DataError(
        "the cameras' edges do not match; use pairs with more structure that both see, check that "
        "the cameras look the same way, or give points (--points)"
    )


def _sample(
    matrix: NDArray[np.float64], size: Size, stride: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where every `stride`-th pixel of a grid is taken from."""
    columns, rows = (np.ascontiguousarray(m[::stride, ::stride]) for m in map_grid(matrix, size))
    return columns, rows


def _normalized(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Return values of mean 0 and length 1, and what they were divided by."""
    centred = values.astype(np.float64) - values.mean()
    length = max(float(np.linalg.norm(centred)), 1e-9)
    return centred / length, length


def _matrix(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = cv2.getPerspectiveTransform(source.astype(np.float32), target.astype(np.float32))
    return np.asarray(matrix, np.float64)


def _size(image: NDArray[Any]) -> Size:
    return image.shape[0], image.shape[1]


def _corners(size: Size) -> NDArray[np.float64]:
    height, width = size
    return np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float64)


def _move(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply a homography to points (N, 2)."""
    moved = np.c_[points, np.ones(len(points))] @ matrix.T
    return moved[:, :2] / moved[:, 2:]
