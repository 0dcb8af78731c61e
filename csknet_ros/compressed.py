"""Compressed image messages to arrays: JPEG and PNG, checked before anything is decoded."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ImageError
from csknet_core.image_header import encoded_size

_CURE = "publish JPEG or PNG (image_transport's 'compressed')"
# No camera's image grows by compression; 16 bytes are four channels of 32 bits.
_BYTES_PER_PIXEL = 16


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
    if len(message.data) > _BYTES_PER_PIXEL * most_pixels:
        raise ImageError(f"data is {len(message.data)} bytes, too many for {most_pixels} pixels")
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
