"""Bags made to hurt: small files that stand for large ones, names of other files."""

from __future__ import annotations

import bz2
import sqlite3
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lz4.frame
import yaml
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_typestore

from csknet_ros.replay.reader import IMAGE_TYPES
from support.bags import START_NS, write_bag

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BOMB_BYTES = 256 << 20
_PIECE = bytes(1 << 24)
_PIECES = BOMB_BYTES // len(_PIECE)
_MAGIC = b"\x89MCAP0\r\n"


def zstd_bomb(declared: bool) -> bytes:
    """Return some kB that unpack to `BOMB_BYTES`; `declared` says so in the header."""
    compressor = zstd.ZstdCompressor()
    if declared:
        compressor.set_pledged_input_size(BOMB_BYTES)
    parts = [compressor.compress(_PIECE) for _ in range(_PIECES)]
    return b"".join([*parts, compressor.flush()])


def lz4_bomb() -> bytes:
    """Return 1 MB that unpack to `BOMB_BYTES`."""
    compressor = lz4.frame.LZ4FrameCompressor()
    parts = [compressor.begin()] + [compressor.compress(_PIECE) for _ in range(_PIECES)]
    return b"".join([*parts, compressor.flush()])


def bz2_bomb() -> bytes:
    """Return some kB that unpack to `BOMB_BYTES`."""
    return bz2.compress(_PIECE) * _PIECES


@dataclass(frozen=True)
class McapChunk:
    """A chunk of an MCAP file, with the size it claims to have."""

    data: bytes
    compression: str
    size: int
    times: tuple[int, int] = (START_NS, START_NS + 1)

    def record(self) -> bytes:
        """Return its record."""
        start, end = self.times
        content = struct.pack("<QQQI", start, end, self.size, 0) + _text(self.compression)
        return _record(6, content + struct.pack("<Q", len(self.data)) + self.data)


def write_mcap(path: Path, chunks: list[McapChunk], listed: list[int] | None = None) -> Path:
    """Write an MCAP file; `listed` are the chunks in its index, none without."""
    data, places = _MAGIC + _record(1, _text("ros2") + _text("")), []
    for chunk in chunks:
        places.append(len(data))
        data += chunk.record()
    end = len(data)
    if listed is None:
        data += _record(2, bytes(20))
        path.write_bytes(data + _MAGIC)
        return path
    data += _record(3, struct.pack("<H", 1) + _text(IMAGE_TYPES[0]) + _text("ros2msg") + _text(""))
    for index, topic in enumerate(("/rgb/image", "/thermal/image")):
        data += _record(4, struct.pack("<HH", index, 1) + _text(topic) + _text("cdr") + _text(""))
    for index in listed:
        chunk = chunks[index]
        length = len(chunk.record())
        offsets = b"".join(struct.pack("<HQ", i, places[index] + length + 31 * i) for i in (0, 1))
        content = struct.pack("<QQQQ", *chunk.times, places[index], length)
        content += struct.pack("<I", len(offsets)) + offsets + struct.pack("<Q", 62)
        content += _text(chunk.compression) + struct.pack("<QQ", len(chunk.data), chunk.size)
        data += _record(8, content)
    data += _record(11, struct.pack("<QHIIIIQQI", 2, 1, 2, 0, 0, 1, START_NS, START_NS + 1, 0))
    path.write_bytes(data + _record(2, struct.pack("<QQI", end, 0, 0)) + _MAGIC)
    return path


def write_ros1(path: Path, compression: Any, packed: bytes) -> Path:
    """Write a ROS 1 bag whose chunk is `packed`, whatever the messages."""
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer1(path)
    writer.set_compression(compression)
    writer.compressor = lambda _: packed
    with writer:
        for topic in ("/rgb/image", "/thermal/image"):
            connection = writer.add_connection(topic, IMAGE_TYPES[0], typestore=store)
            writer.write(connection, START_NS, b"data")
    return path


def write_message_bomb(path: Path, packed: bytes) -> Path:
    """Write a bag packed message by message, in which one message is `packed`."""
    write_bag(path, 2, labels=False, compress=True)
    change_database(path, "UPDATE messages SET data = ? WHERE id = 2", packed)
    return path


def write_file_bomb(path: Path, packed: bytes) -> Path:
    """Write a bag packed as a file that is `packed`."""
    write_bag(path, 1, labels=False)
    name = f"{path.name}.db3"
    (path / name).unlink()
    (path / f"{name}.zstd").write_bytes(packed)
    modes = {"compression_mode": "FILE", "compression_format": "zstd"}
    change_metadata(path, relative_file_paths=[f"{name}.zstd"], **modes)
    return path


def change_metadata(bag: Path, **changes: Any) -> Path:
    """Change entries of a bag's metadata."""
    file = bag / "metadata.yaml"
    data = yaml.safe_load(file.read_text())
    data["rosbag2_bagfile_information"] |= changes
    file.write_text(yaml.safe_dump(data))
    return bag


def change_database(bag: Path, command: str, *values: Any) -> Path:
    """Run SQL on a bag's database."""
    connection = sqlite3.connect(next(bag.glob("*.db3")))
    with connection:
        if values:
            connection.execute(command, values)
        else:
            connection.executescript(command)
    connection.close()
    return bag


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def peak_bytes(act: Callable[[], object]) -> int:
    """Return how much memory Python objects took at once while `act` ran."""
    import tracemalloc

    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
