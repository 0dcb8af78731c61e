"""The camera node and the demo as processes over real DDS."""

import json
import subprocess
import sys

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from support.graph import stamp_of
from support.listener import Listener

from csknet_core.classes import MFNET, ClassTable
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import save_network
from csknet_ros.images import labels_from_message, optical_from_message, thermal_from_message

SCRIPT = """
seed: 3
size: [64, 96]
phases:
  - {name: day, seconds: 1, expected_mode: fused}
  - {name: lost, seconds: 1, expected_mode: thermal_only, faults: {drop_rgb: true}}
"""


CAMERA = {
    "rgb/image": Image, "thermal/image": Image, "truth/label_map": Image,
    "thermal/camera_info": CameraInfo, "rgb/camera_info": CameraInfo,
}  # fmt: skip


def test_a_drive_is_played_with_its_faults_and_logged(tmp_path):
    (tmp_path / "drive.yaml").write_text(SCRIPT)
    log = tmp_path / "played.jsonl"
    listener = Listener(CAMERA)
    done = listener.run(
        "csknet_ros.tools.camera_node", "--script", str(tmp_path / "drive.yaml"),
        "--rate", "10", "--log", str(log),
    )  # fmt: skip
    got = listener.close()
    assert done.returncode == 0, done.stderr
    played = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["phase"] for entry in played] == ["day"] * 10 + ["lost"] * 10
    stamps = [stamp_of(m.header) for m in got["thermal/image"]]
    assert stamps == [entry["stamp_ns"] for entry in played]
    assert [stamp_of(m.header) for m in got["rgb/image"]] == stamps[:10]
    assert [stamp_of(m.header) for m in got["rgb/camera_info"]] == stamps[:10]
    assert [stamp_of(m.header) for m in got["truth/label_map"]] == stamps
    steps = np.diff(stamps) / 1e6
    assert abs(float(np.median(steps)) - 100) < 20
    assert thermal_from_message(got["thermal/image"][0]).dtype == np.uint16
    assert labels_from_message(got["truth/label_map"][0]).max() <= 8
    assert optical_from_message(got["rgb/image"][0]).shape == (64, 96, 3)
    assert (got["thermal/camera_info"][0].width, got["thermal/camera_info"][0].height) == (96, 64)


def test_nobody_listening_ends_with_the_topics_named(tmp_path):
    (tmp_path / "drive.yaml").write_text(SCRIPT)
    listener = Listener({})
    done = listener.run(
        "csknet_ros.tools.camera_node", "--script", str(tmp_path / "drive.yaml"), "--timeout", "1",
    )  # fmt: skip
    listener.close()
    assert done.returncode == 2
    assert "rgb/image has 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_none_is_an_error_without_traceback(tmp_path):
    listener = Listener({})
    done = listener.run("csknet_ros.tools.camera_node", "--data", str(tmp_path))
    listener.close()
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_accounts_for_every_frame(tmp_path, default_weights):
    done = subprocess.run(
        [sys.executable, "-m", "csknet_ros.tools.demo", "--out", str(tmp_path), "--seconds", "12",
         "--rate", "3"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames_in"] == 36
    assert summary["unaccounted"] == 0, done.stdout
    assert set(summary["modes"]) == {"fused", "thermal_only", "optical_only"}


def test_the_demo_refuses_weights_of_other_classes_at_the_start(tmp_path):
    weights = tmp_path / "mine.safetensors"
    table = ClassTable("mine", MFNET.classes[:3])
    save_network(weights, CSKNet(ModelConfig(len(table), decoder_width=8)), table, {})
    done = subprocess.run(
        [sys.executable, "-m", "csknet_ros.tools.demo", "--out", str(tmp_path / "out"),
         "--seconds", "2", "--weights", str(weights)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = " ".join(done.stdout.split())
    assert done.returncode == 2, said
    assert "answer in the classes background, car, person; the demo draws and scores" in said
    assert "starting the segmentation node" not in said
    assert not (tmp_path / "out").exists()
    assert "Traceback" not in done.stderr


def test_the_demo_says_when_there_are_no_weights():
    done = subprocess.run(
        [sys.executable, "-m", "csknet_ros.tools.demo", "--weights", "[/gone].safetensors"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "[/gone].safetensors" in done.stdout.replace("\n", "")
