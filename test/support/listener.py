"""Collects what the tools publish, in a ROS domain of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import rclpy
from rclpy.qos import QoSProfile, qos_profile_sensor_data

from support.graph import next_domain, wait_for


class Listener:
    """Collects messages of a domain in a thread."""

    def __init__(self, topics: dict[str, type]) -> None:
        self.domain = next_domain()
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node("listener", context=self.context)
        self.got: dict[str, list] = {topic: [] for topic in topics}
        for topic, kind in topics.items():
            self.node.create_subscription(
                kind, topic, self.got[topic].append, qos_profile_sensor_data
            )
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.done = False
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self) -> None:
        while not self.done:
            self.executor.spin_once(timeout_sec=0.05)

    def subscribe(self, topics: dict[str, type], qos: QoSProfile) -> dict[str, list]:
        """Listen to more topics, from now on; return the lists that messages will be in."""
        got: dict[str, list] = {topic: [] for topic in topics}

        def listen() -> None:
            for topic, kind in topics.items():
                self.node.create_subscription(kind, topic, got[topic].append, qos)

        # In the executor's thread, which waits for the subscriptions.
        task = self.executor.create_task(listen)
        wait_for(task.done)
        return got

    def start(self, module: str, *arguments: str) -> subprocess.Popen:
        """Start a module in this domain."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, "ROS_DOMAIN_ID": str(self.domain)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess:
        """Run a module in this domain to its end."""
        with self.start(module, *arguments) as process:
            try:
                out, errors = process.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def close(self) -> dict[str, list]:
        self.done = True
        self.thread.join()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        return self.got
