"""Paired augmentation: what moves, what changes and what stays."""

import cv2
import numpy as np
import pytest

from csknet_core.data.transforms import (
    AugmentSettings,
    Sample,
    augment,
    draw_tone_curve,
    jitter_optical,
    rescale,
)

RNG = np.random.default_rng(0)


def marked_sample() -> Sample:
    """Optical, thermal and labels all show where each pixel came from."""
    labels = np.zeros((96, 128), np.uint8)
    labels[30:60, 40:90] = 3
    thermal = (labels > 0).astype(np.float32)
    optical = np.repeat(thermal[..., None] * 255, 3, 2).astype(np.uint8)
    return Sample(optical, thermal, labels)


def test_one_geometric_transform_moves_images_and_labels_together():
    settings = AugmentSettings((64, 64), (0.7, 1.5), photometric=0, night=0, misregister=0)
    for seed in range(20):
        got = augment(marked_sample(), settings, np.random.default_rng(seed))
        assert got.labels.shape == got.thermal.shape == got.optical.shape[:2] == (64, 64)
        inside = cv2.erode((got.labels == 3).astype(np.uint8), np.ones((5, 5))) > 0
        outside = cv2.dilate((got.labels == 3).astype(np.uint8), np.ones((5, 5))) == 0
        assert (got.thermal[inside] > 0.8).all()
        assert (got.thermal[outside] < 0.2).all()
        assert (got.optical[inside] > 200).all()


@pytest.mark.parametrize("factor", [0.55, 0.71, 1.3])
def test_resized_labels_stay_where_the_images_are(factor):
    """Where they differ, labels are neither before nor behind the images, on the whole."""
    settings = AugmentSettings(
        (32, 32), (factor, factor), rare_crop=0, flip=0, photometric=0, night=0, misregister=0
    )
    labels = RNG.integers(0, 2, (24, 32)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    sample = Sample(np.repeat(labels[..., None] * 255, 3, 2), labels.astype(np.float32), labels)
    resized = rescale(sample, settings, RNG)
    rows, columns = np.gradient(resized.thermal)
    apart = resized.thermal - resized.labels
    for slope in (rows, columns):
        assert abs((slope * apart).sum() / (slope**2).sum()) < 0.15


def test_rare_crops_contain_the_class():
    settings = AugmentSettings((32, 32), (1.0, 1.0), rare_crop=1.0)
    sample = marked_sample()
    sample.labels[30:60, 40:90] = 0
    sample.labels[5, 120] = 7
    for seed in range(10):
        assert 7 in augment(sample, settings, np.random.default_rng(seed)).labels


def test_photometric_steps_stay_in_range_and_leave_labels_alone():
    settings = AugmentSettings((96, 128), (1.0, 1.0), rare_crop=0, flip=0, photometric=1, night=1)
    sample = Sample(
        RNG.integers(0, 256, (96, 128, 3), np.uint8),
        RNG.random((96, 128), np.float32),
        RNG.integers(0, 9, (96, 128), np.uint8),
    )
    got = augment(sample, settings, np.random.default_rng(0))
    assert np.array_equal(got.labels, sample.labels)
    assert got.thermal.dtype == np.float32
    assert got.thermal.min() >= 0
    assert got.thermal.max() <= 1
    assert got.optical.mean() < 0.8 * sample.optical.mean()


@pytest.mark.parametrize("tone_curve", [False, True])
def test_thermal_images_change_by_themselves_and_stay_in_range(tone_curve):
    settings = AugmentSettings(
        (96, 128), (1.0, 1.0), rare_crop=0, flip=0, photometric=1, tone_curve=tone_curve
    )
    thermal = RNG.uniform(0.2, 0.5, (96, 128)).astype(np.float32)
    sample = Sample(np.full((96, 128, 3), 90, np.uint8), thermal, np.zeros((96, 128), np.uint8))
    got = [augment(sample, settings, np.random.default_rng(seed)) for seed in range(10)]
    for one in got:
        assert one.thermal.dtype == np.float32
        assert one.thermal.shape == (96, 128)
        assert 0 <= one.thermal.min() <= one.thermal.max() <= 1
        assert (one.labels == 0).all()
    assert len({float(one.thermal.mean()) for one in got}) == 10


@pytest.mark.parametrize("seed", range(8))
def test_a_tone_curve_rises_over_all_greys(seed):
    """What is hotter stays hotter; a curve that fell anywhere would teach the opposite."""
    image = np.linspace(0, 1, 96 * 128, dtype=np.float32).reshape(96, 128)
    assert (np.diff(draw_tone_curve(image, np.random.default_rng(seed)).ravel()) > 0).all()


def test_tone_curves_bend_within_the_few_greys_of_a_cold_night():
    """A curve over all of 0..1 would be straight within them."""
    image = np.linspace(0.28, 0.33, 96 * 128, dtype=np.float32).reshape(96, 128)
    bent = []
    for seed in range(20):
        drawn = draw_tone_curve(image, np.random.default_rng(seed)).ravel()
        shares = (drawn - drawn[0]) / (drawn[-1] - drawn[0])
        bent.append(np.abs(shares - np.linspace(0, 1, len(shares))).max())
    assert np.median(bent) > 0.05


def test_an_even_thermal_image_has_a_tone_too():
    even = np.full((32, 32), 0.4, np.float32)
    drawn = draw_tone_curve(even, np.random.default_rng(0))
    assert np.isfinite(drawn).all()
    assert len(np.unique(drawn)) == 1


def test_optical_jitter_changes_exposure_saturation_and_balance_alike_for_all_pixels():
    """Grey pixels of one level get one colour; between 0 and 255 brighter ones stay brighter."""
    levels = np.repeat(np.arange(40, 120, 10, dtype=np.uint8), 16).reshape(8, 16)
    image = np.repeat(levels[..., None], 3, 2)
    drawn = []
    for seed in (0, 1, 2, 5):
        got = jitter_optical(image, np.random.default_rng(seed))
        if np.ptp(got[0].astype(int), axis=0).max() > 0:
            continue  # blurred
        assert (np.diff(got[:, 0].astype(int), axis=0) >= 0).all()
        drawn.append(got[0, 0].tolist())
    assert len(drawn) > 1
    assert any(len(set(colour)) > 1 for colour in drawn)  # white balance
