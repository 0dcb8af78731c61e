"""The newest image of a topic as JPEG, made only when somebody looks. Imports no ROS."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ImageError
from csknet_core.runtime.overlay import thermal_to_rgb
from csknet_ros.images import optical_from_message, thermal_from_message

_MOST_PIXELS_WIDE = 960
_QUALITY = [int(cv2.IMWRITE_JPEG_QUALITY), 80]


class Picture:
    """Holds one message, the newest; any thread may call any method.

    Args:
        thermal: whether the messages are thermal images, shown as stretched grey.
    """

    def __init__(self, thermal: bool = False) -> None:
        self._thermal = thermal
        self._newest: tuple[int, Any] = (0, None)
        self._jpeg: tuple[int, bytes] = (0, b"")
        # Two browsers asking at once must not encode twice; `put` never takes this lock.
        self._encoding = threading.Lock()

    @property
    def sequence(self) -> int:
        """How many messages have come; 0 before the first."""
        return self._newest[0]

    def put(self, message: Any) -> None:
        """Keep a `sensor_msgs/Image` or `CompressedImage`, forget the one before."""
        self._newest = (self._newest[0] + 1, message)

    def jpeg(self) -> bytes:
        """Return the newest image as JPEG, at most 960 pixels wide; empty before the first.

        Raises:
            ImageError: the message cannot be decoded.
        """
        with self._encoding:
            sequence, message = self._newest
            if message is not None and sequence != self._jpeg[0]:
                self._jpeg = (sequence, encode_jpeg(self._decode(message)))
            return self._jpeg[1]

    def _decode(self, message: Any) -> NDArray[np.uint8]:
        if self._thermal:
            return thermal_to_rgb(thermal_from_message(message))
        return optical_from_message(message)


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return an image (H, W, 3) uint8 RGB as JPEG, shrunk to at most 960 columns.

    Raises:
        ImageError: OpenCV cannot encode it.
    """
    height, width = image.shape[:2]
    if width > _MOST_PIXELS_WIDE:
        size = (_MOST_PIXELS_WIDE, max(1, round(height * _MOST_PIXELS_WIDE / width)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _QUALITY)
    if not done:
        raise ImageError(f"image of {width}x{height} pixels cannot be shown")
    return np.asarray(data).tobytes()
