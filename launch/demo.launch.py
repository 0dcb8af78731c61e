"""Start rendered cameras and the segmentation node: `ros2 launch csknet_ros demo.launch.py`."""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

SHARE = get_package_share_directory("csknet_ros")
SCRIPT = os.path.join(SHARE, "config", "drives", "day_to_night.yaml")


def generate_launch_description():
    segmentation = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(os.path.join(SHARE, "launch", "segment.launch.py"))
    )
    cameras = Node(
        package="csknet_ros",
        executable="camera_node",
        output="screen",
        arguments=[
            "--script",
            LaunchConfiguration("script"),
            "--rate",
            LaunchConfiguration("rate"),
            "--seconds",
            LaunchConfiguration("seconds"),
        ],
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("script", default_value=SCRIPT, description="Drive to play."),
            DeclareLaunchArgument("rate", default_value="5.0", description="Pairs per second."),
            DeclareLaunchArgument("seconds", default_value="45", description="Length."),
            segmentation,
            cameras,
        ]
    )
