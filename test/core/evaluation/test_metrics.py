import math

import numpy as np
import pytest

from csknet_core.errors import DataError
from csknet_core.evaluation.metrics import ConfusionMatrix

TRUE = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)


def test_iou_by_hand():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([[0, 1, 1], [1, 0, 3]], np.uint8), TRUE)
    iou = matrix.iou()
    assert iou[:3].tolist() == [1 / 3, 2 / 3, 0]
    assert math.isnan(iou[3])
    assert matrix.miou() == pytest.approx(1 / 3)


def test_areas_are_added_before_dividing():
    matrix = ConfusionMatrix(2)
    matrix.update(np.zeros((1, 3), np.uint8), np.zeros((1, 3), np.uint8))
    matrix.update(np.zeros((1, 1), np.uint8), np.ones((1, 1), np.uint8))
    assert matrix.iou().tolist() == [3 / 4, 0]


def test_an_unanswered_pixel_costs_its_class():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([[255, 0]], np.uint8), np.array([[0, 0]], np.uint8))
    assert matrix.iou()[0] == 0.5


def test_nothing_to_score_is_nan():
    matrix = ConfusionMatrix(3)
    for value in (matrix.miou(), matrix.miou_of_table(), matrix.mean_accuracy()):
        assert math.isnan(value)


def test_a_class_only_predicted_is_0_in_the_table_and_left_out_of_the_present_ones():
    matrix = ConfusionMatrix(4)  # class 2 is only predicted, class 3 is neither
    matrix.update(np.array([[0, 0, 1, 2]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8))
    assert matrix.miou() == pytest.approx((1 + 1 / 2) / 2)
    assert matrix.miou_of_table() == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_shares_and_accuracy_by_hand():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 1, 255, 1]], np.uint8), np.array([[0, 0, 0, 1]], np.uint8))
    assert matrix.shares()[0].tolist() == pytest.approx([1 / 3, 1 / 3, 0])
    assert np.isnan(matrix.shares()[2]).all()
    assert matrix.accuracy()[:2].tolist() == pytest.approx([1 / 3, 1])
    assert matrix.mean_accuracy() == pytest.approx(2 / 3)


def test_mismatched_shapes_and_ids_are_refused():
    matrix = ConfusionMatrix(2)
    with pytest.raises(DataError, match="ground truth"):
        matrix.update(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
    with pytest.raises(DataError, match="id 7"):
        matrix.update(np.zeros((1, 1), np.uint8), np.full((1, 1), 7, np.uint8))


def test_agrees_with_torchmetrics_on_random_maps():
    torchmetrics = pytest.importorskip("torchmetrics")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 5, (2, 40, 50), np.uint8)
    matrix = ConfusionMatrix(5)
    matrix.update(predicted, true)
    reference = torchmetrics.JaccardIndex(task="multiclass", num_classes=5)
    assert matrix.miou() == pytest.approx(
        float(reference(torch.from_numpy(predicted), torch.from_numpy(true))), abs=1e-6
    )
