"""Moves a node through its lifecycle and changes its parameters, over its services."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import ParameterValue as RosValue
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from benchmarks.faults.cameras import make_message, render_pairs
from csknet_ros.frame_status import FrameStatus, decode

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}
_ANSWER_S = 60.0
"""Longer than this no call may take; a graph that is built for the first time takes 20 s."""


class Operator:
    """A context manager; every method raises `RuntimeError` when the node does not answer."""

    def __init__(self) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("operator", context=self._context)
        self._change: Client[Any, Any] = self._node.create_client(
            ChangeState, "csknet/change_state"
        )
        self._set: Client[Any, Any] = self._node.create_client(
            SetParameters, "csknet/set_parameters"
        )
        qos = QoSProfile(depth=10)
        self._rgb = self._node.create_publisher(Image, "rgb/image", qos)
        self._thermal = self._node.create_publisher(Image, "thermal/image", qos)
        self._statuses: dict[int, FrameStatus] = {}
        self._node.create_subscription(DiagnosticArray, "csknet/frame_status", self._note, qos)
        self._maps: set[int] = set()
        self._node.create_subscription(Image, "csknet/label_map", self._note_map, qos)
        self._pairs = render_pairs(4)
        self._sent = 0
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def wait_for_node(self) -> None:
        """Wait until the node's services are there."""
        for client in (self._change, self._set):
            if not client.wait_for_service(_ANSWER_S):
                raise RuntimeError(f"no service {client.srv_name}")

    def transition(self, name: str) -> None:
        """Make a transition, which must succeed."""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))
        if not self._call(self._change, request).success:
            raise RuntimeError(f"{name} failed")

    def set_parameter(self, name: str, value: Any) -> SetParametersResult:
        """Ask for one parameter to be changed; returns what the node said."""
        given: RosValue = Parameter(name, value=value).get_parameter_value()
        message = Parameter(name, value=value).to_parameter_msg()
        message.value = given
        result: SetParametersResult = self._call(
            self._set, SetParameters.Request(parameters=[message])
        ).results[0]
        return result

    def see_an_answer(self) -> FrameStatus:
        """Publish pairs until one is answered with a label map; returns its status."""
        mine: list[int] = []

        def answered() -> bool:
            if not mine or time.time_ns() - mine[-1] > 100_000_000:
                mine.append(self._publish())
            return any(s in self._maps and s in self._statuses for s in mine)

        self._wait(answered, "no frame was answered")
        stamp = next(s for s in mine if s in self._maps and s in self._statuses)
        self._maps.clear()
        return self._statuses.pop(stamp)

    def _publish(self) -> int:
        self._sent += 1
        optical, thermal = self._pairs[self._sent % len(self._pairs)]
        noise = np.uint16(self._sent % 50)
        stamp = time.time_ns()
        self._rgb.publish(make_message(optical, "rgb8", stamp, "rgb"))
        self._thermal.publish(make_message(thermal + noise, "mono16", stamp, "thermal"))
        return stamp

    def _call(self, client: Any, request: Any) -> Any:
        future = client.call_async(request)
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(_ANSWER_S):
            raise RuntimeError(f"{client.srv_name} did not answer within {_ANSWER_S:.0f} s")
        return future.result()

    def _wait(self, condition: Callable[[], bool], problem: str) -> None:
        end = time.monotonic() + _ANSWER_S
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"{problem} within {_ANSWER_S:.0f} s")
            time.sleep(0.002)

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def _note(self, message: DiagnosticArray) -> None:
        self._statuses[_stamp(message)] = decode(message)

    def _note_map(self, message: Image) -> None:
        self._maps.add(_stamp(message))


def _stamp(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
