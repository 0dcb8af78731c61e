"""Pair-or-alone synchroniser: one output for every thermal frame, never later than a bound.

`message_filters.ApproximateTimeSynchronizer` falls silent when one stream stops; this one answers
alone instead. It imports no ROS, so the live node and the offline evaluator share it.

Time. `slop` and the camera offset compare message stamps. `max_wait` and `thermal_timeout` count
arrival time on a monotonic clock (live) or the bag's receive time (replay), never stamps, so that
paused or wrong clocks cannot stall it. All times are integer nanoseconds.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic

from csknet_core.errors import ConfigError
from csknet_core.modality import Modality, Reason
from csknet_ros.frames import Dropped, DropReason, FrameSet, Stamped, T
from csknet_ros.stamps import SECOND_NS, to_ns

__all__ = [
    "DropReason",
    "Dropped",
    "FrameSet",
    "PairOrAlone",
    "Stamped",
    "SyncHealth",
    "SyncSettings",
    "SyncState",
]

MS = 1_000_000
LARGEST_OFFSET_S = 10.0
LONGEST_WAIT_S = 5.0
_MISSES = 16


@dataclass(frozen=True)
class SyncSettings:
    """Bounds of the synchroniser.

    Attributes:
        slop_ns: largest stamp difference of a pair.
        max_wait_ns: longest a thermal frame waits for its partner, in arrival time.
        dropout_after: misses in a row after which the optical stream counts as lost; frames then
            go alone without waiting.
        recover_after: matches in a row after which it counts as back.
        thermal_timeout_ns: silence of the thermal stream after which optical frames go alone;
            messages that are refused for their stamp do not break it.
        offset_ns: added to thermal stamps when they are compared (constant clock offset).
        jump_ns: a stamp further back than this is a clock jump (bag loop, simulation reset), not
            a late frame.
        queue_size: most frames held per camera.

    Raises:
        ConfigError: a value outside its range.
    """

    slop_ns: int = 50 * MS
    max_wait_ns: int = 60 * MS
    dropout_after: int = 3
    recover_after: int = 3
    thermal_timeout_ns: int = 1000 * MS
    offset_ns: int = 0
    jump_ns: int = 1000 * MS
    queue_size: int = 16

    def __post_init__(self) -> None:
        for name in ("slop_ns", "max_wait_ns"):
            if getattr(self, name) < 0:
                raise ConfigError(f"synchroniser {name} must not be negative")
        for name in ("dropout_after", "recover_after", "thermal_timeout_ns", "queue_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"synchroniser {name} must be at least 1")
        if self.jump_ns <= self.slop_ns:
            raise ConfigError("synchroniser jump_ns must be larger than slop_ns")


class SyncState(str, Enum):
    """What the synchroniser currently believes of the two streams."""

    OK = "ok"
    OPTICAL_LOST = "optical_lost"
    THERMAL_LOST = "thermal_lost"


@dataclass(frozen=True)
class SyncHealth:
    """Counts since construction and the current state.

    Attributes:
        state: which stream is lost, if any.
        received: messages per modality.
        matched: thermal frames that got a partner.
        alone: frames put out without partner, per reason.
        dropped: frames dropped, per reason.
        optical_unused: optical frames that never became a partner.
        clock_jumps: backward jumps seen on either stream.
        waiting: thermal frames waiting now.
        stamp_difference_ns: median of optical minus thermal stamp over recent pairs, after the
            offset; None without pairs.
        optical_dropped: those of `dropped` that are optical frames.
        optical_refused: why the newest optical message was; None if it was not.
        offset_ns: the offset in force.
        clock_difference_ns: while optical messages come and no thermal frame finds a partner, how
            far optical stamps are from thermal ones taken at the same time, after the offset; None
            otherwise. Equal delays from both cameras are assumed.
    """

    state: SyncState
    received: dict[Modality, int]
    matched: int
    alone: dict[Reason, int]
    dropped: dict[DropReason, int]
    optical_unused: int
    clock_jumps: int
    waiting: int
    stamp_difference_ns: int | None
    optical_dropped: dict[DropReason, int] = field(default_factory=dict)
    optical_refused: DropReason | None = None
    offset_ns: int = 0
    clock_difference_ns: int | None = None


@dataclass
class _Candidate(Generic[T]):
    frame: Stamped[T]
    used: bool = False


@dataclass
class _Tally:
    received: Counter[Modality] = field(default_factory=Counter)
    alone: Counter[Reason] = field(default_factory=Counter)
    dropped: Counter[DropReason] = field(default_factory=Counter)
    optical_dropped: Counter[DropReason] = field(default_factory=Counter)
    matched: int = 0
    optical_unused: int = 0
    clock_jumps: int = 0


def clock_cure(difference_ns: int, offset_ns: int) -> str:
    """Say what to do when RGB comes and its stamps are that far from thermal ones.

    Args:
        difference_ns: RGB minus thermal stamp of one moment, after the offset.
        offset_ns: the offset in force.
    """
    wanted_s = (offset_ns + difference_ns) / SECOND_NS
    text = f"RGB comes, but its stamps are {difference_ns / MS:+.0f} ms off; "
    if abs(wanted_s) > LARGEST_OFFSET_S:
        return text + "let both cameras take their time from one clock"
    text += f"set sync.thermal_offset to {wanted_s:.3f}"
    if -LONGEST_WAIT_S < difference_ns / SECOND_NS < 0:
        late_s = (MS - difference_ns) / SECOND_NS
        text += f" or, if RGB is right but comes late, sync.max_wait to {late_s:.3f} or more"
    return text


class PairOrAlone(Generic[T]):
    """Pairs every thermal frame with the nearest optical frame, or sends it alone with a reason.

    - A thermal frame is decided at once when an optical frame stamped at or after it is there:
      nothing that comes later can be nearer. Otherwise it is decided when its wait ends.
    - While the optical stream is lost nothing waits. A frame whose partner is there already is
      still paired; a partner that comes within the wait bound counts towards recovery.
    - While the thermal stream is lost every optical frame goes out alone.
    - A thermal frame gets exactly one `FrameSet` or `Dropped`, in the order of arrival. Optical
      frames that nobody needs are only counted.

    Any thread may call any method. Callbacks run outside the lock, one at a time and in order, in
    a thread that is inside `add`, `poll`, `flush` or `reset`.

    Args:
        settings: the bounds.
        on_frame: called with every frame set.
        on_drop: called with every dropped frame.
        clock: monotonic nanoseconds, for arrivals that are not given.
    """

    def __init__(
        self,
        settings: SyncSettings | None = None,
        on_frame: Callable[[FrameSet[T]], None] | None = None,
        on_drop: Callable[[Dropped[T]], None] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._settings = settings or SyncSettings()
        self._frame_callbacks: list[Callable[[FrameSet[T]], None]] = [on_frame] if on_frame else []
        self._drop_callbacks: list[Callable[[Dropped[T]], None]] = [on_drop] if on_drop else []
        self._clock = clock
        self._lock = threading.Lock()
        self._outbox: deque[FrameSet[T] | Dropped[T]] = deque()
        self._delivering = False
        self._tally = _Tally()
        self._differences: deque[int] = deque(maxlen=256)
        self._forget()

    @property
    def settings(self) -> SyncSettings:
        """The bounds in force; assign to change them while running."""
        return self._settings

    @settings.setter
    def settings(self, settings: SyncSettings) -> None:
        with self._lock:
            if settings.offset_ns != self._settings.offset_ns:
                # Those of the old offset say nothing of the new one.
                self._miss_differences.clear()
                self._differences.clear()
            self._settings = settings

    @property
    def health(self) -> SyncHealth:
        """Counts and state, a consistent snapshot."""
        with self._lock:
            tally = self._tally
            differences = self._differences
            return SyncHealth(
                state=self._state(),
                received={modality: tally.received[modality] for modality in Modality},
                matched=tally.matched,
                alone=dict(tally.alone),
                dropped=dict(tally.dropped),
                optical_unused=tally.optical_unused,
                clock_jumps=tally.clock_jumps,
                waiting=len(self._waiting),
                stamp_difference_ns=int(statistics.median(differences)) if differences else None,
                optical_dropped=dict(tally.optical_dropped),
                optical_refused=self._optical_refused,
                offset_ns=self._settings.offset_ns,
                clock_difference_ns=self._clock_difference(),
            )

    def registerCallback(  # noqa: N802  (message_filters' name)
        self, callback: Callable[..., None], *arguments: Any
    ) -> None:
        """Call `callback(optical, thermal, *arguments)` with messages, None for a missing one."""

        def forward(frame_set: FrameSet[T]) -> None:
            optical, thermal = frame_set.optical, frame_set.thermal
            callback(optical and optical.data, thermal and thermal.data, *arguments)

        self._frame_callbacks.append(forward)

    def connect(self, optical_filter: Any, thermal_filter: Any) -> None:
        """Take messages from two message_filters filters, such as `message_filters.Subscriber`."""
        for modality, source in (
            (Modality.OPTICAL, optical_filter),
            (Modality.THERMAL, thermal_filter),
        ):
            source.registerCallback(self._add_message, modality)

    def add(
        self, modality: Modality, stamp_ns: int, data: T, arrival_ns: int | None = None
    ) -> None:
        """Take one message.

        Args:
            modality: the camera it comes from.
            stamp_ns: its header stamp.
            data: the message, handed through untouched.
            arrival_ns: when it arrived; now, if not given.
        """
        arrival = self._clock() if arrival_ns is None else arrival_ns
        frame = Stamped(stamp_ns, arrival, data)
        with self._lock:
            self._tally.received[modality] += 1
            self._decide_waiting(arrival)
            if modality is Modality.THERMAL:
                self._add_thermal(frame)
            else:
                self._add_optical(frame)
            self._decide_waiting(arrival)
        self._deliver()

    def poll(self, now_ns: int | None = None) -> int | None:
        """Decide frames whose wait is over; return when the next wait ends, None without any."""
        now = self._clock() if now_ns is None else now_ns
        with self._lock:
            self._decide_waiting(now)
            deadline = self._deadline(self._waiting[0]) if self._waiting else None
        self._deliver()
        return deadline

    def flush(self, now_ns: int | None = None) -> None:
        """Answer what is waiting with what is there, then forget both streams."""
        now = self._clock() if now_ns is None else now_ns
        with self._lock:
            self._answer_waiting(now)
            self._forget()
        self._deliver()

    def reset(self) -> None:
        """Drop what is waiting as INACTIVE, then forget both streams."""
        with self._lock:
            for frame in self._waiting:
                self._drop(Modality.THERMAL, frame, DropReason.INACTIVE)
            self._forget()
        self._deliver()

    # Everything below, but for _deliver and _add_message, runs under the lock.

    def _forget(self) -> None:
        self._waiting: deque[Stamped[T]] = deque()
        self._candidates: deque[_Candidate[T]] = deque()
        self._last_thermal: int | None = None
        self._late_thermal: int | None = None
        self._last_optical: int | None = None
        self._thermal_seen_ns: int | None = None
        self._thermal_lost = False
        self._optical_lost = False
        self._misses = 0
        self._matches = 0
        self._unconfirmed: Stamped[T] | None = None
        self._newest_optical: Stamped[T] | None = None
        self._optical_refused: DropReason | None = None
        self._miss_differences: deque[int] = deque(maxlen=_MISSES)

    def _state(self) -> SyncState:
        if self._thermal_lost:
            return SyncState.THERMAL_LOST
        return SyncState.OPTICAL_LOST if self._optical_lost else SyncState.OK

    def _add_thermal(self, frame: Stamped[T]) -> None:
        reason = self._refuse_thermal(frame)
        if reason is not None:
            # No sign of life: a driver that repeats its last message must not silence RGB, too.
            self._drop(Modality.THERMAL, frame, reason)
            return
        self._thermal_seen_ns = frame.arrival_ns
        self._thermal_lost = False
        self._last_thermal = frame.stamp_ns
        self._late_thermal = None
        if len(self._waiting) >= self._settings.queue_size:
            self._decide(self._waiting.popleft(), frame.arrival_ns)
        self._waiting.append(frame)

    def _refuse_thermal(self, frame: Stamped[T]) -> DropReason | None:
        """Return why a thermal frame cannot be answered; take note of clock jumps."""
        last, stamp = self._last_thermal, frame.stamp_ns
        if stamp <= 0:
            return DropReason.ZERO_STAMP
        if last is None or stamp > last:
            return None
        if stamp == last:
            return DropReason.DUPLICATE_STAMP
        # A second late frame that goes on from the first one means that the clock stepped back by
        # less than `jump`, or that one stamp in the future had been a glitch.
        follows = self._late_thermal is not None and stamp > self._late_thermal
        if last - stamp <= self._settings.jump_ns and not follows:
            self._late_thermal = stamp
            return DropReason.OUT_OF_ORDER
        self._tally.clock_jumps += 1
        self._answer_waiting(frame.arrival_ns)
        self._keep_candidates_near(stamp + self._settings.offset_ns)
        return None

    def _add_optical(self, frame: Stamped[T]) -> None:
        reason = self._optical_refused = self._refuse_optical(frame)
        if reason is not None:
            self._tally.optical_dropped[reason] += 1
            self._drop(Modality.OPTICAL, frame, reason)
            return
        self._newest_optical = frame
        # The stamp seen last, not the largest: one stamp far in the future then only matters until
        # the next frame.
        self._last_optical = frame.stamp_ns
        self._note_thermal_silence(frame)
        if self._thermal_lost:
            self._alone(Modality.OPTICAL, frame, Reason.THERMAL_LOST, frame.arrival_ns)
            return
        self._candidates.append(_Candidate(frame))
        if len(self._candidates) > self._settings.queue_size:
            self._retire(self._candidates.popleft())
        self._confirm_recovery(frame)

    def _refuse_optical(self, frame: Stamped[T]) -> DropReason | None:
        """Return why an optical frame cannot be used; take note of clock jumps."""
        last, stamp = self._last_optical, frame.stamp_ns
        if stamp <= 0:
            return DropReason.ZERO_STAMP
        if last is None or stamp > last:
            return None
        if last - stamp > self._settings.jump_ns:
            self._tally.clock_jumps += 1
            self._keep_candidates_near(stamp)
            return None
        if any(candidate.frame.stamp_ns == stamp for candidate in self._candidates):
            return DropReason.DUPLICATE_STAMP
        if stamp == last:
            return DropReason.DUPLICATE_STAMP
        return DropReason.OUT_OF_ORDER if self._thermal_lost else None

    def _note_thermal_silence(self, frame: Stamped[T]) -> None:
        if self._thermal_seen_ns is None:
            self._thermal_seen_ns = frame.arrival_ns
        silence = frame.arrival_ns - self._thermal_seen_ns
        if silence > self._settings.thermal_timeout_ns:
            self._thermal_lost = True

    def _decide_waiting(self, now: int) -> None:
        while self._waiting:
            head = self._waiting[0]
            target = head.stamp_ns + self._settings.offset_ns
            complete = self._last_optical is not None and self._last_optical >= target
            if not (complete or self._optical_lost or now >= self._deadline(head)):
                return
            self._decide(self._waiting.popleft(), now)

    def _answer_waiting(self, now: int) -> None:
        while self._waiting:
            self._decide(self._waiting.popleft(), now)

    def _deadline(self, frame: Stamped[T]) -> int:
        return frame.arrival_ns + self._settings.max_wait_ns

    def _decide(self, thermal: Stamped[T], now: int) -> None:
        target = thermal.stamp_ns + self._settings.offset_ns
        partner = min(self._candidates, key=lambda c: abs(c.frame.stamp_ns - target), default=None)
        if partner is None or abs(partner.frame.stamp_ns - target) > self._settings.slop_ns:
            lost = self._optical_lost
            self._note_miss(thermal)
            reason = Reason.OPTICAL_LOST if lost else Reason.OPTICAL_UNPAIRED
            self._alone(Modality.THERMAL, thermal, reason, now)
        else:
            partner.used = True
            self._tally.matched += 1
            self._differences.append(partner.frame.stamp_ns - target)
            self._note_match()
            waited = max(0, now - thermal.arrival_ns)
            self._outbox.append(
                FrameSet(Modality.THERMAL, thermal, partner.frame, Reason.OK, waited)
            )
        self._prune(target)

    def _prune(self, target: int) -> None:
        """Retire optical frames too old to be the partner of any thermal frame still to come."""
        while self._candidates:
            if self._candidates[0].frame.stamp_ns >= target - self._settings.slop_ns:
                return
            self._retire(self._candidates.popleft())

    def _note_miss(self, thermal: Stamped[T]) -> None:
        self._misses += 1
        self._note_clocks(thermal)
        if not self._optical_lost and self._misses >= self._settings.dropout_after:
            self._optical_lost = True
            self._matches = 0
            self._unconfirmed = None
        elif self._optical_lost:
            if self._unconfirmed is not None:
                self._matches = 0
            self._unconfirmed = thermal

    def _confirm_recovery(self, optical: Stamped[T]) -> None:
        """Count the partner that a frame sent alone would have had, had it waited."""
        thermal = self._unconfirmed
        if not self._optical_lost or thermal is None:
            return
        distance = abs(optical.stamp_ns - thermal.stamp_ns - self._settings.offset_ns)
        delay = optical.arrival_ns - thermal.arrival_ns
        if distance <= self._settings.slop_ns and delay <= self._settings.max_wait_ns:
            self._unconfirmed = None
            self._note_match()

    def _note_clocks(self, thermal: Stamped[T]) -> None:
        """Compare the clocks of a thermal frame without partner and the newest optical frame.

        By their arrival, not by the nearest stamp: of streams that are seconds apart only the ends
        of what is remembered are near each other.
        """
        optical = self._newest_optical
        if optical is None or self._is_silent(thermal.arrival_ns - optical.arrival_ns):
            self._miss_differences.clear()
            return
        stamps = optical.stamp_ns - thermal.stamp_ns - self._settings.offset_ns
        self._miss_differences.append(stamps - (optical.arrival_ns - thermal.arrival_ns))

    def _is_silent(self, quiet_ns: int) -> bool:
        return quiet_ns > self._settings.thermal_timeout_ns

    def _clock_difference(self) -> int | None:
        """Return by how much the optical clock is off, if that is why nothing finds a partner."""
        if self._misses < self._settings.dropout_after or not self._miss_differences:
            return None
        difference = int(statistics.median(self._miss_differences))
        return difference if abs(difference) > self._settings.slop_ns else None

    def _note_match(self) -> None:
        self._miss_differences.clear()
        self._misses = 0
        self._matches += 1
        self._unconfirmed = None
        if self._optical_lost and self._matches >= self._settings.recover_after:
            self._optical_lost = False

    def _keep_candidates_near(self, stamp: int) -> None:
        """Retire optical frames of the time before a clock jump.

        The other stream may have jumped first, so frames near the new time stay.
        """
        jump = self._settings.jump_ns
        kept: deque[_Candidate[T]] = deque()
        for candidate in self._candidates:
            if abs(candidate.frame.stamp_ns - stamp) <= jump:
                kept.append(candidate)
            else:
                self._retire(candidate)
        self._candidates = kept
        if self._last_optical is not None and abs(self._last_optical - stamp) > jump:
            self._last_optical = None

    def _retire(self, candidate: _Candidate[T]) -> None:
        self._tally.optical_unused += not candidate.used

    def _alone(self, primary: Modality, frame: Stamped[T], reason: Reason, now: int) -> None:
        self._tally.alone[reason] += 1
        thermal = frame if primary is Modality.THERMAL else None
        optical = frame if primary is Modality.OPTICAL else None
        waited = max(0, now - frame.arrival_ns)
        self._outbox.append(FrameSet(primary, thermal, optical, reason, waited))

    def _drop(self, modality: Modality, frame: Stamped[T], reason: DropReason) -> None:
        self._tally.dropped[reason] += 1
        self._outbox.append(Dropped(modality, frame, reason))

    def _add_message(self, message: Any, modality: Modality) -> None:
        self.add(modality, to_ns(message.header.stamp), message)

    def _deliver(self) -> None:
        """Hand the outbox to the callbacks; one thread at a time does so, without the lock."""
        while True:
            with self._lock:
                if self._delivering or not self._outbox:
                    return
                self._delivering = True
                item = self._outbox.popleft()
            try:
                callbacks: list[Callable[[Any], None]]
                if isinstance(item, FrameSet):
                    callbacks = list(self._frame_callbacks)
                else:
                    callbacks = list(self._drop_callbacks)
                for callback in callbacks:
                    callback(item)
            finally:
                with self._lock:
                    self._delivering = False
