"""Labelled bags from rendered drives or from folders of pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from csknet_ros.replay.writer import BagWriter
from csknet_ros.stamps import SECOND_NS
from csknet_ros.tools.faults import FaultInjector
from csknet_ros.tools.script import Script
from csknet_ros.tools.sources import RGB_FRAME_ID, THERMAL_FRAME_ID, FrameSource

_START_NS = 1_700_000_000_000_000_000


def make_bag(
    path: Path,
    source: FrameSource,
    script: Script,
    rate_hz: float,
    compress: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a bag with `/rgb/image`, `/thermal/image`, `/truth/label_map` and `/phase`.

    The same arguments give the same bag.

    Args:
        path: see `BagWriter`.
        source: the frames.
        script: says what phase each frame is in and what goes wrong in it.
        rate_hz: frames per second.
        compress: with zstd.
        progress: called with the number of frames done.

    Raises:
        DataError: the bag cannot be written, or a frame cannot be read.
    """
    injector = FaultInjector(script.seed)
    phase_before = ""
    with BagWriter(path, compress) as writer:
        for index in range(len(source)):
            time_ns = _START_NS + round(index * SECOND_NS / rate_hz)
            phase = script.phase_at(index / rate_hz)
            if phase.name != phase_before:
                writer.text("/phase", time_ns, phase.name)
                phase_before = phase.name
            frame = source.frame(index)
            seen = injector.apply(frame.optical, frame.thermal, phase.faults)
            if seen.optical is not None:
                stamp = time_ns + seen.optical_shift_ns
                writer.image("/rgb/image", time_ns, stamp, RGB_FRAME_ID, seen.optical)
            if seen.thermal is not None:
                writer.image("/thermal/image", time_ns, time_ns, THERMAL_FRAME_ID, seen.thermal)
            if frame.labels is not None:
                writer.image("/truth/label_map", time_ns, time_ns, THERMAL_FRAME_ID, frame.labels)
            progress(index + 1)
