"""Start the segmentation node: `ros2 launch csknet_ros segment.launch.py`."""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.utilities import prefix_namespace

from csknet_ros import launching
from csknet_ros.fastdds import profile_environment

SHARE = get_package_share_directory("csknet_ros")
PROFILE = os.path.join(SHARE, "config", "fastdds.xml")

ARGUMENTS = {
    "namespace": ("", "Namespace of the node and its topics."),
    "use_sim_time": ("false", "Take time from /clock."),
    "params_file": (os.path.join(SHARE, "config", "segment.yaml"), "Parameter file."),
    "autostart": ("true", "Configure and activate at once; false under a lifecycle manager."),
    "respawn": (
        "true",
        "Start the node again, after 2 s, should its process die, but not if it refuses its "
        "parameters.",
    ),
    "log_level": ("info", "Least severe messages of the node that are logged."),
    "rgb_topic": (
        "rgb/image",
        "RGB images, sensor_msgs/Image; one that ends in /compressed sets rgb_transport, too.",
    ),
    "rgb_info_topic": ("rgb/camera_info", "Intrinsics of the RGB camera."),
    "thermal_topic": (
        "thermal/image",
        "Thermal images, sensor_msgs/Image; /compressed as for rgb_topic.",
    ),
    "thermal_info_topic": ("thermal/camera_info", "Intrinsics of the thermal camera."),
    "depth_topic": ("depth/image", "Depth images; read with navigation.depth: depth_image."),
    "weights": ("", "Weights file or name; empty leaves it to the parameter file."),
    "device": ("", "Backend and device; empty leaves it to the parameter file."),
}
CHOICES = {
    "use_sim_time": launching.BOOLEANS,
    "autostart": launching.BOOLEANS,
    "respawn": launching.BOOLEANS,
    "log_level": launching.LOG_LEVELS,
    "device": launching.LAUNCH_DEVICES,
}


def start_node(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    namespace = launching.check_namespace(given["namespace"])
    # A launch file that includes this one may have pushed a namespace.
    whole = prefix_namespace(context.launch_configurations.get("ros_namespace"), namespace)
    level = f"{launching.logger_name(whole, 'csknet')}:={given['log_level']}"
    node = LifecycleNode(
        package="csknet_ros",
        executable="segmentation_node",
        name="csknet",
        namespace=namespace,
        output="screen",
        respawn=launching.is_true(given["respawn"]),
        respawn_delay=2.0,
        parameters=[
            launching.check_parameters("params_file", given["params_file"]),
            node_parameters(given),
        ],
        remappings=launching.camera_remaps(given),
        arguments=["--ros-args", "--log-level", level],
    )
    return [node, RegisterEventHandler(OnProcessExit(target_action=node, on_exit=end))]


def end(event, context):
    """End all with an error where respawning would go on for ever."""
    if not context.is_shutdown:
        launching.check_started("segmentation_node", event.returncode)
    return []


def node_parameters(given):
    """Return what is set by arguments; it wins over the parameter file."""
    flags = {name: launching.is_true(given[name]) for name in ("use_sim_time", "autostart")}
    # Nothing of these is given by default.
    texts = {name: given[name] for name in ("weights", "device") if given[name]}
    texts.update(launching.camera_transports(given))
    # launch_ros reads text as YAML otherwise, and takes weights called 1 for a number.
    return {**flags, **{k: ParameterValue(v, value_type=str) for k, v in texts.items()}}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=CHOICES.get(name)
        )
        for name, (default, text) in ARGUMENTS.items()
    ]
    # Fast DDS drops images larger than its default shared-memory segment.
    profile = [SetEnvironmentVariable(*entry) for entry in profile_environment(PROFILE).items()]
    return LaunchDescription([*declared, *profile, OpaqueFunction(function=start_node)])
