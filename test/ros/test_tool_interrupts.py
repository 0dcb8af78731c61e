"""SIGINT and SIGTERM end the tools cleanly, whatever they are doing, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from support.graph import next_domain, wait_for

from csknet_ros.tools.interrupts import interrupts_held

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
SCRIPT = """
size: [240, 320]
phases: [{name: day, seconds: 60, expected_mode: fused}]
"""


def start(log, module: str, *arguments: str) -> subprocess.Popen:
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdout=out, stderr=out,
            env={**os.environ, "ROS_DOMAIN_ID": str(next_domain())},
        )  # fmt: skip


def interrupt(process: subprocess.Popen, log, seen: str, number: signal.Signals) -> str:
    """Send a signal once the log shows a text; return the log after the end."""
    wait_for(lambda: seen in log.read_text() or process.poll() is not None, 60)
    assert process.poll() is None, log.read_text()
    time.sleep(0.3)
    process.send_signal(number)
    process.wait(30)
    return log.read_text()


@SIGNALS
@pytest.mark.parametrize(
    ("subscribers", "rate", "seen"),
    [("0", "10", "preparing"), ("1", "0.1", "preparing"), ("0", "0.5", "playing")],
    ids=["preparing", "waiting for subscribers", "playing"],
)
def test_the_camera_node_ends_cleanly(tmp_path, number, subscribers, rate, seen):
    script, log = tmp_path / "drive.yaml", tmp_path / "log"
    script.write_text(SCRIPT)
    process = start(
        log, "csknet_ros.tools.camera_node", "--script", str(script), "--rate", rate,
        "--subscribers", subscribers,
    )  # fmt: skip
    text = interrupt(process, log, seen, number)
    assert process.returncode == 0, text
    assert "Traceback" not in text
    assert "terminate" not in text


@SIGNALS
def test_the_bag_player_ends_cleanly(tmp_path, number):
    store = get_typestore(Stores.ROS2_HUMBLE)
    text_type = store.types["std_msgs/msg/String"]
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/text", "std_msgs/msg/String", typestore=store)
        for index in range(600):
            raw = store.serialize_cdr(text_type(data=str(index)), "std_msgs/msg/String")
            writer.write(connection, 10**9 + index * 10**8, raw)
    log = tmp_path / "log"
    process = start(log, "csknet_ros.tools.bag_player", str(tmp_path / "bag"))
    text = interrupt(process, log, "playing", number)
    assert process.returncode == 0, text
    assert "Traceback" not in text


def processes_of(parent: int) -> list[int]:
    with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


@SIGNALS
def test_the_demo_takes_its_processes_with_it(tmp_path, default_weights, number):
    log = tmp_path / "log"
    process = start(log, "csknet_ros.tools.demo", "--out", str(tmp_path / "out"))
    wait_for(lambda: process.poll() is not None or len(processes_of(process.pid)) == 2, 90)
    children = processes_of(process.pid)
    assert len(children) == 2, log.read_text()
    process.send_signal(number)
    assert process.wait(40) == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    assert not [child for child in children if os.path.exists(f"/proc/{child}/exe")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_held_back_until_the_block_ends(number):
    previous = signal.signal(number, signal.default_int_handler)
    seen = []

    def block() -> None:
        with interrupts_held():
            signal.raise_signal(number)
            seen.append("the rest of the block ran")

    try:
        with pytest.raises(KeyboardInterrupt):
            block()
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, previous)
    assert seen
