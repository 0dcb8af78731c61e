"""The view's ROS side: subscriptions that only store, and only while somebody looks."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from csknet_core.classes import ClassTable
from csknet_core.errors import ConfigError
from csknet_ros.frame_status import decode
from csknet_ros.inputs import TRANSPORTS
from csknet_ros.qos import LATCHED, STATUS
from csknet_ros.view.state import IMAGES, ViewState

# Best effort serves every publisher and never makes one wait; only the newest frame counts.
_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_GRAPH_PERIOD_S = 0.5
_CAMERAS = {"rgb": "rgb/image", "thermal": "thermal/image"}


class ViewNode(Node):
    """Stores what the page shows.

    Images are subscribed to while a browser looks, so that a view nobody looks at costs the
    cameras and the segmentation node (which draws its overlay for subscribers) nothing.

    Args:
        state: filled here.
        node: name of the segmentation node.
        transport: "raw" or "compressed" camera topics; "auto" takes what is published, raw first.
        options: passed on to rclpy.
    """

    def __init__(
        self, state: ViewState, node: str = "csknet", transport: str = "auto", **options: Any
    ) -> None:
        super().__init__("view", **options)
        self._state = state
        self._transports = list(TRANSPORTS) if transport == "auto" else [transport]
        self._overlay = self.resolve_topic_name(f"{node}/overlay")
        self._status = self.resolve_topic_name(f"{node}/frame_status")
        self._subscriptions_of: dict[str, tuple[str, Any]] = {}
        self.create_subscription(DiagnosticArray, self._status, self._on_status, STATUS)
        self.create_subscription(String, f"{node}/label_info", self._on_label_info, LATCHED)
        # Real seconds, also under a paused simulation clock.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_GRAPH_PERIOD_S, self._on_timer, clock=steady)
        self._on_timer()

    def _on_timer(self) -> None:
        """Subscribe or unsubscribe, and note who publishes."""
        watched = self._state.watched
        for name in IMAGES:
            topic, kind = self._choose(name)
            self._subscribe(name, topic if watched else "", kind)
            self._state.set_feed(name, topic, self.count_publishers(topic), watched)
        self._state.set_feed("status", self._status, self.count_publishers(self._status), True)

    def _choose(self, name: str) -> tuple[str, Any]:
        """Return the topic to show and its message type."""
        if name not in _CAMERAS:
            return self._overlay, TRANSPORTS["raw"][1]
        offers = [self._camera_topic(name, transport) for transport in self._transports]
        published = [offer for offer in offers if self.count_publishers(offer[0])]
        return (published or offers)[0]

    def _camera_topic(self, name: str, transport: str) -> tuple[str, Any]:
        """Return the topic of a transport; a remapped camera takes its transports along."""
        suffix, kind = TRANSPORTS[transport]
        own = _CAMERAS[name] + suffix
        resolved = self.resolve_topic_name(own)
        if resolved == self.resolve_topic_name(own, only_expand=True):
            resolved = self.resolve_topic_name(_CAMERAS[name]) + suffix
        return resolved, kind

    def _subscribe(self, name: str, topic: str, kind: Any) -> None:
        """Make the image's subscription be to this topic, or to none when it is empty."""
        current, subscription = self._subscriptions_of.get(name, ("", None))
        if topic == current:
            return
        if subscription is not None:
            self.destroy_subscription(subscription)
        if topic:
            subscription = self.create_subscription(
                kind, topic, partial(self._state.add_image, name), _NEWEST
            )
            self._subscriptions_of[name] = (topic, subscription)
        else:
            del self._subscriptions_of[name]

    def _on_status(self, message: DiagnosticArray) -> None:
        try:
            self._state.add_status(decode(message))
        except ValueError as error:
            self.get_logger().warning(f"{self._status}: {error}", throttle_duration_sec=5.0)

    def _on_label_info(self, message: String) -> None:
        try:
            table = ClassTable.from_dict(json.loads(message.data), "label_info")
        except (ConfigError, ValueError) as error:
            self.get_logger().warning(f"no class legend: {error}")
            return
        self._state.set_classes(table)
