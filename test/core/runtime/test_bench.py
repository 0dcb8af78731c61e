"""The arithmetic of the benchmark, and one tiny real run of it."""

import json

import pytest
from typer.testing import CliRunner

from csknet_core.cli import app
from csknet_core.errors import EngineError
from csknet_core.modality import Mode
from csknet_core.runtime import machine
from csknet_core.runtime.bench import (
    EAGER,
    Bench,
    Timing,
    count_multiply_adds,
    measure_torch_ceiling,
    run_bench,
)
from csknet_core.runtime.machine import describe_machine
from csknet_core.runtime.profile import cost_by_operator

SIZE = (64, 96)


@pytest.fixture
def bench():
    timings = [Timing("fast", Mode.FUSED, [10.0, 20.0, 30.0]), Timing(EAGER, Mode.FUSED, [80.0])]
    return Bench(timings, {Mode.FUSED: 2_000_000_000}, 400e9, {}, {"size": [64, 96]})


def test_rates_count_a_multiply_add_as_two_operations(bench):
    fast = bench.timings[0]
    assert fast.median == 20.0
    assert fast.p95 == pytest.approx(29.0)
    assert bench.gigaflops(fast) == pytest.approx(200.0)  # 4e9 operations in 20 ms
    assert bench.ceiling_gigaflops == pytest.approx(800.0)
    row = bench.to_json()["timings"][0]
    assert row["speed_up"] == 4.0
    assert row["share_of_ceiling"] == 0.25


def test_backends_on_the_gpu_are_held_against_its_own_ceiling():
    timings = [Timing("torch-cuda", Mode.FUSED, [1.0]), Timing("torch-cpu", Mode.FUSED, [10.0])]
    bench = Bench(timings, {Mode.FUSED: 1_000_000_000}, 200e9, {}, {}, cuda_ceiling=100e12)
    shares = [row["share_of_ceiling"] for row in bench.to_json()["timings"]]
    assert shares == [0.01, 0.5]  # 1e12 of 100e12, 100e9 of 200e9


def test_a_matrix_product_in_torch_has_a_rate():
    assert measure_torch_ceiling("cpu", half=False, side=256, tries=3) > 1e8


def test_a_backend_that_was_not_measured_has_no_timing(bench):
    with pytest.raises(KeyError):
        bench.timing("fast", Mode.THERMAL_ONLY)


def test_thermal_alone_costs_less_than_half_the_multiply_adds(default_weights):
    counts = count_multiply_adds(default_weights, SIZE)
    assert counts[Mode.THERMAL_ONLY] < 0.5 * counts[Mode.FUSED]
    assert counts[Mode.THERMAL_ONLY] == counts[Mode.OPTICAL_ONLY]


def test_every_backend_is_measured_in_every_mode_or_named_as_absent(default_weights):
    done = []
    bench = run_bench(default_weights, SIZE, ("onnx-cpu", "torch-cpu", "torch-cuda"), 2,
                      progress=lambda n, total: done.append((n, total)))  # fmt: skip
    measured = {(t.backend, t.mode) for t in bench.timings if len(t.rounds) == 2}
    expected = {"onnx-cpu", "torch-cpu", EAGER} | ({"torch-cuda"} - set(bench.absent))
    assert measured == {(backend, mode) for backend in expected for mode in Mode}
    assert done == [(1, 2), (2, 2)]
    agreement = {(t.backend, t.mode): t.agreement for t in bench.timings}
    assert {agreement[EAGER, mode] for mode in Mode} == {1.0}
    assert min(agreement.values()) > 0.98
    assert bench.ceiling > 1e9


def test_without_any_backend_the_reasons_are_given(default_weights):
    with pytest.raises(EngineError, match="CUDA"):
        run_bench(default_weights, SIZE, ("onnx-cuda",), 1)


def test_the_command_writes_figures_and_a_picture(tmp_path, default_weights):
    out, png = tmp_path / "bench.json", tmp_path / "bench.png"
    result = CliRunner().invoke(app, [
        "bench", "--size", "64", "96", "--rounds", "1", "--device", "onnx-cpu", "--profile",
        "--json", str(out), "--png", str(png),
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())
    assert {row["mode"] for row in figures["timings"]} == {mode.value for mode in Mode}
    assert figures["about"]["weights_sha256"]
    assert set(figures["profile"]) == {mode.value for mode in Mode}
    assert any("convolution" in kind for kind in figures["profile"]["fused"])
    assert png.stat().st_size > 1000


def test_a_measurement_says_what_it_was_made_on():
    about = describe_machine()
    assert about["cores"] >= 1
    assert about["processor"]
    assert about["numpy"]


def test_gpus_are_named_as_their_driver_lists_them(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_GPUS", tmp_path / "gpus")
    assert "gpu" not in machine.describe_machine()
    for bus, model in (("0000:01:00.0", "NVIDIA A"), ("0000:02:00.0", "NVIDIA B")):
        file = tmp_path / "gpus" / bus / "information"
        file.parent.mkdir(parents=True)
        file.write_text(f"Model: \t\t {model}\nIRQ:   \t\t 17\n")
    assert machine.describe_machine()["gpu"] == "NVIDIA A, NVIDIA B"


def test_the_profile_names_operators_by_what_they_cost_a_frame():
    def event(name, operator, microseconds, weight=(8, 4, 1, 1)):
        shapes = [{"float": [1, 4, 6, 6]}, {"float": list(weight)}]
        arguments = {"op_name": operator, "input_type_shape": shapes}
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds,
                "args": arguments}  # fmt: skip

    costs = cost_by_operator([
        {"cat": "Session", "name": "model_run", "dur": 9e6, "args": {}},
        *(event("a", "FusedConv", t) for t in (9000, 1000, 3000)),
        *(event("b", "Conv", t) for t in (9000, 500, 500)),
        *(event("c", "Conv", t, (8, 1, 3, 3)) for t in (9000, 4000, 2000)),
        *(event("d", "Resize", t) for t in (9000, 700, 900)),
    ], skip=1)  # fmt: skip
    assert costs == {
        "convolution 3x3, depthwise": 3.0, "convolution 1x1": 2.5, "Resize": 0.8,
    }  # fmt: skip
    assert list(costs) == ["convolution 3x3, depthwise", "convolution 1x1", "Resize"]
