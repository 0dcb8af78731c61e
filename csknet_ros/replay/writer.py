"""Writes bags that ros2 bag and Foxglove read, without ROS."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.typesys import Stores, get_typestore

from csknet_core.errors import DataError
from csknet_core.runtime.overlay import draw_overlay
from csknet_core.runtime.segmenter import Segmentation
from csknet_ros.frame_status import STATUS_NAME, FrameStatus, describe
from csknet_ros.images import encoding_of
from csknet_ros.stamps import fill

if TYPE_CHECKING:
    from csknet_ros.replay.replay import At

IMAGE, TEXT, STATUS = (
    "sensor_msgs/msg/Image",
    "std_msgs/msg/String",
    "diagnostic_msgs/msg/DiagnosticArray",
)


class BagWriter:
    """Writes one bag; use it in a `with` statement.

    Args:
        path: a folder to create, with a sqlite3 bag in it; or a single file if it ends in .mcap.
        compress: with zstd.

    Raises:
        DataError: the path exists or cannot be written.
    """

    def __init__(self, path: Path, compress: bool = False) -> None:
        self.path = path
        self._single = path.suffix == ".mcap"
        self._folder = path.with_suffix(".partial") if self._single else path
        if path.exists():
            raise DataError(f"bag {path}: exists already; choose another name or delete it")
        self._store = get_typestore(Stores.ROS2_KILTED)
        self._connections: dict[str, Connection] = {}
        plugin = StoragePlugin.MCAP if self._single else StoragePlugin.SQLITE3
        if self._single:
            shutil.rmtree(self._folder, ignore_errors=True)
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            self._writer = Writer(self._folder, version=9, storage_plugin=plugin)
            if compress:
                # Message by message would need metadata.yaml, which a single file does not have.
                mode = CompressionMode.STORAGE if self._single else CompressionMode.MESSAGE
                self._writer.set_compression(mode, CompressionFormat.ZSTD)
            self._writer.open()
        except (OSError, WriterError) as error:
            raise DataError(f"bag {path}: cannot be written ({error})") from error

    def __enter__(self) -> BagWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the bag, also after an error: what was written can be read."""
        self._writer.close()
        if self._single:
            (written,) = self._folder.glob("*.mcap")
            written.rename(self.path)
            shutil.rmtree(self._folder)

    def image(
        self, topic: str, time_ns: int, stamp_ns: int, frame_id: str, image: NDArray[Any]
    ) -> None:
        """Write an image: (H, W) uint8, uint16 or float32, or (H, W, 3) uint8 RGB."""
        channels = 1 if image.ndim == 2 else image.shape[2]
        types = self._store.types
        message = types[IMAGE](
            header=self._header(stamp_ns, frame_id),
            height=image.shape[0],
            width=image.shape[1],
            encoding=encoding_of(image),
            is_bigendian=0,
            step=image.shape[1] * channels * image.itemsize,
            data=np.frombuffer(np.ascontiguousarray(image).tobytes(), np.uint8),
        )
        self._write(topic, IMAGE, time_ns, message)

    def text(self, topic: str, time_ns: int, text: str) -> None:
        """Write a `std_msgs/String`."""
        self._write(topic, TEXT, time_ns, self._store.types[TEXT](data=text))

    def status(
        self, topic: str, time_ns: int, stamp_ns: int, frame_id: str, status: FrameStatus
    ) -> None:
        """Write a frame status in the form of the node's `~/frame_status`."""
        types = self._store.types
        said = describe(status)
        pair = types["diagnostic_msgs/msg/KeyValue"]
        entry = types["diagnostic_msgs/msg/DiagnosticStatus"](
            level=said.level,
            name=STATUS_NAME,
            message=said.message,
            hardware_id=status.hardware_id,
            values=[pair(key=key, value=value) for key, value in said.values],
        )
        header = self._header(stamp_ns, frame_id)
        self._write(topic, STATUS, time_ns, types[STATUS](header=header, status=[entry]))

    def copy(self, topic: str, kind: str, time_ns: int, message: Any) -> None:
        """Write a message that came out of another bag."""
        self._write(topic, kind, time_ns, message)

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        types = self._store.types
        stamp = types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
        fill(stamp, stamp_ns)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)

    def _write(self, topic: str, kind: str, time_ns: int, message: Any) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._store
            )
        data = self._store.serialize_cdr(message, kind)
        self._writer.write(self._connections[topic], time_ns, data)


class AnswerWriter:
    """A sink of `replay`: label maps, confidence, overlays and statuses on the node's topics.

    Args:
        writer: of the bag.
        classes: gives the overlay's colours.
        node: name the topics begin with.
    """

    def __init__(self, writer: BagWriter, classes: Any, node: str = "/csknet") -> None:
        self._writer = writer
        self._classes = classes
        self._node = node

    def answered(self, at: At, answer: Segmentation, status: FrameStatus, image: Any) -> None:
        """Write one answer."""
        banner = f"{answer.mode.value}  {answer.reason.value}"
        overlay = draw_overlay(image, answer.labels, self._classes, banner=banner)
        self._writer.image(f"{self._node}/label_map", *at, answer.labels)
        self._writer.image(f"{self._node}/confidence", *at, answer.confidence)
        self._writer.image(f"{self._node}/overlay", *at, overlay)
        self.dropped(at, status)

    def dropped(self, at: At, status: FrameStatus) -> None:
        """Write what became of a frame."""
        self._writer.status(f"{self._node}/frame_status", *at, _timeless(status))


def _timeless(status: FrameStatus) -> FrameStatus:
    """Return a status without what differs from replay to replay."""
    values = asdict(status)
    stages = ("decode_ms", "policy_ms", "preprocess_ms", "inference_ms", "postprocess_ms")
    return FrameStatus(**{**values, **dict.fromkeys((*stages, "queue_ms", "total_ms"), 0.0)})
