"""Where the camera is on the robot: from the parameters, or from tf2; the only file that knows tf2.

tf2_ros comes with a ROS installation, not from PyPI, so it is imported only when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from csknet_core.errors import ConfigError, PoseError
from csknet_core.runtime.camera_pose import CameraPose, OpticalPose
from csknet_core.runtime.ground import NavigationSettings

_NO_WAIT = Duration()
_WAIT = Duration(nanoseconds=50_000_000)
# A transform that is this much older than the image is being updated: the next one is on its way.
_FRESH_NS = 500_000_000


class TransformBuffer(Protocol):
    """What is used of tf2_ros.Buffer."""

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration
    ) -> TransformStamped:
        """Return the transform of points in `source_frame` to `target_frame`."""


class MountSource(Protocol):
    """Knows where cameras are."""

    def pose(self, camera_frame: str, stamp: Any) -> CameraPose:
        """Return where a camera is in the frame of the points.

        Args:
            camera_frame: optical frame of the image (REP-103).
            stamp: builtin_interfaces/Time of the image.

        Raises:
            PoseError: that is not known; the message says what to do.
        """

    def close(self) -> None:
        """Free what it holds."""


class FixedMount:
    """The pose in the parameters, for every camera at all times."""

    def __init__(self, pose: CameraPose) -> None:
        self._pose = pose

    def pose(self, camera_frame: str, stamp: Any) -> CameraPose:
        """Return the pose, see `MountSource`."""
        return self._pose

    def close(self) -> None:
        """Nothing to free."""


class TfMount:
    """The pose tf2 knows for the image's stamp: a camera that moves on the robot is followed.

    A transform that is being updated and is only a little older than the image is waited for, 50 ms
    at most. One that is missing or has not been updated for long is an error at once, so that
    answers are not held up.

    Args:
        frame: of the points.
        buffer: a tf2_ros.Buffer.
        error: tf2_ros.TransformException, base of what the buffer raises.
        release: called by `close`.
    """

    def __init__(
        self,
        frame: str,
        buffer: TransformBuffer,
        error: type[Exception],
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._frame = frame
        self._buffer = buffer
        self._error = error
        self._release = release

    def pose(self, camera_frame: str, stamp: Any) -> CameraPose:
        """Look the pose up, see `MountSource`."""
        if not camera_frame:
            raise PoseError(
                "the image has no frame_id, so that tf2 cannot tell where its camera is: set the "
                "camera driver's frame_id, or navigation.mount to parameters"
            )
        try:
            transform = self._look_up(camera_frame, Time.from_msg(stamp))
        except self._error as error:
            raise PoseError(
                f"no transform from {self._frame} to {camera_frame} at the image's time ({error}): "
                "publish it (robot_state_publisher, static_transform_publisher), or set "
                "navigation.mount to parameters"
            ) from error
        try:
            return pose_from_transform(transform)
        except ConfigError as error:
            raise PoseError(
                f"the transform from {self._frame} to {camera_frame} cannot be used: {error}"
            ) from error

    def close(self) -> None:
        """Stop listening."""
        self._release()

    def _look_up(self, camera_frame: str, time: Time) -> TransformStamped:
        try:
            return self._buffer.lookup_transform(self._frame, camera_frame, time, _NO_WAIT)
        except self._error:
            latest = self._buffer.lookup_transform(self._frame, camera_frame, Time(), _NO_WAIT)
            age_ns = time.nanoseconds - Time.from_msg(latest.header.stamp).nanoseconds
            if not 0 < age_ns <= _FRESH_NS:
                raise
        return self._buffer.lookup_transform(self._frame, camera_frame, time, _WAIT)


def pose_from_transform(transform: TransformStamped) -> OpticalPose:
    """Return the pose of an optical frame from the transform of its points to the robot's frame.

    Raises:
        ConfigError: a number is not finite, or the rotation is none.
    """
    place, turn = transform.transform.translation, transform.transform.rotation
    return OpticalPose(place.x, place.y, place.z, (turn.x, turn.y, turn.z, turn.w))


def open_mount(node: Node, settings: NavigationSettings) -> MountSource:
    """Return the source of the camera's pose that the settings ask for.

    Args:
        node: listens to transforms in its name.
        settings: which one.

    Raises:
        ConfigError: tf2 is asked for and is not installed.
    """
    if settings.mount_source == "parameters":
        return FixedMount(settings.mount)
    try:
        tf2_ros = importlib.import_module("tf2_ros")
    except ImportError as error:
        raise ConfigError(
            f"parameter navigation.mount is tf, and tf2_ros cannot be imported ({error}): install "
            "ros-$ROS_DISTRO-tf2-ros-py and source ROS, or set navigation.mount to parameters"
        ) from error
    # Without a node the buffer offers no service; with one it would offer tf2_frames to everybody.
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, node)
    # The buffer's own clock is the system's: it does not see a bag loop or a simulation reset,
    # after which it would take all transforms for old ones.
    back = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
    jumps = node.get_clock().create_jump_callback(back, post_callback=lambda _: buffer.clear())

    def release() -> None:
        jumps.unregister()
        listener.unregister()

    return TfMount(settings.frame, buffer, tf2_ros.TransformException, release)
