import numpy as np
import pytest

from csknet_core.errors import ConfigError, ImageError
from csknet_core.runtime.preprocess import (
    ThermalNormalizer,
    ThermalSettings,
    resize_labels,
    resize_optical,
    resize_thermal,
)


def scene(low: float, high: float, shape=(240, 320)) -> np.ndarray:
    return np.linspace(low, high, shape[0] * shape[1]).reshape(shape)


def test_eight_bit_images_are_only_scaled():
    image = np.array([[0, 128, 255]], np.uint8)
    got = ThermalNormalizer(ThermalSettings())(image)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[0, 128 / 255, 1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (28000, 31000, np.uint16),
        (280, 310, np.float32),
        (7, 37, np.float32),
        (900, 4000, np.uint16),
    ],
)
def test_every_unit_gives_the_same_picture(low, high, dtype):
    got = ThermalNormalizer(ThermalSettings())(scene(low, high).astype(dtype))
    assert got.min() == 0
    assert got.max() == 1
    np.testing.assert_allclose(got, scene(0, 1), atol=0.03)


def test_dead_pixels_and_nan_do_not_move_the_range():
    clean = scene(280, 310).astype(np.float32)
    dirty = clean.copy()
    dirty[::7, ::5] = np.nan
    dirty[4, 8] = np.inf
    normal = ThermalNormalizer(ThermalSettings())(clean)
    got = ThermalNormalizer(ThermalSettings())(dirty)
    assert np.isfinite(got).all()
    assert (got[::7, ::5] == 0).all()
    live = np.isfinite(dirty)
    np.testing.assert_allclose(got[live], normal[live], atol=0.02)
    raw = scene(28000, 31000).astype(np.uint16)
    raw[:6] = 0
    assert np.median(ThermalNormalizer(ThermalSettings())(raw)[8:]) > 0.4


def test_telemetry_rows_neither_move_the_range_nor_are_shown():
    image = scene(28000, 31000).astype(np.uint16)
    image[-2:] = 65535
    got = ThermalNormalizer(ThermalSettings(telemetry_rows=2))(image)
    assert (got[-2:] == 0).all()
    assert got[:-2].mean() > 0.4


def test_telemetry_rows_may_be_at_the_top():
    image = scene(28000, 31000).astype(np.uint16)
    image[:2] = 65535
    normalizer = ThermalNormalizer(ThermalSettings(telemetry_rows=2, telemetry_location="header"))
    got = normalizer(image)
    assert (got[:2] == 0).all()
    below = ThermalNormalizer(ThermalSettings())(image[2:])
    np.testing.assert_allclose(got[2:], below)
    assert np.shares_memory(normalizer.without_telemetry(image), image)
    assert np.array_equal(normalizer.without_telemetry(image), image[2:])


def test_a_flat_scene_is_not_stretched_to_noise():
    rng = np.random.default_rng(0)
    image = (29315 + rng.integers(-3, 4, (48, 64))).astype(np.uint16)
    got = ThermalNormalizer(ThermalSettings())(image)
    assert got.std() < 0.02
    assert abs(float(got.mean()) - 0.5) < 0.05


def test_the_range_drifts_slowly_and_jumps_at_once():
    normalizer = ThermalNormalizer(ThermalSettings(smoothing=0.9))
    normalizer(scene(28000, 31000).astype(np.uint16))
    drifted = normalizer(scene(28300, 31300).astype(np.uint16))
    assert 0.08 < drifted[0, 0] < 0.1
    jumped = normalizer(scene(20000, 23000).astype(np.uint16))
    assert jumped[0, 0] == 0
    assert jumped[-1, -1] == 1
    normalizer.reset()
    assert normalizer(scene(28300, 31300).astype(np.uint16))[0, 0] == 0


def test_a_fixed_range_ignores_the_scene():
    normalizer = ThermalNormalizer(ThermalSettings("fixed", 27315, 32315))
    got = normalizer(np.array([[29815, 20000, 40000]], np.uint16))
    np.testing.assert_allclose(got, [[0.5, 0, 1]])


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((4, 4), np.nan, np.float32), "no live pixel"),
        (np.zeros((4, 4), np.uint16), "no live pixel"),
        (np.zeros((0, 4), np.uint16), "must be"),
        (np.zeros((4, 4, 3), np.uint8), "must be"),
        (np.zeros((4, 4), np.float64), "float64"),
    ],
)
def test_images_that_cannot_be_used_say_why(image, words):
    with pytest.raises(ImageError, match=words):
        ThermalNormalizer(ThermalSettings())(image)


def test_more_telemetry_than_rows_is_an_error():
    with pytest.raises(ImageError, match="telemetry_rows"):
        ThermalNormalizer(ThermalSettings(telemetry_rows=4))(np.ones((4, 4), np.uint16))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "linear"},
        {"minimum": 5.0, "maximum": 5.0},
        {"low_percentile": 99.0},
        {"smoothing": 1.0},
        {"telemetry_rows": -1},
        {"telemetry_location": "left"},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="thermal"):
        ThermalSettings(**wrong)


def test_resizing_keeps_type_and_labels_keep_their_ids():
    optical = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    assert resize_optical(optical, (24, 32)).shape == (24, 32, 3)
    assert resize_optical(optical, (48, 64)) is optical
    assert resize_thermal(np.ones((48, 64), np.float32), (96, 128)).dtype == np.float32
    labels = np.random.default_rng(1).choice(np.array([0, 3, 255], np.uint8), (48, 64))
    bigger = resize_labels(labels, (480, 640))
    assert set(np.unique(bigger)) == {0, 3, 255}
    assert np.array_equal(bigger[5::10, 5::10], labels)


def test_an_optical_image_of_another_form_is_refused():
    with pytest.raises(ImageError, match=r"\(H, W, 3\) uint8"):
        resize_optical(np.zeros((4, 4), np.uint8), (2, 2))


def test_few_live_pixels_between_the_samples_give_the_range():
    image = np.zeros((16, 16), np.uint16)
    image[::4, ::4] = 29000 + np.arange(16, dtype=np.uint16).reshape(4, 4) * 100
    got = ThermalNormalizer(ThermalSettings())(image)
    assert got[0, 0] < 0.05
    assert got[12, 12] > 0.95
