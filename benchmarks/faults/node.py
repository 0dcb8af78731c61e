"""The node under test: the shipped one, an engine that fails on demand, and a log of receipts."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from std_msgs.msg import String

from csknet_core.classes import ClassTable
from csknet_core.errors import EngineError
from csknet_core.modality import Modality, Mode
from csknet_core.runtime.backends import open_engine
from csknet_core.runtime.backends.base import Engine, LabelsAndConfidence
from csknet_core.runtime.backends.resilient import ResilientEngine
from csknet_core.runtime.memory import steady_heap
from csknet_core.runtime.policy import ModalityPolicy
from csknet_core.runtime.preprocess import ThermalNormalizer
from csknet_core.runtime.registration import Registration
from csknet_core.runtime.segmenter import Segmenter, SegmenterSettings
from csknet_core.weights.files import find_weights
from csknet_ros.segmentation_node import SegmentationNode

SOCKET = "CSKNET_FAULTS_SOCKET"
"""Environment variable: the datagram socket that gets the receipts."""
TOPIC = "faults/engine"
"""String: what the engine does wrong; one of `raise`, `nan`, `slow`, `stuck`, `ok`, and counts."""
RECEIPT = struct.Struct("<cqqi")
"""Kind (`o`, `t`, or `p` for a process that starts), stamp, monotonic time; ns; process id."""
SLOW_S, STUCK_S = 0.25, 6.0


class FaultSwitch:
    """What the engine is to do wrong. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._what, self._left = "ok", 0

    def set(self, command: str) -> None:
        """Take `WHAT [COUNT]`; without a count it holds until the next command."""
        what, _, count = command.partition(" ")
        with self._lock:
            self._what, self._left = what, int(count or -1)

    def take(self) -> str:
        """Return what to do wrong with this frame."""
        with self._lock:
            what = self._what
            self._left -= 1
            if self._left == 0:
                self._what = "ok"
            return what


class FaultyEngine:
    """A real engine whose `run` fails on demand."""

    def __init__(self, inner: Engine, switch: FaultSwitch) -> None:
        self._inner = inner
        self._switch = switch

    @property
    def name(self) -> str:
        """Backend and device."""
        return self._inner.name

    @property
    def classes(self) -> ClassTable:
        """Classes of the label maps."""
        return self._inner.classes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network input."""
        return self._inner.size

    def run(
        self,
        mode: Mode,
        optical: NDArray[np.uint8] | None,
        thermal: NDArray[np.float32] | None,
    ) -> LabelsAndConfidence:
        """Segment one frame, or fail as told."""
        what = self._switch.take()
        if what == "raise":
            raise EngineError("a fault of the campaign")
        if what in ("slow", "stuck"):
            time.sleep(SLOW_S if what == "slow" else STUCK_S)
        labels, confidence = self._inner.run(mode, optical, thermal)
        if what == "nan":
            # What a softmax over NaN leaves.
            confidence = np.zeros_like(confidence)
        return labels, confidence

    def close(self) -> None:
        """Free the engine."""
        self._inner.close()


class NodeUnderTest(SegmentationNode):
    """Tells the campaign of every image message it gets, before it deals with it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.connect(os.environ[SOCKET])
        switch = FaultSwitch()
        super().__init__(lambda settings: faulty_segmenter(settings, switch))
        self.create_subscription(String, TOPIC, lambda message: switch.set(message.data), 10)
        self._tell(b"p", 0)

    def _on_image(self, modality: Modality, message: Any) -> None:
        stamp = message.header.stamp
        kind = b"o" if modality is Modality.OPTICAL else b"t"
        self._tell(kind, stamp.sec * 1_000_000_000 + stamp.nanosec)
        super()._on_image(modality, message)

    def _tell(self, kind: bytes, stamp_ns: int) -> None:
        self._socket.send(RECEIPT.pack(kind, stamp_ns, time.monotonic_ns(), os.getpid()))


def faulty_segmenter(settings: SegmenterSettings, switch: FaultSwitch) -> Segmenter:
    """Open what `Segmenter.load` opens, with every backend able to fail on demand."""
    engine = ResilientEngine(
        find_weights(settings.weights),
        settings.size,
        settings.device,
        settings.threads,
        opener=lambda *arguments: FaultyEngine(open_engine(*arguments), switch),
    )
    return Segmenter(
        engine,
        ThermalNormalizer(settings.thermal),
        ModalityPolicy(settings.policy),
        Registration.load(settings.registration),
    )


def main() -> None:
    """Run until terminated."""
    steady_heap()
    rclpy.init(args=sys.argv)
    node = NodeUnderTest()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    node.autostart()
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
