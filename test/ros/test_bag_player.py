"""The bag player as a process over real DDS."""

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image
from std_msgs.msg import String
from support.bags import START_NS
from support.listener import Listener

from csknet_ros.images import thermal_from_message
from csknet_ros.replay.writer import BagWriter

PLAYER = "csknet_ros.tools.bag_player"


@pytest.mark.parametrize("storage", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_a_bag_is_played_as_recorded(tmp_path, storage):
    store = get_typestore(Stores.ROS2_HUMBLE)
    types = store.types
    path = tmp_path / "bag"
    pixels = np.arange(24, dtype=np.uint8)
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connection = writer.add_connection("/old", "sensor_msgs/msg/Image", typestore=store)
        for index in range(5):
            stamp = types["builtin_interfaces/msg/Time"](sec=1 + index, nanosec=5)
            header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="thermal")
            image = types["sensor_msgs/msg/Image"](
                header=header, height=4, width=6, encoding="mono8", is_bigendian=0, step=6,
                data=pixels + np.uint8(index),
            )  # fmt: skip
            raw = store.serialize_cdr(image, "sensor_msgs/msg/Image")
            writer.write(connection, 10**9 + index * 50_000_000, raw)
    listener = Listener({"/new": Image})
    done = listener.run(
        PLAYER,
        str(path),
        "--wait",
        "30",
        "--ros-args",
        "--remap",
        "/old:=/new",
    )
    got = listener.close()["/new"]
    assert done.returncode == 0, done.stderr
    assert [message.header.stamp.sec for message in got] == [1, 2, 3, 4, 5]
    assert np.array_equal(thermal_from_message(got[4]).ravel(), pixels + 4)


@pytest.mark.parametrize("content", [None, b"not a bag"])
def test_a_bad_bag_is_an_error_without_traceback(tmp_path, content):
    bag = tmp_path / "broken.mcap"
    if content:
        bag.write_bytes(content)
    listener = Listener({})
    done = listener.run(PLAYER, str(bag))
    listener.close()
    assert done.returncode == 2
    assert "broken.mcap" in done.stderr
    assert "Traceback" not in done.stderr


OWN = ("/phase", "/robot/speech")
ANSWERS = ("/csknet/label_info", "/robot/csknet/label_info")
# What every graph says itself; a listener could not tell who said it.
OF_THE_GRAPH = ("/rosout", "/parameter_events", "/diagnostics")


@pytest.fixture
def spoken(tmp_path) -> Path:
    """A bag in which every topic has one text, its own name."""
    with BagWriter(tmp_path / "bag") as writer:
        for topic in (*OWN, *ANSWERS, *OF_THE_GRAPH):
            writer.text(topic, START_NS, topic)
    return tmp_path / "bag"


def play(bag: Path, *arguments: str) -> dict[str, list[str]]:
    """Play a bag of texts; return what was said on each topic, all that was played."""
    listener = Listener(dict.fromkeys((*OWN, *ANSWERS, "/brain/label_info"), String))
    topics = [topic for topic in arguments if topic.startswith("/")] or OWN
    done = listener.run(PLAYER, str(bag), "--wait", "60", "--wait-for", *topics, *arguments)
    heard = {topic: [m.data for m in got] for topic, got in listener.close().items() if got}
    assert f"played {len(heard)} messages" in done.stderr
    return heard


def test_what_the_graph_says_itself_is_not_played(spoken):
    assert play(spoken) == {topic: [topic] for topic in OWN}


def test_topics_that_are_named_are_played_and_no_others(spoken):
    assert play(spoken, "--topics", "/phase", "/csknet/label_info") == {
        "/phase": ["/phase"], "/csknet/label_info": ["/csknet/label_info"]
    }  # fmt: skip


def test_the_outputs_of_a_node_of_another_name_are_left_out(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for topic in ("/phase", "/brain/label_info"):
            writer.text(topic, START_NS, topic)
    assert play(tmp_path / "bag", "--node", "brain") == {"/phase": ["/phase"]}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [(("--topics", "/gone"), "no topic /gone; it has /csknet/label_info, "),
     (("--topics", "/phase", "/gone"), "no topic /gone; it has /csknet/label_info, ")],
)  # fmt: skip
def test_topics_that_are_not_in_the_bag_are_an_error_that_lists_those_that_are(
    spoken, arguments, problem
):
    listener = Listener({})
    done = listener.run(PLAYER, str(spoken), *arguments)
    listener.close()
    assert done.returncode == 2
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bag_with_nothing_to_play_is_an_error_also_in_a_loop(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.text("/rosout", START_NS, "started")
    listener = Listener({})
    done = listener.run(PLAYER, str(tmp_path / "bag"), "--loop")
    listener.close()
    assert done.returncode == 2
    assert "nothing in it can be played" in done.stderr


def images(tmp_path: Path, *topics: str) -> Path:
    with BagWriter(tmp_path / "bag") as writer:
        for topic in topics:
            writer.image(topic, START_NS, START_NS, "camera", np.zeros((4, 6), np.uint8))
    return tmp_path / "bag"


@pytest.mark.parametrize(
    ("heard", "arguments"),
    [(("/rgb/image", "/thermal/image"), ()),
     (("/rear/image",), ("--wait-for", "/rear/image", "/gone"))],
    ids=["the cameras", "those that are named"],
)  # fmt: skip
def test_nobody_needs_to_listen_to_other_images(tmp_path, heard, arguments):
    bag = images(tmp_path, "/rgb/image", "/thermal/image", "/rear/image")
    listener = Listener(dict.fromkeys(heard, Image))
    done = listener.run(PLAYER, str(bag), "--wait", "60", *arguments)
    got = listener.close()
    assert [len(messages) for messages in got.values()] == [1] * len(heard)
    assert "nobody listens" not in done.stderr
    assert ("the bag has no topic /gone" in done.stderr) == bool(arguments)


def test_the_topics_nobody_listens_to_are_named(tmp_path):
    bag = images(tmp_path, "/rgb/image", "/thermal/image", "/rear/image")
    listener = Listener({})
    done = listener.run(PLAYER, str(bag), "--wait", "0.1")
    listener.close()
    assert "nobody listens to /rgb/image, /thermal/image\n" in done.stderr


def test_the_recorded_clock_is_played_unless_the_player_gives_the_time(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for topic in ("/clock", "/phase"):
            writer.text(topic, START_NS, topic)
    logs = {}
    for arguments in ((), ("--clock",)):
        listener = Listener({"/phase": String})
        logs[arguments] = listener.run(PLAYER, str(tmp_path / "bag"), *arguments).stderr
        listener.close()
    assert "not played" not in logs[()]
    assert "not played: /clock" in logs["--clock",]
