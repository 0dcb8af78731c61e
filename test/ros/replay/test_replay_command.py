"""`csknet replay` and `csknet make-bag` as a user calls them."""

import json
import subprocess
import sys

import pytest
from support.bags import write_bag
from typer.testing import CliRunner

from csknet_core.errors import ConfigError, CsknetError
from csknet_core.evaluation.evaluator import answers
from csknet_core.evaluation.metrics import ConfusionMatrix
from csknet_core.modality import Mode
from csknet_core.runtime.backends import open_engine
from csknet_ros.cli import app
from csknet_ros.tools.sources import FolderSource

pytestmark = pytest.mark.usefixtures("default_weights")


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text("/**: {ros__parameters: {input_height: 64, input_width: 96, device: onnx-cpu}}")
    return path


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, CsknetError):
        raise result.exception
    return result


def test_a_bag_becomes_a_report_in_one_command(tmp_path, params):
    bag = write_bag(tmp_path / "bag.mcap", frames=6)
    out = tmp_path / "out"
    result = run("replay", bag, "--out", out, "--params", params,
                 "--write-bag", tmp_path / "answers.mcap")  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert report["complete"]
    assert report["runs"]["small"]["thermal_frames"] == 6
    assert (out / "report.html").stat().st_size > 5000
    assert (tmp_path / "answers.mcap").is_file()
    assert "frames_per_s" in (out / "timing.json").read_text()


def test_faults_are_compared_with_the_bag_as_it_is(tmp_path, params):
    bag = write_bag(tmp_path / "bag.mcap", frames=10)
    run("replay", bag, "--out", tmp_path / "out", "--params", params,
        "--fault", "drop-rgb:0.3-0.7")  # fmt: skip
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [entry["run"] for entry in report["bags"]] == ["small", "small, with faults"]
    assert report["bags"][1]["modes"]["thermal_only"]["frames"] == 4
    assert report["comparisons"][0]["frames"] == 10


def test_a_second_bag_that_is_damaged_makes_the_report_partial(tmp_path, params):
    good = write_bag(tmp_path / "good.mcap", frames=3)
    bad = tmp_path / "bad.mcap"
    bad.write_bytes(b"not a bag")
    result = run("replay", good, bad, "--out", tmp_path / "out", "--params", params)
    assert result.exit_code == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert not report["complete"]
    assert report["bags"][0]["answered"] == 3


@pytest.mark.parametrize(("options", "message"), [
    (["--rgb", "/gone"], "/gone"),
    (["--fault", "rain"], "rain"),
    (["--params", "/gone.yaml"], r"gone\.yaml"),
    (["--weights", "/gone.safetensors"], "gone"),
])  # fmt: skip
def test_mistakes_are_named(tmp_path, options, message):
    bag = write_bag(tmp_path / "bag.mcap", frames=1)
    with pytest.raises(CsknetError, match=message):
        run("replay", bag, "--out", tmp_path / "out", *options)


@pytest.mark.parametrize("text", [
    "[]", "/**: {parameters: {}}", "/**: {ros__parameters: {sync: {slopp: 1}}}",
    "/**: {ros__parameters: {sync: {slop: wide}}}", "{", "/**: {ros__parameters: {threads: 1.5}}",
])  # fmt: skip
def test_parameter_files_that_cannot_be_used_are_named(tmp_path, text):
    bag = write_bag(tmp_path / "bag.mcap", frames=1)
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"p\.yaml"):
        run("replay", bag, "--out", tmp_path / "out", "--params", tmp_path / "p.yaml")


def test_a_rendered_drive_becomes_a_bag(tmp_path):
    result = run("make-bag", tmp_path / "drive.mcap", "--seconds", "1", "--rate", "2")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "drive.mcap").is_file()


def test_a_bag_of_real_pairs_scores_as_csknet_eval_does(tmp_path, mfnet, default_weights):
    size = (96, 128)
    params = tmp_path / "params.yaml"
    params.write_text("/**: {ros__parameters: {input_height: 96, input_width: 128, "
                      "device: onnx-cpu}}")  # fmt: skip
    run("make-bag", tmp_path / "real.mcap", "--data", mfnet, "--seconds", "15", "--rate", "2")
    run("replay", tmp_path / "real.mcap", "--out", tmp_path / "out", "--params", params)
    found = json.loads((tmp_path / "out" / "report.json").read_text())["bags"][0]
    assert set(found["modes"]) == {"all", "fused", "thermal_only"}
    engine = open_engine(default_weights, size, "onnx-cpu")
    expected = {"fused": ConfusionMatrix(9), "thermal_only": ConfusionMatrix(9)}
    source = FolderSource(mfnet)
    for index, frame in enumerate(found["frames"]):
        pair = source._pairs[index]
        labels, _ = answers(engine, pair)[Mode(frame["mode"])]
        expected[frame["mode"]].update(labels, pair.labels)
    for mode, matrix in expected.items():
        assert found["modes"][mode]["miou"] == pytest.approx(matrix.miou(), abs=1e-6)


def test_the_other_commands_do_without_the_packages_bags_need():
    code = (
        "import sys, importlib.abc\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('rosbags', 'jinja2', 'matplotlib', 'rclpy'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import csknet_ros.cli\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
