"""The launch files under the real launch_ros, where it is installed."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import rclpy
from lifecycle_msgs.srv import GetState
from support.graph import next_domain, wait_for

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
FILES = sorted(LAUNCH.glob("*.launch.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_launch_files_compile(file):
    compile(file.read_text(encoding="utf-8"), str(file), "exec")


@pytest.fixture(scope="module")
def launched(tmp_path_factory, repository):
    pytest.importorskip("launch_ros", reason="launch_ros comes with a ROS installation, not PyPI")
    prefix = tmp_path_factory.mktemp("prefix")
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "csknet_ros").touch()
    share = prefix / "share/csknet_ros"
    share.mkdir()
    for folder in ("launch", "config"):
        (share / folder).symlink_to(repository / folder)
    executables = prefix / "lib/csknet_ros"
    executables.mkdir(parents=True)
    node = executables / "segmentation_node"
    node.write_text(f'#!/bin/sh\nexec {sys.executable} -m csknet_ros.segmentation_node "$@"\n')
    node.chmod(0o755)
    before = os.environ.get("AMENT_PREFIX_PATH", "")
    os.environ["AMENT_PREFIX_PATH"] = f"{prefix}:{before}"
    yield _load
    os.environ["AMENT_PREFIX_PATH"] = before


def _load(name: str):
    spec = importlib.util.spec_from_file_location("launch_file", LAUNCH / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def test_segment_declares_the_names_nav2_users_expect(launched):
    from launch.actions import DeclareLaunchArgument

    names = {e.name for e in launched("segment.launch.py").entities
             if isinstance(e, DeclareLaunchArgument)}  # fmt: skip
    assert {
        "namespace", "use_sim_time", "params_file", "autostart", "log_level",
        "rgb_topic", "thermal_topic", "weights", "device",
    } <= names  # fmt: skip


def test_demo_starts_cameras_and_node(launched):
    from launch.actions import IncludeLaunchDescription
    from launch_ros.actions import Node

    kinds = [type(entity) for entity in launched("demo.launch.py").entities]
    assert Node in kinds
    assert IncludeLaunchDescription in kinds


def test_replay_starts_player_node_and_evaluator(launched):
    from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
    from launch_ros.actions import Node

    entities = launched("replay.launch.py").entities
    assert sum(isinstance(entity, Node) for entity in entities) == 2
    assert any(isinstance(entity, IncludeLaunchDescription) for entity in entities)
    names = {e.name for e in entities if isinstance(e, DeclareLaunchArgument)}
    assert {"bag", "out", "rate", "rgb_topic", "thermal_topic", "truth_topic"} <= names


RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [entry.split(":=") for entry in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service = LaunchService()
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


@pytest.mark.usefixtures("default_weights")
@pytest.mark.parametrize(("autostart", "state"), [("true", "active"), ("false", "unconfigured")])
def test_segment_brings_the_node_up_in_its_namespace(launched, tmp_path, autostart, state):
    domain = next_domain()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(LAUNCH / "segment.launch.py"),
             "namespace:=robot", f"autostart:={autostart}", "thermal_topic:=/ir/image"],
            stdout=log, stderr=log, env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        )  # fmt: skip
    try:
        found, topics = _ask("/robot/csknet/get_state", domain, state)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    text = (tmp_path / "log").read_text()
    assert found == state, text
    assert "/robot/csknet/frame_status" in topics or state != "active"
    assert "/ir/image" in topics or state != "active"
    assert "process has finished cleanly" in text
    assert "Traceback" not in text


@pytest.mark.usefixtures("default_weights")
def test_segment_leaves_the_users_parameter_file_alone(launched, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**: {ros__parameters: {weights: /gone/mine.safetensors}}")
    environment = {**os.environ, "ROS_DOMAIN_ID": str(next_domain())}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(LAUNCH / "segment.launch.py"), f"params_file:={mine}"],
            stdout=log, stderr=log, env=environment,
        )  # fmt: skip
    try:
        wait_for(lambda: "configure" in (tmp_path / "log").read_text(), 60)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert "/gone/mine.safetensors" in (tmp_path / "log").read_text()


@pytest.mark.usefixtures("default_weights")
def test_a_killed_node_is_started_again(launched, tmp_path):
    domain = next_domain()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(LAUNCH / "segment.launch.py"), "respawn:=true"],
            stdout=log, stderr=log, env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        )  # fmt: skip
    try:
        assert _ask("/csknet/get_state", domain, "active")[0] == "active"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        wait_for(lambda: "process has died" in (tmp_path / "log").read_text())
        assert _ask("/csknet/get_state", domain, "active")[0] == "active"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert "Traceback" not in (tmp_path / "log").read_text()


def _ask(service: str, domain: int, wanted: str) -> tuple[str, set[str]]:
    """Ask a lifecycle node for its state until it is the wanted one; also list the topics."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("asker", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    found = "no answer"
    try:
        client = node.create_client(GetState, service)
        for _ in range(200):
            if not client.wait_for_service(0.3):
                continue
            future = client.call_async(GetState.Request())
            executor.spin_until_future_complete(future, 2.0)
            found = future.result().current_state.label if future.done() else "no answer"
            if found == wanted:
                break
        executor.spin_once(timeout_sec=0.2)
        return found, {name for name, _ in node.get_topic_names_and_types()}
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)
