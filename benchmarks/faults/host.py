"""The node's process, and what the host does to it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import rclpy
from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from benchmarks.faults.node import SOCKET, TOPIC
from benchmarks.faults.record import Receipts, Record
from benchmarks.faults.schedule import STUCK_AFTER_S

PARAMETERS = {
    "input_height": "256",
    "input_width": "320",
    "engine.stuck_after": str(STUCK_AFTER_S),
}
_RESPAWN_S = 0.5
_BUSY = "while True: pass"
_START_TIMEOUT_S = 120.0


class Supervisor:
    """Keeps the node running, as launch does with `respawn`; a context manager.

    Args:
        receipts: what the node reports to.
        log: its output goes here.
        capture: where its debug bundles go.
    """

    def __init__(self, receipts: Receipts, log: Path, capture: Path) -> None:
        values = {**PARAMETERS, "capture.directory": str(capture)}
        given = [t for name, value in values.items() for t in ("-p", f"{name}:={value}")]
        self._command = [sys.executable, "-m", "benchmarks.faults.node", "--ros-args", *given]
        self._environment = {**os.environ, SOCKET: str(receipts.path)}
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        self._thread.join(30)
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    def signal(self, number: int) -> None:
        """Send a signal to the node's process."""
        assert self.process is not None
        self.process.send_signal(number)

    def _supervise(self) -> None:
        with self._log.open("ab") as log:
            while not self._stop.is_set():
                self.process = subprocess.Popen(
                    self._command, stdout=log, stderr=log, env=self._environment
                )
                self.process.wait()
                self.deaths += not self._stop.is_set()
                self._stop.wait(_RESPAWN_S)


class Host:
    """Does to the node what the schedule says.

    Args:
        node: talks to it.
        supervisor: runs it.
        record: gets notes.
    """

    def __init__(self, node: Node, supervisor: Supervisor, record: Record) -> None:
        self._node = node
        self._supervisor = supervisor
        self._record = record
        self._engine = node.create_publisher(String, TOPIC, QoSProfile(depth=10))
        self._capture: Client[Any, Any] = node.create_client(Trigger, "csknet/capture")
        self._busy: list[subprocess.Popen[bytes]] = []
        self._stalled: Any = None
        self._limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    def wait_until_up(self) -> None:
        """Wait until the node subscribes and its services answer.

        Raises:
            RuntimeError: it does not.
        """
        end = time.monotonic() + _START_TIMEOUT_S
        while not (self._engine.get_subscription_count() and self._capture.service_is_ready()):
            if time.monotonic() > end:
                raise RuntimeError("the node did not come up; see node.log in the output folder")
            time.sleep(0.05)

    def begin(self, fault: str) -> None:
        """A fault begins."""
        commands = {
            "slow_engine": "slow", "engine_raises": "raise 1", "engine_nan": "nan 1",
            "engine_stuck": "stuck 1", "engine_breaks": "raise 2",
        }  # fmt: skip
        if fault in commands:
            self._engine.publish(String(data=commands[fault]))
        elif fault == "starvation":
            self._busy = [
                subprocess.Popen([sys.executable, "-c", _BUSY])
                for _ in range(2 * (os.cpu_count() or 1))
            ]
        elif fault == "listener_stall":
            # A node that nobody spins: what it is sent piles up until its history is full.
            self._stalled = rclpy.create_node("stalled", context=self._node.context)
            self._stalled.create_subscription(
                Image, "csknet/label_map", lambda _: None, QoSProfile(depth=2)
            )
        elif fault == "disk_full":
            self._fill_disk()
        elif fault == "sigstop":
            self._supervisor.signal(signal.SIGSTOP)
        elif fault == "sigkill":
            self._supervisor.signal(signal.SIGKILL)

    def end(self, fault: str) -> None:
        """It is over."""
        if fault == "slow_engine":
            self._engine.publish(String(data="ok"))
        elif fault == "starvation":
            self.stop_busy()
        elif fault == "listener_stall":
            self._stalled.destroy_node()
        elif fault == "disk_full":
            self._limit_files(self._limits)
        elif fault == "sigstop":
            self._supervisor.signal(signal.SIGCONT)

    def stop_busy(self) -> None:
        """End the busy processes."""
        for process in self._busy:
            process.kill()
            process.wait()
        self._busy = []

    def _fill_disk(self) -> None:
        """Let no file of the node grow, as on a full disk, and ask for a bundle."""
        process = self._supervisor.process
        assert process is not None
        self._limits = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        self._limit_files((512, self._limits[1]))
        future = self._capture.call_async(Trigger.Request())
        future.add_done_callback(self._note_capture)

    def _limit_files(self, limits: tuple[int, int]) -> None:
        process = self._supervisor.process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)

    def _note_capture(self, future: Any) -> None:
        answer = future.result()
        verdict = "answered a bundle" if answer.success else f"refused: {answer.message}"
        self._record.notes["disk_full"].append(verdict)
