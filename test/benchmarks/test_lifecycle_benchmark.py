"""The lifecycle benchmark: its sums, and a tiny real run of it."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="the lifecycle benchmark needs ROS")

from support.graph import next_domain

from benchmarks.lifecycle.__main__ import _growth


def test_growth_is_of_the_last_tenth_over_the_second():
    series = [100.0] * 10 + [200.0] * 10 + [150.0] * 70 + [210.0] * 10
    growth = _growth(series)
    assert (growth["early_mb"], growth["late_mb"], growth["growth"]) == (200.0, 210.0, 0.05)


@pytest.mark.usefixtures("default_weights")
def test_cycles_and_changes_leave_a_node_that_answers(tmp_path, repository):
    """How much memory grows is for the long run; so short a one is all warming up."""
    command = [
        sys.executable, "-m", "benchmarks.lifecycle", "--out", str(tmp_path), "--cycles", "5",
        "--changes", "50", "--domain", str(next_domain()),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (tmp_path / "lifecycle.json").is_file(), done.stderr
    summary = json.loads((tmp_path / "lifecycle.json").read_text())
    assert summary["exit_code"] == 0
    assert len(summary["cycles"]["series_mb"]) == 5
    assert (summary["changes"]["accepted"], summary["changes"]["refused"]) == (35, 15)
    assert summary["changes"]["last_answer"] == "fused"
    assert (tmp_path / "lifecycle.png").stat().st_size > 10_000
    assert "Traceback" not in (tmp_path / "node.log").read_text()
