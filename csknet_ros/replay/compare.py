"""Is one run better than another on the same frames? Paired bootstrap of the mIoU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csknet_ros.replay.result import BagResult, Frame

_RESAMPLES = 1000
_BLOCK = 5
"""Frames that follow one another are alike; they are drawn together."""


@dataclass(frozen=True)
class Comparison:
    """mIoU of a run minus that of the reference, on frames both have scored.

    Attributes:
        run, reference: names.
        frames: how many both have.
        miou, reference_miou: of those frames.
        low, high: 95 % interval of the difference.
    """

    run: str
    reference: str
    frames: int
    miou: float
    reference_miou: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """The run's mIoU minus the reference's."""
        return self.miou - self.reference_miou

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        values = {**vars(self), "difference": self.difference}
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()}


def compare(results: list[BagResult], seed: int = 0) -> list[Comparison]:
    """Compare every run with the first one.

    Args:
        results: of any number of runs on the same bags.
        seed: of the resampling.

    Returns:
        One comparison for every further run that has frames with truth in common with the first.
    """
    runs = list(dict.fromkeys(result.run for result in results))
    scored = {run: _scored(results, run) for run in runs}
    comparisons = []
    for run in runs[1:]:
        keys = [key for key in scored[runs[0]] if key in scored[run]]
        if not keys:
            continue
        ours, theirs = (
            np.stack([_matrix(scored[name][key]) for key in keys]) for name in (run, runs[0])
        )
        low, high = bootstrap(ours, theirs, seed)
        everything = np.ones((1, len(keys)))
        comparisons.append(
            Comparison(
                run,
                runs[0],
                len(keys),
                float(_mious(ours, everything)[0]),
                float(_mious(theirs, everything)[0]),
                low,
                high,
            )
        )
    return comparisons


def bootstrap(ours: NDArray[np.int64], theirs: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two mIoU.

    Blocks of consecutive frames are drawn with replacement, the same ones for both (Efron 1979;
    blocks as Kuensch 1989).

    Args:
        ours: (N, C, C + 1) confusion counts.
        theirs: those of the same N frames.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    count = len(ours)
    block = max(1, min(_BLOCK, count // 4))
    starts = rng.integers(0, count, (_RESAMPLES, -(-count // block)))
    picks = ((starts[..., None] + np.arange(block)) % count).reshape(_RESAMPLES, -1)[:, :count]
    weights = np.zeros((_RESAMPLES, count))
    np.add.at(weights, (np.arange(_RESAMPLES)[:, None], picks), 1)
    differences = _mious(ours, weights) - _mious(theirs, weights)
    low, high = np.nanpercentile(differences, (2.5, 97.5))
    return float(low), float(high)


def _mious(matrices: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mIoU (R,) over the classes present, of weighted sums of matrices."""
    shape = matrices.shape[1:]
    sums = (weights @ matrices.reshape(len(matrices), -1)).reshape(-1, *shape)
    hits = np.diagonal(sums, axis1=1, axis2=2)
    true = sums.sum(2)
    union = true + sums[..., :-1].sum(1) - hits
    ious = np.where(true > 0, hits / np.maximum(union, 1), np.nan)
    present = np.maximum((true > 0).sum(1), 1)
    return np.asarray(np.nansum(ious, axis=1) / present)


def _scored(results: list[BagResult], run: str) -> dict[tuple[int, int], Frame]:
    bags = [result for result in results if result.run == run]
    return {
        (index, frame.stamp_ns): frame
        for index, result in enumerate(bags)
        for frame in result.frames
        if frame.matrix is not None
    }


def _matrix(frame: Frame) -> NDArray[np.int64]:
    """Return confusion counts with a last column of pixels that were not answered."""
    assert frame.matrix is not None
    return np.concatenate([frame.matrix.counts, frame.matrix.unanswered[:, None]], axis=1)
