"""Notes when answers come, and samples a process meanwhile."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from csknet_ros.frame_status import FrameStatus, decode

_QOS = QoSProfile(depth=200)


class Listener:
    """Subscribes in a thread and context of its own; a context manager.

    Attributes:
        cameras: stamps of the thermal frames seen.
        maps: when the label map of a stamp came, wall nanoseconds.
        statuses: frame statuses by stamp.
    """

    def __init__(self) -> None:
        self.cameras: set[int] = set()
        self.maps: dict[int, int] = {}
        self.statuses: dict[int, FrameStatus] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("bench_listener", context=self._context)
        self._node.create_subscription(Image, "csknet/label_map", self._on_map, _QOS)
        self._node.create_subscription(
            DiagnosticArray, "csknet/frame_status", self._on_status, _QOS
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def listening(self, topic: str) -> bool:
        """Whether anybody subscribes to a topic."""
        return self._node.count_subscribers(topic) > 0

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def _on_map(self, message: Any) -> None:
        self.maps.setdefault(_stamp(message), time.time_ns())

    def _on_status(self, message: Any) -> None:
        self.statuses[_stamp(message)] = decode(message)


class ProcessMeter:
    """Memory and processor time of a process, from /proc.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._ticks = os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Resident memory now."""
        return self._status("VmRSS")

    def shared_mb(self) -> float:
        """Of it, memory shared with other processes, such as Fast DDS's segments."""
        return self._status("RssShmem")

    def peak_rss_mb(self) -> float:
        """The largest resident memory so far."""
        return self._status("VmHWM")

    def has_loaded(self, library: str) -> bool:
        """Whether a shared library of this name is in its memory."""
        return library in (self._folder / "maps").read_text()

    def cpu_s(self) -> float:
        """Processor seconds so far."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / self._ticks

    def _status(self, key: str) -> float:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
        return 0.0


def _stamp(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
