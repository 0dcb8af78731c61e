"""The command line as a user runs it."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from csknet_core.data.synthetic import Drive


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "csknet_core.cli", *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder of two rendered pairs."""
    root = tmp_path_factory.mktemp("pairs")
    for name in ("rgb", "thermal", "labels"):
        (root / name).mkdir()
    for name, frame in zip(("1D", "2N"), Drive(2, (128, 160), 2, 1), strict=True):
        cv2.imwrite(str(root / "rgb" / f"{name}.png"), frame.optical[..., ::-1])
        cv2.imwrite(str(root / "thermal" / f"{name}.png"), frame.thermal)
        cv2.imwrite(str(root / "labels" / f"{name}.png"), frame.labels)
    return root


def test_eval_scores_every_mode(pairs, tmp_path, default_weights):
    file = tmp_path / "new" / "scores.json"
    done = run(
        "eval", "--data", str(pairs), "--split", "", "--device", "torch-cpu",
        "--size", "128", "160", "--json", str(file), "--html", str(tmp_path / "page.html"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = json.loads(file.read_text())
    for mode in ("fused", "thermal_only", "optical_only"):
        assert 0 < scores[mode]["miou"] < 1
        assert {"miou", "per_class", "day", "night", "ece", "boundary_iou"} <= set(scores[mode])
    assert scores["weights"] == "csknet-lite0.safetensors"
    assert "person" in done.stdout
    assert "csknet-lite0 on pairs" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("inside", ["", "a_file/page"])
def test_eval_refuses_a_target_it_cannot_write_before_it_scores(tmp_path, option, inside):
    (tmp_path / "a_file").touch()
    target = tmp_path / inside
    done = run("eval", "--data", "nowhere", option, str(target))
    assert done.returncode == 2
    assert done.stderr.startswith(f"csknet: {target}: ")


@pytest.mark.parametrize(
    ("inputs", "mode"),
    [(("rgb", "thermal"), "fused"), (("thermal",), "thermal_only"), (("rgb",), "optical_only")],
)
def test_predict_takes_what_there_is(pairs, tmp_path, inputs, mode, default_weights):
    arguments = ["predict", "--out", str(tmp_path), "--device", "torch-cpu"]
    arguments += ["--size", "128", "160"]
    for kind in inputs:
        flag = "--optical" if kind == "rgb" else "--thermal"
        arguments += [flag, str(pairs / kind / "1D.png")]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert mode in done.stdout
    labels = cv2.imread(str(tmp_path / "label_map.png"), cv2.IMREAD_UNCHANGED)
    assert (labels.shape, labels.dtype) == ((128, 160), np.uint8)
    assert cv2.imread(str(tmp_path / "overlay.png")).shape == (128, 160, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "--data", "nowhere"),
        ("eval", "--data", "nowhere", "--weights", "gone.safetensors"),
        ("predict", "--out", "x"),
        ("train", "gone.yaml", "--out", "x"),
        ("export", "--out", "x", "--weights", "gone"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(arguments, default_weights):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("csknet: ")
    assert "Traceback" not in done.stderr


def test_calibrate_policy_names_parameters_of_the_node(pairs, tmp_path, default_weights):
    file = tmp_path / "curve.json"
    done = run(
        "calibrate-policy", "--data", str(pairs), "--split", "", "--device", "torch-cpu",
        "--size", "128", "160", "--json", str(file),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(json.loads(file.read_text())) == {"bins", "threshold"}
    table = pytest.importorskip("csknet_ros.parameters").BY_NAME
    named = [word.rstrip(":") for word in done.stdout.split() if word.startswith("policy.")]
    assert all(name in table for name in named)
