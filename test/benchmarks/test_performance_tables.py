"""The tables of docs/performance.md from figures made up by hand."""

import json

import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks.performance.__main__ import DOCUMENT, fill_in, main
from benchmarks.performance.goals import goals_table, usual_over_ours
from benchmarks.tables import show

ABOUT = {"processor": "a CPU", "cores": 2, "python": "3.11", "numpy": "2.0", "commit": "abc",
         "weights": "w", "weights_sha256": "0123456789", "input_sha256": "fedcba98"}  # fmt: skip


def timing(backend, mode, median, speed_up):
    return {"backend": backend, "mode": mode, "median_ms": median, "p95_ms": median + 1,
            "gflops": 100.0, "share_of_ceiling": 0.5, "speed_up": speed_up,
            "agreement": 0.9987}  # fmt: skip


BENCH = {
    "about": ABOUT,
    "timings": [
        timing("onnx-cpu", "fused", 80.0, 4.0), timing("torch-cpu", "fused", 160.0, 2.0),
        timing("onnx-cpu", "thermal_only", 48.0, 3.0),
        timing("torch-cpu", "thermal_only", 60.0, 2.0),
        timing("onnx-int8", "fused", 10.0, 32.0),
    ],
    "multiply_adds": {"fused": 5_580_000_000},
    "ceiling_gflops": 200.0,
    "profile": {"fused": {"convolution 1x1": 60.0, "Resize": 20.0}},
    "absent": {"torch-cuda": "no GPU"},
}  # fmt: skip


def rate(node, hz, answered, p95, over=12.0, missed=0):
    ours = node == "csknet"
    return {
        "node": node, "rate_hz": hz, "frames": 100, "answered": answered,
        "counted": 100 - answered - missed, "missed": missed, "per_second": hz * answered / 100,
        "latency_ms": {"p50": p95 / 2, "p95": p95, "p99": p95},
        "engine_ms": {"p50": 80.0, "p95": 85.0} if ours else {},
        "overhead_ms": {"p50": over, "p95": 31.0} if ours else {}, "cpu_share": 0.5,
    }  # fmt: skip


NODE = {
    "about": ABOUT,
    "rates": [
        rate("csknet", 2.0, 100, 100.0), rate("csknet", 5.0, 100, 110.0),
        rate("csknet", 15.0, 70, 200.0, missed=1), rate("usual", 2.0, 100, 250.0),
        rate("usual", 5.0, 60, 2000.0, missed=40),
    ],
    "start": {"onnx-cpu": {"first_label_s": 2.5, "peak_rss_mb": 460.0, "torch_loaded": False}},
}  # fmt: skip


def goals():
    rows = [line.strip("| ").split(" | ") for line in goals_table(BENCH, NODE).splitlines()[2:]]
    return {row[0]: (row[2], row[3]) for row in rows}


def test_ratios_are_those_of_the_fastest_float_backend():
    found = goals()
    assert found["fused, onnx-cpu, over eager torch"] == ("4.00x", "yes")
    assert found["fused, onnx-int8, over eager torch"] == ("32.00x", "yes")
    assert found["thermal only over fused, time"] == ("0.60", "no")


def test_goals_of_the_node_tell_what_is_met_and_what_is_not():
    found = goals()
    assert found["overhead at 5 Hz, p50"] == ("12.0", "yes")
    assert found["overhead at 5 Hz, p95"] == ("31.0", "no")
    assert found["p95 latency at 15 Hz, above capacity, in engine times"] == ("2.50", "no")
    assert found["frames missed and not counted, all runs"] == ("1", "no")
    assert found["onnx-cpu: first label"] == ("2.50", "yes")
    assert found["onnx-cpu: peak RSS"] == ("460", "no")
    assert found["onnx-cpu: torch loaded"] == ("no", "yes")


def test_growing_memory_is_told():
    memory = {"rss_mb": {"start": 300.0, "end": 330.0}, "missed": 0}
    text = goals_table(BENCH, {**NODE, "memory": memory})
    assert "| growth of memory, above capacity | at most 5 % | 10.0 % | no |" in text


def test_nodes_are_compared_at_the_highest_rate_the_usual_one_holds():
    assert usual_over_ours(NODE) == (2.0, 2.5)
    without = {"rates": [row for row in NODE["rates"] if row["rate_hz"] != 2.0]}
    assert usual_over_ours(without) is None


def test_the_table_of_the_network_names_costs_and_what_was_not_measured():
    text = show(BENCH)
    assert "| torch-cpu | thermal only | 60.0 | 61.0 | 2.00 | 100.0 | 50 % | 99.87 % |" in text
    assert "| fused | convolution 1x1 75 %, Resize 25 % |" in text
    assert "200 GFLOP/s" in text
    assert "fused 5.58" in text
    assert "torch-cuda (no GPU)" in text
    assert "weights 01234567, input fedcba98, commit abc" in text


def test_a_gpu_is_named_and_its_small_share_of_the_ceiling_is_not_rounded_to_nothing():
    fast = {**timing("torch-cuda", "fused", 4.0, 50.0), "share_of_ceiling": 0.0038}
    about = {**ABOUT, "gpu": "a GPU"}
    text = show({**BENCH, "about": about, "timings": [fast], "cuda_ceiling_gflops": 8e5})
    assert "a CPU, 2 cores, a GPU, " in text
    assert "| torch-cuda | fused | 4.0 | 5.0 | 50.00 | 100.0 | 0.4 % |" in text
    assert "of the GPU, in half precision: 800000 GFLOP/s" in text


def test_what_was_not_measured_leaves_its_cell_empty():
    (line,) = [row for row in show(NODE).splitlines() if row.startswith("| usual | 5.0 ")]
    assert line == (
        "| usual | 5.0 | 3.0 | 100 | 60 | 0 | 40 | 1000.0 | 2000.0 | 2000.0 | - | - | - | 0.50 |"
    )


def test_synchronisers_stand_side_by_side():
    outcomes = [{"name": "ours", "paired": 3}, {"name": "theirs", "paired": 2}]
    assert "| paired | 3 | 2 |" in show({"about": ABOUT, "outcomes": outcomes})


def test_tables_replace_what_stands_between_their_marks():
    before = "a\n<!-- x -->\nold\n<!-- end x -->\nb\n<!-- y -->\nkept\n<!-- end y -->\n"
    after = fill_in(before, {"x": r"| \1 new |"})
    assert after == before.replace("old", r"| \1 new |")
    assert fill_in(after, {"x": r"| \1 new |"}) == after


def test_a_missing_mark_is_told():
    with pytest.raises(ValueError, match="<!-- z -->"):
        fill_in("nothing", {"z": "table"})


def test_the_command_fills_in_the_document_of_the_repository(tmp_path):
    for name, data in (("bench", BENCH), ("node", NODE)):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    document = tmp_path / "performance.md"
    document.write_text(DOCUMENT.read_text())
    app = Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [
        "--bench", str(tmp_path / "bench.json"), "--node", str(tmp_path / "node.json"),
        "--gpu-node", str(tmp_path / "node.json"), "--document", str(document),
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    text = document.read_text()
    assert show(BENCH) in text
    assert text.count(show(NODE)) == 2
    assert goals_table(BENCH, NODE) in text
    for name in ("forms", "synchronizer"):
        assert f"<!-- {name} -->" in text
