"""What flows out of the synchroniser: frame sets to answer, and frames dropped with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from csknet_core.modality import Modality, Reason

T = TypeVar("T")


class DropReason(str, Enum):
    """Why a received frame gets no answer."""

    ZERO_STAMP = "zero_stamp"
    """The stamp is not set; the driver must fill header.stamp."""
    DUPLICATE_STAMP = "duplicate_stamp"
    OUT_OF_ORDER = "out_of_order"
    """Older than a frame of the same camera that came before it."""
    SUPERSEDED = "superseded"
    """A newer frame was ready before inference could start on this one."""
    BAD_IMAGE = "bad_image"
    NO_USABLE_MODALITY = "no_usable_modality"
    ENGINE_ERROR = "engine_error"
    ENGINE_STUCK = "engine_stuck"
    """Inference did not return in time and was given up."""
    PAUSED = "paused"
    """Inference was paused by `~/enable`."""
    INACTIVE = "inactive"
    """The node was deactivated while the frame was waiting."""


@dataclass(frozen=True)
class Stamped(Generic[T]):
    """A message, its stamp, and when it arrived on a monotonic clock; both in nanoseconds."""

    stamp_ns: int
    arrival_ns: int
    data: T


@dataclass(frozen=True)
class FrameSet(Generic[T]):
    """One frame to answer.

    Attributes:
        primary: whose stamp and frame the answer gets: thermal, or optical while thermal is lost.
        thermal: the thermal message, None while thermal is lost.
        optical: its optical partner, or None.
        absence: OK when both are there; else why one is missing (OPTICAL_UNPAIRED, OPTICAL_LOST
            or THERMAL_LOST).
        waited_ns: from the primary's arrival to the decision.
    """

    primary: Modality
    thermal: Stamped[T] | None
    optical: Stamped[T] | None
    absence: Reason
    waited_ns: int

    @property
    def lead(self) -> Stamped[T]:
        """The primary's message."""
        lead = self.of(self.primary)
        assert lead is not None
        return lead

    def of(self, modality: Modality) -> Stamped[T] | None:
        """Return the message of a camera, None where it is missing."""
        return self.thermal if modality is Modality.THERMAL else self.optical

    @property
    def stamp_ns(self) -> int:
        """The primary's stamp."""
        return self.lead.stamp_ns


@dataclass(frozen=True)
class Dropped(Generic[T]):
    """A received frame that gets no answer."""

    modality: Modality
    frame: Stamped[T]
    reason: DropReason

    @property
    def stamp_ns(self) -> int:
        """The frame's stamp."""
        return self.frame.stamp_ns
