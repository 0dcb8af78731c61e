import cv2
import numpy as np
import pytest
from support.engines import PERSON, ThresholdEngine
from support.engines import SIZE as NETWORK

from csknet_core.data.datasets import read_optical, read_thermal
from csknet_core.data.synthetic import random_frame
from csknet_core.errors import ConfigError, DataError, ImageError, NoUsableModalityError
from csknet_core.modality import Modality, Mode
from csknet_core.runtime.policy import ModalityPolicy
from csknet_core.runtime.preprocess import ThermalNormalizer, ThermalSettings
from csknet_core.runtime.register import draw_check, estimate_from_pairs, estimate_from_points
from csknet_core.runtime.registration import (
    Homography,
    Registration,
    RegistrationSettings,
    load_pixel_map,
)
from csknet_core.runtime.segmenter import Segmenter

SIZE = (96, 128)
SHIFT = np.array([[1, 0, 10], [0, 1, -6], [0, 0, 1]], np.float64)
TILT = np.array([[1.05, 0.03, 4], [-0.02, 0.97, 3], [1e-4, -5e-5, 1]], np.float64)


def texture(size=SIZE, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2.0)


def test_a_shift_by_whole_pixels_is_exact_and_says_what_is_seen():
    image = texture()
    warped, inside = Registration(Homography(SHIFT, SIZE, SIZE)).warp(image, SIZE)
    assert np.array_equal(warped[6:, :-10], image[:-6, 10:])
    assert inside[6:, :-10].all()
    assert not inside[:6].any()
    assert not inside[:, -10:].any()
    assert (warped[~inside] == 0).all()


def test_a_homography_holds_at_every_size():
    """Pixel centres: half a pixel is lost between sizes if scaling is about the corner."""
    homography = Homography(TILT, SIZE, (192, 256))
    matrix = homography.between((48, 64), (96, 128))
    for x, y in ((0, 0), (63, 0), (20, 40)):
        thermal = np.array([(x + 0.5) * 2 - 0.5, (y + 0.5) * 2 - 0.5, 1])
        full = TILT @ thermal
        expected = (full[:2] / full[2] + 0.5) / 2 - 0.5
        got = matrix @ [x, y, 1]
        assert got[:2] / got[2] == pytest.approx(expected)


def test_a_larger_optical_image_is_averaged_not_sampled():
    stripes = np.zeros((SIZE[0] * 4, SIZE[1] * 4, 3), np.uint8)
    stripes[:, ::4] = 240
    homography = Homography(np.diag([4.0, 4.0, 1.0]), SIZE, stripes.shape[:2])
    warped, _ = Registration(homography).warp(stripes, SIZE)
    assert abs(float(warped[10:-10, 10:-10].mean()) - 60) < 3
    assert warped[10:-10, 10:-10].std() < 3


def test_an_image_of_another_aspect_is_refused():
    registration = Registration(Homography(SHIFT, SIZE, SIZE))
    with pytest.raises(ImageError, match="register the cameras again"):
        registration.warp(texture((128, 128)), SIZE)


def test_images_of_either_camera_are_checked_against_its_own_size():
    wide = (SIZE[0] // 2, SIZE[1])
    registration = Registration(Homography(SHIFT, SIZE, wide))
    double = (2 * wide[0], 2 * wide[1])
    registration.check(Modality.THERMAL, SIZE)
    registration.check(Modality.OPTICAL, double)  # more pixels, the same picture
    with pytest.raises(ImageError, match="thermal image is"):
        registration.check(Modality.THERMAL, wide)
    with pytest.raises(ImageError, match="optical image is"):
        registration.check(Modality.OPTICAL, SIZE)


def test_a_saved_homography_is_read_back(tmp_path):
    path = tmp_path / "deep" / "cameras.yaml"
    Homography(TILT, SIZE, (192, 256)).save(path)
    again = Registration.load(RegistrationSettings(str(path), outside="unknown"))
    assert np.array_equal(again.geometry.matrix, TILT)
    assert again.geometry.optical_size == (192, 256)
    assert again.outside == "unknown"
    assert Registration.load(RegistrationSettings()) is None


@pytest.mark.parametrize(
    "text",
    ["[", "a: 1", "thermal_size: [1, 2]\noptical_size: [1, 2]\nthermal_to_optical: [[1]]",
     "thermal_size: [1.5, 2]\noptical_size: [1, 2]\nthermal_to_optical: [[1,0,0],[0,1,0],[0,0,1]]",
     "thermal_size: [1, 2]\noptical_size: [1, 2]\nthermal_to_optical: [[0,0,0],[0,0,0],[0,0,0]]"],
)  # fmt: skip
def test_a_file_that_is_no_homography_names_itself(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_pixel_map(path)


class SeesOptical(ThresholdEngine):
    """Fused: people where RGB is bright; thermal-only: people everywhere."""

    def run(self, mode, optical, thermal):
        self.modes.append(mode)
        labels = np.full(NETWORK, PERSON, np.uint8)
        if mode is not Mode.THERMAL_ONLY:
            labels = np.where(optical.mean(2) > 128, PERSON, 0).astype(np.uint8)
        return labels, np.full(NETWORK, 200, np.uint8)


def segmenter(outside):
    half = Homography(
        np.array([[1, 0, NETWORK[1] // 2], [0, 1, 0], [0, 0, 1]], np.float64), NETWORK, NETWORK
    )
    return Segmenter(
        SeesOptical(), ThermalNormalizer(ThermalSettings()), ModalityPolicy(),
        Registration(half, outside),
    )  # fmt: skip


def pair():
    optical = np.random.default_rng(0).integers(0, 60, (*NETWORK, 3), np.uint8)
    return optical, np.arange(NETWORK[0] * NETWORK[1], dtype=np.float32).reshape(NETWORK)


def test_pixels_rgb_does_not_see_are_answered_by_thermal():
    ours = segmenter("alone")
    answer = ours.segment(*pair())
    half = NETWORK[1] // 2
    assert (answer.labels[:, :half] == 0).all()
    assert (answer.labels[:, half:] == PERSON).all()
    assert ours.engine.modes == [Mode.FUSED, Mode.THERMAL_ONLY]


def test_or_they_are_marked_as_unknown():
    ours = segmenter("unknown")
    answer = ours.segment(*pair())
    half = NETWORK[1] // 2
    assert (answer.labels[:, half:] == 255).all()
    assert (answer.confidence[:, half:] == 0).all()
    assert (answer.confidence[:, :half] == 200).all()
    assert ours.engine.modes == [Mode.FUSED]


def test_without_thermal_the_answer_stays_on_the_thermal_grid():
    ours = segmenter("alone")
    optical = np.kron(pair()[0], np.ones((2, 2, 1), np.uint8))
    answer = ours.segment(optical, None)
    assert answer.mode is Mode.OPTICAL_ONLY
    assert answer.labels.shape == NETWORK
    half = NETWORK[1] // 2
    assert (answer.labels[:, :half] == 0).all()
    assert (answer.labels[:, half:] == 255).all()


def test_a_grid_camera_that_is_lost_leaves_its_size_not_that_of_the_registration():
    ours = segmenter("alone")
    optical, thermal = pair()
    large = np.kron(thermal, np.ones((2, 2), np.float32))
    assert ours.segment(optical, large).labels.shape == large.shape
    assert ours.segment(optical, None).labels.shape == large.shape
    ours.reset()  # as after a pause: the camera's intrinsics are still known, too
    assert ours.segment(optical, None).labels.shape == large.shape


def test_a_grid_camera_shows_its_size_even_in_an_image_that_is_not_used():
    ours = segmenter("alone")
    flat = np.zeros((NETWORK[0] * 2, NETWORK[1] * 2), np.float32)
    with pytest.raises(NoUsableModalityError):
        ours.segment(None, flat)
    assert ours.segment(pair()[0], None).labels.shape == flat.shape


def rendered_pairs(matrix, count, size=(240, 320)):
    """Rendered pairs whose optical image is warped so that `matrix` brings it back."""
    for seed in range(count):
        frame = random_frame(seed + 50, size)
        yield cv2.warpPerspective(frame.optical, matrix, size[::-1]), frame.thermal


def errors(estimated, true, size=(240, 320)):
    grid = np.stack(np.meshgrid(np.linspace(20, size[1] - 20, 7), np.linspace(20, size[0] - 20, 6)))
    points = np.c_[grid.reshape(2, -1).T, np.ones(42)]
    ends = [points @ matrix.T for matrix in (estimated, true)]
    return np.linalg.norm(ends[0][:, :2] / ends[0][:, 2:] - ends[1][:, :2] / ends[1][:, 2:], axis=1)


def test_cameras_are_registered_from_their_pairs():
    true = np.array([[1.04, 0.02, -6], [-0.015, 1.03, 5], [5e-5, 2e-5, 1]], np.float64)
    seen = []
    estimate = estimate_from_pairs(rendered_pairs(true, 10), seen.append)
    assert seen == list(range(1, 11))
    assert errors(estimate.homography.matrix, true).mean() < 1.0
    assert estimate.residual < 6
    assert 0.3 < estimate.correlation <= 1
    picture = draw_check(rendered_pairs(true, 4), estimate.homography)
    before, after = np.hsplit(picture.astype(float), 2)  # red times green is where edges meet
    assert (after[..., 0] * after[..., 1]).mean() > 1.4 * (before[..., 0] * before[..., 1]).mean()


def test_black_borders_of_a_rectified_camera_are_not_taken_for_edges():
    """They would pull the estimate towards where the borders happen to lie."""
    true = np.array([[0.97, 0.0, 6], [0.0, 0.97, 3], [0, 0, 1]], np.float64)
    framed = []
    for optical, thermal in rendered_pairs(true, 10):
        optical[:14], optical[:, :18] = 0, 0
        framed.append((optical, thermal))
    estimate = estimate_from_pairs(framed)
    assert errors(estimate.homography.matrix, true).mean() < 0.4


@pytest.mark.parametrize(
    "warp",
    [
        [[1.04, 0.02, -12], [-0.015, 1.03, 10], [2.5e-5, 1e-5, 1]],
        [[0.96, -0.01, 14], [0.02, 0.97, 6], [-1e-5, 2e-5, 1]],
    ],
)
def test_real_pairs_are_registered_within_three_pixels(mfnet, warp):
    """Pixels of 640x480; these pairs are misaligned by one of them by themselves."""
    true, size = np.array(warp, np.float64), (480, 640)
    files = sorted((mfnet / "rgb").iterdir())
    pairs = []
    for index in np.linspace(0, len(files) - 1, 30).astype(int):
        optical = read_optical(files[index])
        thermal = read_thermal(mfnet / "thermal" / f"{files[index].stem}.png")
        pairs.append((cv2.warpPerspective(optical, true, size[::-1]), thermal))
    estimate = estimate_from_pairs(pairs)
    assert errors(estimate.homography.matrix, true, size).mean() < 3.0
    assert estimate.correlation > 0.25  # twice the least


def unrelated_pairs(count, size=(120, 160)):
    """Pairs of which each image has edges of its own."""
    return [(texture(size, seed), texture(size, 1000 + seed)[..., 0]) for seed in range(count)]


@pytest.mark.parametrize("count", [4, 12])
def test_images_without_common_edges_are_an_error_not_an_answer(count):
    with pytest.raises(DataError, match="edges do not match"):
        estimate_from_pairs(unrelated_pairs(count))


def test_pairs_of_different_scenes_are_an_error_not_an_answer():
    pairs = list(rendered_pairs(np.eye(3), 11))
    mixed = [(pairs[i][0], pairs[i + 1][1]) for i in range(10)]
    with pytest.raises(DataError, match="edges do not match"):
        estimate_from_pairs(mixed)


@pytest.mark.parametrize("blind", [0, 1])
@pytest.mark.parametrize("level", [0, 90])
def test_a_camera_under_its_cap_is_an_error_not_a_crash(blind, level):
    pairs = [list(pair) for pair in unrelated_pairs(6)]
    for pair in pairs:
        pair[blind] = np.full_like(pair[blind], level)
    with pytest.raises(DataError, match="edges do not match"):
        estimate_from_pairs(pairs)


def test_too_few_pairs_and_pairs_of_different_sizes_are_refused():
    pairs = unrelated_pairs(3)
    with pytest.raises(DataError, match="3 pairs are too few"):
        estimate_from_pairs(pairs)
    with pytest.raises(DataError, match="different sizes"):
        estimate_from_pairs([*pairs, (pairs[0][0][:40], pairs[0][1])])


def test_points_fix_a_homography(tmp_path):
    corners = np.array([[0, 0], [120, 3], [115, 90], [5, 80], [60, 40]], np.float64)
    moved = np.c_[corners, np.ones(5)] @ TILT.T
    lines = [
        [list(map(float, c)), list(map(float, m[:2] / m[2]))]
        for c, m in zip(corners, moved, strict=True)
    ]
    path = tmp_path / "points.yaml"
    path.write_text(f"thermal_size: [96, 128]\noptical_size: [192, 256]\npoints: {lines}\n")
    estimate = estimate_from_points(path)
    assert estimate.homography.matrix / estimate.homography.matrix[2, 2] == pytest.approx(
        TILT, abs=1e-6
    )
    assert estimate.residual < 1e-4
    path.write_text(f"thermal_size: [96, 128]\noptical_size: [192, 256]\npoints: {lines[:3]}\n")
    with pytest.raises(ConfigError, match=r"points\.yaml"):
        estimate_from_points(path)
