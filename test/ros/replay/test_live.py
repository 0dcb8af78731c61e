"""The live node, scored while a bag is played into it, agrees with the offline replay."""

import json
import os
import subprocess
import sys

import pytest
from support.bags import START_NS, write_bag
from support.graph import next_domain

from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_ros.replay.replay import Job, Run
from csknet_ros.replay.workers import run_job
from csknet_ros.synchronizer import SyncSettings


@pytest.mark.usefixtures("default_weights")
def test_live_scores_are_those_of_the_offline_replay(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=16, rgb_lost=range(6, 10))
    out, domain = tmp_path / "out", str(next_domain())
    environment = {**os.environ, "ROS_DOMAIN_ID": domain}

    def start(module, *arguments):
        return subprocess.Popen([sys.executable, "-m", module, *map(str, arguments)],
                                env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)  # fmt: skip

    parameters = {"use_sim_time": "true", "input_height": "64", "input_width": "96",
                  "device": "onnx-cpu", "input_reliability": "reliable"}  # fmt: skip
    given = [text for name, value in parameters.items() for text in ("-p", f"{name}:={value}")]
    node = start("csknet_ros.segmentation_node", "--ros-args", *given)
    evaluator = start("csknet_ros.replay.live", "--out", out, "--quiet", "5")
    player = start("csknet_ros.tools.bag_player", bag, "--wait", "60", "--clock", "--rate", "0.3")
    try:
        assert player.wait(120) == 0, player.stdout.read()
        assert evaluator.wait(60) == 0, evaluator.stdout.read()
    finally:
        for process in (node, evaluator, player):
            process.terminate()
    node.wait(30)
    live = json.loads((out / "report.json").read_text())["bags"][0]
    settings = SegmenterSettings(size=(64, 96), device="onnx-cpu")
    offline = run_job(Job(Run("x", settings, SyncSettings()), bag)).to_json()
    lost = [note for note in live["notes"] if "lost on the way" in note]
    assert len(live["frames"]) + len(lost) == 16
    assert len(live["frames"]) >= 14  # discovery may cost the first frames
    expected = {frame["stamp_ns"]: frame for frame in offline["frames"]}
    for frame in live["frames"]:
        # Waiting counts arrival, which is not the bag's.
        for key in ("miou", "primary", "mode", "reason", "stamp_difference_ms"):
            assert frame[key] == expected[frame["stamp_ns"]][key]
        luminances = frame["luminance"], expected[frame["stamp_ns"]]["luminance"]
        assert luminances == (None, None) or abs(luminances[0] - luminances[1]) < 1e-3
    assert live["frames"][-1]["stamp_ns"] == START_NS + 15 * 100_000_000
    assert (out / "report.html").is_file()
