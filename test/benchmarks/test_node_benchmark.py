"""The sums of the node benchmark, and one tiny real run of it."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="the node benchmark needs ROS")

from support.graph import next_domain

from benchmarks.node.draw import draw_node
from benchmarks.node.listener import ProcessMeter
from benchmarks.node.scenario import Figures, fill, percentiles
from csknet_ros.frame_status import ANSWERED, DROPPED, FrameStatus

MS = 1_000_000


def answered(inference_ms):
    return FrameStatus("thermal", ANSWERED, "fused", "ok", inference_ms=inference_ms)


def test_every_frame_is_answered_announced_as_dropped_or_missed():
    figures = Figures("csknet", 10.0, 5)
    maps = {0: 100 * MS, 10: 10 + 200 * MS}
    statuses = {
        0: answered(90.0),
        10: answered(150.0),
        20: FrameStatus("thermal", DROPPED, "", "superseded"),
        30: answered(80.0),  # its label map was lost on the way
    }
    fill(figures, maps, statuses)
    assert (figures.answered, figures.counted, figures.missed) == (2, 1, 2)
    assert figures.per_second == 4.0  # 2 of 5 frames at 10 Hz
    assert figures.latency_ms == {"p50": 150.0, "p95": 195.0, "p99": 199.0}
    assert figures.engine_ms["p50"] == 120.0
    assert figures.overhead_ms["p50"] == 30.0  # of 10 and 50, frame by frame


def test_a_node_that_publishes_no_status_is_judged_by_its_label_maps():
    figures = Figures("usual", 10.0, 4)
    fill(figures, {0: 300 * MS}, {})
    assert (figures.answered, figures.counted, figures.missed) == (1, 0, 3)
    assert figures.latency_ms["p95"] == 300.0
    assert figures.engine_ms == figures.overhead_ms == {}


def test_percentiles_of_nothing_are_none():
    assert percentiles([], (50, 95)) == {}


def test_memory_and_time_of_a_process_are_its_own():
    code = "import time; block = bytearray(80 << 20); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        meter = ProcessMeter(process.pid)
        assert 80 < meter.rss_mb() <= meter.peak_rss_mb() < 160
        assert meter.cpu_s() < 10
        assert meter.has_loaded("libc.so")
        assert not meter.has_loaded("libtorch")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def run(tmp_path_factory, repository, default_weights):
    """A short real run: camera, node and listener over DDS."""
    out = tmp_path_factory.mktemp("node") / "node.json"
    command = [sys.executable, "-m", "benchmarks.node", "--rates", "2", "--seconds", "4",
               "--no-usual", "--no-start", "--domain", str(next_domain()),
               "--json", str(out)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        command, env=environment, cwd=repository, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())


def test_the_command_accounts_for_every_frame(run):
    (row,) = run["rates"]
    assert row["frames"] == 8
    assert row["answered"] + row["counted"] + row["missed"] == 8
    assert row["answered"] > 0
    assert 0 < row["engine_ms"]["p50"] < row["latency_ms"]["p50"]
    assert row["rss_mb"]["peak"] >= max(row["rss_series_mb"])
    assert run["about"]["weights_sha256"]
    assert run["about"]["input_sha256"]


def test_the_run_can_be_drawn(run, tmp_path):
    draw_node(run, tmp_path / "node.png")
    assert (tmp_path / "node.png").stat().st_size > 1000
