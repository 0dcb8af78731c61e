from itertools import pairwise

import numpy as np
import pytest

from csknet_core.classes import MFNET
from csknet_core.data.synthetic import Drive, random_frame
from csknet_core.errors import ConfigError

PERSON = MFNET.id_of("person")


def test_frames_have_the_form_they_promise():
    frame = random_frame(1, (120, 160))
    assert (frame.optical.shape, frame.optical.dtype) == ((120, 160, 3), np.uint8)
    assert (frame.thermal.shape, frame.thermal.dtype) == ((120, 160), np.uint16)
    assert (frame.labels.shape, frame.labels.dtype) == ((120, 160), np.uint8)
    assert frame.labels.max() < len(MFNET)


def test_a_frame_is_a_function_of_seed_and_index_alone():
    first, again = Drive(5, (96, 128), 4, 5), Drive(5, (96, 128), 4, 5)
    list(first)
    for index in (19, 0, 7):
        a, b = first.frame(index), again.frame(index)
        assert np.array_equal(a.optical, b.optical)
        assert np.array_equal(a.thermal, b.thermal)
        assert np.array_equal(a.labels, b.labels)
    assert not np.array_equal(Drive(6, (96, 128), 4, 5).frame(7).labels, first.frame(7).labels)


def test_neighbouring_frames_are_alike_and_distant_ones_are_not():
    drive = Drive(2, (120, 160), 20, 10)
    here, near, far = (drive.frame(index).labels for index in (50, 51, 190))
    assert (here != near).mean() < 0.1
    assert (here != far).mean() > (here != near).mean()


def test_every_class_is_seen_often_enough_to_be_learnt():
    share = np.zeros(len(MFNET))
    for seed in range(40):
        share[np.unique(random_frame(seed, (120, 160)).labels)] += 1 / 40
    assert (share >= 0.35).all(), dict(zip(MFNET.names, share.round(2), strict=True))


def test_people_are_warmer_than_the_scene_at_night():
    warmer = []
    for seed in range(25):
        frame = Drive(seed, (120, 160), 1, 1, 0.0).frame(0)
        person = frame.labels == PERSON
        if person.sum() > 40:
            ground = frame.thermal[90:][frame.labels[90:] == 0]
            warmer.append(float(frame.thermal[person].mean()) - float(np.median(ground)))
    assert len(warmer) >= 10
    assert min(warmer) > 0
    assert np.median(warmer) > 500


def test_thermal_does_not_see_light():
    """Switching the light off changes RGB beyond recognition and thermal only by temperature."""
    day, night = (Drive(3, (120, 160), 1, 1, light).frame(0) for light in (1.0, 0.0))
    assert np.array_equal(day.labels, night.labels)
    assert day.optical.mean() > 40 * max(night.optical.mean(), 0.1) / 2
    assert 27000 < night.thermal.mean() < day.thermal.mean() < 32000


def test_luminance_falls_steadily_to_below_the_darkness_threshold():
    keyframes = [(0.0, 1.0), (10.0, 0.0)]
    for seed in (1, 2, 7):
        drive = Drive(seed, (120, 160), 11, 1, keyframes)
        means = [frame.optical.mean() / 255 for frame in drive]
        assert all(a >= b - 0.03 for a, b in pairwise(means))
        assert means[0] > 0.2
        assert means[-1] < 0.02


def test_daylight_may_be_a_function():
    assert Drive(1, (64, 64), 2, 1, lambda t: 0.25 * t).frame(1).daylight == 0.25


def test_drives_of_any_size_and_length_work():
    assert len(Drive(1, (64, 96), 0.1, 1)) == 1
    assert Drive(1, (33, 47), 1, 1).frame(0).labels.shape == (33, 47)
    with pytest.raises(IndexError):
        Drive(1, (64, 96), 1, 2).frame(2)


@pytest.mark.parametrize(
    "wrong",
    [{"size": (16, 640)}, {"duration_s": 0.0}, {"fps": -1.0},
     {"daylight": [(3.0, 1.0), (1.0, 0.0)]}, {"daylight": []}],
)  # fmt: skip
def test_arguments_that_make_no_drive_are_refused(wrong):
    with pytest.raises(ConfigError):
        Drive(**wrong)
