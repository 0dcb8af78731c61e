"""Start rendered cameras and the segmentation node: `ros2 launch csknet_ros demo.launch.py`.

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
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from csknet_ros import launching

SHARE = get_package_share_directory("csknet_ros")
SCRIPT = os.path.join(SHARE, "config", "drives", "day_to_night.yaml")

ARGUMENTS = {
    "script": (SCRIPT, "Drive to play."),
    "rate": ("5.0", "Pairs per second."),
    "seconds": ("45", "Length of the drive; all ends with it."),
}


def check(context):
    """Refuse bad values before anything runs: launch orphans what is starting at an error."""
    given = context.launch_configurations
    launching.check_path("script", given["script"])
    launching.check_number("rate", given["rate"])
    launching.check_number("seconds", given["seconds"])
    launching.check_raw(given)


def start_cameras(context):
    names = (*ARGUMENTS, *launching.CAMERA_ARGUMENTS)
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    cameras = Node(
        package="csknet_ros",
        executable="camera_node",
        # Where the node is, or they would miss each other.
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        arguments=[
            *("--script", os.path.expanduser(given["script"])),
            *("--rate", given["rate"]),
            *("--seconds", given["seconds"]),
        ],
        remappings=launching.camera_remaps(given),
    )
    over = OnProcessExit(target_action=cameras, on_exit=end)
    return [cameras, RegisterEventHandler(over)]


def end(event, context):
    if context.is_shutdown:
        return []
    launching.check_exit("camera_node", event.returncode)
    return [EmitEvent(event=Shutdown(reason="the drive is over"))]


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    segmentation = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(os.path.join(SHARE, "launch", "segment.launch.py"))
    )
    checked, cameras = OpaqueFunction(function=check), OpaqueFunction(function=start_cameras)
    return LaunchDescription([*declared, checked, segmentation, cameras])
