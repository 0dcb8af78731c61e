"""Joining answers with label maps that come in any order."""

from types import SimpleNamespace

import numpy as np
import pytest

from csknet_core.classes import MFNET
from csknet_ros.replay.truth import Truth, topic_or_folder


def message(value=1, size=(2, 3), encoding="mono8"):
    return SimpleNamespace(height=size[0], width=size[1], encoding=encoding, is_bigendian=0,
                           step=size[1], data=np.full(size, value, np.uint8).ravel())  # fmt: skip


@pytest.fixture
def truth():
    joined, problems = [], []
    made = Truth(
        MFNET, None, lambda key, labels, true: joined.append((key, int(labels[0, 0]),
                                                              int(true[0, 0]))),
        lambda reason, detail: problems.append(reason),
    )  # fmt: skip
    made.joined, made.problems = joined, problems
    return made


def labels(value):
    return np.full((2, 3), value, np.uint8)


def test_either_may_come_first(truth):
    truth.add_answer(0, (100,), labels(5))
    truth.add_label(100, message(1))
    truth.add_label(200, message(2))
    truth.add_answer(1, (200,), labels(6))
    assert truth.joined == [(0, 5, 1), (1, 6, 2)]


def test_the_label_of_the_thermal_image_goes_before_that_of_the_rgb_image(truth):
    truth.add_label(99, message(2))
    truth.add_label(100, message(1))
    truth.add_answer(0, (100, 99), labels(5))
    truth.add_answer(1, (101, 99), labels(6))
    assert truth.joined == [(0, 5, 1), (1, 6, 2)]


def test_an_answer_is_scored_once_although_it_has_two_stamps(truth):
    truth.add_answer(0, (100, 99), labels(5))
    truth.add_label(99, message(2))
    truth.add_label(100, message(1))
    assert truth.joined == [(0, 5, 2)]


def test_what_waits_in_vain_is_forgotten(truth):
    truth.add_answer(0, (1,), labels(5))
    for stamp in range(2, 200):
        truth.add_answer(stamp, (stamp,), labels(5))
        truth.add_label(10_000 + stamp, message())
    truth.add_label(1, message())
    assert truth.joined == []
    assert len(truth._answers) <= 128
    assert len(truth._labels) <= 128


@pytest.mark.parametrize(("bad", "reason"), [
    (message(size=(4, 3)), "label map of another size"),
    (message(value=9), "label map of other classes"),
    (message(encoding="rgb8"), "label map damaged"),
])  # fmt: skip
def test_label_maps_that_do_not_fit_are_named(truth, bad, reason):
    truth.add_answer(0, (100,), labels(5))
    truth.add_label(100, bad)
    assert truth.problems == [reason]
    assert truth.joined == []


def test_ignored_pixels_are_no_wrong_class(truth):
    truth.add_answer(0, (100,), labels(5))
    truth.add_label(100, message(255))
    assert truth.joined == [(0, 5, 255)]


def test_labels_are_named_as_a_topic_or_as_a_folder(tmp_path):
    assert topic_or_folder(str(tmp_path)) == ("", tmp_path)
    assert topic_or_folder("/truth/label_map") == ("/truth/label_map", None)
    assert topic_or_folder("") == ("", None)
