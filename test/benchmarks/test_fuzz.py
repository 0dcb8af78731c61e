"""The rules for the synchroniser can be broken, and are not; the decoders stand broken messages."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from benchmarks.fuzz import histories
from benchmarks.fuzz.histories import (
    START_NS,
    Event,
    Run,
    draw_events,
    draw_settings,
    run,
    shrink,
)
from csknet_core.modality import Modality
from csknet_ros.frames import Dropped, DropReason
from csknet_ros.synchronizer import MS, PairOrAlone, SyncSettings


class SynchronizerMachine(RuleBasedStateMachine):
    """Any interleaving of messages with any stamps, and of looks at the clock."""

    @initialize(seed=st.integers(0, 10_000))
    def start(self, seed):
        self.run = Run(draw_settings(random.Random(seed)))
        self.now = START_NS
        self.checked = False

    def step(self, kind, wait_ms, stamp=0):
        self.now += wait_ms * MS
        self.run.step(Event(kind, self.now, stamp))

    @rule(
        kind=st.sampled_from(["optical", "thermal"]),
        wait_ms=st.integers(0, 120),
        late_ms=st.integers(-60, 60),
    )
    def message(self, kind, wait_ms, late_ms):
        self.step(kind, wait_ms, self.now + (wait_ms + late_ms) * MS)

    @rule(kind=st.sampled_from(["optical", "thermal"]), stamp=st.integers(-(2**63), 2**63 - 1))
    def message_of_any_stamp(self, kind, stamp):
        self.step(kind, 1, stamp)

    @rule(
        kind=st.sampled_from(["optical", "thermal"]),
        back=st.integers(1, 6),
        shift_ms=st.sampled_from([0, 0, -1, 1, -300, 300, -3000, 3000]),
    )
    def message_about_an_earlier_stamp(self, kind, back, shift_ms):
        stamps = [event.stamp_ns for event in self.run.events if event.kind != "poll"]
        stamp = stamps[-back] if len(stamps) >= back else self.now
        self.step(kind, 2, stamp + shift_ms * MS)

    @rule(wait_ms=st.sampled_from([0, 1, 59, 61, 500, 2000]))
    def time_goes_by(self, wait_ms):
        self.step("poll", wait_ms)

    @invariant()
    def nothing_is_broken_on_the_way(self):
        if hasattr(self, "run"):
            assert self.run.problems == []

    def teardown(self):
        if hasattr(self, "run"):
            assert self.run.finish() == []


SynchronizerMachine.TestCase.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=30, deadline=None, derandomize=True
)
TestSynchronizer = SynchronizerMachine.TestCase


def test_no_rule_is_broken_in_random_histories():
    for index in range(1000):
        rng = random.Random(f"test/{index}")
        bounds, events = draw_settings(rng), draw_events(rng)
        assert run(bounds, events).problems == [], f"history {index}"


class Farthest(PairOrAlone):
    """Pairs with the farthest frame within the slop instead of the nearest."""

    def _decide(self, thermal, now):
        self._candidates.reverse()
        target = thermal.stamp_ns + self._settings.offset_ns
        near = [c for c in self._candidates
                if abs(c.frame.stamp_ns - target) <= self._settings.slop_ns]  # fmt: skip
        far = max(near, key=lambda c: abs(c.frame.stamp_ns - target), default=None)
        self._candidates.reverse()
        kept = self._candidates
        if far is not None:
            self._candidates = type(kept)([far])
        super()._decide(thermal, now)
        self._candidates = kept


class Sloppy(PairOrAlone):
    """Pairs far beyond the slop."""

    def _decide(self, thermal, now):
        own = self._settings
        self._settings = replace(own, slop_ns=own.slop_ns + 500 * MS, jump_ns=10**12)
        super()._decide(thermal, now)
        self._settings = own


class Patient(PairOrAlone):
    """Waits twice as long as it may."""

    def _deadline(self, frame):
        return frame.arrival_ns + 2 * self._settings.max_wait_ns + MS


class Hasty(PairOrAlone):
    """Does not wait at all."""

    def _deadline(self, frame):
        return frame.arrival_ns


class Forgetful(PairOrAlone):
    """Loses a frame without a word when its queue is full."""

    def _add_thermal(self, frame):
        if len(self._waiting) >= 1:
            self._waiting.popleft()
        super()._add_thermal(frame)


class Liar(PairOrAlone):
    """Calls every drop a duplicate."""

    def _drop(self, modality, frame, reason):
        self._tally.dropped[DropReason.DUPLICATE_STAMP] += 1
        self._outbox.append(Dropped(modality, frame, DropReason.DUPLICATE_STAMP))


class Panicky(PairOrAlone):
    """Takes RGB for lost at the first miss."""

    def _note_miss(self, thermal):
        self._optical_lost = True
        super()._note_miss(thermal)


class Deaf(PairOrAlone):
    """Takes thermal for lost at once."""

    def _note_thermal_silence(self, frame):
        self._thermal_lost = True


class Credulous(PairOrAlone):
    """Takes a thermal message that is refused for a sign of life."""

    def _add_thermal(self, frame):
        self._thermal_seen_ns = frame.arrival_ns
        super()._add_thermal(frame)


@pytest.mark.parametrize(
    ("broken", "text"),
    [(Farthest, "would have been nearer"), (Sloppy, "beyond the slop"), (Patient, "waited"),
     (Hasty, "did not wait"), (Forgetful, "came out 0 times"), (Liar, "not true"),
     (Panicky, "RGB is lost, which it is not"), (Deaf, "thermal was there"),
     (Credulous, "did not go alone")],
)  # fmt: skip
def test_each_rule_catches_a_synchroniser_that_breaks_it(monkeypatch, broken, text):
    monkeypatch.setattr(histories, "PairOrAlone", broken)
    for index in range(400):
        rng = random.Random(f"test/{index}")
        bounds, events = draw_settings(rng), draw_events(rng)
        problems = run(bounds, events).problems
        if any(text in problem for problem in problems):
            return
    pytest.fail("no history showed it")


def test_more_frames_than_the_bound_are_noticed():
    held = Run(SyncSettings(queue_size=4))
    for index in range(4):
        held.step(Event("optical", START_NS, START_NS + index * MS))
    assert held.problems == []
    held._sync._candidates.append(held._sync._candidates[0])
    held.step(Event("poll", START_NS))
    assert held.problems == ["event 4: more than 4 frames are held"]


def test_a_history_that_breaks_a_rule_is_made_short(monkeypatch):
    monkeypatch.setattr(histories, "PairOrAlone", Patient)
    bounds = SyncSettings(max_wait_ns=10 * MS)
    events = [Event("optical", START_NS, START_NS - 400 * MS),
              Event("thermal", START_NS, START_NS),
              *(Event("poll", START_NS + i * 30 * MS) for i in range(1, 5))]  # fmt: skip
    assert run(bounds, events).problems
    short = shrink(bounds, events)
    assert [event.kind for event in short] == ["thermal", "poll"]


def test_broken_messages_are_refused_in_words_and_whole_ones_decoded():
    pytest.importorskip("sensor_msgs", reason="messages need ROS")
    from benchmarks.fuzz.messages import MessageFuzzer, judge

    outcomes = Counter()
    fuzzer = MessageFuzzer(7)
    with np.errstate(all="ignore"):
        for _ in range(5000):
            judge(fuzzer.message(), outcomes)
    for modality in Modality:
        assert outcomes[f"{modality.value} decoded"] > 500
        assert outcomes[f"{modality.value} refused"] > 500


def test_an_image_of_another_form_is_caught():
    pytest.importorskip("sensor_msgs", reason="messages need ROS")
    from sensor_msgs.msg import Image

    from benchmarks.fuzz.messages import check_image

    grey = np.zeros((3, 4), np.uint8)
    check_image(Modality.THERMAL, None, grey, Image(height=3, width=4))
    for image in (np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4)), grey[:2]):
        with pytest.raises(AssertionError):
            check_image(Modality.THERMAL, None, image, Image(height=3, width=4))
