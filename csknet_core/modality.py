"""What the cameras can offer, how a frame was answered, and why."""

from __future__ import annotations

from enum import Enum


class Modality(str, Enum):
    """One of the two cameras. Optical is the visible-light (RGB) camera."""

    OPTICAL = "optical"
    THERMAL = "thermal"


class Mode(str, Enum):
    """How a label map was made."""

    FUSED = "fused"
    THERMAL_ONLY = "thermal_only"
    OPTICAL_ONLY = "optical_only"

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities whose images this mode reads, in the order networks take them."""
        return _MODALITIES[self]


_MODALITIES = {
    Mode.FUSED: (Modality.OPTICAL, Modality.THERMAL),
    Mode.THERMAL_ONLY: (Modality.THERMAL,),
    Mode.OPTICAL_ONLY: (Modality.OPTICAL,),
}


class Reason(str, Enum):
    """Why a frame was answered in its mode (or, for `NO_USABLE_MODALITY`, not at all)."""

    OK = "ok"
    FORCED = "forced"
    OPTICAL_UNPAIRED = "optical_unpaired"
    """No optical frame close enough in time came before the wait bound."""
    OPTICAL_LOST = "optical_lost"
    """The optical stream is known to be down; the frame did not wait for it."""
    OPTICAL_DARK = "optical_dark"
    OPTICAL_OVEREXPOSED = "optical_overexposed"
    OPTICAL_FROZEN = "optical_frozen"
    OPTICAL_BLANK = "optical_blank"
    OPTICAL_INVALID = "optical_invalid"
    """The optical message could not be decoded."""
    THERMAL_LOST = "thermal_lost"
    THERMAL_FROZEN = "thermal_frozen"
    THERMAL_BLANK = "thermal_blank"
    THERMAL_INVALID = "thermal_invalid"
    """The thermal message could not be decoded."""
    NO_USABLE_MODALITY = "no_usable_modality"
