"""What became of one frame, as published on `~/frame_status` for every frame received.

The message is a `diagnostic_msgs/DiagnosticArray` whose header is the frame's, so that it can be
time-synchronised with the label map; its one status holds the fields below as key-value pairs.
ROS is only imported to make or read messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from csknet_core.modality import Mode, Reason
from csknet_core.runtime.segmenter import Segmentation
from csknet_ros.frames import DropReason, FrameSet

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray

STATUS_NAME = "csknet: frame"
ANSWERED = "answered"
DROPPED = "dropped"
_MS = 1e-6


@dataclass(frozen=True)
class FrameStatus:
    """What became of one frame.

    Attributes:
        primary: "thermal", or "optical" while thermal is lost.
        outcome: `ANSWERED` or `DROPPED`.
        mode: a `Mode` value, empty for dropped frames.
        reason: a `Reason` value, or a `DropReason` value for dropped frames.
        optical_stamp_ns: stamp of the optical partner, 0 without one.
        stamp_difference_ms: optical minus thermal stamp, as they are (without
            `sync.thermal_offset`); 0 without a pair.
        optical_luminance: mean luminance in 0..1, -1 without an optical image.
        waited_ms: spent by the synchroniser waiting for a partner.
        queue_ms: from the decision to the start of the work.
        decode_ms, policy_ms, preprocess_ms, inference_ms, postprocess_ms: stages of the work.
        total_ms: from the arrival of the primary message to publishing.
    """

    primary: str
    outcome: str
    mode: str
    reason: str
    optical_stamp_ns: int = 0
    stamp_difference_ms: float = 0.0
    optical_luminance: float = -1.0
    waited_ms: float = 0.0
    queue_ms: float = 0.0
    decode_ms: float = 0.0
    policy_ms: float = 0.0
    preprocess_ms: float = 0.0
    inference_ms: float = 0.0
    postprocess_ms: float = 0.0
    total_ms: float = 0.0
    hardware_id: str = field(default="", compare=False)

    @property
    def answered(self) -> bool:
        """Whether a label map was published for the frame."""
        return self.outcome == ANSWERED


def answered(frame: FrameSet[Any], answer: Segmentation, engine: str) -> FrameStatus:
    """Return the status of an answered frame; its queue, decode and total times are left 0."""
    difference = 0
    if frame.thermal is not None and frame.optical is not None:
        difference = frame.optical.stamp_ns - frame.thermal.stamp_ns
    optical = answer.decision.optical
    return FrameStatus(
        primary=frame.primary.value,
        outcome=ANSWERED,
        mode=answer.mode.value,
        reason=answer.reason.value,
        optical_stamp_ns=frame.optical.stamp_ns if frame.optical is not None else 0,
        stamp_difference_ms=difference * _MS,
        optical_luminance=optical.mean if optical is not None else -1.0,
        waited_ms=frame.waited_ns * _MS,
        hardware_id=engine,
        **{f"{stage}_ms": value for stage, value in answer.stages_ms.items()},
    )


@dataclass(frozen=True)
class StatusText:
    """What a status says, for whichever library makes the message.

    Attributes:
        level: of `diagnostic_msgs/DiagnosticStatus`: 0 OK, 1 WARN, 2 ERROR.
        message: one line for people.
        values: key-value pairs.
    """

    level: int
    message: str
    values: tuple[tuple[str, str], ...]


def describe(status: FrameStatus) -> StatusText:
    """Return what the message of a status says."""
    text = status.mode if status.answered else DROPPED
    if status.reason != Reason.OK.value:
        text = f"{text}: {status.reason}"
    values = tuple(
        (entry.name, _to_text(getattr(status, entry.name)))
        for entry in fields(status)
        if entry.name != "hardware_id"
    )
    return StatusText(_level(status), text, values)


def encode(status: FrameStatus, header: Any) -> DiagnosticArray:
    """Return the message of a status; `header` is the frame's."""
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

    text = describe(status)
    entry = DiagnosticStatus(
        level=bytes([text.level]),
        name=STATUS_NAME,
        message=text.message,
        hardware_id=status.hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in text.values],
    )
    return DiagnosticArray(header=header, status=[entry])


def decode(message: DiagnosticArray) -> FrameStatus:
    """Return the status a message holds.

    Raises:
        ValueError: the message is not one that `encode` made.
    """
    if len(message.status) != 1 or message.status[0].name != STATUS_NAME:
        raise ValueError(f"not a '{STATUS_NAME}' status")
    entry = message.status[0]
    texts = {pair.key: pair.value for pair in entry.values}
    known: dict[str, Any] = {"hardware_id": entry.hardware_id}
    for spec in fields(FrameStatus):
        if spec.name in texts:
            kind = {"int": int, "float": float}.get(str(spec.type), str)
            known[spec.name] = kind(texts[spec.name])
    try:
        return FrameStatus(**known)
    except TypeError as error:
        raise ValueError(f"'{STATUS_NAME}' status is incomplete: {error}") from error


def _to_text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _level(status: FrameStatus) -> int:
    if status.reason in (DropReason.ENGINE_ERROR.value, DropReason.ENGINE_STUCK.value):
        return 2
    return 0 if status.answered and status.mode == Mode.FUSED.value else 1
