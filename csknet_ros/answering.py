"""How a decoded frame is answered, and what an error makes of it. Imports no ROS."""

from __future__ import annotations

from typing import Any

from csknet_core.errors import ImageError, NoUsableModalityError
from csknet_core.modality import Mode
from csknet_core.runtime.segmenter import Segmentation, Segmenter
from csknet_ros.decoding import Decoded
from csknet_ros.frames import DropReason, FrameSet


def segment_frame(
    segmenter: Segmenter, frame: FrameSet[Any], images: Decoded, fallback_scale: float
) -> Segmentation:
    """Answer a frame.

    Args:
        segmenter: of the stream.
        frame: tells the images' stamps.
        images: of the frame.
        fallback_scale: of the confidence of answers from one camera alone.

    Raises:
        NoUsableModalityError: no image can be trusted.
        ImageError: an image cannot be used.
        EngineError: inference failed.
    """
    answer = segmenter.segment(
        images.optical,
        images.thermal,
        images.absence,
        optical_stamp_ns=frame.optical.stamp_ns if frame.optical else None,
        thermal_stamp_ns=frame.thermal.stamp_ns if frame.thermal else None,
    )
    return answer if answer.mode is Mode.FUSED else answer.with_confidence(fallback_scale)


def drop_reason(error: Exception) -> DropReason:
    """Return why a frame is dropped that ended in an error."""
    if isinstance(error, ImageError):
        return DropReason.BAD_IMAGE
    if isinstance(error, NoUsableModalityError):
        return DropReason.NO_USABLE_MODALITY
    return DropReason.ENGINE_ERROR
