"""The evaluator over real DDS: whose class table counts, and what is refused before it listens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String
from support.engines import PERSON, SIZE, ThresholdEngine
from support.graph import START_NS, Graph, header_at, next_domain, wait_for

from csknet_core.classes import MFNET, ClassTable
from csknet_core.errors import ConfigError
from csknet_ros.frame_status import ANSWERED, FrameStatus, encode
from csknet_ros.images import fill_message
from csknet_ros.publishing import label_info
from csknet_ros.qos import LATCHED
from csknet_ros.replay.live import EvaluatorNode

SMALL = ClassTable("small", MFNET.classes[:3])
OTHER = ClassTable("other", (*MFNET.classes[:2], MFNET.classes[4]))
LABELS = np.zeros(SIZE, np.uint8)
LABELS[:32] = PERSON


class Stage:
    """An evaluator, and a node that says what a segmentation node called `brain` would.

    Args:
        fallback: of the evaluator.
    """

    def __init__(self, fallback: ClassTable | None = None) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=next_domain())
        self.evaluator = EvaluatorNode("brain", "truth", None, fallback, context=self.context)
        self._node = rclpy.create_node("speaker", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.evaluator)
        create, qos = self._node.create_publisher, QoSProfile(depth=500)
        self._map, self._truth = create(Image, "brain/label_map", qos), create(Image, "truth", qos)
        self._status = create(DiagnosticArray, "brain/frame_status", qos)
        self._info = create(String, "brain/label_info", LATCHED)
        publishers = (self._map, self._truth, self._status, self._info)
        self.until(lambda: all(one.get_subscription_count() for one in publishers))

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._node.destroy_node()
        self.evaluator.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def until(self, condition: Callable[[], object]) -> None:
        def spun() -> bool:
            self._executor.spin_once(timeout_sec=0.02)
            return bool(condition())

        wait_for(spun)

    def tell_table(self, table: ClassTable) -> None:
        self._info.publish(String(data=json.dumps(label_info(table))))

    def answer(self, index: int, labels: np.ndarray = LABELS) -> int:
        """Say a truth, an answer and its status; return their stamp once the evaluator knows."""
        stamp = START_NS + index
        for publisher, image in ((self._truth, LABELS), (self._map, labels)):
            message = Image(header=header_at(stamp, "thermal"))
            fill_message(message, image, "mono8")
            publisher.publish(message)
        status = FrameStatus("thermal", ANSWERED, "fused", "ok")
        self._status.publish(encode(status, header_at(stamp, "thermal")))
        self.until(lambda: stamp in self.evaluator.frames)
        self.until(lambda: stamp in self.evaluator._truth_stamps)
        self.until(lambda: stamp not in self.evaluator._statuses)
        return stamp

    def miou(self, stamp: int) -> float | None:
        return self.evaluator.frames[stamp].miou


def test_answers_that_come_before_the_class_table_are_scored_once_it_comes():
    with Stage() as stage:
        stamps = [stage.answer(index) for index in range(3)]
        assert [stage.miou(stamp) for stamp in stamps] == [None] * 3
        stage.tell_table(SMALL)
        stage.until(lambda: all(stage.miou(stamp) == 1.0 for stamp in stamps))
        result = stage.evaluator.result("x")
        assert (result.classes.names, result.skipped) == (SMALL.names, {})


def test_an_answer_with_ids_that_are_no_class_is_a_problem_and_not_scored():
    wrong = LABELS.copy()
    wrong[40, 40] = len(SMALL)
    unknown = LABELS.copy()
    unknown[40, 40] = SMALL.ignore_id
    with Stage() as stage:
        stage.tell_table(SMALL)
        stamps = [stage.answer(index, labels) for index, labels in enumerate((wrong, unknown))]
        stage.until(lambda: stage.miou(stamps[1]) is not None)
        assert stage.miou(stamps[0]) is None
        result = stage.evaluator.result("x")
        assert result.skipped == {"answer of other classes": 1}
        assert "id 3, but table 'small' ends at 2" in result.notes[0]


def test_answers_after_the_table_changed_are_not_mixed_with_those_before():
    with Stage() as stage:
        stage.tell_table(SMALL)
        first = stage.answer(0)
        stage.until(lambda: stage.miou(first) is not None)
        stage.tell_table(OTHER)
        stage.until(lambda: stage.evaluator.skipped.counts["class table changed"])
        second = stage.answer(1)
        result = stage.evaluator.result("x")
        assert (stage.miou(first), stage.miou(second)) == (1.0, None)
        assert result.classes.names == SMALL.names
        assert result.skipped["answer of another class table"] == 1


@pytest.mark.parametrize("count", [2, 140])
def test_the_fallback_counts_where_the_node_tells_no_table(count):
    """More answers than are held for want of a table: none is lost."""
    with Stage(fallback=SMALL) as stage:
        stamps = [stage.answer(index) for index in range(count)]
        result = stage.evaluator.result("x")
        assert [stage.miou(stamp) for stamp in stamps] == [1.0] * count
        assert result.classes.names == SMALL.names


def test_without_any_class_table_the_error_names_the_topic():
    with Stage() as stage:
        stage.answer(0)
        with pytest.raises(ConfigError, match="no class table came on /brain/label_info"):
            stage.evaluator.result("x")


def evaluator(domain: int, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "csknet_ros.replay.live", *map(str, arguments)],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


class SmallEngine(ThresholdEngine):
    @property
    def classes(self) -> ClassTable:
        return SMALL


def test_the_report_is_in_the_classes_of_the_node(tmp_path):
    """Its weights are named nowhere but in its own parameters."""
    with Graph(SmallEngine()) as graph:
        truth = graph.cameras.create_publisher(Image, "truth/label_map", QoSProfile(depth=10))
        process = evaluator(
            graph.context.get_domain_id(), "--out", tmp_path / "out", "--quiet", "5"
        )
        try:
            outputs = graph.node._outputs
            for publisher, count in ((outputs._label_map, 2), (outputs._status, 2), (truth, 1)):
                wait_for(lambda p=publisher, n=count: p.get_subscription_count() == n, 60)
            message = Image(header=header_at(graph.stamp(0), "thermal_optical"))
            fill_message(message, LABELS, "mono8")
            truth.publish(message)
            graph.send(0)
            assert process.wait(60) == 0, process.stdout.read()
        finally:
            process.kill()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert tuple(report["bags"][0]["modes"]["all"]["per_class"]) == SMALL.names
    assert np.array(report["bags"][0]["modes"]["all"]["confusion"]).shape == (3, 3)


@pytest.mark.parametrize(
    ("option", "given", "problem"),
    [("--out", "{}/file/out", "is no folder and cannot be made one"),
     ("--out", "{}/file", "is no folder"),
     ("--out", "/proc/self", "cannot be written into"),
     ("--labels", "./lables", "--labels ./lables: there is no such folder, nor topic name")],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_at_the_start(tmp_path, option, given, problem):
    (tmp_path / "file").touch()
    options = {"--out": tmp_path / "out", option: given.format(tmp_path)}
    process = evaluator(next_domain(), *sum(options.items(), ()), "--quiet", "0")
    try:
        text, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2, text
    assert problem in text
    assert "Traceback" not in text
