"""What came out of the node, and what its process used meanwhile."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from benchmarks.faults.cameras import Sent
from benchmarks.faults.node import RECEIPT
from benchmarks.node.listener import ProcessMeter
from csknet_core.modality import Modality
from csknet_ros.frame_status import FrameStatus, decode

_QOS = QoSProfile(depth=1000)


@dataclass(frozen=True)
class Received:
    """An image message as the node got it; times monotonic."""

    modality: Modality
    stamp_ns: int
    at_ns: int


@dataclass(frozen=True)
class Status:
    """A frame status as it came."""

    stamp_ns: int
    at_ns: int
    status: FrameStatus


@dataclass(frozen=True)
class LabelMap:
    """What matters of a label map."""

    stamp_ns: int
    at_ns: int
    height: int
    width: int
    encoding: str
    largest: int


@dataclass(frozen=True)
class Sample:
    """Memory and processor time of the node's process.

    Attributes:
        at_ns: when, monotonic.
        pid: of the process.
        rss_mb: resident memory.
        cpu_s: processor seconds so far.
        shared_mb: of the memory, Fast DDS's segments in /dev/shm. Their size is fixed; a process
            comes to hold more of them as pages are used for the first time.
    """

    at_ns: int
    pid: int
    rss_mb: float
    cpu_s: float
    shared_mb: float = 0.0

    @property
    def own_mb(self) -> float:
        """Resident memory without what is shared."""
        return self.rss_mb - self.shared_mb


@dataclass
class Record:
    """Everything the oracle judges.

    Attributes:
        sent: messages the cameras sent, in order.
        received: those the node got, in order.
        statuses, label_maps: what it answered, in order.
        samples: of its process.
        starts: when a process of it was there, monotonic ns.
        notes: what the host has to say, such as the answer of a service.
    """

    sent: list[Sent] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    label_maps: list[LabelMap] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


class Receipts:
    """Takes the node's receipts; a context manager.

    Args:
        record: gets them.

    Attributes:
        path: of the socket.
        pid: of the node's process, 0 before it has started.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._folder = tempfile.TemporaryDirectory(prefix="csknet-")
        self.path = Path(self._folder.name) / "receipts"
        self.pid = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(0.2)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._read, self._sample)
        ]

    def __enter__(self) -> Receipts:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()
        self._folder.cleanup()

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                kind, stamp, at, pid = RECEIPT.unpack(self._socket.recv(64))
            except TimeoutError:
                continue
            if kind == b"p":
                self.pid = pid
                self._record.starts.append(at)
            else:
                modality = Modality.OPTICAL if kind == b"o" else Modality.THERMAL
                self._record.received.append(Received(modality, stamp, at))

    def _sample(self) -> None:
        while not self._stop.wait(1.0):
            if not self.pid:
                continue
            meter = ProcessMeter(self.pid)
            with contextlib.suppress(OSError):  # it has just been killed
                sample = Sample(
                    time.monotonic_ns(), self.pid, meter.rss_mb(), meter.cpu_s(), meter.shared_mb()
                )
                if sample.rss_mb:
                    self._record.samples.append(sample)


def listen(node: Node, record: Record) -> None:
    """Subscribe to the node's answers."""

    def on_status(message: DiagnosticArray) -> None:
        status = decode(message)
        record.statuses.append(Status(stamp_of(message), time.monotonic_ns(), status))

    def on_label_map(message: Image) -> None:
        data = memoryview(message.data)
        largest = max(data.tobytes(), default=255)
        record.label_maps.append(
            LabelMap(stamp_of(message), time.monotonic_ns(), message.height, message.width,
                     message.encoding, largest)
        )  # fmt: skip

    node.create_subscription(DiagnosticArray, "csknet/frame_status", on_status, _QOS)
    node.create_subscription(Image, "csknet/label_map", on_label_map, _QOS)


def stamp_of(message: Any) -> int:
    """Return a message's stamp in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
