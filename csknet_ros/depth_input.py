"""The depth camera's subscription, and which of its images belongs to an answered frame."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from csknet_core.errors import ImageError
from csknet_core.modality import Modality
from csknet_core.runtime.depth import to_metres
from csknet_ros.frames import FrameSet, Stamped
from csknet_ros.images import depth_from_message
from csknet_ros.parameters import NodeSettings
from csknet_ros.stamps import to_ns

TOPIC = "depth/image"
_MS = 1e-6


class DepthInput:
    """Subscribes to `depth/image` and keeps the last `sync.queue_size` messages of it.

    Args:
        node: subscribes in its name.
        settings: QoS and bounds.

    Attributes:
        settings: may be replaced at any time; the QoS stays.
    """

    def __init__(self, node: Node, settings: NodeSettings) -> None:
        self.settings = settings
        self._node = node
        self._topic = node.resolve_topic_name(TOPIC)
        self._arrived = threading.Condition()
        self._images: deque[Stamped[Image]] = deque()
        self._late = False
        reliability = ReliabilityPolicy[settings.input_reliability.upper()]
        qos = QoSProfile(depth=settings.input_depth, reliability=reliability)
        self._subscription = node.create_subscription(Image, TOPIC, self._receive, qos)

    def nearest(self, stamp_ns: int) -> NDArray[np.float32]:
        """Return the depth image that is nearest in time to a frame, within `sync.slop`.

        As long as depth images keep coming, it waits up to `sync.max_wait` for one that is not
        older than the frame.

        Args:
            stamp_ns: of the frame, as stamps of RGB images count (see `depth_stamp_ns`).

        Returns:
            (H, W) metres along the optical axis, NaN where nothing was measured.

        Raises:
            ImageError: there is none, or it cannot be decoded.
        """
        sync = self.settings.sync
        with self._arrived:
            if not self._late:
                self._late = not self._arrived.wait_for(
                    lambda: self._images and self._images[-1].stamp_ns >= stamp_ns,
                    sync.max_wait_ns * 1e-9,
                )
            images = list(self._images)
        if not images:
            raise ImageError(f"no depth image came on {self._topic}; start it or remap the topic")
        # After a clock jump stamps can come twice: of equally near ones the newer counts.
        best = min(reversed(images), key=lambda image: abs(image.stamp_ns - stamp_ns))
        difference_ns = best.stamp_ns - stamp_ns
        if abs(difference_ns) > sync.slop_ns:
            raise ImageError(
                f"no depth image on {self._topic} within sync.slop ({sync.slop_ns * _MS:g} ms) of "
                f"the frame: the nearest is {difference_ns * _MS:+.0f} ms off"
            )
        return to_metres(depth_from_message(best.data, self.settings.max_image_pixels))

    def close(self) -> None:
        """Destroy the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _receive(self, message: Image) -> None:
        image = Stamped(to_ns(message.header.stamp), 0, message)
        with self._arrived:
            self._images.append(image)
            while len(self._images) > self.settings.sync.queue_size:
                self._images.popleft()
            self._late = False
            self._arrived.notify_all()


def depth_stamp_ns(frame: FrameSet[Any], grid: Modality, offset_ns: int) -> int:
    """Return the stamp a depth image must be near to, to belong to a frame.

    It is that of the camera whose grid the label map is on, or of the other one while that camera
    is missing; a thermal one is compared as RGB's are, with `sync.thermal_offset`.

    Args:
        frame: the messages.
        grid: whose grid the label map is on.
        offset_ns: added to thermal stamps.
    """
    if frame.optical is not None and (frame.thermal is None or grid is Modality.OPTICAL):
        return frame.optical.stamp_ns
    assert frame.thermal is not None
    return frame.thermal.stamp_ns + offset_ns
