"""A launch file run by the real launch_ros in a process of its own, and what its node says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python

from support.graph import next_domain

_RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [entry.split(":=") for entry in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service = LaunchService()
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


class Launched:
    """A running launch file; use as a context manager.

    Args:
        file: the launch file.
        folder: for its log.
        arguments: as on the command line, `name:=value`.
        node: full name of the segmentation node.
    """

    def __init__(self, file: Path, folder: Path, *arguments: str, node: str = "/csknet") -> None:
        self.domain = next_domain()
        self._log = folder / f"log{self.domain}"
        self._command = [sys.executable, "-c", _RUN, str(file), *arguments]
        self._namespace, self._name = node.rsplit("/", 1)
        self._full_name = node

    def __enter__(self) -> Launched:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=self._log.parent,
                env={**os.environ, "ROS_DOMAIN_ID": str(self.domain)},
            )  # fmt: skip
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.client = rclpy.create_node("asker", context=self.context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.client)
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self.client.destroy_node()
        rclpy.try_shutdown(context=self.context)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    @property
    def text(self) -> str:
        """What was logged so far."""
        return self._log.read_text()

    @property
    def children(self) -> list[int]:
        """Ids of the processes it started."""
        folder = Path(f"/proc/{self.process.pid}/task/{self.process.pid}")
        return [int(word) for word in (folder / "children").read_text().split()]

    def until(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        """Wait until a condition holds and return it; the failure shows the log."""
        end = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < end, f"waited in vain\n{self.text}"
            self._executor.spin_once(timeout_sec=0.05)
        return value

    def until_state(self, wanted: str) -> None:
        """Wait until the node is in a lifecycle state."""
        self.until(lambda: self._state() == wanted)

    def change(self, transition: int) -> bool:
        """Trigger a lifecycle transition; returns whether it succeeded."""
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(self._call(ChangeState, "change_state", request).success)

    def parameter(self, name: str) -> Any:
        """Return the value of one of the node's parameters."""
        answer = self._call(GetParameters, "get_parameters", GetParameters.Request(names=[name]))
        return parameter_value_to_python(answer.values[0])

    def subscribed(self) -> set[str]:
        """Return the topics the node subscribes to."""
        try:
            pairs = self.client.get_subscriber_names_and_types_by_node(
                self._name, self._namespace or "/"
            )
        except RuntimeError:  # rclpy._rclpy_pybind11.NodeNameNonExistentError
            return set()
        return {topic for topic, _ in pairs}

    def _state(self) -> str:
        """Ask once, not for long: a node that was killed is still seen for a while."""
        client = self.client.create_client(GetState, f"{self._full_name}/get_state")
        try:
            future = client.call_async(GetState.Request())
            self._executor.spin_until_future_complete(future, 2.0)
            return future.result().current_state.label if future.done() else "no answer"
        finally:
            self.client.destroy_client(client)

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.client.create_client(kind, f"{self._full_name}/{name}")
        try:
            self.until(client.service_is_ready)
            future = client.call_async(request)
            self.until(future.done)
            return future.result()
        finally:
            self.client.destroy_client(client)
