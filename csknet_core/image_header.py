"""Encoded images whose height and width are read from their header before they are decoded."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ImageError

MAX_PIXELS = 64 * 1024 * 1024
"""Images with more pixels are refused before anything is allocated for them."""

MAX_FILE_BYTES = 1 << 28
"""Larger image files are refused before they are read."""

_PNG = b"\x89PNG\r\n\x1a\n"
# Their frames have sizes of their own.
_PNG_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_MOST_CHUNKS = 100_000
_JPEG = b"\xff\xd8"
# Start-of-frame markers; C4, C8 and CC of that range are none.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


def encoded_size(data: bytes) -> tuple[int, int]:
    """Return height and width from the header of a JPEG or PNG.

    Raises:
        ImageError: the data is something else, or has no whole header.
    """
    try:
        if data.startswith(_PNG):
            return _png_size(data)
        if data.startswith(_JPEG):
            return _jpeg_size(data)
    except (struct.error, IndexError) as error:
        raise ImageError(f"data is cut short: {len(data)} bytes, no whole header") from error
    raise ImageError(
        f"data starts with {data[:4].hex() or 'nothing'}; "
        "publish JPEG or PNG (image_transport's 'compressed')"
    )


def read_image(path: Path, flag: int) -> NDArray[np.uint8] | None:
    """Read an image file as `cv2.imread` does, but refuse a huge one before it is decoded.

    Args:
        path: the file.
        flag: of `cv2.imdecode`.

    Returns:
        The image, or None for a file that is missing or damaged.

    Raises:
        ImageError: it has more than `MAX_PIXELS` pixels or `MAX_FILE_BYTES` bytes.
    """
    data = _read_bytes(path)
    if _checked_size(data) is None:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    return None if image is None else np.asarray(image)


def read_size(path: Path) -> tuple[int, int] | None:
    """Return height and width of an image file, which is not decoded.

    They are those of the pixels as they lie in the file, whatever orientation its EXIF data asks
    for.

    Returns:
        None for a file that is missing or damaged.

    Raises:
        ImageError: as `read_image` does.
    """
    return _checked_size(_read_bytes(path))


def _read_bytes(path: Path) -> bytes:
    """Return a file's bytes, none for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError:
        return b""
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"file has more than {MAX_FILE_BYTES} bytes")
    return data


def _checked_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width within the limits, or None for what is no image."""
    if not data:
        return None
    height, width = encoded_size(data) if data.startswith((_PNG, _JPEG)) else _other_size(data)
    if height * width > MAX_PIXELS:
        raise ImageError(f"image is {width}x{height} pixels, more than {MAX_PIXELS} in all")
    return (height, width) if height * width else None


def _other_size(data: bytes) -> tuple[int, int]:
    """Return height and width of a BMP or TIFF; 0, 0 for what is no image."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImageError("neither PNG nor JPEG; other formats need: pip install pillow") from error
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise ImageError(str(error)) from error
    except (OSError, ValueError, SyntaxError):
        return 0, 0
    return height, width


def _png_size(data: bytes) -> tuple[int, int]:
    """Walk over the chunks up to the end of the image; the first one has the size."""
    # A size read at this place of any other chunk is not the one that the decoder allocates.
    if len(data) >= 24 and data[8:16] != b"\0\0\0\x0dIHDR":
        raise ImageError("the PNG is damaged: it does not start with its header")
    width, height = struct.unpack(">II", data[16:24])
    at = len(_PNG)
    for _ in range(_MOST_CHUNKS):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind = data[at + 4 : at + 8]
        at += 12 + length
        # OpenCV allocates what a chunk claims to have, up to 4 GB, before it reads it.
        if at > len(data):
            raise ImageError(f"the PNG is cut short: {len(data)} bytes, a chunk ends at {at}")
        if kind in _PNG_ANIMATION:
            raise ImageError("the PNG is animated; a camera sends single images")
        if kind == b"IEND":
            return height, width
    raise ImageError(f"the PNG has more than {_MOST_CHUNKS} chunks")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walk over the segments up to the start of frame, which has the size."""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ImageError("the JPEG is damaged: a segment does not start with its marker")
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return height, width
        else:
            (length,) = struct.unpack(">H", data[at + 2 : at + 4])
            at += 2 + max(2, length)
