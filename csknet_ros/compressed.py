"""Compressed image messages to arrays: JPEG and PNG, checked before anything is decoded."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ImageError

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_CURE = "publish JPEG or PNG (image_transport's 'compressed')"
# Start-of-frame markers; C4, C8 and CC of that range are none.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


def decode_compressed(message: Any, flags: int, most_pixels: int) -> NDArray[Any]:
    """Decode a `sensor_msgs/CompressedImage`.

    Args:
        message: the message.
        flags: of `cv2.imdecode`.
        most_pixels: larger images are refused before anything is allocated for them.

    Returns:
        What `cv2.imdecode` gives: (H, W) or (H, W, 3) in BGR order.

    Raises:
        ImageError: the data is neither JPEG nor PNG, cut short, damaged or too large.
    """
    data = bytes(message.data)
    if "compressedDepth" in message.format:
        raise ImageError(f"format '{message.format}' is a depth image; {_CURE}")
    height, width = encoded_size(data)
    if height * width > most_pixels:
        raise ImageError(f"image is {width}x{height} pixels, more than {most_pixels} in all")
    if not height or not width:
        raise ImageError(f"image is {width}x{height} pixels; the driver sent it empty")
    # OpenCV fills what is missing of a cut JPEG with grey and says nothing.
    if not data.rstrip(b"\0").endswith((b"\xff\xd9", b"IEND\xaeB`\x82")):
        raise ImageError(f"data is cut short: {len(data)} bytes without the end of the image")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None or image.shape[:2] != (height, width):
        raise ImageError(f"{len(data)} bytes of format '{message.format}' cannot be decoded")
    return image


def encoded_size(data: bytes) -> tuple[int, int]:
    """Return height and width from the header of a JPEG or PNG.

    Raises:
        ImageError: the data is something else, or has no whole header.
    """
    try:
        if data.startswith(_PNG):
            width, height = struct.unpack(">II", data[16:24])
            return height, width
        if data.startswith(_JPEG):
            return _jpeg_size(data)
    except (struct.error, IndexError) as error:
        raise ImageError(f"data is cut short: {len(data)} bytes, no whole header") from error
    raise ImageError(f"data starts with {data[:4].hex() or 'nothing'}; {_CURE}")


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
