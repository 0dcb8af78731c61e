"""The node's camera subscriptions, and what to tell the user when nothing comes in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from csknet_core.modality import Modality
from csknet_ros.fastdds import profile_variable

SILENCE_S = 5.0
TRANSPORTS = {"raw": ("", Image), "compressed": ("/compressed", CompressedImage)}
_TOPICS = {Modality.OPTICAL: "rgb/image", Modality.THERMAL: "thermal/image"}
INFO_TOPICS = {Modality.OPTICAL: "rgb/camera_info", Modality.THERMAL: "thermal/camera_info"}


def large_images_cure() -> str:
    """Return what to do where DDS connects publisher and node and yet nothing arrives."""
    return (
        "if frames are missing, Fast DDS may be dropping large images: export "
        f"{profile_variable()}=<share>/csknet_ros/config/fastdds.xml for all processes"
    )


class Inputs:
    """Subscriptions to both cameras while the node is active.

    Args:
        node: subscribes in its name.
        on_image: called with every image message, in the executor's thread.
        reliability: "best_effort" or "reliable".
        depth: QoS history depth.
        transports: a name in `TRANSPORTS` for each camera.
    """

    def __init__(
        self,
        node: Node,
        on_image: Callable[[Modality, Any], None],
        reliability: str,
        depth: int,
        transports: Mapping[Modality, str],
    ) -> None:
        self._node = node
        self._on_image = on_image
        self._reliability = reliability
        qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy[reliability.upper()])
        now = time.monotonic()
        self._last_seen = dict.fromkeys(Modality, now)
        self._last_warned = dict.fromkeys(Modality, 0.0)
        self._intrinsics: dict[Modality, CameraInfo] = {}
        self._topics = {m: t + TRANSPORTS[transports[m]][0] for m, t in _TOPICS.items()}
        self._subscriptions = [
            node.create_subscription(
                TRANSPORTS[transports[modality]][1],
                topic,
                partial(self._receive, modality),
                qos,
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=partial(self._warn_qos, topic)
                ),
            )
            for modality, topic in self._topics.items()
        ]
        # Of both: whichever camera gives an answer its grid gives it its intrinsics, too.
        self._subscriptions += [
            node.create_subscription(CameraInfo, topic, partial(self._receive_info, modality), qos)
            for modality, topic in INFO_TOPICS.items()
        ]

    def intrinsics_of(self, modality: Modality) -> CameraInfo | None:
        """Return the intrinsics of a camera, a fresh copy to fill in; None before any came."""
        known = self._intrinsics.get(modality)
        if known is None:
            return None
        return CameraInfo(
            height=known.height,
            width=known.width,
            distortion_model=known.distortion_model,
            d=known.d,
            k=known.k,
            r=known.r,
            p=known.p,
            binning_x=known.binning_x,
            binning_y=known.binning_y,
            roi=known.roi,
        )

    def check_silence(self) -> None:
        """Warn about every camera that has been silent for long, with topic, QoS and remedy."""
        now = time.monotonic()
        for modality, topic in self._topics.items():
            quiet = now - self._last_seen[modality]
            if quiet < SILENCE_S or now - self._last_warned[modality] < 2 * SILENCE_S:
                continue
            self._last_warned[modality] = now
            resolved = self._node.resolve_topic_name(topic)
            publishers = self._node.get_publishers_info_by_topic(resolved)
            remedy = "nobody publishes it; start the camera or remap the topic"
            if publishers:
                offered = publishers[0].qos_profile.reliability.name.lower()
                remedy = (
                    f"{len(publishers)} publisher(s), first one {offered}; {large_images_cure()}"
                )
            self._node.get_logger().warning(
                f"nothing received for {quiet:.0f} s on {resolved} ({self._reliability}): {remedy}"
            )

    def close(self) -> None:
        """Destroy the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _receive(self, modality: Modality, message: Any) -> None:
        self._last_seen[modality] = time.monotonic()
        self._on_image(modality, message)

    def _receive_info(self, modality: Modality, message: CameraInfo) -> None:
        self._intrinsics[modality] = message

    def _warn_qos(self, topic: str, _: Any) -> None:
        self._node.get_logger().warning(
            f"a publisher of {self._node.resolve_topic_name(topic)} offers a QoS that "
            f"'{self._reliability}' cannot receive; set the parameter input_reliability to "
            "best_effort"
        )
