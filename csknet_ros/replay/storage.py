"""Opens bags of any kind, so that a hostile one can do nothing but be refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags import rosbag1, rosbag2
from rosbags.interfaces import Connection
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.typesys import Stores, get_typestore

from csknet_core.errors import DataError
from csknet_ros.replay.inspection import check_chunks, check_files
from csknet_ros.replay.unpacking import bound_rosbags, unpack_zstd

CURE = (
    "if it was cut off while recording, 'ros2 bag reindex' or 'mcap recover' may repair it; a "
    "rosbag2 bag is named by its folder"
)
_MOST_NS = 2**63
bound_rosbags()


class OpenBag:
    """A bag whose messages can be read; use it in a `with` statement.

    The definitions of message types that a bag carries are not used: rosbags would run code made
    from them, and those of images and texts are the same in every bag.

    Attributes:
        path: of the bag.
        connections: topics and their types.
        start_ns, end_ns: receive times of the first and last message.

    Args:
        path: folder of a rosbag2 bag, one .mcap or .db3 file, or a ROS 1 .bag.

    Raises:
        DataError: the bag cannot be opened, or not safely.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ros1 = path.suffix == ".bag" and not path.is_dir()
        self._types = get_typestore(Stores.ROS1_NOETIC if self._ros1 else Stores.ROS2_KILTED)
        self._reader: rosbag1.Reader | rosbag2.Reader | None = None
        if not path.exists():
            raise DataError(f"bag {path}: no such file or folder")
        try:
            if self._ros1:
                self._reader = rosbag1.Reader(path)
                self._reader.open()
                self._packed = False
            else:
                check_files(path)
                self._reader = rosbag2.Reader(path)
                self._reader.open()
                self._packed = _take_over_unpacking(self._reader)
            _check_connections(self._reader.connections)
            self.connections = list(self._reader.connections)
            self.start_ns, self.end_ns = self._reader.start_time, self._reader.end_time
            for time_ns in (self.start_ns, self.end_ns):
                _check_time(time_ns)
        except Exception as error:  # rosbags raises whatever the damage leads to
            self.close()
            raise DataError(f"bag {path}: cannot be opened ({short(error)}); {CURE}") from error

    def __enter__(self) -> OpenBag:
        """Return the bag."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bag."""
        self.close()

    def close(self) -> None:
        """Close the bag; may be called again."""
        reader, self._reader = self._reader, None
        if reader is None:
            return
        opened = reader.bio is not None if isinstance(reader, rosbag1.Reader) else reader.is_open
        if opened:
            reader.close()

    def messages(
        self, connections: Sequence[Connection] = ()
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, receive time and raw message of some topics, or of all.

        Raises:
            DataError: the bag is damaged.
        """
        assert self._reader is not None
        stream = self._reader.messages(connections=connections)
        while True:
            try:
                connection, time_ns, raw = next(stream)
                # A database may hold anything anywhere.
                _check_time(time_ns)
                if not isinstance(raw, bytes):
                    raise DataError("a message is no data")
                data = unpack_zstd(raw) if self._packed else raw
            except StopIteration:
                return
            except Exception as error:  # see __init__
                raise DataError(f"bag {self.path}: damaged ({short(error)}); {CURE}") from error
            yield connection, time_ns, data

    def decode(self, raw: bytes, kind: str) -> Any:
        """Return a message from its raw form.

        Raises:
            Exception: whatever rosbags says of one that is damaged.
        """
        if self._ros1:
            return self._types.deserialize_ros1(raw, kind)
        return self._types.deserialize_cdr(raw, kind)


def short(error: Exception) -> str:
    """Return what an error says in one line."""
    text = str(error).splitlines()[0] if str(error) else "no details"
    return text[:300] if isinstance(error, DataError) else f"{type(error).__name__}: {text[:200]}"


def _take_over_unpacking(reader: rosbag2.Reader) -> bool:
    """Check the chunks of an open bag; return whether its messages are packed one by one.

    rosbags then hands them out as they are, so that they can be unpacked within bounds.
    """
    storage: Any = reader.storage
    folder = isinstance(storage, DirectoryReader)
    for part in storage.storages if folder else [storage]:
        check_chunks(getattr(part, "chunks", ()))
    packed = storage.metadata.compression_mode == "message"
    if packed:
        storage.metadata = storage.metadata._replace(compression_mode=None)
    return packed


def _check_connections(connections: Sequence[Connection]) -> None:
    for connection in connections:
        for text in (connection.topic, connection.msgtype):
            # They are shown in terminals, which obey control characters.
            if not isinstance(text, str) or not text.isprintable():
                raise DataError(f"a topic's name or type is no plain text: {text!r:.100}")


def _check_time(time_ns: Any) -> None:
    if type(time_ns) is not int or not 0 <= time_ns <= _MOST_NS:
        raise DataError(f"a time is not within 63 bits: {time_ns!r:.40}")
