"""What-if faults on hand-made messages."""

from types import SimpleNamespace

import numpy as np
import pytest

from csknet_core.errors import ConfigError
from csknet_ros.replay.faults import Fault, FaultyMessages, parse_fault
from csknet_ros.replay.messages import LABELS, RGB, THERMAL, BagMessage

MS = 1_000_000


def image(value):
    return SimpleNamespace(height=2, width=2, encoding="rgb8", is_bigendian=0, step=6,
                           header=f"header {value}", data=np.full(12, value, np.uint8))  # fmt: skip


def stream(count=6):
    """RGB, thermal and a label every 100 ms; RGB number i has the value 10 i."""
    for index in range(count):
        now = index * 100 * MS
        for kind, data in ((RGB, image(10 * index)), (THERMAL, index), (LABELS, index)):
            yield BagMessage(kind, now, now, data, now)


def apply(*faults):
    return list(FaultyMessages(faults, 0)(stream()))


def of(kind, messages):
    return [message for message in messages if message.kind == kind]


@pytest.mark.parametrize(("text", "fault"), [
    ("drop-rgb", Fault("drop-rgb")),
    ("drop-rgb:10-20", Fault("drop-rgb", 0.0, 10.0, 20.0)),
    ("darken:0.1:30-40.5", Fault("darken", 0.1, 30.0, 40.5)),
    ("offset:-20", Fault("offset", -20.0)),
])  # fmt: skip
def test_faults_are_written_as_name_value_stretch(text, fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", [
    "rain", "drop-rgb:x", "darken", "darken:0.1:9-3", "darken:-1", "jitter:nan", "drop-rgb:1-2:3",
])  # fmt: skip
def test_other_texts_are_refused_with_their_name(text):
    with pytest.raises(ConfigError, match=f"fault '{text}'"):
        parse_fault(text)


def test_dropped_images_do_not_come_and_labels_do():
    messages = apply(Fault("drop-rgb", 0, 0.1, 0.3))
    assert [m.time_ns // (100 * MS) for m in of(RGB, messages)] == [0, 3, 4, 5]
    assert len(of(THERMAL, messages)) == len(of(LABELS, messages)) == 6


def test_a_frozen_image_keeps_its_content_and_gets_new_stamps():
    frozen = of(THERMAL, apply(Fault("freeze-thermal", 0, 0.2, 0.5)))
    assert [m.data for m in frozen] == [0, 1, 2, 2, 2, 5]
    assert [m.stamp_ns for m in frozen] == [i * 100 * MS for i in range(6)]


def test_darkness_multiplies_rgb_and_leaves_the_bag_s_message_alone():
    messages = apply(Fault("darken", 0.5))
    assert [int(m.data.data[0]) for m in of(RGB, messages)] == [0, 5, 10, 15, 20, 25]
    assert [m.data.header for m in of(RGB, messages)] == [f"header {10 * i}" for i in range(6)]
    assert [m.data for m in of(THERMAL, messages)] == list(range(6))


def test_stamps_shift_and_the_recorded_ones_are_kept():
    shifted = of(RGB, apply(Fault("offset", 15.0)))
    assert all(m.stamp_ns - m.recorded_stamp_ns == 15 * MS for m in shifted)
    jittered = [m.stamp_ns - m.time_ns for m in of(RGB, apply(Fault("jitter", 5.0)))]
    assert len(set(jittered)) == 6
    assert max(map(abs, jittered)) <= 5 * MS
    jumped = apply(Fault("clock-jump", 2.0, 0.3, 9.0))
    assert [m.stamp_ns < 0 for m in of(THERMAL, jumped)] == [False] * 3 + [True] * 3


def test_jitter_is_the_same_every_time():
    assert apply(Fault("jitter", 5.0))[3].stamp_ns == apply(Fault("jitter", 5.0))[3].stamp_ns


def test_doubled_and_reordered_images_all_come():
    doubled = of(THERMAL, apply(Fault("duplicate", 0, 0.2, 0.3)))
    assert [m.data for m in doubled] == [0, 1, 2, 2, 3, 4, 5]
    reordered = of(THERMAL, apply(Fault("reorder", 0, 0.2, 0.6)))
    assert [m.data for m in reordered] == [0, 1, 3, 2, 5, 4]
    times = [m.time_ns for m in reordered]
    assert times == sorted(times)


def test_a_message_held_back_at_the_end_of_the_bag_still_comes():
    assert sorted(m.data for m in of(THERMAL, apply(Fault("reorder", 0, 0.5)))) == list(range(6))
