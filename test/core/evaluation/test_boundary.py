import math

import numpy as np
import pytest

from csknet_core.evaluation.boundary import BoundaryIoU, band


def square(top: int, left: int, side: int) -> np.ndarray:
    labels = np.zeros((120, 160), np.uint8)  # diagonal 200, so the band is 4 pixels wide
    labels[top : top + side, left : left + side] = 1
    return labels


def test_the_band_is_the_rim_of_the_mask_and_follows_the_image_border():
    mask = square(0, 0, 20) == 1
    rim = band(mask, 4)
    assert rim.sum() == 20 * 20 - 12 * 12
    assert rim[0, 10]
    assert not rim[10, 10]


def test_a_shifted_square_by_hand():
    boundary = BoundaryIoU(2)
    boundary.update(square(40, 42, 20), square(40, 40, 20))
    rims = [band(square(40, left, 20) == 1, 4) for left in (42, 40)]
    both, either = (rims[0] & rims[1]).sum(), (rims[0] | rims[1]).sum()
    assert boundary.iou()[1] == pytest.approx(both / either)
    assert both / either < 18 / 22  # outlines fit worse than areas do


def test_a_perfect_answer_is_one_and_absent_classes_are_left_out():
    boundary = BoundaryIoU(4)
    boundary.update(square(10, 10, 30), square(10, 10, 30))
    assert boundary.iou()[:2].tolist() == [1, 1]
    assert np.isnan(boundary.iou()[2:]).all()
    assert boundary.miou() == 1
    assert math.isnan(BoundaryIoU(4).miou())


def test_unlabelled_pixels_do_not_count():
    boundary, truth = BoundaryIoU(2), square(40, 40, 20)
    truth[:, 80:] = 255
    answer = truth.copy()
    answer[50:90, 100:150] = 1
    answer[answer == 255] = 0
    boundary.update(answer, truth)
    assert boundary.iou()[1] == 1
