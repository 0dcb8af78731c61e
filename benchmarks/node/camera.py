"""A camera pair that costs little: a few rendered frames, published at a steady rate."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import time
from typing import Any

import numpy as np
import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from csknet_core.data.synthetic import RenderedFrame, random_frame
from csknet_ros.images import fill_message

_FRAMES = 6
_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


def make_frames() -> list[RenderedFrame]:
    """Render the pairs that are published over and over."""
    return [random_frame(seed, (480, 640)) for seed in range(_FRAMES)]


def input_hash() -> str:
    """Return what identifies the pairs."""
    digest = hashlib.sha256()
    for frame in make_frames():
        digest.update(frame.optical.tobytes() + frame.thermal.tobytes())
    return digest.hexdigest()[:16]


def main() -> None:
    """Publish `--count` pairs; every stamp is the wall time at which it goes out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--settle", type=float, default=0.5, help="seconds after discovery")
    options = parser.parse_args()
    frames = make_frames()
    rclpy.init()
    node = rclpy.create_node("bench_camera")
    rgb = node.create_publisher(Image, "rgb/image", _QOS)
    thermal = node.create_publisher(Image, "thermal/image", _QOS)
    while not (rgb.get_subscription_count() and thermal.get_subscription_count()):
        time.sleep(0.05)
    time.sleep(options.settle)
    start = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt, RCLError):
        _play(options, frames, rgb, thermal, start)
    node.destroy_node()
    rclpy.try_shutdown()


def _play(
    options: argparse.Namespace, frames: list[RenderedFrame], rgb: Any, thermal: Any, start: float
) -> None:
    for index in range(options.count):
        time.sleep(max(0.0, start + index / options.rate - time.monotonic()))
        frame = frames[index % _FRAMES]
        # One pixel differs from frame to frame, or the node would take the camera for frozen.
        noisy = np.array(frame.thermal)
        noisy[::8, ::8] += index % 2
        header = Header(frame_id="camera")
        header.stamp.sec, header.stamp.nanosec = divmod(time.time_ns(), 1_000_000_000)
        for publisher, image, encoding in (
            (rgb, np.roll(frame.optical, index % 7, 1), "rgb8"),
            (thermal, noisy, "mono16"),
        ):
            message = Image(header=header)
            fill_message(message, image, encoding)
            publisher.publish(message)
    time.sleep(1.0)


if __name__ == "__main__":
    main()
