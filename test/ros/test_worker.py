import threading
import time

import pytest

from csknet_core.modality import Modality, Reason
from csknet_ros.frames import FrameSet, Stamped
from csknet_ros.worker import Worker


def frame(number: int) -> FrameSet[int]:
    stamped = Stamped(number, 0, number)
    return FrameSet(Modality.THERMAL, stamped, None, Reason.OPTICAL_LOST, 0)


class Bench:
    def __init__(self, poll=lambda: None) -> None:
        self.started = threading.Event()
        self.release = threading.Event()
        self.handled: list[int] = []
        self.superseded: list[int] = []
        self.failed: list[str] = []
        self.worker = Worker(
            self._handle,
            lambda job: self.superseded.append(job.frame.stamp_ns),
            lambda job, error: self.failed.append(str(error)),
            poll,
        )
        self.worker.start()

    def _handle(self, job) -> None:
        self.started.set()
        assert self.release.wait(10)
        if job.frame.stamp_ns < 0:
            raise RuntimeError("bad frame")
        self.handled.append(job.frame.stamp_ns)


def wait_for(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_the_newest_frame_wins_and_the_others_are_reported():
    bench = Bench()
    bench.worker.put(frame(1))
    assert bench.started.wait(10)
    for number in (2, 3, 4):
        bench.worker.put(frame(number))
    bench.release.set()
    wait_for(lambda: bench.handled == [1, 4])
    assert bench.superseded == [2, 3]
    assert bench.worker.stop() is None


def test_an_exception_is_reported_and_work_goes_on():
    bench = Bench()
    bench.release.set()
    bench.worker.put(frame(-1))
    wait_for(lambda: bool(bench.failed))
    bench.worker.put(frame(5))
    wait_for(lambda: bench.handled == [5])
    assert bench.failed == ["bad frame"]
    bench.worker.stop()


def test_stopping_returns_the_frame_that_was_not_started():
    bench = Bench()
    bench.worker.put(frame(1))
    assert bench.started.wait(10)
    bench.worker.put(frame(2))

    def finish_once_it_is_stopping() -> None:
        wait_for(lambda: bench.worker._stopping)
        bench.release.set()

    threading.Thread(target=finish_once_it_is_stopping, daemon=True).start()
    left = bench.worker.stop()
    assert left.frame.stamp_ns == 2
    assert bench.handled == [1]


def test_work_that_does_not_end_is_an_error():
    bench = Bench()
    bench.worker.put(frame(1))
    assert bench.started.wait(10)
    with pytest.raises(TimeoutError, match="did not end"):
        bench.worker.stop(0.05)
    bench.release.set()


def test_it_polls_at_the_deadline_it_was_told():
    calls: list[int] = []
    deadline = time.monotonic_ns() + 50_000_000

    def poll() -> int | None:
        calls.append(time.monotonic_ns())
        return deadline if calls[-1] < deadline else None

    bench = Bench(poll)
    wait_for(lambda: any(call >= deadline for call in calls))
    assert min(call for call in calls if call >= deadline) - deadline < 5_000_000_000
    assert len([call for call in calls if call < deadline]) <= 5
    bench.worker.stop()


def test_stuck_work_is_given_up_and_a_fresh_thread_goes_on():
    bench = Bench()
    prepared = threading.Event()
    bench.worker.put(frame(-1))
    assert bench.started.wait(10)
    assert bench.worker.replace_stuck(3600 * 10**9, prepared.set) is None
    job = bench.worker.replace_stuck(0, prepared.set)
    assert job is not None
    assert job.frame.stamp_ns == -1
    assert not bench.worker.claim(job)
    assert prepared.wait(10)
    assert bench.worker.replace_stuck(0, prepared.set) is None
    bench.release.set()
    bench.worker.put(frame(2))
    wait_for(lambda: bench.handled == [2])
    wait_for(lambda: sum(t.name == "csknet-worker" for t in threading.enumerate()) == 1)
    assert bench.failed == []
    bench.worker.stop()


def test_a_thread_that_never_gets_ready_is_given_up_and_another_goes_on():
    bench = Bench()
    never, adopted = threading.Event(), []

    def hang() -> None:
        assert never.wait(60)
        adopted.append(bench.worker.if_current(lambda: None))

    def ready() -> None:
        adopted.append(bench.worker.if_current(lambda: None))

    bench.worker.put(frame(-1))
    assert bench.started.wait(10)
    assert not bench.worker.replace_unprepared(0, ready)
    assert bench.worker.replace_stuck(0, hang) is not None
    bench.release.set()
    bench.worker.put(frame(2))
    assert not bench.worker.replace_unprepared(3600 * 10**9, ready)
    assert bench.worker.replace_unprepared(0, ready)
    wait_for(lambda: bench.handled == [2])
    assert not bench.worker.replace_unprepared(0, ready)
    # The one that was given up leaves the mailbox to the other, even if that is busy.
    bench.started.clear()
    bench.release.clear()
    bench.worker.put(frame(3))
    assert bench.started.wait(10)
    bench.started.clear()
    bench.worker.put(frame(4))
    never.set()
    wait_for(lambda: sum(t.name == "csknet-worker" for t in threading.enumerate()) == 1)
    assert adopted == [True, False]
    assert not bench.started.is_set()
    bench.release.set()
    wait_for(lambda: bench.handled == [2, 3, 4])
    bench.worker.stop()


def test_time_in_which_the_process_was_stopped_does_not_count_as_work():
    bench = Bench()
    bench.worker.put(frame(1))
    assert bench.started.wait(10)
    time.sleep(0.02)
    bench.worker.forgive(3600 * 10**9)
    assert bench.worker.replace_stuck(10 * 10**6, lambda: None) is None
    bench.worker.forgive(-3600 * 10**9)
    assert bench.worker.replace_stuck(10 * 10**6, lambda: None) is not None
    bench.release.set()
    bench.worker.stop()


def test_a_claimed_frame_is_never_given_up():
    claimed, release = threading.Event(), threading.Event()

    def handle(job) -> None:
        assert worker.claim(job)
        claimed.set()
        assert release.wait(10)

    worker = Worker(handle, lambda job: None, lambda job, error: None, lambda: None)
    worker.start()
    worker.put(frame(1))
    assert claimed.wait(10)
    assert worker.replace_stuck(0, lambda: None) is None
    release.set()
    worker.stop()


def test_stuck_work_can_be_left_behind_when_stopping():
    bench = Bench()
    bench.worker.put(frame(1))
    assert bench.started.wait(10)
    bench.worker.put(frame(2))
    with pytest.raises(TimeoutError):
        bench.worker.stop(0.05)
    assert bench.worker.give_up().frame.stamp_ns == 1
    assert bench.worker.stop().frame.stamp_ns == 2
    bench.release.set()
