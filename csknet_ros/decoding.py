"""A frame set's messages to arrays; a bad message costs only its own camera. Imports no ROS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from csknet_core.errors import ImageError
from csknet_core.image_header import MAX_PIXELS
from csknet_core.modality import Modality, Reason
from csknet_ros.frames import FrameSet
from csknet_ros.images import optical_from_message, thermal_from_message


@dataclass(frozen=True)
class Decoded:
    """What `Segmenter.segment` takes.

    Attributes:
        optical: (H, W, 3) uint8 RGB, or None.
        thermal: (H, W) raw values, or None.
        absence: why the image that is None is missing.
    """

    optical: NDArray[Any] | None
    thermal: NDArray[Any] | None
    absence: Reason


def decode_frame(
    frame: FrameSet[Any],
    on_problem: Callable[[Modality, ImageError], None],
    most_pixels: int = MAX_PIXELS,
    check: Callable[[Modality, NDArray[Any]], None] = lambda modality, image: None,
) -> Decoded:
    """Decode the messages of a frame set.

    Args:
        frame: its data are `sensor_msgs/Image` or `CompressedImage` messages.
        on_problem: told of a message that cannot be used.
        most_pixels: larger images are refused before anything is copied.
        check: raises ImageError for an image that the segmenter cannot use, see `Segmenter.check`.

    Raises:
        ImageError: no image is left.
    """
    optical = thermal = None
    absence, problem = frame.absence, None
    if frame.optical is not None:
        try:
            image = optical_from_message(frame.optical.data, most_pixels)
            check(Modality.OPTICAL, image)
            optical = image
        except ImageError as error:
            absence, problem = Reason.OPTICAL_INVALID, error
            on_problem(Modality.OPTICAL, error)
    if frame.thermal is not None:
        try:
            image = thermal_from_message(frame.thermal.data, most_pixels)
            check(Modality.THERMAL, image)
            thermal = image
        except ImageError as error:
            absence, problem = Reason.THERMAL_INVALID, error
            on_problem(Modality.THERMAL, error)
    if optical is None and thermal is None and problem is not None:
        raise problem
    return Decoded(optical, thermal, absence)
