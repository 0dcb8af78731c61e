"""Play a bag into the live node, score it: `ros2 launch csknet_ros replay.launch.py bag:=BAG`."""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

SHARE = get_package_share_directory("csknet_ros")

ARGUMENTS = {
    "bag": (None, "rosbag2 folder or .mcap file."),
    "out": ("replay_out", "Folder for report.json and report.html."),
    "rate": ("1.0", "Times recorded speed."),
    "params_file": (os.path.join(SHARE, "config", "replay.yaml"), "The node's parameter file."),
    "rgb_topic": ("/rgb/image", "RGB topic in the bag."),
    "thermal_topic": ("/thermal/image", "Thermal topic in the bag."),
    "truth_topic": ("/truth/label_map", "Label map topic in the bag."),
    "quiet": ("10", "Seconds of silence after which the report is written."),
}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    segmentation = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(os.path.join(SHARE, "launch", "segment.launch.py")),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    player = Node(
        package="csknet_ros",
        executable="bag_player",
        output="screen",
        arguments=[
            LaunchConfiguration("bag"),
            *("--rate", LaunchConfiguration("rate")),
            *("--wait", "60", "--clock"),
        ],
    )
    evaluator = Node(
        package="csknet_ros",
        executable="evaluator",
        output="screen",
        arguments=[
            *("--out", LaunchConfiguration("out")),
            *("--truth", LaunchConfiguration("truth_topic")),
            *("--quiet", LaunchConfiguration("quiet")),
            *("--name", LaunchConfiguration("bag")),
        ],
    )
    done = RegisterEventHandler(
        OnProcessExit(target_action=evaluator, on_exit=[EmitEvent(event=Shutdown())])
    )
    return LaunchDescription([*declared, segmentation, player, evaluator, done])
