"""Opening bags: storages, topics, damage."""

from types import SimpleNamespace

import pytest
import yaml
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_typestore
from support.bags import PERIOD_NS, START_NS, scene, write_bag

from csknet_core.errors import DataError
from csknet_ros.replay.messages import Topics
from csknet_ros.replay.reader import IMAGE_TYPES, TEXT_TYPE, BagReader, find_topics

RAW, COMPRESSED = IMAGE_TYPES


def connections(*topics):
    return [
        SimpleNamespace(topic=topic, msgtype=COMPRESSED if topic.endswith("compressed") else RAW)
        for topic in topics
    ]


@pytest.mark.parametrize(("topics", "expected"), [
    (("/camera/color/image_raw", "/boson/image_raw"),
     ("/camera/color/image_raw", "/boson/image_raw", "")),
    (("/front/image", "/flir_ir/image16", "/csknet/overlay"),
     ("/front/image", "/flir_ir/image16", "")),
    (("/rgb/image", "/rgb/image/compressed", "/thermal/image", "/truth/labels"),
     ("/rgb/image", "/thermal/image", "/truth/labels")),
    (("/rgb/image/compressed", "/depth/image", "/lwir"), ("/rgb/image/compressed", "/lwir", "")),
])  # fmt: skip
def test_topics_are_told_by_their_names(tmp_path, topics, expected):
    found = find_topics(tmp_path, connections(*topics), Topics())
    assert (found.rgb, found.thermal, found.labels) == expected


def test_what_cannot_be_told_lists_the_candidates(tmp_path):
    with pytest.raises(DataError, match="--thermal: /left, /right"):
        find_topics(tmp_path, connections("/left", "/right"), Topics(rgb="/left"))
    with pytest.raises(DataError, match="has /left, /right"):
        find_topics(tmp_path, connections("/left", "/right"), Topics("/left", "/middle"))


def test_a_phase_topic_is_text(tmp_path):
    text = SimpleNamespace(topic="/phase", msgtype=TEXT_TYPE)
    found = find_topics(tmp_path, [*connections("/rgb", "/thermal"), text], Topics())
    assert found.phase == "/phase"


@pytest.mark.parametrize("name", ["bag.mcap", "folder"])
@pytest.mark.parametrize("compress", [False, True])
def test_messages_come_in_order_whatever_the_storage(tmp_path, name, compress):
    bag = write_bag(tmp_path / name, frames=3, compress=compress)
    with BagReader(bag, Topics()) as reader:
        messages = list(reader.messages())
        assert reader.primaries == 3
    thermal = [m for m in messages if m.kind == "thermal"]
    assert [m.stamp_ns for m in thermal] == [START_NS + i * PERIOD_NS for i in range(3)]
    assert bytes(thermal[2].data.data) == scene(2)[1].tobytes()
    assert reader.received == {"rgb": 3, "thermal": 3, "labels": 3}
    assert reader.seconds == pytest.approx(0.2, abs=1e-6)


def test_split_bags_are_one_bag(tmp_path):
    parts = [write_bag(tmp_path / name, frames=2) for name in ("part0", "part1")]
    (parts[1] / "part1.db3").rename(parts[0] / "part1.db3")
    metadata = parts[0] / "metadata.yaml"
    data = yaml.safe_load(metadata.read_text())
    information = data["rosbag2_bagfile_information"]
    information["relative_file_paths"].append("part1.db3")
    metadata.write_text(yaml.safe_dump(data))
    with BagReader(parts[0], Topics()) as reader:
        thermal = [m for m in reader.messages() if m.kind == "thermal"]
    assert len(thermal) == 4


def test_ros_1_bags_are_read(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    types, path = store.types, tmp_path / "old.bag"
    with Writer1(path) as writer:
        for topic, image in (("/rgb/image", scene(0)[0]), ("/thermal/image", scene(0)[1])):
            connection = writer.add_connection(topic, RAW, typestore=store)
            stamp = types["builtin_interfaces/msg/Time"](sec=5, nanosec=7)
            header = types["std_msgs/msg/Header"](seq=0, stamp=stamp, frame_id="x")
            message = types[RAW](header, *image.shape[:2], "rgb8" if image.ndim == 3 else "mono8",
                                 0, image.strides[0], image.ravel())  # fmt: skip
            writer.write(connection, 5_000_000_007, store.serialize_ros1(message, RAW))
    with BagReader(path, Topics()) as reader:
        assert [(m.kind, m.stamp_ns) for m in reader.messages()] == [
            ("rgb", 5_000_000_007), ("thermal", 5_000_000_007)
        ]  # fmt: skip


def test_what_is_no_bag_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        BagReader(tmp_path / "gone", Topics())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot be opened"):
        BagReader(tmp_path / "empty", Topics())
    (tmp_path / "empty.mcap").touch()
    with pytest.raises(DataError, match="cannot be opened"):
        BagReader(tmp_path / "empty.mcap", Topics())


def test_a_damaged_message_is_counted_with_its_time_and_the_rest_is_read(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=3)
    data = bytearray(bag.read_bytes())
    # The encoding of the second thermal image becomes an unreadable string length.
    at = data.index(scene(1)[1].tobytes()[:32]) - 30
    at = data.rindex(b"mono8", 0, at + 30) - 4
    data[at : at + 4] = b"\xff\xff\xff\x7f"
    bag.write_bytes(data)
    try:
        with BagReader(bag, Topics()) as reader:
            messages = [m for m in reader.messages() if m.kind == "thermal"]
    except DataError:
        return  # the storage's own checksum caught it
    assert len(messages) == 2
    assert reader.skipped.counts == {"thermal message damaged": 1}
    assert reader.skipped.notes[0].startswith("0.100 s")
