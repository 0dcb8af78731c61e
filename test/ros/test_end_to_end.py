"""The shipped weights in the real node, and clean exits of the real process."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import rclpy
from sensor_msgs.msg import Image
from support.graph import next_domain, stamp_of, wait_for

from csknet_core.data.synthetic import Drive
from csknet_ros.images import fill_message, labels_from_message
from csknet_ros.publishing import _ANSWERS
from csknet_ros.segmentation_node import SegmentationNode


class Process:
    """The node as a user starts it, with a camera that never stops."""

    def __init__(self) -> None:
        domain = next_domain()
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
        command = [sys.executable, "-m", "csknet_ros.segmentation_node", "--ros-args"]
        command += ["-p", "input_height:=128", "-p", "input_width:=160"]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("camera", context=self.context)
        self.answers: list[Image] = []
        self.node.create_subscription(Image, "csknet/label_map", self.answers.append, _ANSWERS)
        self.frame = Drive(1, (120, 160), 1.0, 1.0).frame(0)
        self.publishers = {
            topic: self.node.create_publisher(Image, topic, 5)
            for topic in ("rgb/image", "thermal/image")
        }
        self.done = False
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self._play, daemon=True)
        self.thread.start()

    def _play(self) -> None:
        count = 0
        while not self.done:
            count += 1
            for topic, image, encoding in (
                ("rgb/image", self.frame.optical, "rgb8"),
                ("thermal/image", self.frame.thermal + np.uint16(count % 7), "mono16"),
            ):
                message = Image()
                message.header.stamp = self.node.get_clock().now().to_msg()
                fill_message(message, image, encoding)
                self.publishers[topic].publish(message)
            self.executor.spin_once(timeout_sec=0.02)
            time.sleep(0.01)

    def close(self) -> None:
        self.done = True
        self.thread.join()
        self.process.kill()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_signals_during_inference_end_the_process_cleanly(kind):
    graph = Process()
    try:
        wait_for(lambda: len(graph.answers) > 2, 120)
        graph.process.send_signal(kind)
        output, _ = graph.process.communicate(timeout=30)
        assert graph.process.returncode == 0, output
        assert "Traceback" not in output
        assert "active" in output
    finally:
        graph.close()


def test_the_shipped_weights_find_people_in_all_three_modes(default_weights):
    """Labels that come over DDS agree with the rendered truth far better than chance."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    node = SegmentationNode(context=context)
    camera = rclpy.create_node("camera", context=context)
    got: dict[int, Image] = {}
    camera.create_subscription(
        Image, "csknet/label_map", lambda m: got.__setitem__(stamp_of(m.header), m), _ANSWERS
    )
    rgb = camera.create_publisher(Image, "rgb/image", 5)
    thermal = camera.create_publisher(Image, "thermal/image", 5)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    executor.add_node(camera)
    node.autostart()
    frame = Drive(5, (480, 640), 4.0, 1.0).frame(2)

    def spin_until(condition) -> None:
        wait_for(lambda: executor.spin_once(timeout_sec=0.02) or condition(), 30)

    try:
        spin_until(lambda: rgb.get_subscription_count() and thermal.get_subscription_count())
        spin_until(lambda: node._outputs._label_map.get_subscription_count())
        for index, mode in enumerate(("fused", "thermal_only", "optical_only"), 1):
            node.set_parameters([rclpy.parameter.Parameter("policy.force_mode", value=mode)])
            for publisher, image, encoding in (
                (rgb, frame.optical, "rgb8"),
                (thermal, frame.thermal, "mono16"),
            ):
                message = Image()
                message.header.stamp.sec = index
                fill_message(message, image, encoding)
                publisher.publish(message)
            spin_until(lambda index=index: index * 1_000_000_000 in got)
            labels = labels_from_message(got[index * 1_000_000_000])
            person = frame.labels == 2
            hit = (labels == 2) & person
            union = (labels == 2) | person
            assert person.sum() > 500
            assert hit.sum() / union.sum() > 0.4, mode
    finally:
        node.destroy_node()
        camera.destroy_node()
        rclpy.try_shutdown(context=context)


@pytest.mark.parametrize("value", ["sync.slop:=9.0", "threads:=many", "sync.max_wait:=1"])
def test_parameters_of_a_wrong_type_or_range_end_the_process_with_a_reason(value):
    done = subprocess.run(
        [sys.executable, "-m", "csknet_ros.segmentation_node", "--ros-args", "-p", value],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "ROS_DOMAIN_ID": str(next_domain())},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert value.split(":=")[0] in done.stderr
    assert "Traceback" not in done.stderr
