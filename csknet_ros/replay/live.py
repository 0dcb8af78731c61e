"""Scores the live node while a bag is played into it; the report is that of `csknet replay`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import Image
from std_msgs.msg import String

from csknet_core.classes import ClassTable
from csknet_core.errors import ConfigError, CsknetError, ImageError
from csknet_core.output_folder import prepare_folder
from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_core.weights.files import find_weights, read_info
from csknet_ros.frame_status import FrameStatus, decode
from csknet_ros.images import labels_from_message
from csknet_ros.qos import LATCHED
from csknet_ros.replay.messages import Skipped
from csknet_ros.replay.replay import Run
from csknet_ros.replay.report import PAGE, write_report
from csknet_ros.replay.result import BagResult, Frame
from csknet_ros.replay.truth import Truth, check_labels, topic_or_folder
from csknet_ros.stamps import SECOND_NS, to_ns
from csknet_ros.synchronizer import SyncSettings
from csknet_ros.tools.interrupts import start_ros

_DEPTH = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
_MOST_WAITING = 128
_TRUTH = "truth/label_map"


class EvaluatorNode(Node):
    """Listens to the node's answers and the truth, and scores them.

    Scores are of the class table that the node tells itself, on `~/label_info`; label maps that
    come before it are held.

    Args:
        node: name of the segmentation node.
        truth: topic of label maps.
        labels: folder of label maps instead.
        fallback: class table to score with should the node not tell its own.
        options: passed on to rclpy.

    Raises:
        DataError: the folder is missing or has no label maps of that form.
    """

    def __init__(
        self,
        node: str,
        truth: str,
        labels: Path | None = None,
        fallback: ClassTable | None = None,
        **options: Any,
    ) -> None:
        check_labels(labels)
        super().__init__("evaluator", **options)
        self.classes: ClassTable | None = None
        self.frames: dict[int, Frame] = {}
        self.skipped = Skipped()
        self.heard_at: float | None = None
        self._truth_stamps: set[int] = set()
        self._start_ns: int | None = None
        self._statuses: OrderedDict[int, FrameStatus] = OrderedDict()
        self._maps: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._labels = labels
        self._fallback = fallback
        self._truth: Truth | None = None
        self._held: deque[Callable[[Truth], None]] = deque(maxlen=2 * _MOST_WAITING)
        self._other_table = False
        self._now_s = 0.0
        self._info_topic = f"{node}/label_info"
        self.create_subscription(String, self._info_topic, self._on_label_info, LATCHED)
        self.create_subscription(Image, f"{node}/label_map", self._on_label_map, _DEPTH)
        self.create_subscription(DiagnosticArray, f"{node}/frame_status", self._on_status, _DEPTH)
        if labels is None:
            self.create_subscription(Image, truth, self._on_label, _DEPTH)

    @property
    def unanswered(self) -> list[int]:
        """Stamps with a truth for which the node said nothing: their frames never reached it."""
        return sorted(self._truth_stamps - set(self.frames))

    def result(self, name: str) -> BagResult:
        """Return everything so far in the form of a replayed bag.

        Raises:
            ConfigError: the node did not tell its class table, and there is no fallback.
        """
        if self.classes is None and self._fallback is not None:
            self._adopt(self._fallback)
        if self.classes is None:
            raise ConfigError(
                f"no class table came on {self.resolve_topic_name(self._info_topic)}: check --node "
                "and that the node is configured, or give --weights"
            )
        frames = [self.frames[stamp] for stamp in sorted(self.frames)]
        for stamp in self.unanswered:
            self.skipped.add("frame lost on the way to the node", self._seconds(stamp), f"{stamp}")
        return BagResult(
            run="live node",
            bag=name,
            classes=self.classes,
            seconds=frames[-1].time_s - frames[0].time_s if frames else 0.0,
            skipped=dict(self.skipped.counts),
            notes=self.skipped.notes,
            frames=frames,
            complete=True,
        )

    def _on_label_info(self, message: String) -> None:
        try:
            table = ClassTable.from_dict(json.loads(message.data), "label_info")
        except (ConfigError, ValueError) as error:
            self._on_problem("class table of the node damaged", str(error))
            return
        if self.classes is None:
            self._adopt(table)
        elif table.names != self.classes.names:
            # One matrix cannot hold both; what is scored already stays.
            self._other_table = True
            self._on_problem("class table changed", f"from '{self.classes.name}' to '{table.name}'")

    def _adopt(self, classes: ClassTable) -> None:
        """Score with a class table, first what was held for want of one."""
        self.classes = classes
        self._truth = Truth(classes, self._labels, self._on_pair, self._on_problem)
        while self._held:
            self._held.popleft()(self._truth)

    def _tell(self, act: Callable[[Truth], None]) -> None:
        """Tell the truth's keeper, or as soon as there is one."""
        if self._truth is None:
            self._held.append(act)
            if self._fallback is not None and len(self._held) == self._held.maxlen:
                self._adopt(self._fallback)
        else:
            act(self._truth)

    def _on_status(self, message: DiagnosticArray) -> None:
        status, stamp = decode(message), self._hear(message)
        self.frames[stamp] = Frame.from_status(self._seconds(stamp), stamp, status)
        if status.answered:
            self._statuses[stamp] = status
            self._join(stamp)

    def _on_label_map(self, message: Image) -> None:
        stamp = self._hear(message)
        try:
            self._maps[stamp] = labels_from_message(message)
        except ImageError as error:
            self._on_problem("label map of the node damaged", str(error))
            return
        self._join(stamp)

    def _on_label(self, message: Image) -> None:
        stamp = self._hear(message)
        self._truth_stamps.add(stamp)
        self._tell(lambda truth: truth.add_label(stamp, message))

    def _join(self, stamp: int) -> None:
        """Hand over an answer whose label map and status have both come."""
        if stamp in self._maps and stamp in self._statuses:
            status, labels = self._statuses.pop(stamp), self._maps.pop(stamp)
            partner = (status.optical_stamp_ns,) * bool(status.optical_stamp_ns)
            self._tell(lambda truth: self._add_answer(truth, stamp, (stamp, *partner), labels))
        for waiting in (self._maps, self._statuses):
            while len(waiting) > _MOST_WAITING:
                waiting.popitem(last=False)

    def _add_answer(
        self, truth: Truth, stamp: int, stamps: tuple[int, ...], labels: NDArray[np.uint8]
    ) -> None:
        """Hand over an answer, unless its ids are not those of the class table."""
        assert self.classes is not None
        wrong = labels[(labels >= len(self.classes)) & (labels != self.classes.ignore_id)]
        if self._other_table:
            self._on_problem("answer of another class table", f"{stamp}")
        elif wrong.size:
            last = len(self.classes) - 1
            self._on_problem(
                "answer of other classes",
                f"id {wrong[0]}, but table '{self.classes.name}' ends at {last}",
            )
        else:
            truth.add_answer(stamp, stamps, labels)

    def _on_pair(self, stamp: int, labels: NDArray[np.uint8], true: NDArray[np.uint8]) -> None:
        assert self.classes is not None
        self.frames[stamp].score(labels, true, len(self.classes))

    def _on_problem(self, reason: str, detail: str) -> None:
        self.skipped.add(reason, self._now_s, detail)
        self.get_logger().warning(f"{reason}: {detail}", throttle_duration_sec=5.0)

    def _hear(self, message: Any) -> int:
        self.heard_at = time.monotonic()
        stamp_ns = to_ns(message.header.stamp)
        self._now_s = self._seconds(stamp_ns)
        return stamp_ns

    def _seconds(self, stamp_ns: int) -> float:
        if self._start_ns is None:
            self._start_ns = stamp_ns
        return (stamp_ns - self._start_ns) / SECOND_NS


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="evaluator", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--node", default="csknet", help="name of the segmentation node")
    parser.add_argument(
        "--labels",
        default="",
        help="label map topic, or folder of STAMP_NS.png; truth/label_map if left out",
    )
    parser.add_argument(
        "--weights", default="", help="weights whose class table counts if the node tells none"
    )
    parser.add_argument("--name", default="live", help="shown in the report")
    parser.add_argument(
        "--quiet", type=float, default=10.0, help="seconds of silence that end it, 0 never"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Score until it is quiet or interrupted, then write the report; returns the exit code."""
    arguments = sys.argv if arguments is None else arguments
    options = parse_arguments(remove_ros_args(arguments)[1:])
    start_ros(arguments)
    try:
        prepare_folder(options.out)
        fallback = read_info(find_weights(options.weights)).classes if options.weights else None
        topic, folder = _labels(options.labels)
        node = EvaluatorNode(options.node, topic, folder, fallback)
    except CsknetError as error:
        print(f"evaluator: {error}", file=sys.stderr)
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not _quiet(node, options.quiet):
            executor.spin_once(timeout_sec=0.2)
    except KeyboardInterrupt:
        pass
    try:
        result = node.result(options.name)
        # What the node was set to is not known here.
        run = Run(result.run, SegmenterSettings(), SyncSettings())
        write_report(options.out, f"Live replay of {result.bag}", [run], [result])
        answers = sum(bool(frame.mode) for frame in result.frames)
        node.get_logger().info(
            f"{answers} answers, {len(node.unanswered)} frames never reached the node; "
            f"report: {options.out / PAGE}"
        )
        if answers and all(frame.matrix is None for frame in result.frames):
            node.get_logger().warning(
                "nothing was scored: no label map of an answered frame came from "
                f"{folder or node.resolve_topic_name(topic)}; check --labels"
            )
    except CsknetError as error:
        print(f"evaluator: {error}", file=sys.stderr)
        return 2
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _labels(given: str) -> tuple[str, Path | None]:
    """Return topic and folder of the label maps, of which one counts.

    Raises:
        ConfigError: what is given is neither.
    """
    topic, folder = topic_or_folder(given)
    topic = topic or _TRUTH
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException as error:
        raise ConfigError(f"--labels {given}: there is no such folder, nor topic name") from error
    return topic, folder


def _quiet(node: EvaluatorNode, seconds: float) -> bool:
    return (
        bool(seconds) and node.heard_at is not None and (time.monotonic() - node.heard_at > seconds)
    )


if __name__ == "__main__":
    sys.exit(main())
