"""The node a competent user would write: message_filters' pairing, eager torch in the callback.

Same weights, same outputs (label map and confidence), same inputs and QoS. It has no synchroniser
of its own, no fallback, no worker thread, no deployed graph.
"""

from __future__ import annotations

import contextlib
from typing import Any

import rclpy
import torch
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from benchmarks.synchronizer.approximate_time import ApproximateTime
from csknet_core.modality import Modality, Mode
from csknet_core.model.inference import maps_from_logits
from csknet_core.model.zoo import load_network
from csknet_core.runtime.preprocess import ThermalNormalizer, ThermalSettings
from csknet_ros.images import fill_message, optical_from_message, thermal_from_message

_CAMERA = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
_SLOP_NS = 50_000_000


class UsualNode(Node):
    """Pairs, infers and publishes in the subscription callback."""

    def __init__(self) -> None:
        super().__init__("csknet")
        self._network, _ = load_network()
        self._thermal = ThermalNormalizer(ThermalSettings())
        self._label_map = self.create_publisher(Image, "~/label_map", 5)
        self._confidence = self.create_publisher(Image, "~/confidence", 5)
        self._sync: ApproximateTime[Any] = ApproximateTime(_SLOP_NS, 10, self._on_pair)
        for topic, modality in (
            ("rgb/image", Modality.OPTICAL),
            ("thermal/image", Modality.THERMAL),
        ):
            self.create_subscription(
                Image, topic, lambda message, m=modality: self._on_image(m, message), _CAMERA
            )

    def _on_image(self, modality: Modality, message: Any) -> None:
        stamp = message.header.stamp
        self._sync.add(modality, stamp.sec * 1_000_000_000 + stamp.nanosec, message)

    def _on_pair(self, optical: Any, thermal: Any) -> None:
        first = torch.from_numpy(optical_from_message(optical).copy()).permute(2, 0, 1)[None]
        second = torch.from_numpy(self._thermal(thermal_from_message(thermal)))[None, None]
        size = second.shape[2], second.shape[3]
        with torch.inference_mode():
            logits = self._network.predict(Mode.FUSED, first.contiguous().float() / 255, second)
            maps = maps_from_logits(logits, size)
        for publisher, image in zip((self._label_map, self._confidence), maps, strict=True):
            message = Image(header=thermal.header)
            fill_message(message, image.numpy(), "mono8")
            publisher.publish(message)


def main() -> None:
    """Run until terminated."""
    rclpy.init()
    executor = SingleThreadedExecutor()
    executor.add_node(UsualNode())
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()


if __name__ == "__main__":
    main()
