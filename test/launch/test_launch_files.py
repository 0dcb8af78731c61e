"""The launch files under the real launch_ros, where it is installed."""

import importlib.util
import os
from pathlib import Path

import pytest

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
