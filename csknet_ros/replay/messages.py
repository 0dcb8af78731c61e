"""What comes out of a bag, and which topic is what; needs no bag library."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

RGB, THERMAL, LABELS, PHASE = "rgb", "thermal", "labels", "phase"
_MOST_NOTES = 20


@dataclass(frozen=True)
class Topics:
    """Which topic is what; "" lets `find_topics` look for it, and stands for none afterwards."""

    rgb: str = ""
    thermal: str = ""
    labels: str = ""
    phase: str = ""


@dataclass(frozen=True)
class BagMessage:
    """One message of a bag.

    Attributes:
        kind: `RGB`, `THERMAL`, `LABELS` or `PHASE`.
        time_ns: when the bag received it.
        stamp_ns: its header stamp; the receive time for messages without header.
        data: the message.
        recorded_stamp_ns: header stamp in the bag, whatever a fault made of it; labels go by it.
    """

    kind: str
    time_ns: int
    stamp_ns: int
    data: Any
    recorded_stamp_ns: int


@dataclass
class Skipped:
    """Messages that could not be used.

    Attributes:
        counts: how many for each reason.
        notes: the first ones, each with its time in the bag.
    """

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, reason: str, seconds: float, detail: str) -> None:
        """Count one message at `seconds` from the bag's start."""
        self.counts[reason] += 1
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(f"{seconds:.3f} s: {reason}: {detail}")
