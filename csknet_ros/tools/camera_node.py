"""A camera pair without hardware: plays a rendered drive or a folder of pairs, with faults."""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from csknet_core.errors import CsknetError
from csknet_ros.images import encoding_of, fill_message
from csknet_ros.stamps import fill
from csknet_ros.tools.faults import FaultInjector
from csknet_ros.tools.interrupts import start_ros
from csknet_ros.tools.script import Phase, Script, load_script, real_pairs_script
from csknet_ros.tools.sources import (
    RGB_FRAME_ID,
    THERMAL_FRAME_ID,
    DriveSource,
    FolderSource,
    FrameSource,
    SourceFrame,
)

_CAMERA = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
_TRUTH = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
_AHEAD = 300
# A subscriber may learn of its publisher a little later than the other way round.
_SETTLE_S = 0.3


class CameraNode(Node):
    """Publishes `rgb/image` and `thermal/image`, `camera_info` of each, `truth/label_map`."""

    def __init__(self) -> None:
        super().__init__("camera_pair")
        self._rgb = self.create_publisher(Image, "rgb/image", _CAMERA)
        self._thermal = self.create_publisher(Image, "thermal/image", _CAMERA)
        self._rgb_info = self.create_publisher(CameraInfo, "rgb/camera_info", _CAMERA)
        self._thermal_info = self.create_publisher(CameraInfo, "thermal/camera_info", _CAMERA)
        self._truth = self.create_publisher(Image, "truth/label_map", _TRUTH)

    def wait_for_subscribers(self, count: int, timeout_s: float) -> None:
        """Wait until both cameras have that many subscribers.

        Raises:
            CsknetError: they did not come in time; the message names the topics.
        """
        end = time.monotonic() + timeout_s
        publishers = (self._rgb, self._thermal)
        while any(p.get_subscription_count() < count for p in publishers):
            if time.monotonic() > end:
                topics = ", ".join(
                    f"{p.topic_name} has {p.get_subscription_count()}" for p in publishers
                )
                raise CsknetError(
                    f"waited {timeout_s:.0f} s for {count} subscriber(s): {topics}; start the "
                    "segmentation node, or set --subscribers 0"
                )
            time.sleep(0.05)
        time.sleep(_SETTLE_S)

    def publish(self, frame: SourceFrame, phase: Phase, faults: FaultInjector) -> int | None:
        """Publish one pair as the phase's faulty cameras do.

        Returns:
            The thermal stamp in nanoseconds, None when no thermal frame went out.
        """
        faulty = faults.apply(frame.optical, frame.thermal, phase.faults)
        stamp_ns = self.get_clock().now().nanoseconds
        if faulty.optical is not None:
            header = _header(stamp_ns + faulty.optical_shift_ns, RGB_FRAME_ID)
            self._rgb.publish(_image(faulty.optical, "rgb8", header))
            self._rgb_info.publish(_camera_info(faulty.optical, header))
        if faulty.thermal is None:
            return None
        header = _header(stamp_ns, THERMAL_FRAME_ID)
        encoding = encoding_of(faulty.thermal)
        self._thermal.publish(_image(faulty.thermal, encoding, header))
        self._thermal_info.publish(_camera_info(faulty.thermal, header))
        if frame.labels is not None:
            self._truth.publish(_image(frame.labels, "mono8", header))
        return stamp_ns


def _image(image: NDArray[Any], encoding: str, header: Header) -> Image:
    message = Image(header=header)
    fill_message(message, image, encoding)
    return message


def _header(stamp_ns: int, frame_id: str) -> Header:
    header = Header(frame_id=frame_id)
    fill(header.stamp, stamp_ns)
    return header


def _camera_info(image: NDArray[Any], header: Header) -> CameraInfo:
    height, width = image.shape[:2]
    focal, cx, cy = 0.9 * width, width / 2, height / 2
    return CameraInfo(
        header=header,
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


class Prepared:
    """Frames made ahead of time by a thread, so that playing keeps its rate."""

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._queue: queue.Queue[SourceFrame | Exception] = queue.Queue(_AHEAD)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._prepare, daemon=True)

    def fill(self, report: Node) -> None:
        """Start, and wait until the queue holds all frames or as many as it can."""
        self._thread.start()
        goal = min(len(self._source), _AHEAD)
        last = -1
        while (ready := self._queue.qsize()) < goal and self._thread.is_alive():
            if ready // 50 != last:
                last = ready // 50
                report.get_logger().info(f"preparing frames: {ready} of {goal}")
            time.sleep(0.1)

    def __iter__(self) -> Iterator[SourceFrame]:
        for _ in range(len(self._source)):
            frame = self._queue.get()
            if isinstance(frame, Exception):
                raise frame
            yield frame

    def stop(self) -> None:
        """End the thread; one that is still drawing at exit would abort the process."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _prepare(self) -> None:
        for index in range(len(self._source)):
            entry: SourceFrame | Exception
            try:
                entry = self._source.frame(index)
            except Exception as error:  # whatever it is, the player must not wait for ever
                entry = error
            if not self._put(entry) or isinstance(entry, Exception):
                return

    def _put(self, entry: SourceFrame | Exception) -> bool:
        """Wait for room in the queue; False when stopped."""
        while not self._stopping.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


def play(
    node: CameraNode, frames: Prepared, script: Script, rate_hz: float, log: Path | None
) -> int:
    """Publish all frames at a steady rate; returns how many thermal frames went out.

    Args:
        node: publishes.
        frames: what to publish.
        script: says what goes wrong when.
        rate_hz: pairs per second.
        log: one JSON line is written here for every thermal frame: stamp_ns, phase.
    """
    injector = FaultInjector(script.seed)
    published = 0
    start = time.monotonic()
    with (log or Path("/dev/null")).open("w", encoding="utf-8") as lines:
        for index, frame in enumerate(frames):
            time.sleep(max(0.0, start + index / rate_hz - time.monotonic()))
            phase = script.phase_at(index / rate_hz)
            stamp_ns = node.publish(frame, phase, injector)
            if stamp_ns is not None:
                published += 1
                lines.write(json.dumps({"stamp_ns": stamp_ns, "phase": phase.name}) + "\n")
                lines.flush()
    return published


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="camera_node", description=__doc__)
    parser.add_argument("--script", type=Path, help="script of a rendered drive (YAML)")
    parser.add_argument("--data", type=Path, help="folder of pairs to play instead")
    parser.add_argument("--rate", type=float, default=5.0, help="pairs per second")
    parser.add_argument("--seconds", type=float, help="length; the script is scaled to it")
    parser.add_argument("--subscribers", type=int, default=1, help="wait for this many")
    parser.add_argument("--timeout", type=float, default=60.0, help="longest wait, seconds")
    parser.add_argument("--log", type=Path, help="write every thermal stamp here (JSON lines)")
    options = parser.parse_args(arguments)
    if options.rate <= 0 or (options.seconds is not None and options.seconds <= 0):
        parser.error("--rate and --seconds must be positive")
    if (options.script is None) == (options.data is None):
        parser.error("give either --script or --data")
    return options


def open_source(options: argparse.Namespace) -> tuple[Script, FrameSource]:
    """Return the script and the frames the command line asks for.

    Raises:
        CsknetError: a file or folder cannot be used.
    """
    if options.data is not None:
        count = round(options.seconds * options.rate) if options.seconds else None
        folder = FolderSource(options.data, count)
        return real_pairs_script(len(folder) / options.rate), folder
    script = load_script(options.script)
    if options.seconds:
        script = script.scaled(options.seconds)
    return script, DriveSource(script, options.rate)


def main(arguments: list[str] | None = None) -> int:
    """Play once, then exit; returns the exit code."""
    arguments = sys.argv if arguments is None else arguments
    options = parse_arguments(remove_ros_args(arguments)[1:])
    start_ros(arguments)
    node = CameraNode()
    frames = None
    try:
        script, source = open_source(options)
        frames = Prepared(source)
        frames.fill(node)
        node.wait_for_subscribers(options.subscribers, options.timeout)
        node.get_logger().info(f"playing {len(source)} pairs at {options.rate:g} Hz")
        published = play(node, frames, script, options.rate, options.log)
        node.get_logger().info(f"done: {published} thermal frames")
        time.sleep(0.5)  # let the last messages leave before the publishers go
        return 0
    except CsknetError as error:
        node.get_logger().error(str(error))
        return 2
    except KeyboardInterrupt:
        return 0
    finally:
        if frames is not None:
            frames.stop()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
