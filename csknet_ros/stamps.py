"""Stamps of messages and nanoseconds; no other file puts them together. Imports no ROS.

Anything with `sec` and `nanosec` is a stamp, whichever library made it.
"""

from __future__ import annotations

from typing import Any

SECOND_NS = 1_000_000_000


def to_ns(stamp: Any) -> int:
    """Return a `builtin_interfaces/Time` in nanoseconds."""
    # Plain integers: libraries that read bags may hold NumPy's, which overflow.
    return int(stamp.sec) * SECOND_NS + int(stamp.nanosec)


def fill(stamp: Any, time_ns: int) -> None:
    """Set a `builtin_interfaces/Time` to nanoseconds."""
    stamp.sec, stamp.nanosec = divmod(time_ns, SECOND_NS)
