"""Unpacks what is compressed in a bag, but never into more memory than a bag may need.

rosbags unpacks whatever a bag holds in one go: a few kilobytes of it can stand for gigabytes.
"""

from __future__ import annotations

import bz2
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lz4.frame
from rosbags.rosbag1 import reader as rosbag1
from rosbags.rosbag2 import storage_mcap

from csknet_core.errors import DataError
from csknet_core.image_header import MAX_PIXELS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_BYTES = 4 * MAX_PIXELS + (1 << 20)
"""A message or chunk that unpacks to more is refused: the largest image there may be, and room."""

MOST_RATIO = 200
"""A file beyond `MOST_BYTES` must not grow by more; camera images hardly shrink tenfold."""

_LEFT_FREE_BYTES = 128 << 20
_PIECE = 1 << 24
# Recorders write one; going through thousands of empty ones would take quadratic time.
_MOST_FRAMES = 1000


def unpack_zstd(data: bytes, size: int | None = None) -> bytes:
    """Unpack zstd, see `_unpack`; a size that its header declares is looked at first."""
    declared = zstd.get_frame_info(data).decompressed_size
    if declared is not None:
        _check_size(declared, size)
    return _unpack(zstd.ZstdDecompressor, data, size)


def unpack_lz4(data: bytes, size: int | None = None) -> bytes:
    """Unpack an lz4 frame, see `_unpack`."""
    return _unpack(lz4.frame.LZ4FrameDecompressor, data, size)


def unpack_bz2(data: bytes, size: int | None = None) -> bytes:
    """Unpack bz2, see `_unpack`."""
    return _unpack(bz2.BZ2Decompressor, data, size)


def check_packed_files(files: Iterable[Path]) -> None:
    """Check that zstd files can be unpacked into the folder for temporary files.

    The sizes in their headers are optional and may be wrong, so they are unpacked to nowhere.

    Raises:
        DataError: they would fill it, or are far too large for their packed size.
        OSError, zstd.ZstdError, EOFError: one cannot be read.
    """
    free = shutil.disk_usage(tempfile.gettempdir()).free - _LEFT_FREE_BYTES
    for file in files:
        most = min(free, max(MOST_BYTES, MOST_RATIO * file.stat().st_size))
        unpacked = 0
        with zstd.open(file, "rb") as stream:
            while piece := stream.read(_PIECE):
                unpacked += len(piece)
                if unpacked > most:
                    raise DataError(
                        f"{file.name} ({file.stat().st_size} bytes) unpacks to more than {most} "
                        "bytes; unpack it with 'zstd -d' if that is right"
                    )
        free -= unpacked


def bound_rosbags() -> None:
    """Have rosbags unpack chunks, of MCAP files and of ROS 1 bags, with the functions above."""
    storage_mcap.DECOMPRESSORS.update({"zstd": unpack_zstd, "lz4": unpack_lz4})
    rosbag1.decompressors.update({"lz4": unpack_lz4, "bz2": unpack_bz2})


def _unpack(make: Callable[[], Any], data: bytes, size: int | None) -> bytes:
    """Unpack all frames of some data.

    Args:
        make: makes the decompressor of a frame; those of zstd, lz4 and bz2 have the same methods.
        data: packed.
        size: what it must not unpack to more than, besides `MOST_BYTES`.

    Raises:
        DataError: it is cut short, or unpacks to more.
        Exception: whatever the decompressor says of damaged data.
    """
    _check_size(size or 0, size)
    pieces: list[bytes] = []
    unpacked = frames = 0
    while data:
        frames += 1
        if frames > _MOST_FRAMES:
            raise DataError(f"packed data has more than {_MOST_FRAMES} frames")
        decompressor = make()
        while not decompressor.eof:
            pieces.append(decompressor.decompress(data, max_length=_PIECE))
            data = b""
            unpacked += len(pieces[-1])
            _check_size(unpacked, size)
            if not (pieces[-1] or decompressor.eof) and decompressor.needs_input:
                raise DataError("packed data is cut short")
        data = decompressor.unused_data or b""
    return b"".join(pieces)


def _check_size(size: int, declared: int | None) -> None:
    most = MOST_BYTES if declared is None else min(declared, MOST_BYTES)
    if size > most:
        raise DataError(f"a chunk or message unpacks to {size} bytes or more, {most} are allowed")
