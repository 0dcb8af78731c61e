"""Play a bag into the live node, score it: `ros2 launch csknet_ros replay.launch.py bag:=BAG`.

Takes every argument of segment.launch.py, too.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from csknet_ros import launching

SHARE = get_package_share_directory("csknet_ros")
# Beyond `quiet`: for the evaluator to write its report by itself.
GRACE_S = 10.0

ARGUMENTS = {
    "bag": (None, "rosbag2 folder or .mcap file."),
    "out": ("replay_out", "Folder for report.json and report.html."),
    "rate": ("1.0", "Times recorded speed."),
    "labels_topic": ("/truth/label_map", "Label map topic in the bag."),
    "quiet": ("10", "Seconds of silence after which the report is written; 0 waits for Ctrl-C."),
    # Of segment.launch.py, with defaults that suit a bag.
    "params_file": (os.path.join(SHARE, "config", "replay.yaml"), "The node's parameter file."),
    "use_sim_time": ("true", "Take the bag's time, from /clock."),
    "rgb_topic": ("/rgb/image", "RGB topic in the bag; it may end in /compressed."),
    "rgb_info_topic": ("/rgb/camera_info", "Intrinsics of the RGB camera in the bag."),
    "thermal_topic": ("/thermal/image", "Thermal topic in the bag; it may end in /compressed."),
    "thermal_info_topic": ("/thermal/camera_info", "Intrinsics of the thermal camera in the bag."),
    "depth_topic": ("/depth/image", "Depth images in the bag."),
}
CHOICES = {"use_sim_time": launching.BOOLEANS}


def check(context):
    """Refuse bad values before anything runs: launch orphans what is starting at an error."""
    given = context.launch_configurations
    launching.check_modules(("rosbags", "jinja2"), "rosbags rosbags-image jinja2")
    launching.check_path("bag", given["bag"])
    launching.check_topics(given, ["labels_topic"])
    launching.check_number("rate", given["rate"])
    launching.check_number("quiet", given["quiet"], zero=True)


def start_tools(context):
    names = (*ARGUMENTS, "namespace", "weights")
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    given["bag"] = os.path.expanduser(given["bag"])
    player = Node(
        package="csknet_ros",
        executable="bag_player",
        output="screen",
        arguments=player_arguments(given),
    )
    evaluator = Node(
        package="csknet_ros",
        executable="evaluator",
        # Where the node is: its topics are relative.
        namespace=given["namespace"],
        output="screen",
        arguments=evaluator_arguments(given),
    )

    def played(event, context):
        if context.is_shutdown:
            return []
        launching.check_exit("bag_player", event.returncode)
        return give_up(float(given["quiet"]))

    return [
        *(player, evaluator),
        RegisterEventHandler(OnProcessExit(target_action=player, on_exit=played)),
        RegisterEventHandler(OnProcessExit(target_action=evaluator, on_exit=end)),
    ]


def player_arguments(given):
    listened = [given[name] for name in ("rgb_topic", "thermal_topic", "labels_topic")]
    return [
        given["bag"],
        *("--rate", given["rate"]),
        *("--wait", "60"),
        "--clock",
        # An image topic more that nobody listens to would cost the whole wait.
        *("--wait-for", *listened),
    ]


def evaluator_arguments(given):
    return [
        *("--out", os.path.expanduser(given["out"])),
        *("--labels", given["labels_topic"]),
        *("--quiet", given["quiet"]),
        *("--name", given["bag"]),
        *("--weights", given["weights"]),
    ]


def give_up(quiet):
    """End all when the evaluator, which waits for a first answer, never heard one."""
    if not quiet:
        return []
    reason = "the bag is over and nothing was answered; check rgb_topic and thermal_topic"
    return [TimerAction(period=quiet + GRACE_S, actions=[EmitEvent(event=Shutdown(reason=reason))])]


def end(event, context):
    if context.is_shutdown:
        return []
    launching.check_exit("evaluator", event.returncode)
    return [EmitEvent(event=Shutdown(reason="the report is written"))]


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=CHOICES.get(name)
        )
        for name, (default, text) in ARGUMENTS.items()
    ]
    segmentation = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(os.path.join(SHARE, "launch", "segment.launch.py"))
    )
    checked, tools = OpaqueFunction(function=check), OpaqueFunction(function=start_tools)
    return LaunchDescription([*declared, checked, segmentation, tools])
