"""A real ROS graph for one test: its own domain, the node, two cameras and a listener."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from csknet_core.modality import Modality
from csknet_ros.frame_status import FrameStatus, decode
from csknet_ros.images import fill_message
from csknet_ros.inputs import INFO_TOPICS
from csknet_ros.qos import LATCHED
from csknet_ros.segmentation_node import SegmentationNode
from support.engines import SIZE, ThresholdEngine, threshold_segmenter

_domains = itertools.count(os.getpid() % 90)
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
OUTPUTS = ("csknet/label_map", "csknet/frame_status", "csknet/confidence")
_rng = np.random.default_rng(0)


def next_domain() -> int:
    """A ROS domain no other test of this run uses."""
    return 1 + next(_domains) % 100


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until a condition holds; fail the test when it does not come true."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def optical_image(level: int = 120) -> np.ndarray:
    return _rng.integers(level - 20, level + 20, (*SIZE, 3), np.uint8)


def thermal_image() -> np.ndarray:
    image = _rng.integers(29000, 29100, SIZE).astype(np.uint16)
    image[16:32, 16:48] += 1200
    return image


def header_at(stamp_ns: int, frame_id: str) -> Header:
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame_id)


def stamp_of(header: Header) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


class Graph:
    """Use as a context manager; the node is up and active inside."""

    def __init__(
        self, engine: ThresholdEngine | None = None, activate: bool = True, **parameters
    ) -> None:
        self.engine = engine or ThresholdEngine()
        self.activate = activate
        # Tests pause between frames; that must not count as a silent thermal camera.
        quiet = {"sync.thermal_timeout": 60.0}
        reliable = {"input_reliability": "reliable", "input_depth": 100}
        self.parameters = {**quiet, **reliable, **parameters}
        self.label_maps: dict[int, Image] = {}
        self.confidences: dict[int, Image] = {}
        self.statuses: list[tuple[int, FrameStatus]] = []
        self.diagnostics: list[DiagnosticArray] = []
        self.camera_infos: list[CameraInfo] = []

    def __enter__(self) -> Graph:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=next_domain())
        overrides = [Parameter(name, value=value) for name, value in self.parameters.items()]
        self.node = SegmentationNode(
            threshold_segmenter(self.engine),
            context=self.context,
            parameter_overrides=overrides,
        )
        self.cameras = rclpy.create_node("cameras", context=self.context)
        qos = QoSProfile(depth=200)
        self.rgb = self.cameras.create_publisher(Image, "rgb/image", qos)
        self.thermal = self.cameras.create_publisher(Image, "thermal/image", qos)
        self.infos = {
            modality: self.cameras.create_publisher(CameraInfo, topic, qos)
            for modality, topic in INFO_TOPICS.items()
        }
        self._listen(qos)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.cameras)
        if self.activate:
            self.node.autostart()
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()
        if self.activate:
            self.wait_for_cameras()
        return self

    def _spin(self) -> None:
        while self.context.ok() and not getattr(self, "_done", False):
            self.executor.spin_once(timeout_sec=0.05)

    def __exit__(self, *_) -> None:
        self._done = True
        self.thread.join()
        self.node.destroy_node()
        self.cameras.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def _listen(self, qos: QoSProfile) -> None:
        create = self.cameras.create_subscription
        create(
            Image, "csknet/label_map",
            lambda m: self.label_maps.__setitem__(stamp_of(m.header), m), qos,
        )  # fmt: skip
        create(
            Image, "csknet/confidence",
            lambda m: self.confidences.__setitem__(stamp_of(m.header), m), qos,
        )  # fmt: skip
        create(
            DiagnosticArray, "csknet/frame_status",
            lambda m: self.statuses.append((stamp_of(m.header), decode(m))), qos,
        )  # fmt: skip
        create(DiagnosticArray, "/diagnostics", self.diagnostics.append, qos)
        create(CameraInfo, "csknet/camera_info", self.camera_infos.append, qos)

    def wait_for_cameras(self) -> None:
        """Wait until the node and the cameras see each other."""
        wait_for(
            lambda: self.rgb.get_subscription_count() and self.thermal.get_subscription_count()
        )
        # The node's answers must be matched too, or the first ones are lost.
        wait_for(lambda: all(self.cameras.count_publishers(topic) for topic in OUTPUTS))
        outputs = self.node._outputs
        wait_for(
            lambda: all(
                publisher.get_subscription_count()
                for publisher in (outputs._label_map, outputs._status, outputs._confidence)
            )
        )

    def change(self, transition: str) -> TransitionCallbackReturn:
        """Run a lifecycle transition where its service would, in the executor's thread.

        In another thread it would destroy what the executor is waiting for.
        """
        task = self.executor.create_task(getattr(self.node, f"trigger_{transition}"))
        wait_for(task.done)
        return task.result()

    def wait_until_gone(self, outputs: bool = True) -> None:
        """Wait until the cameras see no active node, or `wait_for_cameras` takes the old for a new.

        Args:
            outputs: whether the node has closed its outputs, too.
        """
        wait_for(
            lambda: not (self.rgb.get_subscription_count() or self.thermal.get_subscription_count())
        )
        if outputs:
            wait_for(lambda: not any(self.cameras.count_publishers(topic) for topic in OUTPUTS))

    def cost_grids(self, info: CameraInfo) -> list[OccupancyGrid]:
        """Give the node the intrinsics; return the list that its cost grids will be in."""
        grids: list[OccupancyGrid] = []
        self.cameras.create_subscription(
            OccupancyGrid, "csknet/cost_grid", grids.append, QoSProfile(depth=10)
        )
        publisher = self.node._navigation._publishers["cost_grid"]
        wait_for(publisher.get_subscription_count)
        self.give_intrinsics(info)
        return grids

    def give_intrinsics(self, info: CameraInfo, modality: Modality = Modality.THERMAL) -> None:
        """Publish the intrinsics of a camera and wait until the node has them."""
        wait_for(self.infos[modality].get_subscription_count)
        self.infos[modality].publish(info)

        def taken() -> bool:
            known = self.node._inputs.intrinsics_of(modality)
            return known is not None and (list(known.k), known.d) == (list(info.k), info.d)

        wait_for(taken)

    def stamp(self, index: float) -> int:
        return START_NS + int(index * PERIOD_NS)

    def publish_rgb(self, index: float, image: np.ndarray | None = None, **changes) -> None:
        array = optical_image() if image is None else image
        self._publish(self.rgb, index, "rgb_optical", array, "rgb8", changes)

    def publish_thermal(
        self, index: float, image: np.ndarray | None = None, kind: str = "mono16", **changes
    ) -> None:
        array = thermal_image() if image is None else image
        self._publish(self.thermal, index, "thermal_optical", array, kind, changes)

    def _publish(self, publisher, index, frame_id, array, encoding, changes) -> None:
        message = Image(header=header_at(self.stamp(index), frame_id))
        fill_message(message, array, encoding)
        for name, value in changes.items():
            setattr(message, name, value)
        publisher.publish(message)

    def publish_pair(self, index: float) -> None:
        self.publish_rgb(index)
        self.publish_thermal(index)

    def wait_for_status(self, count: int) -> list[FrameStatus]:
        """Wait for that many frame statuses; return all."""
        wait_for(lambda: len(self.statuses) >= count)
        return [status for _, status in self.statuses]

    def status_at(self, index: float) -> FrameStatus:
        """Wait for the one status of a frame."""
        stamp = self.stamp(index)
        wait_for(lambda: any(s == stamp for s, _ in self.statuses))
        (found,) = [status for s, status in self.statuses if s == stamp]
        return found

    def answer_at(self, index: float) -> tuple[FrameStatus, Image]:
        """Wait for the status and the label map of a frame."""
        status = self.status_at(index)
        wait_for(lambda: self.stamp(index) in self.label_maps)
        return status, self.label_maps[self.stamp(index)]

    def send(self, index: float, *, rgb: bool = True) -> FrameStatus:
        """Publish a frame and wait for its status, so that none is superseded."""
        if rgb:
            self.publish_rgb(index)
        self.publish_thermal(index)
        return self.status_at(index)

    def latched_label_info(self) -> str:
        """Subscribe late and return what is latched."""
        got: list[String] = []
        subscription = self.cameras.create_subscription(
            String, "csknet/label_info", got.append, LATCHED
        )
        wait_for(lambda: bool(got))
        self.cameras.destroy_subscription(subscription)
        return got[0].data
