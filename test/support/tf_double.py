"""A stand-in for the module tf2_ros, which is not on PyPI: what csknet_ros.mount uses of it."""

from __future__ import annotations

import types

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time


class TransformException(Exception):  # noqa: N818 (its name in tf2)
    """Base of everything the buffer raises."""


class LookupException(TransformException):
    pass


class ExtrapolationException(TransformException):
    pass


class Buffer:
    """Holds the transforms that tests put in; the last one not newer than asked for counts.

    Like tf2, it does not know the time after the newest transform of a moving frame, and takes a
    time of zero for the newest. `upcoming` are transforms that arrive while somebody waits.
    """

    def __init__(self) -> None:
        self.static: dict[str, TransformStamped] = {}
        self.moving: list[TransformStamped] = []
        self.upcoming: list[TransformStamped] = []
        self.waits: list[int] = []

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration
    ) -> TransformStamped:
        if timeout.nanoseconds:
            self.waits.append(timeout.nanoseconds)
            self.moving += self.upcoming
            self.upcoming = []
        if source_frame in self.static:
            return self._checked(self.static[source_frame], target_frame)
        known = [t for t in self.moving if t.child_frame_id == source_frame]
        if not known:
            raise LookupException(f'"{source_frame}" does not exist')
        newest = max(known, key=_stamp_ns)
        if not time.nanoseconds:
            return self._checked(newest, target_frame)
        if time.nanoseconds > _stamp_ns(newest):
            raise ExtrapolationException("would require extrapolation into the future")
        past = [t for t in known if _stamp_ns(t) <= time.nanoseconds]
        if not past:
            raise ExtrapolationException("would require extrapolation into the past")
        return self._checked(max(past, key=_stamp_ns), target_frame)

    def clear(self) -> None:
        self.moving.clear()

    def _checked(self, transform: TransformStamped, target_frame: str) -> TransformStamped:
        if transform.header.frame_id != target_frame:
            raise LookupException(f'"{target_frame}" does not exist')
        return transform


def _stamp_ns(transform: TransformStamped) -> int:
    return Time.from_msg(transform.header.stamp).nanoseconds


class TransformListener:
    """Subscribes to what the real one does; tests fill the buffer by hand."""

    def __init__(self, buffer: Buffer, node: Node) -> None:
        self.buffer, self.node = buffer, node
        # tf2_msgs is not on PyPI, either.
        self._subscriptions = [
            node.create_subscription(TransformStamped, topic, lambda _: None, 100)
            for topic in ("/tf", "/tf_static")
        ]

    def unregister(self) -> None:
        for subscription in self._subscriptions:
            self.node.destroy_subscription(subscription)


def module() -> types.ModuleType:
    """Return it for sys.modules["tf2_ros"]."""
    made = types.ModuleType("tf2_ros")
    made.Buffer = Buffer
    made.TransformListener = TransformListener
    made.TransformException = TransformException
    return made


def transform(
    parent: str,
    child: str,
    place: tuple[float, ...],
    quaternion: tuple[float, ...],
    stamp_ns: int = 0,
) -> TransformStamped:
    """Return a transform of points in `child` to `parent`; quaternion is x, y, z, w."""
    made = TransformStamped(child_frame_id=child)
    made.header.frame_id = parent
    made.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
    translation, rotation = made.transform.translation, made.transform.rotation
    translation.x, translation.y, translation.z = place
    rotation.x, rotation.y, rotation.z, rotation.w = quaternion
    return made
