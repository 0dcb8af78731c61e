"""Paired bootstrap on matrices made by hand."""

import numpy as np
import pytest

from csknet_core.classes import MFNET
from csknet_core.evaluation.metrics import ConfusionMatrix
from csknet_ros.replay.compare import bootstrap, compare
from csknet_ros.replay.result import BagResult, Frame


def matrix(hits, misses):
    """Two classes; `misses` pixels of class 1 are called 0."""
    counts = np.zeros((2, 3), np.int64)
    counts[0, 0], counts[1, 1], counts[1, 0] = 100, hits, misses
    return counts


def result(run, accuracies):
    frames = []
    for index, accuracy in enumerate(accuracies):
        one = ConfusionMatrix(len(MFNET))
        one.counts[0, 0], one.counts[1, 1], one.counts[1, 0] = 100, accuracy, 100 - accuracy
        frames.append(Frame(index / 10, index, "thermal", "fused", "ok", matrix=one))
    return BagResult(run, "bag", MFNET, frames=frames, complete=True)


def test_a_run_that_is_better_everywhere_has_an_interval_above_zero():
    rng = np.random.default_rng(1)
    theirs = rng.integers(40, 60, 60)
    (comparison,) = compare([result("old", theirs), result("new", theirs + 10)])
    assert comparison.frames == 60
    assert comparison.low > 0.02
    assert comparison.low < comparison.difference < comparison.high
    total = theirs.sum()
    iou = np.array([6000 / (6000 + 6000 - total), total / 6000])
    assert comparison.reference_miou == pytest.approx(iou.mean())


def test_the_same_run_twice_has_no_difference():
    accuracies = list(range(30, 60))
    (comparison,) = compare([result("a", accuracies), result("b", accuracies)])
    assert (comparison.low, comparison.difference, comparison.high) == (0, 0, 0)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        theirs = rng.binomial(100, 0.5, 80)
        ours = rng.binomial(100, 0.5, 80)
        low, high = bootstrap(
            np.stack([matrix(n, 100 - n) for n in ours]),
            np.stack([matrix(n, 100 - n) for n in theirs]), seed,
        )  # fmt: skip
        covered += low <= 0 <= high
    assert 50 <= covered <= 60


def test_only_frames_both_have_scored_count():
    old, new = result("old", [50] * 10), result("new", [50] * 10)
    for frame in new.frames[5:]:
        frame.matrix = None
    assert compare([old, new])[0].frames == 5
    new.frames[:5] = []
    assert compare([old, new]) == []
