"""Broken image messages through the decoders: an array of the right form, or a clear error."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from functools import partial
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from csknet_core.errors import ImageError
from csknet_core.modality import Modality, Reason
from csknet_ros.decoding import decode_frame
from csknet_ros.frames import FrameSet, Stamped

MOST_PIXELS = 4096
_ENCODINGS = (
    "mono8", "8UC1", "mono16", "16UC1", "32FC1", "rgb8", "bgr8", "8UC3", "rgba8", "bgra8",
)  # fmt: skip
_OTHERS = ("", "rgb16", "bayer_rggb8", "yuv422", "8UC", "64FC1", "jpeg", "\x00", "é" * 50)
_SIZES = {"mono8": 1, "8UC1": 1, "mono16": 2, "16UC1": 2, "32FC1": 4, "rgba8": 4, "bgra8": 4}
_NUMBERS = (0, 1, 2, 3, 7, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1)
_FORMATS = ("jpeg", "png", "", "rgb8; jpeg compressed bgr8", "mono16; png compressed",
            "16UC1; compressedDepth", "webp")  # fmt: skip


class MessageFuzzer:
    """Makes messages, well-formed ones first, then with a few things wrong.

    Args:
        seed: of everything drawn.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        noise = np.random.default_rng(seed)
        self._bytes = noise.integers(0, 256, 1 << 14, np.uint8).tobytes()
        self._files = [
            bytes(cv2.imencode(kind, image)[1])
            for image in (
                noise.integers(0, 256, (9, 12, 3), np.uint8),
                noise.integers(0, 256, (9, 12), np.uint8),
                noise.integers(0, 65536, (9, 12), np.uint16),
            )
            for kind in (".png", ".jpg")
            if not (kind == ".jpg" and image.dtype == np.uint16)
        ]

    def message(self) -> Any:
        """Return a message."""
        if self._rng.random() < 0.3:
            return self._compressed()
        return self._image()

    def _image(self) -> Image:
        rng = self._rng
        height, width = rng.randint(1, 12), rng.randint(1, 12)
        encoding = rng.choice(_ENCODINGS)
        step = width * _SIZES.get(encoding, 3)
        data = self._cut(height * step)
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            what = rng.randrange(7)
            if what == 0:
                height = rng.choice(_NUMBERS)
            elif what == 1:
                width = rng.choice(_NUMBERS)
            elif what == 2:
                step = rng.choice((*_NUMBERS, step - 1, step + 1, step + 3, 2 * step)) % 2**32
            elif what == 3:
                encoding = rng.choice(_ENCODINGS + _OTHERS)
            elif what == 4:
                data = data[: rng.randint(0, len(data))]
            elif what == 5:
                data += self._cut(rng.choice((1, 3, 100)))
            else:
                data = self._special(len(data))
        message = Image(height=height, width=width, encoding=encoding, step=step)
        message.is_bigendian = rng.choice((0, 0, 1, 255))
        message.data = array("B", data)
        return message

    def _compressed(self) -> CompressedImage:
        rng = self._rng
        data = bytearray(rng.choice(self._files))
        for _ in range(rng.choice((0, 1, 2, 5))):
            what = rng.randrange(5)
            if what == 0 and data:
                del data[rng.randrange(len(data)) :]
            elif what == 1 and data:
                # Sizes stand near the beginning.
                data[rng.randrange(min(40, len(data)))] = rng.randrange(256)
            elif what == 2 and data:
                data[rng.randrange(len(data))] = rng.randrange(256)
            elif what == 3:
                data += self._cut(rng.choice((1, 20)))
            else:
                data[:0] = self._cut(rng.choice((1, 8)))
        message = CompressedImage(format=rng.choice(_FORMATS))
        message.data = array("B", bytes(data))
        return message

    def _cut(self, length: int) -> bytes:
        start = self._rng.randrange(1 << 10)
        return self._bytes[start : start + length]

    def _special(self, length: int) -> bytes:
        """Return what floats must not be, and extremes of integers."""
        value = self._rng.choice((b"\x00", b"\xff", b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f"))
        return (value * (length // len(value) + 1))[:length]


def judge(message: Any, outcomes: Counter[str]) -> None:
    """Decode a message as either camera's and check what comes.

    Args:
        message: any image message.
        outcomes: gets counted what came.

    Raises:
        AssertionError: an array is not what the decoders promise.
        Exception: whatever a decoder raised but `ImageError`.
    """
    for modality in Modality:
        frame = Stamped(1, 0, message)
        optical, thermal = (frame, None) if modality is Modality.OPTICAL else (None, frame)
        problems: list[ImageError] = []
        try:
            decoded = decode_frame(
                FrameSet(modality, thermal, optical, Reason.OK, 0),
                partial(_note, problems),
                MOST_PIXELS,
            )
        except ImageError as error:
            check_error(error, problems)
            outcomes[f"{modality.value} refused"] += 1
            continue
        assert not problems, "an image in spite of an error"
        check_image(modality, decoded.optical, decoded.thermal, message)
        outcomes[f"{modality.value} decoded"] += 1


def _note(problems: list[ImageError], _: Modality, error: ImageError) -> None:
    problems.append(error)


def check_error(error: ImageError, told: list[ImageError]) -> None:
    """Check that a refusal was told once, in words.

    Raises:
        AssertionError: it was not.
    """
    assert told == [error], "an error nobody was told of"
    assert str(error), "an error without words"


def check_image(modality: Modality, optical: Any, thermal: Any, message: Any) -> None:
    """Check the form of a decoded image.

    Raises:
        AssertionError: it is not what the decoders promise.
    """
    image = optical if modality is Modality.OPTICAL else thermal
    assert image is not None, "no image and no error"
    assert 0 < image.shape[0] * image.shape[1] <= MOST_PIXELS, f"image of {image.shape}"
    if modality is Modality.OPTICAL:
        assert image.ndim == 3, f"colour image of {image.shape}"
        assert image.shape[2] == 3, f"colour image of {image.shape}"
        assert image.dtype == np.uint8, f"colour image of {image.dtype}"
    else:
        assert image.ndim == 2, f"thermal image of {image.shape}"
        assert image.dtype in (np.uint8, np.uint16, np.float32), f"thermal image of {image.dtype}"
        assert image.dtype.isnative, "byte order"
    if isinstance(message, Image):
        assert image.shape[:2] == (message.height, message.width), "another size than declared"
    # Every value is there to be read.
    image.sum(dtype=np.float64)
