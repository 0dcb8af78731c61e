"""The camera node, the bag player and the demo as processes over real DDS."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import rclpy
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, Image
from support.graph import next_domain, stamp_of

from csknet_ros.images import labels_from_message, optical_from_message, thermal_from_message

SCRIPT = """
seed: 3
size: [64, 96]
phases:
  - {name: day, seconds: 1, expected_mode: fused}
  - {name: lost, seconds: 1, expected_mode: thermal_only, faults: {drop_rgb: true}}
"""


class Listener:
    """Collects messages of a domain in a thread."""

    def __init__(self, topics: dict[str, type]) -> None:
        self.domain = next_domain()
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node("listener", context=self.context)
        self.got: dict[str, list] = {topic: [] for topic in topics}
        for topic, kind in topics.items():
            qos = rclpy.qos.qos_profile_sensor_data
            self.node.create_subscription(kind, topic, self.got[topic].append, qos)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.done = False
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self) -> None:
        while not self.done:
            self.executor.spin_once(timeout_sec=0.05)

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "ROS_DOMAIN_ID": str(self.domain)}
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def close(self) -> dict[str, list]:
        self.done = True
        self.thread.join()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        return self.got


CAMERA = {
    "rgb/image": Image, "thermal/image": Image, "truth/label_map": Image,
    "thermal/camera_info": CameraInfo, "rgb/camera_info": CameraInfo,
}  # fmt: skip


def test_a_drive_is_played_with_its_faults_and_logged(tmp_path):
    (tmp_path / "drive.yaml").write_text(SCRIPT)
    log = tmp_path / "played.jsonl"
    listener = Listener(CAMERA)
    done = listener.run(
        "csknet_ros.tools.camera_node", "--script", str(tmp_path / "drive.yaml"),
        "--rate", "10", "--log", str(log),
    )  # fmt: skip
    got = listener.close()
    assert done.returncode == 0, done.stderr
    played = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["phase"] for entry in played] == ["day"] * 10 + ["lost"] * 10
    stamps = [stamp_of(m.header) for m in got["thermal/image"]]
    assert stamps == [entry["stamp_ns"] for entry in played]
    assert [stamp_of(m.header) for m in got["rgb/image"]] == stamps[:10]
    assert [stamp_of(m.header) for m in got["rgb/camera_info"]] == stamps[:10]
    assert [stamp_of(m.header) for m in got["truth/label_map"]] == stamps
    steps = np.diff(stamps) / 1e6
    assert abs(float(np.median(steps)) - 100) < 20
    assert thermal_from_message(got["thermal/image"][0]).dtype == np.uint16
    assert labels_from_message(got["truth/label_map"][0]).max() <= 8
    assert optical_from_message(got["rgb/image"][0]).shape == (64, 96, 3)
    assert (got["thermal/camera_info"][0].width, got["thermal/camera_info"][0].height) == (96, 64)


def test_nobody_listening_ends_with_the_topics_named(tmp_path):
    (tmp_path / "drive.yaml").write_text(SCRIPT)
    listener = Listener({})
    done = listener.run(
        "csknet_ros.tools.camera_node", "--script", str(tmp_path / "drive.yaml"), "--timeout", "1",
    )  # fmt: skip
    listener.close()
    assert done.returncode == 2
    assert "rgb/image has 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_none_is_an_error_without_traceback(tmp_path):
    listener = Listener({})
    done = listener.run("csknet_ros.tools.camera_node", "--data", str(tmp_path))
    listener.close()
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    assert "Traceback" not in done.stderr


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
        "csknet_ros.tools.bag_player",
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
    done = listener.run("csknet_ros.tools.bag_player", str(bag))
    listener.close()
    assert done.returncode == 2
    assert "broken.mcap" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_accounts_for_every_frame(tmp_path, default_weights):
    done = subprocess.run(
        [sys.executable, "-m", "csknet_ros.tools.demo", "--out", str(tmp_path), "--seconds", "12",
         "--rate", "3"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames_in"] == 36
    assert summary["unaccounted"] == 0, done.stdout
    assert set(summary["modes"]) == {"fused", "thermal_only", "optical_only"}


def test_the_demo_says_when_there_are_no_weights():
    done = subprocess.run(
        [sys.executable, "-m", "csknet_ros.tools.demo", "--weights", "[/gone].safetensors"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "[/gone].safetensors" in done.stdout.replace("\n", "")
