"""Records what cameras and node publish, for reports and accounting."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from csknet_core.errors import ImageError
from csknet_ros.frame_status import FrameStatus, decode
from csknet_ros.images import labels_from_message, optical_from_message, thermal_from_message
from csknet_ros.stamps import to_ns

_CAMERA = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
_ANSWERS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


@dataclass
class Recording:
    """What was seen, by the stamp of the frame it belongs to (nanoseconds).

    Attributes:
        optical, thermal, truth, overlay: images, see `sources.SourceFrame`.
        label_maps: answers.
        answers: how many label maps came for a stamp.
        received_ns: wall time at which the label map came.
        statuses: frame statuses of thermal frames, all that came.
        optical_answers: label maps announced for RGB frames answered in a silent thermal
            camera's place; their stamps may be those of thermal frames that came late.
    """

    optical: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    thermal: dict[int, NDArray[Any]] = field(default_factory=dict)
    truth: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    overlay: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    label_maps: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    received_ns: dict[int, int] = field(default_factory=dict)
    statuses: dict[int, list[FrameStatus]] = field(default_factory=dict)
    optical_answers: Counter[int] = field(default_factory=Counter)


class Recorder:
    """Subscribes to everything in a ROS context and thread of its own.

    Args:
        domain_id: ROS domain to listen in.
    """

    def __init__(self, domain_id: int) -> None:
        self.recording = Recording()
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain_id)
        self._node = rclpy.create_node("recorder", context=self._context)
        self._stopping = threading.Event()
        for topic, qos, store in (
            ("rgb/image", _CAMERA, self._on_optical),
            ("thermal/image", _CAMERA, self._on_thermal),
            ("truth/label_map", _ANSWERS, self._on_truth),
            ("csknet/label_map", _ANSWERS, self._on_label_map),
            ("csknet/overlay", _ANSWERS, self._on_overlay),
        ):
            self._node.create_subscription(Image, topic, store, qos)
        self._node.create_subscription(
            DiagnosticArray, "csknet/frame_status", self._on_status, _ANSWERS
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def node_is_listening(self) -> bool:
        """Whether somebody else subscribes to both cameras and publishes answers."""
        node = self._node
        cameras = all(node.count_subscribers(t) >= 2 for t in ("rgb/image", "thermal/image"))
        return cameras and node.count_publishers("csknet/frame_status") > 0

    def thermal_frames(self) -> int:
        """Return how many thermal frames have been seen."""
        return len(self.recording.thermal)

    def close(self) -> Recording:
        """Stop recording and return what was seen; may be called again."""
        if self._stopping.is_set():
            return self.recording
        self._stopping.set()
        self._thread.join()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)
        return self.recording

    def _spin(self) -> None:
        while not self._stopping.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_optical(self, message: Image) -> None:
        self.recording.optical[to_ns(message.header.stamp)] = optical_from_message(message)

    def _on_thermal(self, message: Image) -> None:
        self.recording.thermal[to_ns(message.header.stamp)] = thermal_from_message(message)

    def _on_truth(self, message: Image) -> None:
        self.recording.truth[to_ns(message.header.stamp)] = labels_from_message(message)

    def _on_overlay(self, message: Image) -> None:
        self.recording.overlay[to_ns(message.header.stamp)] = optical_from_message(message)

    def _on_label_map(self, message: Image) -> None:
        now = time.time_ns()
        stamp = to_ns(message.header.stamp)
        self.recording.answers[stamp] += 1
        self.recording.received_ns.setdefault(stamp, now)
        try:
            self.recording.label_maps[stamp] = labels_from_message(message)
        except ImageError as error:
            self._node.get_logger().error(f"label map not recorded: {error}")

    def _on_status(self, message: DiagnosticArray) -> None:
        status = decode(message)
        if status.primary == "thermal":
            self.recording.statuses.setdefault(to_ns(message.header.stamp), []).append(status)
        else:
            self.recording.optical_answers[to_ns(message.header.stamp)] += status.answered
