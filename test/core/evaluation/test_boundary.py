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


@pytest.mark.parametrize("below", [0, 1])
def test_whatever_is_answered_where_nothing_is_labelled_costs_nothing(below):
    boundary, answer = BoundaryIoU(2), square(40, 40, 60)
    truth = answer.copy()
    truth[:, 80:] = 255
    answer[:, 80:] = below
    boundary.update(answer, truth)
    assert boundary.iou().tolist() == [1, 1]


def test_rims_of_one_pixel_by_hand():
    # A 30 x 40 image has a diagonal of 50 and a band of 1 pixel: the rims of squares of side 6 and
    # 4 about the same centre do not touch.
    boundary = BoundaryIoU(2)
    maps = [np.zeros((30, 40), np.uint8) for _ in range(2)]
    maps[0][10:16, 10:16] = maps[1][11:15, 11:15] = 1
    boundary.update(*maps)
    assert boundary.iou()[1] == 0
    boundary.update(maps[1], maps[1])  # 12 pixels of rim, all alike
    assert boundary.iou()[1] == pytest.approx(12 / (20 + 12 + 12))
