"""The node's outputs: one place that knows topics, QoS and how answers become messages."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from csknet_core.classes import ClassTable
from csknet_core.runtime.overlay import draw_overlay
from csknet_core.runtime.segmenter import Segmentation
from csknet_ros.frame_status import FrameStatus, encode
from csknet_ros.images import fill_message
from csknet_ros.qos import LATCHED, STATUS

# Reliable publishers also serve best-effort subscribers; the depth bounds memory.
_ANSWERS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


class Outputs:
    """Publishers of one configured node.

    | topic              | type                              | content                           |
    |--------------------|-----------------------------------|-----------------------------------|
    | `~/label_map`      | sensor_msgs/Image mono8           | class id per pixel                |
    | `~/confidence`     | sensor_msgs/Image mono8           | 255 = certain                     |
    | `~/overlay`        | sensor_msgs/Image rgb8            | only made when subscribed         |
    | `~/camera_info`    | sensor_msgs/CameraInfo            | of the label map's grid           |
    | `~/label_info`     | std_msgs/String, latched          | class table as JSON               |
    | `~/labels`         | vision_msgs/LabelInfo, latched    | the same, where vision_msgs is    |
    |                    |                                   | installed                         |
    | `~/frame_status`   | diagnostic_msgs/DiagnosticArray   | what became of every frame        |

    All but the class table carry the stamp and frame of the camera frame they answer.

    Args:
        node: publishes in its name.
        classes: class table of the label maps.
    """

    def __init__(self, node: Node, classes: ClassTable) -> None:
        self._node = node
        self._classes = classes
        self._label_map = node.create_publisher(Image, "~/label_map", _ANSWERS)
        self._confidence = node.create_publisher(Image, "~/confidence", _ANSWERS)
        self._overlay = node.create_publisher(Image, "~/overlay", _ANSWERS)
        self._camera_info = node.create_publisher(CameraInfo, "~/camera_info", _ANSWERS)
        self._status = node.create_publisher(DiagnosticArray, "~/frame_status", STATUS)
        self._label_info = node.create_publisher(String, "~/label_info", LATCHED)
        self._send(self._label_info, String(data=json.dumps(label_info(classes))))
        self._labels: Any = None
        labels = vision_label_info(classes)
        if labels is not None:
            self._labels = node.create_publisher(type(labels), "~/labels", LATCHED)
            labels.header.stamp = node.get_clock().now().to_msg()
            self._send(self._labels, labels)

    @property
    def overlay_wanted(self) -> bool:
        """Whether anybody subscribes to the overlay."""
        return self._overlay.get_subscription_count() > 0

    def publish_answer(self, header: Any, answer: Segmentation) -> None:
        """Publish label map and confidence of one answered frame.

        Args:
            header: stamp of the frame's primary message, frame of the grid's camera.
            answer: what to publish.
        """
        self._publish_image(self._label_map, header, answer.labels, "mono8")
        self._publish_image(self._confidence, header, answer.confidence, "mono8")

    def publish_camera_info(self, header: Any, camera_info: CameraInfo) -> None:
        """Publish the intrinsics of the grid's camera for an answer with that header."""
        camera_info.header = header
        self._send(self._camera_info, camera_info)

    def publish_overlay(
        self, header: Any, answer: Segmentation, background: NDArray[Any], alpha: float
    ) -> None:
        """Publish an answer drawn over a camera image.

        Args:
            header: of the answer.
            answer: what to draw.
            background: (H, W, 3) RGB or thermal (H, W).
            alpha: opacity of the colours.
        """
        banner = f"{answer.mode.value}  {answer.reason.value}"
        picture = draw_overlay(background, answer.labels, self._classes, alpha, banner)
        self._publish_image(self._overlay, header, picture, "rgb8")

    def publish_status(self, header: Any, status: FrameStatus) -> None:
        """Publish what became of one frame."""
        self._send(self._status, encode(status, header))

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (
            self._label_map,
            self._confidence,
            self._overlay,
            self._camera_info,
            self._status,
            self._label_info,
            *([self._labels] if self._labels is not None else []),
        ):
            self._node.destroy_publisher(publisher)

    def _publish_image(
        self, publisher: Any, header: Any, image: NDArray[np.uint8], encoding: str
    ) -> None:
        message = Image(header=header)
        fill_message(message, image, encoding)
        self._send(publisher, message)

    def _send(self, publisher: Any, message: Any) -> None:
        send(self._node, publisher, message)


def send(node: Node, publisher: Any, message: Any) -> None:
    """Publish a message, unless the node's context has ended meanwhile."""
    try:
        publisher.publish(message)
    except RuntimeError:  # rclpy._rclpy_pybind11.RCLError
        # An interrupt ends the context while the last frame is still being answered.
        if node.context.ok():
            raise


def vision_label_info(classes: ClassTable) -> Any:
    """Return a class table as vision_msgs/LabelInfo, None where vision_msgs is not installed."""
    try:
        messages = importlib.import_module("vision_msgs.msg")
    except ImportError:
        return None
    return messages.LabelInfo(
        class_map=[
            messages.VisionClass(class_id=class_id, class_name=entry.name)
            for class_id, entry in enumerate(classes.classes)
        ]
    )


def label_info(classes: ClassTable) -> dict[str, object]:
    """Return a class table as published on `~/label_info`."""
    return {
        "name": classes.name,
        "ignore_id": classes.ignore_id,
        "classes": [
            {"id": class_id, "name": entry.name, "color": list(entry.color)}
            for class_id, entry in enumerate(classes.classes)
        ],
    }
