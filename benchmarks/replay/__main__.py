"""Measure replay speed: `python -m benchmarks.replay --json replay.json`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import rclpy
import typer
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rich.console import Console
from rich.table import Table

from benchmarks.replay.null_node import null_segmenter
from benchmarks.ros_domain import use_domain
from csknet_core.modality import Mode
from csknet_core.runtime.preprocess import resize_optical, resize_thermal
from csknet_core.runtime.segmenter import Segmenter, SegmenterSettings
from csknet_ros.frame_status import decode
from csknet_ros.images import optical_from_message, thermal_from_message
from csknet_ros.replay.make_bag import make_bag
from csknet_ros.replay.messages import Topics
from csknet_ros.replay.reader import BagReader
from csknet_ros.replay.replay import Job, Run, replay
from csknet_ros.synchronizer import SyncSettings
from csknet_ros.tools.files import config_folder
from csknet_ros.tools.script import load_script
from csknet_ros.tools.sources import DriveSource

_DOMAIN = 132
_RATE_HZ = 10.0
console = Console()


def measure(
    seconds: Annotated[float, typer.Option(help="Length of the bag, 10 frames a second.")] = 12.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
) -> None:
    """Replay a rendered drive offline and through the ROS graph, with and without the network."""
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / "drive.mcap"
        script = load_script(config_folder() / "drives" / "day_to_night.yaml").scaled(seconds)
        with console.status("rendering the bag"):
            make_bag(bag, DriveSource(script, _RATE_HZ), script, _RATE_HZ)
        with console.status("offline, null engine"):
            offline = _offline(bag, null_segmenter(SegmenterSettings()))
        graph = _fastest_graph(bag)
        with console.status("offline, shipped weights"):
            segmenter = Segmenter.load(SegmenterSettings())
            bound, bare = _engine_bound(bag, segmenter)
    figures = {
        "frames": round(seconds * _RATE_HZ),
        "offline_null_fps": offline,
        "graph_null_fps": graph["fps"],
        "graph_rates": graph["rates"],
        "offline_over_graph": offline / graph["fps"],
        "offline_engine_fps": bound,
        "bare_engine_fps": bare,
        "engine_bound_share": bound / bare,
        "engine": segmenter.name,
    }
    table = Table(title=f"{figures['frames']} frames of 640x480")
    table.add_column("")
    table.add_column("frames/s", justify="right")
    table.add_row("offline, null engine", f"{offline:.1f}")
    table.add_row("ROS graph, null engine, fastest rate without loss", f"{graph['fps']:.1f}")
    table.add_row("offline, shipped weights", f"{bound:.2f}")
    table.add_row("bare engine on the same frames", f"{bare:.2f}")
    console.print(table)
    console.print(
        f"offline is {figures['offline_over_graph']:.1f} x the graph, and reaches "
        f"{100 * figures['engine_bound_share']:.0f} % of the bare engine"
    )
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _offline(bag: Path, segmenter: Segmenter) -> float:
    """Return thermal frames per second."""
    start = time.perf_counter()
    result = replay(Job(Run("null", SegmenterSettings(), SyncSettings()), bag), segmenter)
    return len(result.frames) / (time.perf_counter() - start)


def _engine_bound(bag: Path, segmenter: Segmenter) -> tuple[float, float]:
    """Return frames per second of the replay, and of its engine alone on the same modes."""
    job = Job(Run("shipped", SegmenterSettings(), SyncSettings()), bag)
    modes = [Mode(f.mode) for f in replay(job, segmenter).frames if f.mode]
    optical, thermal = _first_pair(bag, segmenter)
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(2):  # side by side, best of two
        start = time.perf_counter()
        replay(job, segmenter)
        rates[0].append(len(modes) / (time.perf_counter() - start))
        start = time.perf_counter()
        for mode in modes:
            segmenter.engine.run(mode, optical, thermal)
        rates[1].append(len(modes) / (time.perf_counter() - start))
    return max(rates[0]), max(rates[1])


def _first_pair(bag: Path, segmenter: Segmenter) -> tuple[Any, Any]:
    with BagReader(bag, Topics()) as reader:
        images: dict[str, Any] = {}
        for message in reader.messages():
            images.setdefault(message.kind, message.data)
            if {"rgb", "thermal"} <= set(images):
                break
        size = segmenter.engine.size
        optical = resize_optical(optical_from_message(images["rgb"]), size)
        normalized = segmenter.thermal(thermal_from_message(images["thermal"]))
        return optical.copy(), resize_thermal(normalized, size)


def _fastest_graph(bag: Path) -> dict[str, Any]:
    """Play faster and faster until the node loses frames; return the fastest that lost none."""
    use_domain(_DOMAIN)
    node = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.replay.null_node", "--ros-args", "-p",
         "input_depth:=20"], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    rates: list[dict[str, float]] = []
    best = 0.0
    try:
        for factor in (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0):
            with console.status(f"ROS graph, null engine, {factor:.0f} times recorded speed"):
                frames, answers, wall = _play(bag, factor)
            rates.append({"rate": factor, "answered": answers / frames, "fps": answers / wall})
            if answers < 0.99 * frames:
                break
            best = max(best, answers / wall)
    finally:
        node.terminate()
        node.wait(20)
    return {"fps": best, "rates": rates}


def _play(bag: Path, rate: float) -> tuple[int, int, float]:
    """Return thermal frames played, answered, and the seconds from the first to the last answer."""
    with BagReader(bag, Topics()) as reader:
        frames = reader.primaries
    rclpy.init()
    listener = rclpy.create_node("listener")
    times: list[float] = []

    def note(message: DiagnosticArray) -> None:
        status = decode(message)
        if status.answered and status.primary == "thermal":
            times.append(time.perf_counter())

    listener.create_subscription(
        DiagnosticArray, "csknet/frame_status", note, QoSProfile(depth=500)
    )
    executor = SingleThreadedExecutor()
    executor.add_node(listener)
    player = subprocess.Popen(
        [sys.executable, "-m", "csknet_ros.tools.bag_player", str(bag), "--rate", str(rate),
         "--wait", "8"], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while player.poll() is None:
        executor.spin_once(timeout_sec=0.05)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.05)
    listener.destroy_node()
    rclpy.shutdown()
    return frames, len(times), max(times[-1] - times[0], 1e-3) if len(times) > 1 else 1.0


if __name__ == "__main__":
    typer.run(measure)
