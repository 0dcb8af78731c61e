"""Paired augmentation: what moves, what changes and what stays."""

import cv2
import numpy as np
import pytest

from csknet_core.data.transforms import (
    AugmentSettings,
    Sample,
    augment,
    draw_gain,
    draw_tone_curve,
    jitter_optical,
    rescale,
    spoil_thermal,
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


@pytest.mark.parametrize("change", [draw_gain, draw_tone_curve])
def test_thermal_images_get_another_level_and_range(change):
    image = RNG.uniform(0.3, 0.5, (96, 128)).astype(np.float32)
    drawn = [change(image, np.random.default_rng(seed)) for seed in range(20)]
    assert np.ptp([one.mean() for one in drawn]) > 0.1
    assert np.ptp([np.ptp(one) for one in drawn]) > 0.05
    assert all(one.dtype == np.float32 for one in drawn)


def test_thermal_noise_stays_in_range():
    even = np.full((64, 64), 0.99, np.float32)
    spoilt = [spoil_thermal(even, np.random.default_rng(seed)) for seed in range(5)]
    assert min(len(np.unique(one)) for one in spoilt) > 10
    assert max(float(one.max()) for one in spoilt) <= 1
    assert all(one.dtype == np.float32 for one in spoilt)


@pytest.mark.parametrize("seed", range(8))
def test_a_tone_curve_rises_over_all_greys(seed):
    """What is hotter stays hotter, also the few pixels that are far hotter than the rest."""
    image = np.linspace(0.3, 0.4, 96 * 128, dtype=np.float32).reshape(96, 128)
    image[:4, :4] = np.linspace(0, 1, 16).reshape(4, 4)
    drawn = draw_tone_curve(image, np.random.default_rng(seed))
    order = np.argsort(image.ravel(), kind="stable")
    assert (np.diff(drawn.ravel()[order])[np.diff(image.ravel()[order]) > 0] > 0).all()


@pytest.mark.parametrize(("tone_curve", "bends"), [(False, False), (True, True)])
def test_tone_curves_bend_within_the_few_greys_of_a_cold_night(monkeypatch, tone_curve, bends):
    """A curve over all of 0..1, such as gamma, is straight within them."""
    monkeypatch.setattr("csknet_core.data.transforms.spoil_thermal", lambda image, rng: image)
    settings = AugmentSettings(
        (96, 128), (1.0, 1.0), rare_crop=0, flip=0, photometric=1, tone_curve=tone_curve
    )
    thermal = np.linspace(0.28, 0.33, 96 * 128, dtype=np.float32).reshape(96, 128)
    sample = Sample(np.full((96, 128, 3), 90, np.uint8), thermal, np.zeros((96, 128), np.uint8))
    bent = []
    for seed in range(20):
        drawn = augment(sample, settings, np.random.default_rng(seed)).thermal.ravel()
        shares = (drawn - drawn[0]) / (drawn[-1] - drawn[0])
        bent.append(np.abs(shares - np.linspace(0, 1, len(shares))).max())
    assert (np.median(bent) > 0.05) == bends


def test_an_even_thermal_image_has_a_tone_too():
    even = np.full((32, 32), 0.4, np.float32)
    drawn = draw_tone_curve(even, np.random.default_rng(0))
    assert np.isfinite(drawn).all()
    assert len(np.unique(drawn)) == 1


def jitter_step_by_step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each change after the other, as the words say."""
    values = image.astype(np.float64) * (rng.uniform(0.6, 1.5) / 255)  # brightness
    values *= rng.uniform(0.88, 1.14, 3)  # white balance
    grey = values.mean(2, keepdims=True)
    values = grey + (values - grey) * rng.uniform(0.4, 1.5)  # saturation
    values = values.mean() + (values - values.mean()) * rng.uniform(0.7, 1.3)  # contrast
    values = np.clip(values, 0, 1) ** rng.uniform(0.75, 1.35)  # gamma
    if rng.random() < 0.3:
        values = cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.5, 1.6)))
    return values * 255


@pytest.mark.parametrize("seed", range(6))
def test_colours_change_in_one_pass_as_they_do_step_by_step(seed):
    image = RNG.integers(0, 256, (48, 64, 3), np.uint8)
    got = jitter_optical(image, np.random.default_rng(seed))
    expected = jitter_step_by_step(image, np.random.default_rng(seed))
    assert np.abs(got + 0.5 - expected).max() < 0.51
