"""Pictures into files, or an error that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from csknet_core.errors import DataError


def write_image(path: Path, image: NDArray[Any]) -> None:
    """Write an image in the format its name ends in.

    Args:
        path: the file; its folder is there.
        image: (H, W) uint8 or uint16, or (H, W, 3) uint8 in RGB order.

    Raises:
        DataError: the file cannot be written, or its suffix is no format that is known.
    """
    try:
        path.write_bytes(encode_image(image, path.suffix))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); check the rights and the space left"
        ) from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def encode_image(image: NDArray[Any], suffix: str) -> bytes:
    """Return an image as a file of a format holds it.

    Args:
        image: (H, W) uint8 or uint16, or (H, W, 3) uint8 in RGB order.
        suffix: of the format's files, such as ".png".

    Raises:
        DataError: the format is unknown, or cannot hold the image.
    """
    try:
        stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
        done, data = cv2.imencode(suffix, stored)
    except cv2.error as error:
        raise DataError(f"no image can be written as '{suffix}'; use .png ({error.err})") from error
    if not done:
        raise DataError(f"this image cannot be written as '{suffix}'; use .png")
    return bytes(data)
