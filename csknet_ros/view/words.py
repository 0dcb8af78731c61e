"""What the page says in words: modes, reasons, and why nothing comes in. Imports no ROS."""

from __future__ import annotations

from csknet_core.modality import Mode, Reason
from csknet_ros.frames import DropReason

MODES = {
    Mode.FUSED.value: "fused",
    Mode.THERMAL_ONLY.value: "thermal only",
    Mode.OPTICAL_ONLY.value: "RGB only",
}

REASONS: dict[str, str] = {
    Reason.OK.value: "both cameras are used",
    Reason.FORCED.value: "the parameter policy.force_mode asks for it",
    Reason.OPTICAL_UNPAIRED.value: "no RGB frame came close enough in time",
    Reason.OPTICAL_LOST.value: "the RGB camera is silent",
    Reason.OPTICAL_DARK.value: "RGB is too dark",
    Reason.OPTICAL_OVEREXPOSED.value: "RGB is overexposed",
    Reason.OPTICAL_FROZEN.value: "RGB repeats the same image",
    Reason.OPTICAL_BLANK.value: "RGB shows nothing",
    Reason.OPTICAL_INVALID.value: "RGB messages cannot be decoded",
    Reason.THERMAL_LOST.value: "the thermal camera is silent",
    Reason.THERMAL_FROZEN.value: "thermal repeats the same image",
    Reason.THERMAL_BLANK.value: "thermal shows nothing",
    Reason.THERMAL_INVALID.value: "thermal messages cannot be decoded",
    Reason.NO_USABLE_MODALITY.value: "neither camera can be trusted",
    DropReason.ZERO_STAMP.value: "the driver does not fill header.stamp",
    DropReason.DUPLICATE_STAMP.value: "the same stamp came twice",
    DropReason.OUT_OF_ORDER.value: "the stamp is older than one that came before",
    DropReason.SUPERSEDED.value: "frames come faster than inference",
    DropReason.BAD_IMAGE.value: "the images cannot be decoded",
    DropReason.NO_USABLE_MODALITY.value: "neither camera can be trusted",
    DropReason.ENGINE_ERROR.value: "inference failed; see the node's log",
    DropReason.ENGINE_STUCK.value: "inference did not return and was given up",
    DropReason.PAUSED.value: "inference is paused (~/enable)",
    DropReason.INACTIVE.value: "the node was deactivated",
}

_STAMPS_OFF = "RGB comes, but its stamps are far off; /diagnostics says what to set"
_CAMERA = "start the camera, or remap {name}/image to its topic"
_NODE = "start it (ros2 launch csknet_ros segment.launch.py), or give its name with --node"
_PROFILE = "Fast DDS drops large images between processes that lack the profile config/fastdds.xml"

_UNPUBLISHED = {
    "rgb": _CAMERA.format(name="rgb"),
    "thermal": _CAMERA.format(name="thermal"),
    "overlay": f"the segmentation node is not running or not configured; {_NODE}",
    "status": f"the segmentation node is not running or not configured; {_NODE}",
}
_SILENT = {
    "rgb": f"the camera has stopped, or {_PROFILE}",
    "thermal": f"the camera has stopped, or {_PROFILE}",
    "overlay": f"the node is not active, gets no frames, or {_PROFILE}",
    "status": "the node is not active, or gets no frames from the cameras",
}


def mode_words(mode: str) -> str:
    """Return a `Mode` value in words."""
    return MODES.get(mode, mode.replace("_", " "))


def reason_words(reason: str, rgb_comes: bool = False) -> str:
    """Return a `Reason` or `DropReason` value in words.

    Args:
        reason: the value.
        rgb_comes: whether RGB images are seen to come, which a node that does not find them near
            enough in time calls lost, too.
    """
    if rgb_comes and reason == Reason.OPTICAL_LOST.value:
        return _STAMPS_OFF
    return REASONS.get(reason, reason.replace("_", " "))


def silence_words(feed: str, topic: str, publishers: int, seconds: float) -> str:
    """Say that nothing comes on a topic, why that may be, and what to do.

    Args:
        feed: "rgb", "thermal", "overlay" or "status".
        topic: full name.
        publishers: how many nodes publish it.
        seconds: how long nothing has come.
    """
    if not publishers:
        return (
            f"Nothing received on {topic} for {seconds:.0f} s: nobody publishes it; "
            + (_UNPUBLISHED[feed])
        )
    some = "1 publisher" if publishers == 1 else f"{publishers} publishers"
    return f"Nothing received on {topic} for {seconds:.0f} s ({some}): {_SILENT[feed]}"
