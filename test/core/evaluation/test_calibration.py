import math

import numpy as np
import pytest

from csknet_core.evaluation.calibration import Calibration


def maps(*rows):
    return [np.array([row], np.uint8) for row in rows]


def test_the_error_by_hand():
    calibration = Calibration()
    # Two pixels at 0.8 of which one is right, two at 0.4 of which one is right; one is unlabelled.
    calibration.update(*maps([1, 1, 2, 2, 1], [204, 204, 102, 102, 255], [1, 0, 2, 0, 255]))
    assert calibration.error() == pytest.approx(0.5 * 0.3 + 0.5 * 0.1)


def test_errors_of_one_bin_cancel_and_those_of_two_do_not():
    one, two = Calibration(), Calibration()
    one.update(*maps([1, 1], [127, 128], [1, 0]))
    assert one.error(bins=1) == pytest.approx(0, abs=1e-9)
    two.update(*maps([1, 1], [51, 204], [1, 0]))
    assert two.error(bins=1) == pytest.approx(0, abs=1e-9)
    assert two.error(bins=2) == pytest.approx(0.8)


def test_a_level_on_the_edge_of_two_bins_is_in_the_upper_one():
    calibration = Calibration()
    calibration.update(*maps([1, 1, 1], [50, 51, 255], [1, 1, 1]))  # 51 / 255 = 3 / 15
    share, _, accuracy = calibration.curve()
    assert np.flatnonzero(share).tolist() == [2, 3, 14]
    assert np.isnan(accuracy[0])


def test_background_counts_and_a_pixel_without_an_answer_is_wrong():
    calibration = Calibration()
    calibration.update(*maps([0, 255], [255, 255], [0, 0]))
    assert calibration.error() == pytest.approx(0.5)


def test_label_maps_add_up():
    whole, parts = Calibration(), Calibration()
    rng = np.random.default_rng(0)
    predicted, confidence, true = rng.integers(0, 200, (3, 8, 9), np.uint8)
    whole.update(predicted, confidence, true % 3)
    for row in range(8):
        parts.update(predicted[row], confidence[row], true[row] % 3)
    assert parts.error() == whole.error()


def test_a_calibrated_answer_has_no_error_and_its_curve_is_the_diagonal():
    rng = np.random.default_rng(1)
    confidence = rng.integers(0, 256, 400_000, np.uint8)
    right = rng.random(400_000) < confidence / 255
    calibration = Calibration()
    calibration.update(np.ones_like(confidence), confidence, right.astype(np.uint8))
    share, mean, accuracy = calibration.curve()
    assert calibration.error() < 0.01
    assert share.sum() == pytest.approx(1)
    assert np.abs(mean - accuracy).max() < 0.02


def test_nothing_labelled_is_nan():
    calibration = Calibration()
    calibration.update(*maps([1], [200], [255]))
    assert math.isnan(calibration.error())
