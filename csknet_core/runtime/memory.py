"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import gc
from functools import cache
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""What mallopt(3) calls them."""


def steady_heap() -> None:
    """Make the C library's heap keep its size over time, where it can be told to (glibc).

    Call it before other threads start. Left alone, glibc stops mapping big blocks on their own once
    some have been freed, and spreads them over a heap for each of up to eight threads a core, where
    small blocks above them hold them: memory goes on growing until every heap has seen its worst.
    """
    option = _library_function("mallopt")
    if option is not None:
        option(_M_MMAP_THRESHOLD, 1 << 20)
        option(_M_TRIM_THRESHOLD, 4 << 20)
        option(_M_ARENA_MAX, 2)


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
    trim = _library_function("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def _library_function(name: str) -> Any:
    """Return a function of the C library, None where it has no such."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
