"""Collects what the tools publish, in a ROS domain of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import rclpy

from support.graph import next_domain


class Listener:
    """Collects messages of a domain in a thread."""

    def __init__(self, topics: dict[str, type]) -> None:
        self.domain = next_domain()
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node("listener", context=self.context)
        self.got: dict[str, list] = {topic: [] for topic in topics}
        for topic, kind in topics.items():
            qos = rclpy.qos.qos_profile_sensor_data
            self.node.create_subscription(kind, topic, self.got[topic].append, qos)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.done = False
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self) -> None:
        while not self.done:
            self.executor.spin_once(timeout_sec=0.05)

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "ROS_DOMAIN_ID": str(self.domain)}
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def close(self) -> dict[str, list]:
        self.done = True
        self.thread.join()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        return self.got
