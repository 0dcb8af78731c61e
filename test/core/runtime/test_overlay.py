import numpy as np

from csknet_core.classes import MFNET
from csknet_core.runtime.overlay import colorize, draw_legend, draw_overlay, thermal_to_rgb

LABELS = np.zeros((32, 48), np.uint8)
LABELS[8:16, 8:16] = MFNET.id_of("person")
LABELS[20:24, 20:24] = 255
CAMERA = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)


def test_colours_are_the_tables():
    assert colorize(LABELS, MFNET)[10, 10].tolist() == [234, 51, 35]


def test_only_classes_are_coloured_and_the_camera_image_is_left_alone():
    before = CAMERA.copy()
    overlay = draw_overlay(CAMERA, LABELS, MFNET)
    changed = (overlay != CAMERA).any(2)
    assert changed[8:16, 8:16].all()
    assert not changed[MFNET.id_of("person") != LABELS].any()
    assert np.array_equal(CAMERA, before)


def test_thermal_backgrounds_of_any_type_and_size_work():
    for image in (
        np.linspace(280, 310, 24 * 32, dtype=np.float32).reshape(24, 32),
        np.full((24, 32), np.nan, np.float32),
        np.full((24, 32), 29315, np.uint16),
    ):
        assert draw_overlay(image, LABELS, MFNET).shape == (32, 48, 3)


def test_a_banner_changes_only_the_top():
    plain = draw_overlay(CAMERA, LABELS, MFNET)
    titled = draw_overlay(CAMERA, LABELS, MFNET, banner="fused")
    assert (plain != titled).any()
    assert np.array_equal(plain[24:], titled[24:])


def test_thermal_pictures_span_black_to_white():
    grey = thermal_to_rgb(np.linspace(280, 310, 400, dtype=np.float32).reshape(20, 20))
    assert (grey.min(), grey.max()) == (0, 255)
    eight = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(thermal_to_rgb(eight)[..., 1], eight)


def test_the_legend_has_a_visible_row_for_every_class():
    legend = draw_legend(MFNET)
    assert legend.shape == (22 * 8, 160, 3)
    swatches = legend[11::22, 15]
    assert (swatches.max(1) >= 96).all()
    assert len({tuple(color) for color in swatches.tolist()}) == 8
