"""Start the segmentation node: `ros2 launch csknet_ros segment.launch.py`."""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

SHARE = get_package_share_directory("csknet_ros")
PROFILE = os.path.join(SHARE, "config", "fastdds.xml")
# Kilted gave the variable a new name.
OLDER = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

ARGUMENTS = {
    "namespace": ("", "Namespace of the node and its topics."),
    "use_sim_time": ("false", "Take time from /clock."),
    "params_file": (os.path.join(SHARE, "config", "segment.yaml"), "Parameter file."),
    "autostart": ("true", "Configure and activate at once; false under a lifecycle manager."),
    "respawn": ("true", "Start the node again, after 2 s, should its process die."),
    "log_level": ("info", "debug, info, warn or error."),
    "rgb_topic": ("rgb/image", "RGB images, sensor_msgs/Image."),
    "thermal_topic": ("thermal/image", "Thermal images, sensor_msgs/Image."),
    "thermal_info_topic": ("thermal/camera_info", "Intrinsics of the thermal camera."),
    "weights": ("", "Weights file or name; empty leaves it to the parameter file."),
    "device": ("", "auto, cpu, cuda, onnx-cpu, ...; empty leaves it to the parameter file."),
}


def start_node(context):
    argument = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    parameters = {
        "use_sim_time": ParameterValue(argument["use_sim_time"], value_type=bool),
        "autostart": ParameterValue(argument["autostart"], value_type=bool),
    }
    for name in ("weights", "device"):
        # What is given here wins over the parameter file, so nothing is given by default.
        if argument[name].perform(context):
            parameters[name] = ParameterValue(argument[name], value_type=str)
    node = LifecycleNode(
        package="csknet_ros",
        executable="segmentation_node",
        name="csknet",
        namespace=argument["namespace"],
        output="screen",
        respawn=argument["respawn"].perform(context).lower() in ("true", "1"),
        respawn_delay=2.0,
        parameters=[argument["params_file"], parameters],
        remappings=[
            ("rgb/image", argument["rgb_topic"]),
            ("thermal/image", argument["thermal_topic"]),
            ("thermal/camera_info", argument["thermal_info_topic"]),
        ],
        arguments=["--ros-args", "--log-level", ["csknet:=", argument["log_level"]]],
    )
    return [node]


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    # Fast DDS drops images larger than its default shared-memory segment. A profile that is
    # already chosen, by either name, stays.
    chosen = any(name in os.environ for name in VARIABLES)
    profile = [] if chosen else [SetEnvironmentVariable(VARIABLES[OLDER], PROFILE)]
    return LaunchDescription([*declared, *profile, OpaqueFunction(function=start_node)])
