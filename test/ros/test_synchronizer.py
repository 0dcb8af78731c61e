"""The synchroniser without ROS: exact frame accounting in simulated arrival time."""

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csknet_core.errors import ConfigError
from csknet_core.modality import Modality, Reason
from csknet_ros.synchronizer import (
    MS,
    Dropped,
    DropReason,
    FrameSet,
    PairOrAlone,
    SyncSettings,
    SyncState,
    clock_cure,
)

SECOND = 1000 * MS
START = 1_700_000_000 * SECOND
THERMAL, OPTICAL = Modality.THERMAL, Modality.OPTICAL


class Bench:
    """Feeds a synchroniser in time order and polls it at its deadlines, as the node does."""

    def __init__(self, **changes) -> None:
        self.sync = PairOrAlone[str](
            SyncSettings(**changes), self._on_output, self._on_output, clock=lambda: self.now
        )
        self.now = 0
        self.outputs: list[FrameSet | Dropped] = []

    def _on_output(self, item) -> None:
        self.outputs.append(item)

    def run_until(self, now: int) -> None:
        while (deadline := self.sync.poll(self.now)) is not None and deadline <= now:
            self.now = deadline
        self.now = max(self.now, now)
        self.sync.poll(self.now)

    def feed(self, modality: Modality, stamp_ms: float, arrival_ms: float | None = None) -> None:
        """Stamps and arrivals count milliseconds from the start; arrival follows the stamp."""
        self.run_until(int((stamp_ms if arrival_ms is None else arrival_ms) * MS))
        self.sync.add(modality, START + int(stamp_ms * MS), f"{modality.value}@{stamp_ms}")

    def frames(self) -> list[FrameSet]:
        return [item for item in self.outputs if isinstance(item, FrameSet)]

    def drops(self) -> list[Dropped]:
        return [item for item in self.outputs if isinstance(item, Dropped)]


def stream(*events: tuple[Modality, float, float]) -> Bench:
    bench = Bench()
    for modality, stamp, arrival in sorted(events, key=lambda event: event[2]):
        bench.feed(modality, stamp, arrival)
    bench.run_until(bench.now + SECOND)
    return bench


def test_simultaneous_frames_are_paired_without_waiting():
    bench = Bench()
    bench.feed(OPTICAL, 0, 10)
    bench.feed(THERMAL, 0, 11)
    (frame,) = bench.frames()
    assert frame.absence is Reason.OK
    assert frame.waited_ns == 0
    assert (frame.thermal.data, frame.optical.data) == ("thermal@0", "optical@0")


def test_a_frame_waits_for_a_nearer_partner_and_takes_the_nearest():
    bench = stream((OPTICAL, 0, 0), (THERMAL, 20, 21), (OPTICAL, 33, 34))
    (frame,) = bench.frames()
    assert frame.optical.data == "optical@33"
    assert frame.waited_ns == 13 * MS


def test_an_older_partner_is_taken_when_the_newer_is_further_away():
    bench = stream((OPTICAL, 0, 0), (THERMAL, 10, 11), (OPTICAL, 33, 34))
    assert bench.frames()[0].optical.data == "optical@0"


def test_a_frame_goes_alone_at_once_when_optical_has_passed_it_by():
    bench = stream((OPTICAL, 200, 201), (THERMAL, 100, 202))
    (frame,) = bench.frames()
    assert frame.absence is Reason.OPTICAL_UNPAIRED
    assert frame.waited_ns == 0


def test_slop_is_inclusive_and_binding():
    assert stream((OPTICAL, 0, 0), (THERMAL, 50, 51)).frames()[0].absence is Reason.OK
    alone = stream((OPTICAL, 0, 0), (THERMAL, 51, 52)).frames()[0]
    assert alone.absence is Reason.OPTICAL_UNPAIRED
    assert alone.waited_ns == 60 * MS


def drive(bench: Bench, first: int, last: int, *, optical: bool, lag: float = 0.0) -> None:
    """Play 10 Hz pairs; optical arrives `lag` ms after its thermal partner."""
    for index in range(first, last):
        if optical and not lag:
            bench.feed(OPTICAL, 100 * index)
        bench.feed(THERMAL, 100 * index)
        if optical and lag:
            bench.feed(OPTICAL, 100 * index, 100 * index + lag)


@pytest.mark.parametrize("lag", [0.0, 25.0])
def test_losing_and_regaining_rgb_accounts_for_every_thermal_frame(lag):
    bench = Bench()
    drive(bench, 0, 10, optical=True, lag=lag)
    drive(bench, 10, 20, optical=False)
    drive(bench, 20, 30, optical=True, lag=lag)
    bench.run_until(bench.now + SECOND)
    frames = bench.frames()
    assert [frame.stamp_ns for frame in frames] == [START + 100 * i * MS for i in range(30)]
    assert not bench.drops()
    assert all(frame.absence is Reason.OK for frame in frames[:10])
    # The very next frames are answered within the bound, then without any wait.
    assert [f.absence for f in frames[10:13]] == [Reason.OPTICAL_UNPAIRED] * 3
    assert [f.waited_ns for f in frames[10:13]] == [60 * MS] * 3
    assert [f.absence for f in frames[13:20]] == [Reason.OPTICAL_LOST] * 7
    assert [f.waited_ns for f in frames[13:20]] == [0] * 7
    # Back: paired at once when the partner is there, else after recover_after would-be matches.
    alone_after = sum(frame.absence is not Reason.OK for frame in frames[20:])
    assert alone_after == (0 if lag == 0 else 3)
    assert all(frame.absence is Reason.OK for frame in frames[23:])
    assert bench.sync.health.state is SyncState.OK


def test_optical_that_comes_too_late_for_the_bound_does_not_count_as_back():
    bench = Bench()
    drive(bench, 0, 10, optical=True, lag=80)
    assert bench.sync.health.state is SyncState.OPTICAL_LOST
    assert bench.frames()[-1].waited_ns == 0


def test_nine_hertz_thermal_against_thirty_hertz_optical_pairs_everything():
    events = [(OPTICAL, 33.3 * i + (i * 7919 % 11) - 5, 33.3 * i + 12) for i in range(300)]
    events += [(THERMAL, 111.1 * i + (i * 104729 % 13) - 6, 111.1 * i + 15) for i in range(1, 89)]
    bench = stream(*events)
    frames = bench.frames()
    assert len(frames) == 88
    assert all(frame.absence is Reason.OK for frame in frames)
    stamps = [START + int(stamp * MS) for modality, stamp, _ in events if modality is OPTICAL]
    for frame in frames:
        best = min(abs(stamp - frame.stamp_ns) for stamp in stamps)
        assert abs(frame.optical.stamp_ns - frame.stamp_ns) == best


def test_a_slower_optical_camera_serves_several_thermal_frames():
    events = [(OPTICAL, 100 * i, 100 * i + 1) for i in range(20)]
    events += [(THERMAL, 33 * i, 33 * i + 2) for i in range(55)]
    bench = stream(*events)
    assert len(bench.frames()) == 55
    assert all(frame.absence is Reason.OK for frame in bench.frames())


def test_a_constant_camera_offset_is_taken_out():
    bench = Bench(offset_ns=-200 * MS)
    bench.feed(OPTICAL, 0, 200)
    bench.feed(THERMAL, 200, 201)
    (frame,) = bench.frames()
    assert frame.absence is Reason.OK
    assert frame.stamp_ns == START + 200 * MS
    assert bench.sync.health.stamp_difference_ns == 0


@pytest.mark.parametrize("off_ms", [5000, -5000])
def test_a_wrong_clock_is_told_from_a_camera_that_is_lost(off_ms):
    bench = Bench()
    for index in range(100, 120):
        bench.feed(OPTICAL, 100 * index + off_ms, 100 * index)
        bench.feed(THERMAL, 100 * index)
    health = bench.sync.health
    assert health.state is SyncState.OPTICAL_LOST
    assert health.stamp_difference_ns is None
    assert health.clock_difference_ns == off_ms * MS
    bench.sync.settings = SyncSettings(offset_ns=off_ms * MS)
    for index in range(120, 130):
        bench.feed(OPTICAL, 100 * index + off_ms, 100 * index)
        bench.feed(THERMAL, 100 * index)
    health = bench.sync.health
    assert (health.state, health.clock_difference_ns) == (SyncState.OK, None)
    assert health.stamp_difference_ns == 0


def test_the_clock_of_a_camera_that_is_silent_is_not_blamed():
    bench = Bench()
    drive(bench, 0, 5, optical=True)
    for index in range(5, 30):
        drive(bench, index, index + 1, optical=False)
        assert bench.sync.health.clock_difference_ns is None
    assert bench.sync.health.state is SyncState.OPTICAL_LOST


def test_refused_optical_messages_are_counted_apart():
    bench = Bench()
    drive(bench, 0, 3, optical=True)
    bench.sync.add(OPTICAL, 0, "zero")
    bench.sync.add(THERMAL, 0, "zero")
    health = bench.sync.health
    assert health.dropped == {DropReason.ZERO_STAMP: 2}
    assert health.optical_dropped == {DropReason.ZERO_STAMP: 1}
    assert health.optical_refused is DropReason.ZERO_STAMP
    drive(bench, 3, 4, optical=True)
    assert bench.sync.health.optical_refused is None


@pytest.mark.parametrize(
    ("difference_ms", "offset_ms", "words"),
    [
        (5000, 0, "+5000 ms off; set sync.thermal_offset to 5.000"),
        (-80, -100, "-80 ms off; set sync.thermal_offset to -0.180 or, if RGB is right but comes "
         "late, sync.max_wait to 0.081 or more"),
        (-5000, 2000, "set sync.thermal_offset to -3.000"),
        (3_600_000, 0, "let both cameras take their time from one clock"),
    ],
)  # fmt: skip
def test_the_cure_of_a_wrong_clock_can_be_set(difference_ms, offset_ms, words):
    assert clock_cure(difference_ms * MS, offset_ms * MS).endswith(words)


def test_optical_frames_go_alone_while_thermal_is_silent_and_stop_when_it_is_back():
    bench = Bench(thermal_timeout_ns=500 * MS)
    drive(bench, 0, 5, optical=True)
    for index in range(5, 20):
        bench.feed(OPTICAL, 100 * index)
    alone = [f for f in bench.frames() if f.primary is OPTICAL]
    assert [f.stamp_ns for f in alone] == [START + 100 * i * MS for i in range(10, 20)]
    assert {f.absence for f in alone} == {Reason.THERMAL_LOST}
    assert bench.sync.health.state is SyncState.THERMAL_LOST
    drive(bench, 20, 25, optical=True)
    assert [f.primary for f in bench.frames()[-5:]] == [THERMAL] * 5
    assert bench.sync.health.state is SyncState.OK


@pytest.mark.parametrize("stamp", [START + 400 * MS, 0], ids=["last_message_again", "zero_stamps"])
def test_thermal_messages_that_are_refused_do_not_keep_rgb_silent(stamp):
    bench = Bench(thermal_timeout_ns=500 * MS)
    drive(bench, 0, 5, optical=True)
    for index in range(5, 20):
        bench.feed(OPTICAL, 100 * index)
        bench.sync.add(THERMAL, stamp, "useless")
    alone = [f for f in bench.frames() if f.primary is OPTICAL]
    assert [f.stamp_ns for f in alone] == [START + 100 * i * MS for i in range(10, 20)]
    assert bench.sync.health.state is SyncState.THERMAL_LOST
    assert len(bench.drops()) == 15
    drive(bench, 20, 21, optical=True)
    assert bench.sync.health.state is SyncState.OK


def test_a_thermal_stream_that_never_starts_counts_as_silent():
    bench = Bench(thermal_timeout_ns=500 * MS)
    for index in range(10):
        bench.feed(OPTICAL, 100 * index)
    assert len(bench.frames()) == 4


def test_a_bag_loop_goes_on_in_the_new_time():
    bench = Bench()
    drive(bench, 100, 110, optical=True)
    for index in range(10):
        bench.feed(OPTICAL, 100 * index, 11_000 + 100 * index)
        bench.feed(THERMAL, 100 * index, 11_001 + 100 * index)
    frames = bench.frames()
    assert len(frames) == 20
    assert all(frame.absence is Reason.OK for frame in frames)
    assert bench.sync.health.clock_jumps == 2
    assert not bench.drops()


def test_thermal_may_jump_back_before_optical_does():
    bench = Bench()
    drive(bench, 100, 110, optical=True)
    for index in range(10):
        bench.feed(THERMAL, 100 * index, 11_000 + 100 * index)
        bench.feed(OPTICAL, 100 * index, 11_001 + 100 * index)
    bench.run_until(bench.now + SECOND)
    assert all(frame.absence is Reason.OK for frame in bench.frames()[11:])


@pytest.mark.parametrize("glitch", [300, 3_600_000])
def test_an_optical_stamp_from_the_future_matters_for_one_frame_at_most(glitch):
    bench = Bench()
    drive(bench, 0, 5, optical=True)
    bench.feed(OPTICAL, 500 + glitch, 500)
    drive(bench, 6, 12, optical=True)
    assert len(bench.frames()) == 11
    assert all(frame.absence is Reason.OK for frame in bench.frames())


@pytest.mark.parametrize("glitch", [300, 3_600_000])
def test_a_thermal_stamp_from_the_future_costs_one_frame_at_most(glitch):
    bench = Bench()
    drive(bench, 0, 5, optical=True)
    bench.feed(THERMAL, 500 + glitch, 500)
    drive(bench, 6, 12, optical=True)
    bench.run_until(bench.now + SECOND)
    assert len(bench.frames()) + len(bench.drops()) == 12
    assert len(bench.drops()) <= 1
    assert all(frame.absence is Reason.OK for frame in bench.frames()[-5:])


def test_bad_stamps_are_dropped_with_their_reason():
    bench = Bench()
    bench.feed(THERMAL, 100)
    bench.feed(THERMAL, 100, 101)
    bench.feed(THERMAL, 60, 102)
    bench.sync.add(THERMAL, 0, "zero")
    bench.sync.add(OPTICAL, -5, "negative")
    assert [drop.reason for drop in bench.drops()] == [
        DropReason.DUPLICATE_STAMP,
        DropReason.OUT_OF_ORDER,
        DropReason.ZERO_STAMP,
        DropReason.ZERO_STAMP,
    ]
    bench.run_until(bench.now + SECOND)
    assert len(bench.frames()) == 1
    assert bench.sync.health.dropped[DropReason.ZERO_STAMP] == 2


def test_flush_answers_and_reset_drops_what_is_waiting():
    bench = Bench()
    bench.feed(THERMAL, 100)
    bench.sync.flush()
    assert [frame.absence for frame in bench.frames()] == [Reason.OPTICAL_UNPAIRED]
    bench.feed(THERMAL, 200)
    bench.sync.reset()
    assert [drop.reason for drop in bench.drops()] == [DropReason.INACTIVE]
    assert bench.sync.health.waiting == 0


def test_memory_is_bounded_when_nobody_polls():
    sync = PairOrAlone[int](SyncSettings(queue_size=4), clock=lambda: 0)
    for index in range(1000):
        sync.add(OPTICAL, index + 1, index, 0)
        assert len(sync._candidates) <= 4
    for index in range(1000):
        sync.add(THERMAL, (index + 1) * SECOND, index, 0)
    health = sync.health
    assert health.waiting <= 4
    assert health.matched + sum(health.alone.values()) + health.waiting == 1000
    assert len(sync._candidates) <= 4


def test_a_callback_may_call_back_in_and_runs_without_the_lock():
    seen: list[int] = []

    def on_frame(frame: FrameSet) -> None:
        seen.append(frame.stamp_ns)
        assert sync.health.waiting == 0
        if len(seen) < 3:
            sync.add(OPTICAL, frame.stamp_ns + SECOND, "o", 0)
            sync.add(THERMAL, frame.stamp_ns + SECOND, "t", 0)

    sync = PairOrAlone[str](SyncSettings(), on_frame)
    sync.add(OPTICAL, SECOND, "o", 0)
    sync.add(THERMAL, SECOND, "t", 0)
    assert seen == [SECOND, 2 * SECOND, 3 * SECOND]


def test_a_failing_callback_does_not_stop_the_stream():
    seen = []

    def on_frame(frame: FrameSet) -> None:
        seen.append(frame)
        if len(seen) == 1:
            raise RuntimeError("listener failed")

    sync = PairOrAlone[str](SyncSettings(max_wait_ns=0), on_frame)
    with pytest.raises(RuntimeError):
        sync.add(THERMAL, SECOND, "t", 0)
    sync.add(THERMAL, 2 * SECOND, "t", 0)
    assert len(seen) == 2


def test_two_threads_lose_and_repeat_nothing():
    outputs: list[int] = []
    sync = PairOrAlone[int](
        SyncSettings(queue_size=64), lambda frame: outputs.append(frame.stamp_ns)
    )

    def feed(modality: Modality) -> None:
        for index in range(2000):
            sync.add(modality, (index + 1) * MS, index)

    threads = [threading.Thread(target=feed, args=(modality,)) for modality in Modality]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sync.flush()
    assert outputs == [(index + 1) * MS for index in range(2000)]


def test_it_has_the_face_of_a_message_filter():
    class Filter:
        def registerCallback(self, callback, *arguments) -> None:  # noqa: N802
            self.signal = lambda message: callback(message, *arguments)

    def message(seconds: int) -> SimpleNamespace:
        return SimpleNamespace(
            header=SimpleNamespace(stamp=SimpleNamespace(sec=seconds, nanosec=7))
        )

    optical, thermal = Filter(), Filter()
    sync = PairOrAlone(SyncSettings(max_wait_ns=0))
    got = []
    sync.registerCallback(lambda *arguments: got.append(arguments), "extra")
    sync.connect(optical, thermal)
    first, second, third = message(1), message(1), message(9)
    optical.signal(first)
    thermal.signal(second)
    thermal.signal(third)
    assert got == [(first, second, "extra"), (None, third, "extra")]


@pytest.mark.parametrize(
    "wrong", [{"slop_ns": -1}, {"dropout_after": 0}, {"queue_size": 0}, {"jump_ns": 1}]
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SyncSettings(**wrong)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(Modality),
        st.one_of(st.integers(-2, 40).map(lambda n: n * 25), st.integers(-100, 10_000_000)),
        st.integers(0, 120),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_any_history_gives_every_thermal_frame_one_outcome_within_the_bound(events):
    bench = Bench(queue_size=8)
    received = 0
    for modality, stamp_ms, gap_ms in events:
        bench.run_until(bench.now + gap_ms * MS)
        stamp = 0 if stamp_ms < 0 else START + stamp_ms * MS
        received += modality is THERMAL
        bench.sync.add(modality, stamp, f"{received if modality is THERMAL else -1}")
        assert len(bench.sync._candidates) <= 8
        assert len(bench.sync._waiting) <= 8
    bench.run_until(bench.now + SECOND)
    outcomes = [f.thermal.data for f in bench.frames() if f.primary is THERMAL]
    outcomes += [d.frame.data for d in bench.drops() if d.modality is THERMAL]
    assert sorted(map(int, outcomes)) == list(range(1, received + 1))
    for frame in bench.frames():
        assert frame.waited_ns <= 60 * MS
        if frame.thermal and frame.optical:
            assert abs(frame.optical.stamp_ns - frame.thermal.stamp_ns) <= 50 * MS
