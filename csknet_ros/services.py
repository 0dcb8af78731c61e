"""The node's services: `~/capture` writes a debug bundle, `~/enable` pauses and resumes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from csknet_core.errors import CsknetError


class Services:
    """Offers both services in every state of the node.

    Args:
        node: offers them.
        capture: writes a bundle and returns its directory; called in a thread of its own.
        enable: told whether inference is wanted; returns what to answer.
    """

    def __init__(
        self, node: Node, capture: Callable[[], Path], enable: Callable[[bool], str]
    ) -> None:
        self._node = node
        self._capture = capture
        self._enable = enable
        # A group of its own: camera callbacks go on while a bundle is written.
        group = MutuallyExclusiveCallbackGroup()
        node.create_service(Trigger, "~/capture", self._on_capture, callback_group=group)
        node.create_service(SetBool, "~/enable", self._on_enable)

    async def _on_capture(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        written: Future[tuple[bool, str]] = Future(executor=self._node.executor)
        thread = threading.Thread(target=self._write, args=(written,), name="capture", daemon=True)
        thread.start()
        result = await written
        assert result is not None
        response.success, response.message = result
        if response.success:
            self._node.get_logger().info(f"capture: {response.message}")
        else:
            self._node.get_logger().error(f"capture: {response.message}")
        return response

    def _write(self, written: Future[tuple[bool, str]]) -> None:
        try:
            written.set_result((True, str(self._capture())))
        except CsknetError as error:
            written.set_result((False, str(error)))
        except Exception as error:  # The caller waits: whatever it was must be answered.
            written.set_result((False, f"{type(error).__name__}: {error}"))

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = True, self._enable(request.data)
        return response
