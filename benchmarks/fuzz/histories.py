"""Random histories for the synchroniser, and the rules that what comes out has to keep.

The rules know nothing of how the synchroniser decides: they look at what went in and when, and at
what came out and when.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from csknet_core.modality import Modality, Reason
from csknet_ros.frames import Dropped, DropReason, FrameSet, Stamped
from csknet_ros.synchronizer import MS, PairOrAlone, SyncSettings

START_NS = 1_000_000 * MS
_HUGE = 2**62


@dataclass(frozen=True)
class Event:
    """A message that arrives, or a look at the clock.

    Attributes:
        kind: "optical", "thermal" or "poll".
        at_ns: when, monotonic.
        stamp_ns: of the message.
    """

    kind: Literal["optical", "thermal", "poll"]
    at_ns: int
    stamp_ns: int = 0


@dataclass(frozen=True)
class Came:
    """Something that came out, after how many events, and when.

    Attributes:
        what: the frame set or drop; its data are indices of events.
        index: of the event that was being handled.
        at_ns: the time that had come.
    """

    what: FrameSet[int] | Dropped[int]
    index: int
    at_ns: int


@dataclass
class Run:
    """A synchroniser driven as the node does, step by step.

    Attributes:
        settings: its bounds.
        events: what went in so far.
        came: what came out so far.
        problems: rules broken on the way.
    """

    settings: SyncSettings
    events: list[Event] = field(default_factory=list)
    came: list[Came] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._now = START_NS
        self._deadline: int | None = None
        self._sync: PairOrAlone[int] = PairOrAlone(self.settings, self._note, self._note)

    def step(self, event: Event) -> None:
        """Handle one event; before it, deadlines that have passed are kept."""
        while self._deadline is not None and self._deadline <= event.at_ns:
            self._now = max(self._now, self._deadline)
            self._deadline = self._sync.poll(self._now)
        self._now = max(self._now, event.at_ns)
        self.events.append(event)
        if event.kind != "poll":
            modality = Modality(event.kind)
            self._sync.add(modality, event.stamp_ns, len(self.events) - 1, event.at_ns)
        self._deadline = self._sync.poll(event.at_ns)
        self._check_bounds()

    def finish(self) -> list[str]:
        """Flush, then return every rule that was broken, the simplest first."""
        self._sync.flush(self._now)
        self.problems += _Rules(self.settings, self.events, self.came).broken()
        self._check_counts()
        return self.problems

    def _note(self, what: FrameSet[int] | Dropped[int]) -> None:
        self.came.append(Came(what, len(self.events), self._now))

    def _check_bounds(self) -> None:
        most = self.settings.queue_size
        if self._sync.health.waiting > most or len(self._sync._candidates) > most:
            self.problems.append(f"event {len(self.events) - 1}: more than {most} frames are held")

    def _check_counts(self) -> None:
        health = self._sync.health
        sets = [c.what for c in self.came if isinstance(c.what, FrameSet)]
        matched = sum(s.thermal is not None and s.optical is not None for s in sets)
        alone = Counter(s.absence for s in sets if s.absence is not Reason.OK)
        dropped = Counter(c.what.reason for c in self.came if isinstance(c.what, Dropped))
        received = Counter(event.kind for event in self.events)
        if (health.matched, health.alone, health.dropped) != (matched, alone, dropped):
            self.problems.append("the counts are not those of what came out")
        if any(health.received[m] != received[m.value] for m in Modality):
            self.problems.append("the counts are not those of what went in")


class _Rules:
    """The rules, over a whole history."""

    def __init__(self, settings: SyncSettings, events: list[Event], came: list[Came]) -> None:
        self._settings = settings
        self._events = events
        self._came = came

    def broken(self) -> list[str]:
        """Return every rule that was broken."""
        return [
            *self._every_thermal_frame_once(),
            *self._drops(),
            *self._waits(),
            *self._pairs(),
            *self._losses(),
            *self._alone(),
        ]

    def _thermal_sets(self) -> list[tuple[Came, FrameSet[int], Stamped[int]]]:
        return [
            (came, came.what, came.what.thermal)
            for came in self._came
            if isinstance(came.what, FrameSet) and came.what.thermal is not None
        ]

    def _every_thermal_frame_once(self) -> Iterator[str]:
        ends: Counter[int] = Counter()
        for came in self._came:
            what = came.what
            if isinstance(what, Dropped):
                ends[what.frame.data] += what.modality is Modality.THERMAL
            elif what.thermal is not None:
                ends[what.thermal.data] += 1
        for index, event in enumerate(self._events):
            if event.kind == "thermal" and ends[index] != 1:
                yield f"thermal frame {index} came out {ends[index]} times"
        order = [thermal.data for _, _, thermal in self._thermal_sets()]
        if order != sorted(order):
            yield "thermal frames came out in another order than they went in"

    def _drops(self) -> Iterator[str]:
        for came in self._came:
            if not isinstance(came.what, Dropped):
                continue
            frame, reason = came.what.frame, came.what.reason
            before = [
                event.stamp_ns
                for event in self._events[: frame.data]
                if event.kind == came.what.modality.value
            ]
            true = {
                DropReason.ZERO_STAMP: frame.stamp_ns <= 0,
                DropReason.DUPLICATE_STAMP: frame.stamp_ns in before,
                DropReason.OUT_OF_ORDER: any(stamp > frame.stamp_ns for stamp in before),
            }
            if not true.get(reason, False):
                yield f"frame {frame.data} was dropped as {reason.value}, which is not true"

    def _waits(self) -> Iterator[str]:
        """No frame waits longer than the bound, and none goes alone early without a cause."""
        for came, frame_set, thermal in self._thermal_sets():
            waited = came.at_ns - thermal.arrival_ns
            if waited > self._settings.max_wait_ns:
                yield f"thermal frame {thermal.data} waited {waited / MS:.1f} ms"
            early = waited < self._settings.max_wait_ns and came.index < len(self._events)
            if not early or frame_set.absence is not Reason.OPTICAL_UNPAIRED:
                continue
            since = self._events[thermal.data : came.index]
            target = thermal.stamp_ns + self._settings.offset_ns
            complete = any(
                event.kind == "optical" and event.stamp_ns >= target
                for event in self._events[: came.index]
            )
            full = sum(event.kind == "thermal" for event in since) > self._settings.queue_size
            jumped = any(self._went_back(i) for i in range(thermal.data, came.index))
            if not (complete or full or jumped):
                yield f"thermal frame {thermal.data} did not wait for its partner"

    def _pairs(self) -> Iterator[str]:
        """A partner is within the slop, and the nearest of those that were there."""
        decided: list[tuple[int, int]] = []
        for came, frame_set, thermal in self._thermal_sets():
            target = thermal.stamp_ns + self._settings.offset_ns
            distance = self._settings.slop_ns + 1
            if frame_set.optical is not None:
                distance = abs(frame_set.optical.stamp_ns - target)
                if distance > self._settings.slop_ns:
                    yield f"thermal frame {thermal.data} has a partner beyond the slop"
                if frame_set.absence is not Reason.OK:
                    yield f"the pair of {thermal.data} is said to be {frame_set.absence.value}"
            for index, stamp in self._there(came, decided):
                if abs(stamp - target) < distance:
                    yield f"optical frame {index} would have been nearer to thermal {thermal.data}"
            decided.append((came.index, target))

    def _there(self, came: Came, decided: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the optical frames (index, stamp) that could have been the partner.

        The last `queue_size` that were taken; but none that an earlier decision made too old, and
        none of a time that a clock has left since.
        """
        gone = set()
        for other in self._came:
            what = other.what
            if isinstance(what, Dropped):
                gone.add(what.frame.data)
            elif what.thermal is None and what.optical is not None:
                gone.add(what.optical.data)
        taken = [
            (index, event.stamp_ns)
            for index, event in enumerate(self._events[: came.index])
            if event.kind == "optical" and index not in gone
        ][-self._settings.queue_size :]
        slop = self._settings.slop_ns
        return [
            (index, stamp)
            for index, stamp in taken
            if not any(when > index and stamp < target - slop for when, target in decided)
            and not self._left(index, stamp, came.index)
        ]

    def _left(self, index: int, stamp: int, until: int) -> bool:
        """Whether a clock went back since to a time far from this stamp."""
        for later in range(index + 1, until):
            event = self._events[later]
            shift = self._settings.offset_ns if event.kind == "thermal" else 0
            far = abs(event.stamp_ns + shift - stamp) > self._settings.jump_ns
            if far and self._went_back(later):
                return True
        return False

    def _went_back(self, index: int) -> bool:
        """Whether a message is older than one of its camera before it."""
        event = self._events[index]
        return event.kind != "poll" and any(
            other.kind == event.kind and other.stamp_ns > event.stamp_ns
            for other in self._events[:index]
        )

    def _losses(self) -> Iterator[str]:
        """RGB counts as lost only after misses in a row that no matches in a row followed."""
        misses = matches = 0
        entitled = False
        for _, frame_set, thermal in self._thermal_sets():
            if frame_set.absence is Reason.OPTICAL_LOST and not entitled:
                yield f"thermal frame {thermal.data} says RGB is lost, which it is not"
            if frame_set.optical is None:
                misses, matches = misses + 1, 0
            else:
                misses, matches = 0, matches + 1
            if misses >= self._settings.dropout_after:
                entitled = True
            if matches >= self._settings.recover_after:
                entitled = False

    def _alone(self) -> Iterator[str]:
        """Optical frames go alone in thermal silence, and then only.

        Frames that were refused for their stamp do not break the silence.
        """
        sent_alone, refused = set(), set()
        for came in self._came:
            what = came.what
            if isinstance(what, Dropped):
                refused.add(what.frame.data)
            elif what.thermal is None and what.optical is not None:
                sent_alone.add(what.optical.data)
        seen: int | None = None
        for index, event in enumerate(self._events):
            if event.kind == "poll" or index in refused:
                continue
            if event.kind == "thermal" or seen is None:
                seen = event.at_ns
            silent = event.at_ns - seen > self._settings.thermal_timeout_ns
            if index in sent_alone and not silent:
                yield f"optical frame {index} went alone though thermal was there"
            elif silent and index not in sent_alone:
                yield f"optical frame {index} did not go alone though thermal was silent"


def draw_settings(rng: random.Random) -> SyncSettings:
    """Draw bounds, small ones so that they are often reached."""
    slop = rng.choice((0, 5, 20, 50)) * MS
    return SyncSettings(
        slop_ns=slop,
        max_wait_ns=rng.choice((0, 10, 60)) * MS,
        dropout_after=rng.randint(1, 4),
        recover_after=rng.randint(1, 4),
        thermal_timeout_ns=rng.choice((100, 300, 1000)) * MS,
        offset_ns=rng.choice((0, 0, 20, -30)) * MS,
        jump_ns=slop + rng.choice((1, 200, 1000)) * MS,
        queue_size=rng.choice((1, 2, 4, 16)),
    )


def draw_events(rng: random.Random, most: int = 40) -> list[Event]:
    """Draw a history: two streams with clocks, delays and faults of their own."""
    now = START_NS
    clocks = {"optical": START_NS, "thermal": START_NS}
    events: list[Event] = []
    trouble = rng.choice((0.0, 0.05, 0.3))
    for _ in range(rng.randint(1, most)):
        now += rng.choice((0, 0, 1, 5, 20, 33, 70)) * MS
        if rng.random() < trouble / 3:
            now += rng.choice((150, 400, 1500)) * MS
        kind = rng.choice(("optical", "thermal", "optical", "thermal", "poll"))
        if kind == "poll":
            events.append(Event("poll", now))
            continue
        stamp = max(clocks[kind], now) if rng.random() < 0.8 else clocks[kind] + 10 * MS
        stamp += rng.randint(-3, 3) * MS
        if rng.random() < trouble:
            stamp = rng.choice(
                (0, -1, clocks[kind], clocks["optical"], clocks["thermal"], stamp - 30 * MS,
                 stamp - 250 * MS, stamp - 5000 * MS, stamp + 5000 * MS, _HUGE, 1)
            )  # fmt: skip
        clocks[kind] = stamp if 0 < stamp < _HUGE else clocks[kind]
        events.append(Event("optical" if kind == "optical" else "thermal", now, stamp))
    return events


def run(settings: SyncSettings, events: list[Event]) -> Run:
    """Drive a synchroniser through a history; `finish` has been called."""
    history = Run(settings)
    for event in events:
        history.step(event)
    history.finish()
    return history


def shrink(settings: SyncSettings, events: list[Event]) -> list[Event]:
    """Return a shorter history that breaks a rule, too, by leaving events out one by one."""
    index = 0
    while index < len(events):
        fewer = events[:index] + events[index + 1 :]
        if run(settings, fewer).problems:
            events = fewer
        else:
            index += 1
    return events
