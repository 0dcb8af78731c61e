"""The command line as a user runs it."""

import json
import re
import subprocess
import sys
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from csknet_core.classes import MFNET
from csknet_core.cli import app
from csknet_core.data.layouts import open_pairs
from csknet_core.data.synthetic import Drive
from csknet_core.errors import ConfigError, DataError
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import save_network
from csknet_core.runtime import register
from csknet_core.runtime.preprocess import normalize_still
from csknet_core.runtime.register import Estimate
from csknet_core.runtime.registration import Homography
from csknet_core.weights.files import read_info


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
        arguments += [f"--{kind}", str(pairs / kind / "1D.png")]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert mode in done.stdout
    labels = cv2.imread(str(tmp_path / "label_map.png"), cv2.IMREAD_UNCHANGED)
    assert (labels.shape, labels.dtype) == ((128, 160), np.uint8)
    assert cv2.imread(str(tmp_path / "overlay.png")).shape == (128, 160, 3)


@pytest.mark.parametrize(
    ("command", "picture"),
    [("predict", "label_map"), ("predict", "overlay"), ("pseudo-label", "labels/1D")],
)
def test_a_picture_that_is_not_written_is_not_taken_for_one(
    pairs, tmp_path, default_weights, command, picture
):
    (tmp_path / f"{picture}.png").mkdir(parents=True)
    (tmp_path / "made_from").write_text(str(pairs))  # as after an earlier run
    given = {
        "predict": ("--thermal", pairs / "thermal" / "1D.png", "--device", "torch-cpu"),
        "pseudo-label": ("--data", pairs, "--weights", default_weights),
    }
    arguments = (command, *given[command], "--out", tmp_path, "--size", 64, 64)
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert isinstance(done.exception, DataError), (done.exception, done.output)
    assert str(done.exception).startswith(f"{tmp_path / picture}.png: cannot be written")


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


def refusal(*arguments: object) -> str:
    """Return what a command says that is refused."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert isinstance(done.exception, ConfigError), (done.exception, done.output)
    return str(done.exception)


WRITTEN = {
    ("average", "one", "two", "--out"): ".safetensors",
    ("calibrate", "--data", "gone", "--out"): ".safetensors",
    ("calibrate-policy", "--data", "gone", "--json"): "",
    ("calibrate-policy", "--data", "gone", "--png"): ".png",
    ("register", "--data", "gone", "--out"): "",
    ("register", "--data", "gone", "--out", "x.yaml", "--png"): ".png",
    ("bench", "--json"): "",
    ("bench", "--png"): ".png",
}


@pytest.mark.parametrize(("arguments", "suffix"), WRITTEN.items())
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    tmp_path, monkeypatch, arguments, suffix
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    target = tmp_path / "a_file" / f"out{suffix}"
    message = refusal(*arguments, target)
    assert message.startswith(f"{target}: ")
    assert "cannot be made" in message


@pytest.mark.parametrize(("arguments", "suffix"), [item for item in WRITTEN.items() if item[1]])
@pytest.mark.parametrize("name", ["out", "out.gone"])
def test_a_name_that_nothing_can_be_written_to_or_read_from_is_refused_before_the_work(
    tmp_path, monkeypatch, arguments, suffix, name
):
    monkeypatch.chdir(tmp_path)
    message = f"{tmp_path / name}: give the file a name that ends in {suffix}"
    assert refusal(*arguments, tmp_path / name) == message


@pytest.mark.parametrize("command", ["train", "predict", "export", "pseudo-label", "match-tones"])
def test_a_folder_that_cannot_be_made_is_refused_before_the_work(
    pairs, tmp_path, default_weights, command
):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: a\n")
    given = {
        "train": (recipe,),
        "predict": ("--thermal", pairs / "thermal" / "1D.png"),
        "export": (),
        "pseudo-label": ("--data", pairs, "--weights", default_weights),
        "match-tones": ("--data", pairs, "--to", pairs, "--to-split", ""),
    }
    (tmp_path / "a_file").touch()
    for target in (tmp_path / "a_file", tmp_path / "a_file" / "out"):
        assert refusal(command, *given[command], "--out", target).startswith(f"{target}: ")


@pytest.mark.parametrize("command", ["export", "bench", "calibrate"])
def test_a_size_the_network_cannot_take_is_refused(pairs, tmp_path, default_weights, command):
    given = {
        "export": ("--out", tmp_path),
        "bench": (),
        "calibrate": ("--data", pairs, "--split", "", "--out", tmp_path / "out.safetensors"),
    }
    assert "100x100" in refusal(command, *given[command], "--size", 100, 100)


def test_labels_and_thermal_images_in_other_tones_are_folders_to_train_from(
    pairs, tmp_path, default_weights
):
    labelled, matched, other = (tmp_path / name for name in ("labelled", "matched", "other"))
    for kind in ("rgb", "thermal"):
        (other / kind).mkdir(parents=True)
        image = cv2.imread(str(pairs / kind / "1D.png"), cv2.IMREAD_UNCHANGED)
        if kind == "thermal":
            image = (normalize_still(image) * 127).astype(np.uint8)
        cv2.imwrite(str(other / kind / "1D.png"), image)
    (other / "train.txt").write_text("1D")
    steps = (
        ("pseudo-label", "--data", pairs, "--weights", default_weights, "--size", 64, 64,
         "--out", labelled),
        ("match-tones", "--data", labelled, "--split", "one", "--to", other, "--out", matched),
    )  # fmt: skip
    for step in steps:
        done = CliRunner().invoke(app, list(map(str, step)))
        assert done.exit_code == 0, done.output
        if step[0] == "pseudo-label":
            (labelled / "one.txt").write_text("1D\n")
    before, after = open_pairs(labelled, "one"), open_pairs(matched)
    assert before.names == after.names == ["1D"]
    assert (before[0].labels == after[0].labels).all()
    thermal = normalize_still(before[0].thermal) * 255
    assert np.abs(thermal / 2 - after[0].thermal).mean() < 2


def test_a_picture_without_its_package_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install matplotlib" in refusal("bench", "--png", tmp_path / "bench.png")


def test_calibrating_twice_adds_the_shifts_up(pairs, tmp_path):
    torch.manual_seed(0)
    paths = [tmp_path / f"{name}.safetensors" for name in ("plain", "once", "twice")]
    save_network(paths[0], CSKNet(ModelConfig(len(MFNET), decoder_width=8)), MFNET, {"data": "x"})
    for source, target in pairwise(paths):
        done = CliRunner().invoke(
            app,
            ["calibrate", "--data", str(pairs), "--split", "", "--size", "64", "64", "--weights",
             str(source), "--out", str(target), "--shift", "person:-0.5"],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    assert read_info(paths[1]).card["shifts"] == {"person": -0.5}
    assert read_info(paths[2]).card == {
        "data": "x", "shifts": {"person": -1.0}, "calibrated_on": f"{pairs.name}/",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--points p.yaml --png check.png", "--png: .* without --data"),
        ("--points p.yaml --split val --most 9", "--split, --most: .* without --data"),
        ("--data pairs --depth 10", "--depth: .* without --calibration"),
        ("--data pairs --ground 1 0 0 --extrinsics 0 0 0 0 0 0 1", "--extrinsics, --ground: "),
        ("--points p.yaml --calibration a.yaml b.yaml", "--points and --calibration: "),
        ("--points p.yaml --data pairs", "--data: .* give --png"),
        ("--calibration a.yaml b.yaml --extrinsics 0 0 0 0 0 0 1 --data pairs", "--data: "),
    ],
)
def test_register_refuses_options_that_would_change_nothing(options, words):
    """Even one that is given its default was meant to do something."""
    assert re.match(words, refusal("register", "--out", "cameras.yaml", *options.split()))


@pytest.mark.parametrize("way", ["points", "calibration"])
def test_register_draws_pairs_whichever_way_it_knows_the_cameras(pairs, tmp_path, way):
    camera = {
        "image_width": 160, "image_height": 128, "camera_matrix": {"data": [99, 0, 80, 0, 99, 64]},
        "distortion_coefficients": {"data": []},
    }  # fmt: skip
    corners = [[[x, y], [x, y]] for x in (0, 159) for y in (0, 127)]
    points = {"thermal_size": [128, 160], "optical_size": [128, 160], "points": corners}
    file, png = tmp_path / "in.yaml", tmp_path / "check.png"
    file.write_text(json.dumps(camera if way == "calibration" else points))
    options = {
        "points": ["--points", file],
        "calibration": ["--calibration", file, file, "--extrinsics", *"0000001", "--depth", "8"],
    }
    done = CliRunner().invoke(
        app,
        ["register", "--out", str(tmp_path / "out.yaml"), *map(str, options[way]), "--data",
         str(pairs), "--png", str(png)],
    )  # fmt: skip
    assert done.exit_code == 0, (done.exception, done.output)
    assert cv2.imread(str(png)) is not None


def test_register_says_how_well_it_knows_the_cameras(pairs, tmp_path, monkeypatch):
    found = Estimate(Homography(np.eye(3), (4, 4), (4, 4)), 1.5, 0.4321)
    monkeypatch.setattr(register, "estimate_from_pairs", lambda *_: found)
    done = CliRunner().invoke(
        app, ["register", "--data", str(pairs), "--out", str(tmp_path / "cameras.yaml")]
    )
    assert "about 1.5 RGB pixels, edges correlate by 0.43" in " ".join(done.output.split())
