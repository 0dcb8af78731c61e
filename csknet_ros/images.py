"""Image messages to arrays and back; the only file that knows encodings.

The encodings cameras really send are views or one copy of the message's bytes, checked here for
truncation, row padding and byte order. Everything else (Bayer, YUV, ...) goes to cv_bridge where
the ROS installation has a working one, else to rosbags-image. cv_bridge is not used for the rest
because its binary breaks under NumPy 2, which must not take the node down.
"""

from __future__ import annotations

import importlib
import sys
from array import array
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ImageError
from csknet_core.image_header import MAX_PIXELS
from csknet_ros.compressed import decode_compressed


class _Layout(NamedTuple):
    dtype: type[np.generic]
    channels: int


_LAYOUTS = {
    "mono8": _Layout(np.uint8, 1),
    "8UC1": _Layout(np.uint8, 1),
    "mono16": _Layout(np.uint16, 1),
    "16UC1": _Layout(np.uint16, 1),
    "32FC1": _Layout(np.float32, 1),
    "rgb8": _Layout(np.uint8, 3),
    "bgr8": _Layout(np.uint8, 3),
    "8UC3": _Layout(np.uint8, 3),
    "rgba8": _Layout(np.uint8, 4),
    "bgra8": _Layout(np.uint8, 4),
}
_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "8UC3": cv2.COLOR_BGR2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8UC1": cv2.COLOR_GRAY2RGB,
}
_COLOR_CURE = "publish rgb8, bgr8, rgba8, bgra8 or mono8"
_THERMAL_CURE = "publish mono8, mono16, 16UC1 or 32FC1"
_DEPTH_CURE = "publish 16UC1 (millimetres) or 32FC1 (metres), see REP-118"


def optical_from_message(message: Any, most_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the image of a `sensor_msgs/Image` or `CompressedImage` as (H, W, 3) uint8 RGB.

    The array may be a read-only view of the message.

    Args:
        message: the message.
        most_pixels: larger images are refused before anything is copied.

    Raises:
        ImageError: the message is truncated, empty, too large, or of an unusable encoding.
    """
    if _is_compressed(message):
        # The grid is the sensor's, which the intrinsics are of, whatever way up it was held.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = decode_compressed(message, flags, most_pixels)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    check_pixels(message, most_pixels)
    encoding = message.encoding
    if encoding == "rgb8":
        return _view(message)
    if encoding in _TO_RGB:
        return cv2.cvtColor(_view(message), _TO_RGB[encoding]).astype(np.uint8, copy=False)
    if encoding in _LAYOUTS:
        raise ImageError(f"encoding '{encoding}' is no colour image; {_COLOR_CURE}")
    return _convert_elsewhere(message)


def thermal_from_message(message: Any, most_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """Return the image of a `sensor_msgs/Image` or `CompressedImage` as (H, W).

    It is uint8, uint16 or float32.

    Colour images whose channels are equal (a driver that shows grey as colour) are accepted. The
    array may be a read-only view of the message.

    Args:
        message: the message.
        most_pixels: larger images are refused before anything is copied.

    Raises:
        ImageError: the message is truncated, empty, too large, or of an unusable encoding.
    """
    if _is_compressed(message):
        encoding = message.format
        image = decode_compressed(message, cv2.IMREAD_UNCHANGED, most_pixels)
    else:
        check_pixels(message, most_pixels)
        encoding = message.encoding
        if encoding not in _LAYOUTS:
            raise ImageError(f"encoding '{encoding}' is no thermal image; {_THERMAL_CURE}")
        image = _view(message)
    if image.ndim == 2:
        return image
    first = image[..., 0]
    if not (np.array_equal(first, image[..., 1]) and np.array_equal(first, image[..., 2])):
        raise ImageError(
            f"encoding '{encoding}' holds false colours, not temperatures; {_THERMAL_CURE}"
        )
    return np.ascontiguousarray(first)


def depth_from_message(message: Any, most_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """Return the depth image of a `sensor_msgs/Image` as (H, W) uint16 or float32.

    The array may be a read-only view of the message.

    Args:
        message: the message.
        most_pixels: larger images are refused before anything is copied.

    Raises:
        ImageError: the message is truncated, empty, too large, or of an unusable encoding.
    """
    check_pixels(message, most_pixels)
    if message.encoding not in ("16UC1", "mono16", "32FC1"):
        raise ImageError(f"encoding '{message.encoding}' is no depth image; {_DEPTH_CURE}")
    return _view(message)


def check_pixels(message: Any, most_pixels: int = MAX_PIXELS) -> None:
    """Refuse a `sensor_msgs/Image` that is empty or too large, by its header alone.

    Raises:
        ImageError: it has no pixels, or more than `most_pixels`.
    """
    height, width = message.height, message.width
    if not height or not width:
        raise ImageError(f"image is {width}x{height} pixels; the driver sent it empty")
    if height * width > most_pixels:
        raise ImageError(f"image is {width}x{height} pixels, more than {most_pixels} in all")


def _is_compressed(message: Any) -> bool:
    return hasattr(message, "format")


def labels_from_message(message: Any) -> NDArray[np.uint8]:
    """Return a label map or confidence message (mono8) as (H, W) uint8.

    Raises:
        ImageError: the message is not a whole mono8 image.
    """
    if message.encoding not in ("mono8", "8UC1"):
        raise ImageError(f"encoding '{message.encoding}' is no label map; publish mono8")
    return _view(message)


def encoding_of(image: NDArray[Any]) -> str:
    """Return the encoding of an array: mono8, mono16 or 32FC1 of (H, W), rgb8 of (H, W, 3).

    Raises:
        ImageError: an image of that shape and type is none of these.
    """
    wanted = image.dtype.name, 1 if image.ndim == 2 else image.shape[2]
    for encoding in ("mono8", "mono16", "32FC1", "rgb8"):
        layout = _LAYOUTS[encoding]
        if wanted == (np.dtype(layout.dtype).name, layout.channels):
            return encoding
    raise ImageError(f"array {image.shape} {image.dtype} has no encoding")


def fill_message(message: Any, image: NDArray[Any], encoding: str) -> None:
    """Put an array into a `sensor_msgs/Image`, without touching its header.

    Args:
        message: the message.
        image: (H, W) or (H, W, C) array whose type and channels are the encoding's.
        encoding: one of mono8, mono16, 16UC1, 32FC1, rgb8, bgr8, rgba8, bgra8.

    Raises:
        ImageError: the array does not fit the encoding.
    """
    layout = _LAYOUTS[encoding]
    channels = 1 if image.ndim == 2 else image.shape[2]
    if image.dtype != layout.dtype or channels != layout.channels:
        raise ImageError(f"array {image.shape} {image.dtype} is not {encoding}")
    image = np.ascontiguousarray(image)
    message.height, message.width = image.shape[:2]
    message.encoding = encoding
    message.is_bigendian = int(sys.byteorder == "big")
    message.step = image.shape[1] * channels * image.itemsize
    # Lists or bytes would be copied element by element (rosidl_python issue 156).
    data = array("B")
    data.frombytes(memoryview(image).cast("B"))  # type: ignore[arg-type]
    message.data = data


def _view(message: Any) -> NDArray[Any]:
    """Return the message's pixels as (H, W) or (H, W, C), a view where the layout allows it."""
    layout = _LAYOUTS[message.encoding]
    dtype = np.dtype(layout.dtype)
    height, width = message.height, message.width
    row = width * layout.channels * dtype.itemsize
    _check_size(message, row)
    step = message.step or row
    flat = np.frombuffer(message.data, np.uint8)
    if dtype.itemsize > 1 and bool(message.is_bigendian) != (sys.byteorder == "big"):
        dtype = dtype.newbyteorder()
    if step == row:
        pixels = flat[: height * row].view(dtype)
    else:
        # The last row may come without its padding. Nothing is allocated by the step a message
        # claims: one row with a step of 4 GB is a valid image.
        rows = np.ndarray((height, row), np.uint8, flat, strides=(step, 1))
        pixels = np.ascontiguousarray(rows).reshape(-1).view(dtype)
    pixels = pixels.astype(layout.dtype, copy=False)
    shape = (height, width) if layout.channels == 1 else (height, width, layout.channels)
    return pixels.reshape(shape)


def _check_size(message: Any, row: int) -> None:
    check_pixels(message)
    height, width, step = message.height, message.width, message.step
    if step and step < row:
        raise ImageError(f"step is {step} bytes, but a row of {width} pixels needs {row}")
    needed = (height - 1) * (step or row) + row
    if len(message.data) < needed:
        raise ImageError(
            f"data is cut short: {len(message.data)} bytes, {width}x{height} "
            f"{message.encoding} needs {needed}"
        )


def _convert_elsewhere(message: Any) -> NDArray[np.uint8]:
    """Decode an encoding this file does not know with a library that does."""
    if not len(message.data):
        raise ImageError("image is empty; the driver sent no pixels")
    for convert in _converters():
        try:
            image = convert(message)
        except Exception:
            # Both libraries raise many kinds of errors for encodings they do not know.
            continue
        if image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
            return image
    raise ImageError(f"encoding '{message.encoding}' is not supported; {_COLOR_CURE}")


@cache
def _converters() -> list[Callable[[Any], NDArray[Any]]]:
    """Return what else can decode, best first; looked for once, not at every frame."""
    converters: list[Callable[[Any], NDArray[Any]]] = []
    try:
        bridge = importlib.import_module("cv_bridge").CvBridge()
        converters.append(lambda message: bridge.imgmsg_to_cv2(message, "rgb8"))
    except Exception:
        # An installed cv_bridge whose binary does not fit this NumPy raises anything.
        bridge = None
    try:
        rosbags_image = importlib.import_module("rosbags.image")
        converters.append(lambda message: rosbags_image.message_to_cvimage(message, "rgb8"))
    except ImportError:
        pass
    return converters
