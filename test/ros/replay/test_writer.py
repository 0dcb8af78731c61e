"""Bags that are written can be read by others."""

import json

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from support.bags import START_NS, write_bag
from support.engines import SIZE, ThresholdEngine, threshold_segmenter

from csknet_core.errors import DataError
from csknet_core.runtime.registration import Homography, RegistrationSettings
from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_ros.cli import _runs
from csknet_ros.replay.faults import Fault
from csknet_ros.replay.make_bag import make_bag
from csknet_ros.replay.replay import Job, Run, replay
from csknet_ros.replay.writer import AnswerWriter, BagWriter
from csknet_ros.synchronizer import SyncSettings
from csknet_ros.tools.script import Phase, Script
from csknet_ros.tools.sources import DriveSource


def answers_of(bag, out, settings=None, **changes):
    settings = settings or SegmenterSettings()
    segmenter = threshold_segmenter(ThresholdEngine())(settings)
    run = Run("run", settings, SyncSettings(), **changes)
    with BagWriter(out) as writer:
        return replay(Job(run, bag), segmenter, AnswerWriter(writer, segmenter.classes))


def read(bag, topic):
    """Return the messages of a topic."""
    with AnyReader([bag]) as reader:
        return [
            reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages()
            if c.topic == f"/csknet/{topic}"
        ]  # fmt: skip


def test_answers_are_written_with_the_stamps_of_their_images(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=5, rgb_lost=range(2, 4))
    answers_of(bag, tmp_path / "out.mcap")
    with AnyReader([tmp_path / "out.mcap"]) as reader:
        read = [(c.topic, t, reader.deserialize(raw, c.msgtype)) for c, t, raw in reader.messages()]
    maps = [(t, m) for topic, t, m in read if topic == "/csknet/label_map"]
    assert len(maps) == 5
    assert (maps[0][1].encoding, maps[0][1].height, maps[0][1].width) == ("mono8", 64, 96)
    assert maps[0][1].header.frame_id == "thermal"
    for index, (time_ns, message) in enumerate(maps):
        stamp = message.header.stamp
        assert stamp.sec * 1_000_000_000 + stamp.nanosec == START_NS + index * 100_000_000
        assert time_ns >= START_NS + index * 100_000_000
    statuses = [m for topic, _, m in read if topic == "/csknet/frame_status"]
    assert [m.status[0].message for m in statuses][:3] == [
        "fused", "fused", "thermal_only: optical_unpaired"
    ]  # fmt: skip
    assert {m.status[0].level for m in statuses} == {0, 1}
    overlays = [m for topic, _, m in read if topic == "/csknet/overlay"]
    assert overlays[0].encoding == "rgb8"


def test_answers_are_in_the_frame_of_the_grids_camera_also_while_it_is_missing(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=5, rgb_lost=range(2, 4))
    Homography(np.eye(3), SIZE, SIZE).save(tmp_path / "cameras.yaml")
    settings = RegistrationSettings(str(tmp_path / "cameras.yaml"), "optical")
    answers_of(bag, tmp_path / "out.mcap", SegmenterSettings(registration=settings))
    for topic in ("label_map", "confidence", "overlay", "frame_status"):
        frames = [message.header.frame_id for message in read(tmp_path / "out.mcap", topic)]
        assert frames == ["rgb"] * 5


def test_confidence_of_fallbacks_is_scaled_as_in_the_node(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=3, rgb_lost=range(1, 2))
    answers_of(bag, tmp_path / "out.mcap", fallback_confidence_scale=0.5)
    highest = [int(message.data.max()) for message in read(tmp_path / "out.mcap", "confidence")]
    assert highest == [200, 100, 200]


def test_dropped_frames_have_their_status_in_the_bag(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=2)
    answers_of(bag, tmp_path / "out.mcap", faults=(Fault("duplicate"),))
    said = [(m.status[0].message, m.status[0].level, m.header.frame_id)
            for m in read(tmp_path / "out.mcap", "frame_status")]  # fmt: skip
    dropped = "dropped: duplicate_stamp"
    assert sorted(said) == [(dropped, 1, "thermal")] * 2 + [("fused", 0, "thermal")] * 2


def test_images_beyond_the_limit_are_dropped_as_in_the_node(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=2)
    result = answers_of(bag, tmp_path / "out.mcap", max_image_pixels=SIZE[0] * SIZE[1] - 1)
    assert {frame.reason for frame in result.frames} == {"bad_image"}
    said = [message.status[0].message for message in read(tmp_path / "out.mcap", "frame_status")]
    assert said == ["dropped: bad_image"] * 2


@pytest.mark.usefixtures("default_weights")
def test_the_command_takes_both_from_the_parameter_file(tmp_path):
    params = tmp_path / "mine.yaml"
    params.write_text(
        "/**: {ros__parameters: {fallback_confidence_scale: 0.5, max_image_pixels: 99}}"
    )
    for run in _runs([], [params], ["duplicate"], ""):
        assert (run.fallback_confidence_scale, run.max_image_pixels) == (0.5, 99)


def test_the_mcap_library_finds_the_schemas_foxglove_needs(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=2)
    answers_of(bag, tmp_path / "out.mcap")
    with (tmp_path / "out.mcap").open("rb") as file:
        summary = make_reader(file).get_summary()
    schemas = {c.topic: summary.schemas[c.schema_id] for c in summary.channels.values()}
    assert schemas["/csknet/label_map"].name == "sensor_msgs/msg/Image"
    assert schemas["/csknet/label_map"].encoding == "ros2msg"
    assert b"uint32 height" in schemas["/csknet/label_map"].data
    assert {c.message_encoding for c in summary.channels.values()} == {"cdr"}


def test_the_same_answers_are_written_twice_as_the_same_bytes(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=4)
    outs = [
        tmp_path / name / "out.mcap" for name in ("first", "second")
    ]  # a bag has its name in it
    for out in outs:
        answers_of(bag, out)
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_a_bag_that_is_there_already_is_not_touched(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=1)
    before = bag.read_bytes()
    with pytest.raises(DataError, match="exists already"):
        BagWriter(bag)
    assert bag.read_bytes() == before


def test_a_rendered_drive_becomes_a_labelled_bag(tmp_path):
    script = Script((Phase("day", 0.6, "fused"), Phase("night", 0.4, "fused")), size=(96, 128))
    out = tmp_path / "drive"
    make_bag(out, DriveSource(script, 5.0), script, 5.0)
    with AnyReader([out]) as reader:
        topics = {c.topic: c.msgcount for c in reader.connections}
        texts = [reader.deserialize(raw, c.msgtype).data for c, _, raw in reader.messages()
                 if c.topic == "/phase"]  # fmt: skip
    assert topics == {
        "/phase": 2, "/rgb/image": 5, "/thermal/image": 5, "/truth/label_map": 5
    }  # fmt: skip
    assert texts == ["day", "night"]


def test_raw_thermal_values_survive_a_bag(tmp_path):
    image = np.arange(96, dtype=np.uint16).reshape(8, 12) + 29000
    with BagWriter(tmp_path / "bag.mcap") as writer:
        writer.image("/thermal/image", 1, 2, "x", image)
    with AnyReader([tmp_path / "bag.mcap"]) as reader:
        ((connection, _, raw),) = reader.messages()
        message = reader.deserialize(raw, connection.msgtype)
    assert message.encoding == "mono16"
    assert np.array_equal(message.data.view(np.uint16).reshape(8, 12), image)
    assert json.loads(json.dumps({"step": int(message.step)})) == {"step": 24}
