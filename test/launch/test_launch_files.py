"""The launch files under the real launch_ros, where it is installed."""

import importlib.util
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import CompressedImage, Image
from support.launched import Launched

from csknet_core.runtime.registration import Homography
from csknet_core.weights.files import DEFAULT_WEIGHTS
from csknet_ros.tools.sources import DriveSource

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
FILES = sorted(LAUNCH.glob("*.launch.py"))
EXECUTABLES = {
    "segmentation_node": "csknet_ros.segmentation_node",
    "camera_node": "csknet_ros.tools.camera_node",
    "bag_player": "csknet_ros.tools.bag_player",
    "evaluator": "csknet_ros.replay.live",
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_launch_files_compile(file):
    compile(file.read_text(encoding="utf-8"), str(file), "exec")


@pytest.fixture(scope="module")
def installed(tmp_path_factory, repository):
    """An install space that holds the package, as launch_ros looks for it."""
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
    for name, module in EXECUTABLES.items():
        file = executables / name
        file.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        file.chmod(0o755)
    before = dict(os.environ)
    os.environ["AMENT_PREFIX_PATH"] = f"{prefix}:{before.get('AMENT_PREFIX_PATH', '')}"
    # The tests' own folder is the working directory, so that the package is not found by luck.
    os.environ["PYTHONPATH"] = f"{repository}:{before.get('PYTHONPATH', '')}"
    yield
    os.environ["AMENT_PREFIX_PATH"] = before.get("AMENT_PREFIX_PATH", "")
    os.environ["PYTHONPATH"] = before.get("PYTHONPATH", "")


@pytest.fixture
def launch(installed, tmp_path):
    """Make a `Launched` of the launch file of that name."""

    def make(name: str, *arguments: str, node: str = "/csknet") -> Launched:
        return Launched(LAUNCH / f"{name}.launch.py", tmp_path, *arguments, node=node)

    return make


def declared(name: str) -> set[str]:
    """Return the names of the arguments a launch file declares itself."""
    from launch.actions import DeclareLaunchArgument

    spec = importlib.util.spec_from_file_location("launch_file", LAUNCH / f"{name}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entities = module.generate_launch_description().entities
    return {entity.name for entity in entities if isinstance(entity, DeclareLaunchArgument)}


def ended(running: Launched) -> int:
    """Wait until everything has ended by itself; return the exit code of launch."""
    running.until(lambda: running.process.poll() is not None, 120.0)
    return running.process.returncode


@pytest.fixture
def parameter_file(tmp_path) -> Path:
    """One that sets what arguments set, too, and has the node read every camera topic there is."""
    registration = tmp_path / "cameras.yaml"
    Homography(np.eye(3), (480, 640), (480, 640)).save(registration)
    values = {
        "overlay_alpha": 0.25,
        "device": "torch-cpu",
        "weights": "/gone/mine.safetensors",
        "registration.file": str(registration),
        "registration.grid": "optical",
        "navigation.frame": "base_link",
        "navigation.depth": "depth_image",
    }
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"/**": {"ros__parameters": values}}))
    return path


# Every argument of segment.launch.py but params_file, alone, and what then holds.
ALONE = {
    "namespace": (
        "robot",
        lambda node: node.until(lambda: {"/robot/rgb/image"} <= node.subscribed()),
    ),
    "use_sim_time": ("True", lambda node: node.parameter("use_sim_time")),
    "autostart": ("false", lambda node: not node.parameter("autostart")),
    "respawn": ("false", lambda node: stays_dead(node)),
    "log_level": ("error", lambda node: "configured" not in node.text),
    "weights": (DEFAULT_WEIGHTS, lambda node: node.parameter("weights") == DEFAULT_WEIGHTS),
    "device": ("torch-cpu", lambda node: "configured: torch" in node.text),
}
# Topics, the one the node then reads, and parameters without which it would not.
TOPICS = {
    "rgb_topic": ("/color/image_raw", "/color/image_raw", False),
    "rgb_info_topic": ("color/info", "/color/info", True),
    "thermal_topic": ("/ir/image_raw/compressed", "/ir/image_raw/compressed", False),
    "thermal_info_topic": ("/ir/info", "/ir/info", False),
    "depth_topic": ("/aligned_depth/image", "/aligned_depth/image", True),
}


def stays_dead(running: Launched) -> bool:
    """Kill the node; launch has nothing left to do then, and ends."""
    (child,) = running.children
    os.kill(child, signal.SIGKILL)
    return ended(running) == 0 and "process has died" in running.text


def test_every_argument_of_the_node_is_tried(installed):
    assert {*ALONE, *TOPICS, "params_file"} == declared("segment")


@pytest.mark.usefixtures("default_weights")
@pytest.mark.parametrize("name", ALONE)
def test_an_argument_alone_takes_effect(launch, name):
    value, holds = ALONE[name]
    node = "/robot/csknet" if name == "namespace" else "/csknet"
    with launch("segment", f"{name}:={value}", node=node) as running:
        running.until_state("unconfigured" if name == "autostart" else "active")
        assert holds(running), running.text
    assert "Traceback" not in running.text


@pytest.mark.usefixtures("default_weights")
@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_alone_takes_effect(launch, parameter_file, name):
    value, topic, more = TOPICS[name]
    # The file's weights are not there; what is given by an argument wins.
    parameters = [f"params_file:={parameter_file}", f"weights:={DEFAULT_WEIGHTS}"] * more
    with launch("segment", f"{name}:={value}", *parameters) as running:
        running.until(lambda: topic in running.subscribed())
        compressed = value.endswith("/compressed")
        assert running.parameter("thermal_transport") == ("compressed" if compressed else "raw")
    assert "process has finished cleanly" in running.text
    assert "Traceback" not in running.text


def test_the_parameter_file_alone_is_left_as_it_is(launch, parameter_file):
    with launch("segment", f"params_file:={parameter_file}") as running:
        running.until(lambda: "configure failed: weights /gone/mine.safetensors" in running.text)
        assert running.parameter("overlay_alpha") == 0.25
        assert running.parameter("device") == "torch-cpu"
        running.until_state("unconfigured")


def test_all_arguments_at_once(launch, parameter_file, default_weights, tmp_path):
    mine = tmp_path / "mine.safetensors"
    shutil.copy(default_weights, mine)
    with launch(
        "segment", "namespace:=fleet/robot", "use_sim_time:=true",
        f"params_file:={parameter_file}", "autostart:=False", "respawn:=True",
        "log_level:=warn", "rgb_topic:=color/compressed", "rgb_info_topic:=/color/info",
        "thermal_topic:=/ir/image", "thermal_info_topic:=/ir/info",
        "depth_topic:=depth_raw", f"weights:={mine}", "device:=torch-cpu",
        node="/fleet/robot/csknet",
    ) as running:  # fmt: skip
        running.until_state("unconfigured")
        assert running.parameter("weights") == str(mine)
        assert running.parameter("overlay_alpha") == 0.25
        assert running.parameter("use_sim_time") is True
        assert running.change(Transition.TRANSITION_CONFIGURE), running.text
        assert running.change(Transition.TRANSITION_ACTIVATE), running.text
        # The intrinsics are those of the grid's camera, RGB.
        wanted = {"/fleet/robot/color/compressed", "/ir/image", "/color/info",
                  "/fleet/robot/depth_raw", "/clock"}  # fmt: skip
        running.until(lambda: wanted <= running.subscribed())
        assert "configured" not in running.text
    assert "Traceback" not in running.text


def test_compressed_images_reach_the_node_through_the_arguments(launch, default_weights):
    with launch("segment", "rgb_topic:=/c/compressed", "thermal_topic:=/t") as running:
        kinds = {"/c/compressed": CompressedImage, "/t": Image}
        running.until(lambda: set(kinds) <= running.subscribed())
        for topic, kind in kinds.items():
            found = dict(running.client.get_topic_names_and_types())[topic]
            assert found == [f"sensor_msgs/msg/{kind.__name__}"]


@pytest.mark.parametrize(
    ("file", "arguments", "problem"),
    [
        ("segment", ["autostart:=maybe"], 'Argument "autostart" .*"maybe" is not valid'),
        ("segment", ["device:=gpu"], 'Argument "device" .* is not valid. .*onnx-cpu'),
        ("segment", ["log_level:=loud"], 'Argument "log_level" .*warn'),
        ("segment", ["params_file:=/gone.yaml"], "params_file:=/gone.yaml: no such file"),
        ("segment", ["thermal_topic:=a b"], "thermal_topic:=a b: Invalid topic name"),
        ("segment", ["namespace:=1a"], "namespace:=1a: Invalid topic name"),
        ("demo", ["rate:=fast"], "rate:=fast: give a positive number"),
        ("demo", ["seconds:=0"], "seconds:=0: give a positive number"),
        ("demo", ["script:=/gone.yaml"], "script:=/gone.yaml: no such file"),
        ("demo", ["rgb_topic:=/c/compressed"], "rgb_topic:=/c/compressed: .*leave out"),
        ("replay", [], "missing required argument 'bag'"),
        ("replay", ["bag:=/gone.mcap"], "bag:=/gone.mcap: no such file"),
        ("replay", ["bag:=/", "rate:=0"], "rate:=0: give a positive number"),
        ("replay", ["bag:=/", "quiet:=-1"], "quiet:=-1: give 0 or a positive number"),
        ("replay", ["bag:=/", "labels_topic:=a b"], "labels_topic:=a b: Invalid topic name"),
        ("replay", ["bag:=/", "use_sim_time:=2"], 'Argument "use_sim_time"'),
    ],
)
def test_a_bad_value_is_named_before_anything_starts(launch, file, arguments, problem):
    with launch(file, *arguments) as running:
        assert ended(running) == 1
    assert "process started" not in running.text
    assert "Traceback" not in running.text
    assert re.search(problem, running.text), running.text


def test_missing_weights_are_named_and_the_node_stays(launch):
    with launch("segment", "weights:=/gone.safetensors") as running:
        running.until(
            lambda: "configure failed: weights /gone.safetensors: no such" in running.text
        )
        running.until_state("unconfigured")


def test_a_parameter_file_ros_cannot_read_is_named(launch, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("csknet: {device: cpu}")
    with launch("segment", f"params_file:={wrong}", "respawn:=true") as running:
        assert ended(running) == 1
    assert re.search(rf"the ROS arguments cannot be used: .*{re.escape(str(wrong))}", running.text)
    assert "segmentation_node cannot use its parameters" in running.text
    assert running.text.count("process started") == 1
    assert "Traceback" not in running.text


@pytest.mark.parametrize("respawn", ["true", "false"])
def test_a_parameter_out_of_range_ends_the_launch_instead_of_starting_the_node_for_ever(
    launch, tmp_path, respawn
):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("/**: {ros__parameters: {sync: {slop: 7.0}}}")
    with launch("segment", f"params_file:={wrong}", f"respawn:={respawn}") as running:
        assert ended(running) == 1
    assert "sync.slop" in running.text
    assert running.text.count("process started") == 1
    assert "Traceback" not in running.text


@pytest.mark.usefixtures("default_weights")
def test_a_killed_node_is_started_again(launch):
    with launch("segment", "respawn:=true") as running:
        running.until_state("active")
        (child,) = running.children
        os.kill(child, signal.SIGKILL)
        running.until(lambda: "process has died" in running.text)
        running.until(lambda: running.text.count("process started") == 2)
        running.until_state("active")
    assert "Traceback" not in running.text


@pytest.mark.usefixtures("default_weights")
def test_a_pushed_namespace_is_followed_by_the_log_level(installed, tmp_path):
    """As a launch file of a whole robot includes this one."""
    file = tmp_path / "robot.launch.py"
    file.write_text(
        "from launch import LaunchDescription\n"
        "from launch.actions import GroupAction, IncludeLaunchDescription\n"
        "from launch.launch_description_sources import PythonLaunchDescriptionSource\n"
        "from launch_ros.actions import PushRosNamespace\n"
        "def generate_launch_description():\n"
        f"    source = PythonLaunchDescriptionSource({str(LAUNCH / 'segment.launch.py')!r})\n"
        "    given = {'namespace': 'eyes', 'log_level': 'error'}.items()\n"
        "    inside = IncludeLaunchDescription(source, launch_arguments=given)\n"
        "    return LaunchDescription([GroupAction([PushRosNamespace('robot'), inside])])\n"
    )
    with Launched(file, tmp_path, node="/robot/eyes/csknet") as running:
        running.until_state("active")
        assert "configured" not in running.text


@pytest.mark.usefixtures("default_weights")
def test_the_demo_plays_its_drive_in_the_namespace_and_ends(launch, tmp_path):
    script = tmp_path / "short.yaml"
    shutil.copy(LAUNCH.parent / "config/drives/day_to_night.yaml", script)
    maps = []
    with launch(
        "demo", "namespace:=robot", "rgb_topic:=/color/image", "thermal_topic:=ir",
        "log_level:=warn", f"script:={script}", "rate:=4", "seconds:=3", node="/robot/csknet",
    ) as running:  # fmt: skip
        running.client.create_subscription(Image, "/robot/csknet/label_map", maps.append, 10)
        running.until(lambda: {"/color/image", "/robot/ir"} <= running.subscribed())
        assert ended(running) == 0
    assert maps
    assert "playing 12 pairs at 4 Hz" in running.text
    assert "done: 12 thermal frames" in running.text
    assert "configured" not in running.text
    assert "Traceback" not in running.text
    assert {"script", "rate", "seconds"} == declared("demo")


@pytest.fixture
def bag(tmp_path) -> Path:
    from csknet_ros.replay.make_bag import make_bag
    from csknet_ros.tools.script import load_script

    script = load_script(LAUNCH.parent / "config/drives/day_to_night.yaml").scaled(2.0)
    path = tmp_path / "drive.mcap"
    make_bag(path, DriveSource(script, 2.0), script, 2.0)
    return path


@pytest.mark.usefixtures("default_weights")
def test_a_replay_scores_the_node_with_every_argument(launch, bag, parameter_file, tmp_path):
    parameter_file.write_text(
        "/**: {ros__parameters: {input_reliability: reliable, overlay_alpha: 0.25}}"
    )
    with launch(
        # Slowly, so that a busy machine answers more than one of the bag's four frames.
        "replay", f"bag:={bag}", f"out:={tmp_path / 'out'}", "rate:=0.2", "quiet:=3",
        f"params_file:={parameter_file}", "use_sim_time:=true", "labels_topic:=/truth/label_map",
        "rgb_topic:=/rgb/image", "rgb_info_topic:=/rgb/camera_info",
        "thermal_topic:=/thermal/image", "thermal_info_topic:=/thermal/camera_info",
        "depth_topic:=/depth/image", "namespace:=robot", node="/robot/csknet",
    ) as running:  # fmt: skip
        assert running.parameter("use_sim_time") is True
        assert running.parameter("overlay_alpha") == 0.25
        assert ended(running) == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    frames = report["bags"][0]["frames"]
    assert sum(bool(frame["mode"]) for frame in frames) >= 2
    assert any(frame["miou"] is not None for frame in frames)
    assert "Traceback" not in running.text
    assert declared("replay") == {
        "bag", "out", "rate", "quiet", "params_file", "use_sim_time", "labels_topic", "rgb_topic",
        "rgb_info_topic", "thermal_topic", "thermal_info_topic", "depth_topic",
    }  # fmt: skip


def test_a_replay_of_a_damaged_bag_ends(launch, bag):
    bag.write_bytes(bag.read_bytes()[:3000])
    with launch("replay", f"bag:={bag}") as running:
        assert ended(running) == 1
    assert f"bag {bag}: " in running.text
    assert "bag_player failed with exit code 2" in running.text


@pytest.mark.usefixtures("default_weights")
def test_a_replay_with_topics_the_bag_does_not_have_ends(launch, bag):
    """The player says what is missing, and plays all the same."""
    with launch("replay", f"bag:={bag}", "rgb_topic:=/a", "thermal_topic:=/b", "quiet:=1") as one:
        assert ended(one) == 0
    assert "the bag has no topic /a, /b" in one.text
    assert "Traceback" not in one.text
