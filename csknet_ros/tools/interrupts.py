"""One clean way to end a tool, by Ctrl-C or by SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import rclpy
from rclpy.signals import SignalHandlerOptions

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interrupt_once() -> None:
    """Let the first SIGINT or SIGTERM raise KeyboardInterrupt; later ones are ignored.

    `timeout` and terminals may deliver a signal twice; the second must not hit the clean-up.
    """
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM in this block; one that came meanwhile acts at its end.

    Starting a process inside keeps it from running unrecorded, which is what an interrupt between
    the fork and the return of `Popen` would do.
    """
    held: list[int] = []
    previous = {n: signal.signal(n, lambda number, _: held.append(number)) for n in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def start_ros(arguments: list[str]) -> None:
    """Start rclpy for a process that `interrupt_once` ends.

    rclpy's own handlers shut the context down under a thread that is publishing, which then
    fails with an RCLError.

    Args:
        arguments: the command line, ROS arguments included.
    """
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    interrupt_once()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
