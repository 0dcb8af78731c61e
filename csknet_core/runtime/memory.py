"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import gc
from functools import cache
from typing import Any


def release_memory() -> None:
    """Give freed memory back to the system, where the C library can (glibc).

    Building a graph leaves the heap in pieces that glibc keeps: without this a process that builds
    its engine anew again and again grows by some 50 MB each time, though nothing leaks.
    """
    gc.collect()
    trim_heap()


def trim_heap() -> None:
    """Give free pages of the heap back to the system; a few milliseconds.

    Images of changing sizes leave such pages behind as well, a little more in every minute.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
