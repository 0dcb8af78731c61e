"""Start the segmentation node: `ros2 launch csknet_ros segment.launch.py`."""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

SHARE = get_package_share_directory("csknet_ros")
PROFILE = os.path.join(SHARE, "config", "fastdds.xml")
# Kilted gave the variable a new name.
OLDER = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
VARIABLE = f"{'FASTRTPS' if OLDER else 'FASTDDS'}_DEFAULT_PROFILES_FILE"

ARGUMENTS = {
    "namespace": ("", "Namespace of the node and its topics."),
    "use_sim_time": ("false", "Take time from /clock."),
    "params_file": (os.path.join(SHARE, "config", "segment.yaml"), "Parameter file."),
    "autostart": ("true", "Configure and activate at once; false under a lifecycle manager."),
    "log_level": ("info", "debug, info, warn or error."),
    "rgb_topic": ("rgb/image", "RGB images, sensor_msgs/Image."),
    "thermal_topic": ("thermal/image", "Thermal images, sensor_msgs/Image."),
    "thermal_info_topic": ("thermal/camera_info", "Intrinsics of the thermal camera."),
    "weights": ("", "Weights file or name; empty takes the shipped default."),
    "device": ("auto", "auto, cpu, cuda, onnx-cpu, torch-cuda, ..."),
}


def generate_launch_description():
    argument = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    # Fast DDS drops images larger than its default shared-memory segment.
    profile = SetEnvironmentVariable(VARIABLE, os.environ.get(VARIABLE, PROFILE))
    node = LifecycleNode(
        package="csknet_ros",
        executable="segmentation_node",
        name="csknet",
        namespace=argument["namespace"],
        output="screen",
        parameters=[
            argument["params_file"],
            {
                "use_sim_time": ParameterValue(argument["use_sim_time"], value_type=bool),
                "autostart": ParameterValue(argument["autostart"], value_type=bool),
                "weights": ParameterValue(argument["weights"], value_type=str),
                "device": ParameterValue(argument["device"], value_type=str),
            },
        ],
        remappings=[
            ("rgb/image", argument["rgb_topic"]),
            ("thermal/image", argument["thermal_topic"]),
            ("thermal/camera_info", argument["thermal_info_topic"]),
        ],
        arguments=["--ros-args", "--log-level", ["csknet:=", argument["log_level"]]],
    )
    return LaunchDescription([*declared, profile, node])
