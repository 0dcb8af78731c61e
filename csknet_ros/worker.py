"""One worker thread: keeps the synchroniser's deadlines and runs the newest decided frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from csknet_ros.frames import FrameSet, T

_IDLE_S = 0.5


@dataclass(frozen=True)
class Job(Generic[T]):
    """A decided frame and when it was put into the mailbox (monotonic nanoseconds)."""

    frame: FrameSet[T]
    decided_ns: int


class Worker(Generic[T]):
    """Runs `handle` on the newest frame put into its mailbox of one.

    An older frame that has not been started when a newer one comes is handed to `supersede`
    instead: work never queues up, and no frame vanishes without a word. Between frames the worker
    calls `poll` at the time it last returned, so that waiting frames are decided on time.

    Args:
        handle: does the work; an exception in it goes to `fail` and does not stop the worker.
        supersede: told of frames replaced before they were started.
        fail: told of exceptions.
        poll: decides overdue frames, returns the next deadline (monotonic ns) or None.
    """

    def __init__(
        self,
        handle: Callable[[Job[T]], None],
        supersede: Callable[[Job[T]], None],
        fail: Callable[[Job[T], Exception], None],
        poll: Callable[[], int | None],
    ) -> None:
        self._handle = handle
        self._supersede = supersede
        self._fail = fail
        self._poll = poll
        self._wake = threading.Condition()
        self._mailbox: Job[T] | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._current: Job[T] | None = None
        self._since_ns = 0
        self._preparing_since_ns: int | None = None

    def start(self, prepare: Callable[[], None] = lambda: None) -> None:
        """Start the thread.

        Args:
            prepare: run by it before its first frame.
        """
        self._stopping = False
        self._launch(prepare)

    def replace_stuck(self, after_ns: int, prepare: Callable[[], None]) -> Job[T] | None:
        """Give up on work that has run for longer than `after_ns`; a fresh thread takes over.

        Python cannot end a thread: the old one goes on until its work returns, and then ends
        without a word, as `claim` refuses its frame.

        Args:
            after_ns: longest time for one frame, nanoseconds.
            prepare: run by the fresh thread before its first frame.

        Returns:
            The frame given up, which the caller must account for, or None if nothing is stuck.
        """
        with self._wake:
            job = self._current
            if job is None or self._stopping or time.monotonic_ns() - self._since_ns <= after_ns:
                return None
            self._current = None
            self._launch(prepare)
        return job

    def replace_unprepared(self, after_ns: int, prepare: Callable[[], None]) -> bool:
        """Give up on a fresh thread that has prepared for longer than `after_ns`.

        Args:
            after_ns: longest time to prepare, nanoseconds.
            prepare: run by the thread that takes over, as in `replace_stuck`.

        Returns:
            Whether another thread took over.
        """
        with self._wake:
            since = self._preparing_since_ns
            if since is None or self._stopping or time.monotonic_ns() - since <= after_ns:
                return False
            self._launch(prepare)
        return True

    def if_current(self, act: Callable[[], None]) -> bool:
        """Run `act` unless the calling thread was given up, which cannot happen meanwhile."""
        with self._wake:
            if self._replaced():
                return False
            act()
        return True

    def forgive(self, ns: int) -> None:
        """Do not count so many nanoseconds, in which nothing of the process ran, as work."""
        with self._wake:
            self._since_ns += ns
            if self._preparing_since_ns is not None:
                self._preparing_since_ns += ns

    def give_up(self) -> Job[T] | None:
        """Leave a thread that did not stop to itself; return its frame, if it had one."""
        with self._wake:
            job, self._current = self._current, None
            self._thread = None
        return job

    def claim(self, job: Job[T]) -> bool:
        """Ask for the right to publish; False if the frame was given up meanwhile.

        Frames that were claimed are never given up, so each frame has one end.
        """
        with self._wake:
            if self._current is not job:
                return False
            self._current = None
            return True

    def put(self, frame: FrameSet[T]) -> None:
        """Hand over a decided frame; never blocks on work in progress."""
        job = Job(frame, time.monotonic_ns())
        with self._wake:
            replaced, self._mailbox = self._mailbox, job
            self._wake.notify()
        if replaced is not None:
            self._supersede(replaced)

    def nudge(self) -> None:
        """Make the worker look at its deadlines again, after a message has come in."""
        with self._wake:
            self._wake.notify()

    def stop(self, timeout_s: float = 10.0) -> Job[T] | None:
        """Stop after the work in progress; return the frame left unstarted, if any.

        Raises:
            TimeoutError: the work in progress does not end in time.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise TimeoutError(f"inference did not end within {timeout_s:.0f} s")
            self._thread = None
        left, self._mailbox = self._mailbox, None
        return left

    def _launch(self, prepare: Callable[[], None]) -> None:
        self._thread = threading.Thread(
            target=self._run, args=(prepare,), name="csknet-worker", daemon=True
        )
        self._preparing_since_ns = time.monotonic_ns()
        self._thread.start()

    def _replaced(self) -> bool:
        return self._thread is not threading.current_thread()

    def _run(self, prepare: Callable[[], None]) -> None:
        prepare()
        if not self.if_current(self._note_prepared):
            return
        while True:
            deadline = self._poll()
            job = self._take(deadline)
            if self._stopping:
                if job is not None:
                    self._mailbox = job
                return
            if job is not None:
                self._work(job)
            if self._replaced():
                return

    def _note_prepared(self) -> None:
        self._preparing_since_ns = None

    def _work(self, job: Job[T]) -> None:
        try:
            self._handle(job)
        except Exception as error:
            self.claim(job)
            if not self._replaced():
                self._fail(job, error)
        self.claim(job)

    def _take(self, deadline_ns: int | None) -> Job[T] | None:
        """Return the mailbox's frame, or None when a deadline has come or a message came in."""
        with self._wake:
            if self._mailbox is None and not self._stopping:
                wait = _IDLE_S
                if deadline_ns is not None:
                    wait = max(0.0, (deadline_ns - time.monotonic_ns()) * 1e-9)
                self._wake.wait(min(wait, _IDLE_S))
            job, self._mailbox = self._mailbox, None
            if job is not None and not self._stopping:
                self._current, self._since_ns = job, time.monotonic_ns()
            return job
