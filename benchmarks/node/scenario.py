"""One measurement: a camera at a rate, a node, a listener."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.node.listener import Listener, ProcessMeter
from csknet_ros.frame_status import FrameStatus

OURS, USUAL = "csknet_ros.segmentation_node", "benchmarks.node.usual_node"
_START_TIMEOUT_S = 120.0


@dataclass
class Figures:
    """What one node did at one rate.

    Attributes:
        node: its module, with its backend.
        rate_hz, frames: pairs a second, and in all.
        answered: label maps that came.
        counted: frames dropped and announced as dropped.
        missed: frames about which nothing came.
        per_second: label maps a second of playing.
        latency_ms: publish to label map: p50, p95, p99.
        engine_ms: inference alone, as the node reports it: p50, p95.
        overhead_ms: publish to label map minus inference, frame by frame: p50, p95.
        cpu_share: processor seconds per second, of all cores.
        rss_mb: memory at the start and at the end of the frames, and the peak.
        rss_series_mb: memory over time.
    """

    node: str
    rate_hz: float
    frames: int
    answered: int = 0
    counted: int = 0
    missed: int = 0
    per_second: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    engine_ms: dict[str, float] = field(default_factory=dict)
    overhead_ms: dict[str, float] = field(default_factory=dict)
    cpu_share: float = 0.0
    rss_mb: dict[str, float] = field(default_factory=dict)
    rss_series_mb: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


class NodeProcess:
    """A node in a process of its own; a context manager.

    Args:
        module: `OURS` or `USUAL`.
        parameters: of the node.
    """

    def __init__(self, module: str, parameters: dict[str, str] | None = None) -> None:
        given = [t for k, v in (parameters or {}).items() for t in ("-p", f"{k}:={v}")]
        command = [sys.executable, "-m", module, *(["--ros-args", *given] if given else [])]
        self.started = time.time_ns()
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.meter = ProcessMeter(self.process.pid)

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    def wait_until_listening(self, listener: Listener) -> None:
        """Wait until the node subscribes to the cameras.

        Raises:
            RuntimeError: it ended, or did not within two minutes.
        """
        end = time.monotonic() + _START_TIMEOUT_S
        while not listener.listening("thermal/image"):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the node did not come up")
            time.sleep(0.02)


def measure(
    node: NodeProcess, name: str, listener: Listener, rate_hz: float, frames: int
) -> Figures:
    """Play frames at a rate into a node that is up; return the figures."""
    node.wait_until_listening(listener)
    listener.maps.clear()
    listener.statuses.clear()
    figures = Figures(name, rate_hz, frames)
    cpu, began, first_ns = node.meter.cpu_s(), time.monotonic(), time.time_ns()
    camera = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.node.camera", "--rate", str(rate_hz), "--count",
         str(frames)],
    )  # fmt: skip
    while camera.poll() is None:
        figures.rss_series_mb.append(round(node.meter.rss_mb(), 1))
        time.sleep(0.5)
    _settle(listener, frames)
    figures.cpu_share = round((node.meter.cpu_s() - cpu) / (time.monotonic() - began), 3)
    series = figures.rss_series_mb
    # The kernel notes the peak a little late.
    peak = max(node.meter.peak_rss_mb(), *series)
    figures.rss_mb = {"start": series[0], "end": series[-1], "peak": round(peak, 1)}
    # What another graph on this host may say carries stamps of other times.
    maps = {stamp: at for stamp, at in listener.maps.items() if stamp >= first_ns}
    statuses = {stamp: status for stamp, status in listener.statuses.items() if stamp >= first_ns}
    fill(figures, maps, statuses)
    return figures


def _settle(listener: Listener, frames: int) -> None:
    """Wait for the last answers."""
    end, seen = time.monotonic() + 2.0, -1
    while time.monotonic() < end:
        now = len(listener.maps) + len(listener.statuses)
        if now != seen:
            seen, end = now, time.monotonic() + 2.0
        time.sleep(0.05)


def fill(figures: Figures, maps: dict[int, int], statuses: dict[int, FrameStatus]) -> None:
    """Account for every frame.

    Args:
        figures: to fill; `frames` and `rate_hz` are set.
        maps: when label maps came, nanoseconds, by stamp.
        statuses: of frames, by stamp.
    """
    latency = {stamp: (at - stamp) / 1e6 for stamp, at in maps.items()}
    answered = {s: st for s, st in statuses.items() if st.answered}
    figures.answered = len(latency)
    figures.counted = len(statuses) - len(answered)
    # A status alone may get lost, and so may a label map of which the status came.
    figures.missed = figures.frames - len(maps.keys() | (statuses.keys() - answered.keys()))
    figures.per_second = round(figures.answered * figures.rate_hz / figures.frames, 2)
    figures.latency_ms = percentiles(list(latency.values()), (50, 95, 99))
    both = [stamp for stamp in latency if stamp in answered]
    engine = [answered[stamp].inference_ms for stamp in both]
    figures.engine_ms = percentiles(engine, (50, 95))
    extra = [latency[stamp] - answered[stamp].inference_ms for stamp in both]
    figures.overhead_ms = percentiles(extra, (50, 95))


def percentiles(values: list[float], which: tuple[int, ...]) -> dict[str, float]:
    """Return percentiles by name, {} without values."""
    if not values:
        return {}
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in which}


def measure_start(parameters: dict[str, str]) -> dict[str, Any]:
    """Return seconds from the start of the process to its first label map, and its peak memory.

    The camera runs before the node starts, so that nothing is waited for but the node.

    Raises:
        RuntimeError: no label map came within two minutes.
    """
    with Listener() as listener:
        camera = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.node.camera", "--rate", "10", "--count", "200",
             "--settle", "0"]
        )  # fmt: skip
        time.sleep(4.0)  # the camera renders its frames, then waits for a subscriber
        with NodeProcess(OURS, parameters) as node:
            end = time.monotonic() + _START_TIMEOUT_S
            while not listener.maps and time.monotonic() < end:
                time.sleep(0.005)
            first = min(listener.maps.values(), default=0)
            time.sleep(6.0)
            peak, torch = node.meter.peak_rss_mb(), node.meter.has_loaded("libtorch")
        camera.terminate()
        camera.wait()
    if not first:
        raise RuntimeError("no label map came")
    return {
        "first_label_s": round((first - node.started) / 1e9, 2),
        "peak_rss_mb": round(peak, 1),
        "torch_loaded": torch,
    }
