"""What `message_filters.ApproximateTimeSynchronizer` does in Python, written for comparison.

A new message is paired at once with the nearest message of the other stream less than `slop` away;
both are used up. Nothing ever comes out for a message without partner; it waits until newer ones
push it out of its queue. (The C++ policy waits for later messages to find the best set; like this
one it never puts out a message alone.)
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from csknet_core.modality import Modality

T = TypeVar("T")


class ApproximateTime(Generic[T]):
    """Pairs two streams.

    Args:
        slop_ns: stamps of a pair differ by less.
        queue_size: messages kept per stream.
        on_pair: called with the optical and the thermal message, while the lock is held, as there.
    """

    def __init__(self, slop_ns: int, queue_size: int, on_pair: Callable[[T, T], None]) -> None:
        self._slop_ns = slop_ns
        self._queue_size = queue_size
        self._on_pair = on_pair
        self._lock = threading.Lock()
        self._queues: dict[Modality, OrderedDict[int, T]] = {m: OrderedDict() for m in Modality}

    def add(self, modality: Modality, stamp_ns: int, data: T) -> None:
        """Take one message."""
        other = Modality.THERMAL if modality is Modality.OPTICAL else Modality.OPTICAL
        with self._lock:
            own, others = self._queues[modality], self._queues[other]
            own[stamp_ns] = data
            while len(own) > self._queue_size:
                del own[min(own)]
            near = [stamp for stamp in others if abs(stamp - stamp_ns) < self._slop_ns]
            if not near or stamp_ns not in own:  # a late message may be the one pushed out
                return
            best = min(near, key=lambda stamp: abs(stamp - stamp_ns))
            pair = {modality: own.pop(stamp_ns), other: others.pop(best)}
            self._on_pair(pair[Modality.OPTICAL], pair[Modality.THERMAL])
