"""The demo: camera node and segmentation node as processes over DDS, recorded and reported."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rclpy.utilities import get_rmw_implementation_identifier
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from csknet_core.classes import MFNET
from csknet_core.errors import CsknetError, WeightsError
from csknet_core.weights.files import find_weights, read_info
from csknet_ros.fastdds import profile_environment
from csknet_ros.parameters import BY_NAME
from csknet_ros.tools.camera_node import open_source
from csknet_ros.tools.files import config_folder
from csknet_ros.tools.interrupts import interrupt_once, interrupts_held
from csknet_ros.tools.recorder import Recorder, Recording
from csknet_ros.tools.report import write_report
from csknet_ros.tools.script import Script
from csknet_ros.tools.summary import PlayedFrame, failures, outcome_of, summarize

_START_TIMEOUT_S = 180.0
_QUIET_S = 5.0
_CAMERA_SILENT_AFTER = 2.5  # frame periods
console = Console()


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="demo.sh", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for results")
    parser.add_argument("--seconds", type=float, help="length (default: the script's, 45 s)")
    parser.add_argument(
        "--data", type=Path, help="folder of real pairs instead of a rendered drive"
    )
    parser.add_argument("--rate", type=float, default=5.0, help="pairs per second")
    parser.add_argument("--weights", default="", help="weights file or name")
    options = parser.parse_args(arguments)
    if options.rate <= 0 or (options.seconds is not None and options.seconds <= 0):
        parser.error("--rate and --seconds must be positive")
    options.script = None if options.data else config_folder() / "drives" / "day_to_night.yaml"
    return options


def graph_environment() -> dict[str, str]:
    """Return the environment of a graph of its own on this host, fit for large images."""
    return {
        **os.environ,
        "ROS_DOMAIN_ID": str(random.randint(1, 100)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        **profile_environment(str(config_folder() / "fastdds.xml")),
    }


class Graph:
    """The processes of the demo; a context manager that ends them all.

    Args:
        options: the command line.
        folder: for logs.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._environment = graph_environment()
        os.environ.update(self._environment)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.recorder = Recorder(int(self._environment["ROS_DOMAIN_ID"]))

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.recorder.close()

    def start_node(self) -> None:
        """Start the segmentation node and wait until it listens.

        Raises:
            CsknetError: it ended or did not come up; the message ends with its log.
        """
        command = ["csknet_ros.segmentation_node", "--ros-args"]
        # The node's default would take a slow camera's ordinary pause for a silent camera.
        usual_s = float(BY_NAME["sync.thermal_timeout"].default)
        silence_s = max(usual_s, _CAMERA_SILENT_AFTER / self._options.rate)
        command += ["-p", f"sync.thermal_timeout:={silence_s:.3f}"]
        if self._options.weights:
            command += ["-p", f"weights:={self._options.weights}"]
        process = self._start(command, "node.log")
        end = time.monotonic() + _START_TIMEOUT_S
        with console.status("starting the segmentation node (builds its engine the first time)"):
            while not self.recorder.node_is_listening():
                if process.poll() is not None or time.monotonic() > end:
                    log = (self._folder / "node.log").read_text(encoding="utf-8")[-2000:]
                    raise CsknetError(f"the segmentation node did not come up:\n{log}")
                time.sleep(0.1)

    def play(self, total: int) -> None:
        """Start the camera node and wait until it has played everything.

        Raises:
            CsknetError: it failed; the message ends with its log.
        """
        options = self._options
        command = ["csknet_ros.tools.camera_node", "--rate", str(options.rate)]
        command += ["--subscribers", "2", "--log", str(self._folder / "played.jsonl")]
        if options.data:
            command += ["--data", str(options.data)]
        else:
            command += ["--script", str(options.script)]
        if options.seconds:
            command += ["--seconds", str(options.seconds)]
        process = self._start(command, "camera.log")
        with Progress(console=console) as progress:
            task = progress.add_task("preparing frames, then playing", total=total)
            while process.poll() is None:
                progress.update(task, completed=self.recorder.thermal_frames())
                time.sleep(0.2)
            progress.update(task, completed=self.recorder.thermal_frames())
        if process.returncode:
            log = (self._folder / "camera.log").read_text(encoding="utf-8")[-2000:]
            raise CsknetError(f"the camera node failed:\n{log}")

    def finish(self) -> tuple[Recording, list[PlayedFrame]]:
        """Wait for the last answers, as long as any still come; return all that was recorded.

        Returns:
            The recording, and the thermal frames that the camera says it published.
        """
        lines = (self._folder / "played.jsonl").read_text(encoding="utf-8").splitlines()
        played = [PlayedFrame(**json.loads(line)) for line in lines]
        recording = self.recorder.recording
        settled, since = -1, time.monotonic()
        while settled < len(played) and time.monotonic() - since < _QUIET_S:
            outcomes = [outcome_of(recording, frame.stamp_ns) for frame in played]
            now = sum(outcome in ("out", "dropped") for outcome in outcomes)
            if now != settled:
                settled, since = now, time.monotonic()
            time.sleep(0.1)
        return self.recorder.close(), played

    def _start(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with interrupts_held(), (self._folder / log).open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            self._processes.append(process)
        return process


def check_classes(weights: Path) -> None:
    """Refuse weights of other classes than those of the rendered drive and of MFNet's pairs.

    Raises:
        WeightsError: they cannot be read, or have other classes.
    """
    classes = read_info(weights).classes
    if classes.names != MFNET.names:
        raise WeightsError(
            f"weights {weights} answer in the classes {', '.join(classes.names)}; the demo draws "
            f"and scores {', '.join(MFNET.names)} only: take weights of these classes, or score "
            "yours on a bag with csknet replay"
        )


def run(options: argparse.Namespace) -> int:
    """Run the demo; returns the exit code.

    Raises:
        CsknetError: weights or data cannot be used, or a process failed.
    """
    check_classes(find_weights(options.weights))
    script, source = open_source(options)
    with tempfile.TemporaryDirectory() as name, Graph(options, Path(name)) as graph:
        graph.start_node()
        graph.play(len(source))
        recording, played = graph.finish()
    summary = summarize(recording, played, script, get_rmw_implementation_identifier())
    title = "csknet on real frames" if options.data else "csknet on a rendered drive"
    with console.status("drawing the report"):
        write_report(options.out, recording, played, script, summary, options.rate, title)
    print_summary(summary, script)
    console.print(f"report: {options.out / 'report.html'}")
    problems = failures(summary)
    for problem in problems:
        console.print(f"[red]failed:[/red] {escape(problem)}")
    return 1 if problems else 0


def print_summary(summary: dict[str, Any], script: Script) -> None:
    """Print the run's summary as tables."""
    table = Table(title=f"{script.seconds:.0f} s, {summary['backend']}, {summary['rmw']}")
    for column in ("phase", "expected mode", "in it", "mIoU", "frames"):
        table.add_column(
            column, justify="left" if column in ("phase", "expected mode") else "right"
        )
    for phase in summary["phases"]:
        table.add_row(
            phase["name"],
            phase["expected_mode"],
            _percent(phase["share_in_expected_mode"]),
            _percent(phase["miou"]),
            str(phase["frames"]),
        )
    console.print(table)
    counts = ", ".join(f"{key} {summary[key]}" for key in ("frames_in", "frames_out", "lost"))
    latency = ", ".join(f"{key} {value} ms" for key, value in summary["latency_ms"].items())
    console.print(f"{counts}, unaccounted {summary['unaccounted']}, dropped {summary['dropped']}")
    console.print(f"latency {latency}; modes {summary['modes']}")
    miou = ", ".join(f"{mode} {_percent(v)}" for mode, v in summary["miou_by_mode"].items())
    console.print(f"mIoU over all frames of a mode: {miou}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def main(arguments: list[str] | None = None) -> int:
    """Run the demo from the command line."""
    interrupt_once()
    try:
        return run(parse_arguments(arguments))
    except CsknetError as error:
        console.print(f"[red]demo:[/red] {escape(str(error))}", highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
