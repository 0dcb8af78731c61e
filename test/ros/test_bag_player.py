"""The bag player as a process over real DDS."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image
from std_msgs.msg import String
from support.bags import START_NS
from support.graph import wait_for
from support.listener import Listener

from csknet_ros.images import thermal_from_message
from csknet_ros.replay.writer import BagWriter
from csknet_ros.tools.recorded_qos import recorded_qos

PLAYER = "csknet_ros.tools.bag_player"
LATE = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


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


def offered(durability: str, depth: int, reliability: str = "RELIABLE") -> Qos:
    never = QosTime(0, 0)
    return Qos(
        QosHistory.KEEP_LAST, depth, QosReliability[reliability], QosDurability[durability],
        never, never, QosLiveliness.AUTOMATIC, never, False,
    )  # fmt: skip


LATCHED, VOLATILE = offered("TRANSIENT_LOCAL", 1), offered("VOLATILE", 5, "BEST_EFFORT")
PROFILES = {
    "/map_name": [LATCHED],
    "/places": [LATCHED, LATCHED, LATCHED],
    "/tf_static": [],
    "/mixed": [VOLATILE, LATCHED],
}


@pytest.mark.parametrize("storage", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_who_subscribes_late_gets_what_was_latched_when_it_was_recorded(tmp_path, storage):
    """Three latched texts on every topic, then a minute of ticks."""
    store, text = get_typestore(Stores.ROS2_HUMBLE), "std_msgs/msg/String"
    with Writer(tmp_path / "bag", version=9, storage_plugin=storage) as writer:

        def write(connection, time_ns: int, data: str) -> None:
            writer.write(connection, time_ns, store.serialize_cdr(store.types[text](data), text))

        for topic, profiles in PROFILES.items():
            one = writer.add_connection(topic, text, typestore=store, offered_qos_profiles=profiles)
            for index in range(3):
                write(one, START_NS, str(index))
        ticks = writer.add_connection("/tick", text, typestore=store)
        for index in range(600):
            write(ticks, START_NS + index * 100_000_000, "tick")
    listener = Listener({"/tick": String})
    player = listener.start(PLAYER, str(tmp_path / "bag"))
    try:
        # What comes before the first tick has been said when it is heard.
        wait_for(lambda: bool(listener.got["/tick"]), 60)
        late = listener.subscribe(dict.fromkeys(PROFILES, String), LATE)
        wait_for(lambda: all(late.values()), 60)
        wait_for(lambda: len(late["/places"]) == len(late["/tf_static"]) == 3)
    finally:
        player.terminate()
        listener.close()
        player.wait()
    assert [m.data for m in late["/map_name"]] == ["2"]
    assert [m.data for m in late["/places"]] == [m.data for m in late["/tf_static"]] == list("012")


def test_best_effort_cameras_reach_a_node_that_subscribes_reliably(tmp_path):
    store, text = get_typestore(Stores.ROS2_HUMBLE), "std_msgs/msg/String"
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        camera = writer.add_connection(
            "/camera", text, typestore=store, offered_qos_profiles=[VOLATILE]
        )
        writer.write(camera, START_NS, store.serialize_cdr(store.types[text]("frame"), text))
    listener = Listener({})
    got = listener.subscribe({"/camera": String}, QoSProfile(depth=10))
    done = listener.run(PLAYER, str(tmp_path / "bag"), "--wait", "60", "--wait-for", "/camera")
    listener.close()
    assert done.returncode == 0, done.stderr
    assert [m.data for m in got["/camera"]] == ["frame"]


@pytest.mark.parametrize(("depth", "kept"), [(0, 10), (-4, 10), ("many", 10), (2**40, 1000)])
def test_a_depth_that_cannot_be_is_not_taken_over(depth, kept):
    connection = SimpleNamespace(
        topic="/text", ext=SimpleNamespace(offered_qos_profiles=[VOLATILE._replace(depth=depth)])
    )
    assert recorded_qos(connection).depth == kept


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
