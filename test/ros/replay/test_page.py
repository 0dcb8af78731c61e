"""The page: what it says, and that a browser draws it."""

import shutil
import subprocess
from dataclasses import replace

import pytest
from support.bags import write_bag
from support.engines import ThresholdEngine, threshold_segmenter

from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_ros.replay.advice import advise
from csknet_ros.replay.compare import compare
from csknet_ros.replay.faults import Fault
from csknet_ros.replay.page import write_page
from csknet_ros.replay.replay import Job, Run, replay
from csknet_ros.synchronizer import SyncSettings

PLAIN = Run("plain", SegmenterSettings(), SyncSettings())
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def answer(bag, run=PLAIN):
    segmenter = threshold_segmenter(ThresholdEngine())(SegmenterSettings())
    return replay(Job(run, bag), segmenter)


@pytest.fixture
def page(tmp_path):
    bag = write_bag(tmp_path / "drive.mcap", frames=30, rgb_lost=range(10, 20),
                    phases={0: "both <cameras>", 10: "rgb lost"})  # fmt: skip
    runs = [PLAIN, replace(PLAIN, name="with faults", faults=(Fault("drop-rgb", 0, 0.2, 0.6),))]
    results = [answer(bag, run) for run in runs]
    path = tmp_path / "report.html"
    write_page(path, "Replay of drive.mcap", runs, results, compare(results))
    return path


def test_the_page_needs_nothing_else_and_escapes_names(page):
    text = page.read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert "both &lt;cameras&gt;" in text
    assert "with faults" in text
    assert "drop-rgb" in text
    assert "30" in text


def test_a_browser_draws_every_frame_of_the_timelines(page):
    if BROWSER is None:
        pytest.skip("no Chromium to open the page with")
    drawn = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    assert drawn.count('fill="#2e9e5b"') == 20 + 16  # fused frames of the two runs
    assert drawn.count('fill="#e07b1a"') == 10 + 14
    assert "RGB luminance" in drawn


def test_a_stamp_offset_is_advised_with_its_sign(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=20, rgb_shift_ns=-31_000_000)
    (sentence,) = advise(answer(bag), PLAIN)
    assert "sync.thermal_offset to -0.031" in sentence
    # With that offset set, there is nothing to say.
    right = replace(PLAIN, sync=SyncSettings(offset_ns=-31_000_000))
    assert advise(answer(bag, right), right) == []


def test_a_wrong_clock_is_advised_with_what_takes_it_out(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=20, rgb_shift_ns=-5_000_000_000)
    result = answer(bag)
    assert result.sync["clock_difference_ms"] == -5000.0
    (sentence,) = [text for text in advise(result, PLAIN) if text.startswith("RGB was lost")]
    assert (
        "RGB comes, but its stamps are -5000 ms off; set sync.thermal_offset to -5.000" in sentence
    )
    right = replace(PLAIN, sync=SyncSettings(offset_ns=-5_000_000_000))
    assert advise(answer(bag, right), right) == []


def test_rgb_that_is_lost_has_no_clock(tmp_path):
    result = answer(write_bag(tmp_path / "bag.mcap", frames=20, rgb_lost=range(5, 20)))
    assert "clock_difference_ms" not in result.sync
    assert any(text.endswith("of thermal frames.") for text in advise(result, PLAIN))


def test_streams_that_cannot_be_paired_are_advised(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=20, rgb_shift_ns=30_000_000)
    tight = replace(PLAIN, sync=SyncSettings(slop_ns=20_000_000, dropout_after=100))
    sentences = " ".join(advise(answer(bag, tight), tight))
    assert "sync.slop (20 ms)" in sentences


def test_flicker_between_modes_is_advised(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=40)
    faults = tuple(Fault("drop-rgb", 0, 0.8 * k, 0.8 * k + 0.2) for k in range(1, 5))
    run = replace(PLAIN, faults=faults)
    assert any("policy.hold" in sentence for sentence in advise(answer(bag, run), run))


def test_a_partial_result_says_so_on_the_page(tmp_path):
    result = answer(write_bag(tmp_path / "bag.mcap", frames=3))
    result.complete, result.problem = False, "disk full"
    write_page(tmp_path / "p.html", "t", [PLAIN], [result], [])
    text = (tmp_path / "p.html").read_text()
    assert "Partial report" in text
    assert "disk full" in text
