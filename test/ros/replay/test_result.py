"""What a frame's status and its truth say of it, live as in a replay, and the report of both."""

import json

import numpy as np
import pytest
from support.bags import write_bag
from support.engines import PERSON, SIZE, ThresholdEngine, threshold_segmenter

from csknet_core.classes import MFNET
from csknet_core.errors import DataError
from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_ros.frame_status import ANSWERED, DROPPED, FrameStatus
from csknet_ros.replay.replay import Job, Run, replay
from csknet_ros.replay.report import PAGE, REPORT, write_report
from csknet_ros.replay.result import BagResult, Frame
from csknet_ros.synchronizer import SyncSettings

PAIR = {"optical_stamp_ns": 8, "stamp_difference_ms": 1.5, "optical_luminance": 0.25}


@pytest.mark.parametrize(
    ("status", "luminance", "difference"),
    [(FrameStatus("thermal", ANSWERED, "fused", "ok", **PAIR), 0.25, 1.5),
     (FrameStatus("thermal", ANSWERED, "thermal_only", "optical_lost"), None, None),
     (FrameStatus("optical", ANSWERED, "optical_only", "thermal_lost", **{**PAIR,
      "stamp_difference_ms": 0.0}), 0.25, None),
     (FrameStatus("thermal", DROPPED, "", "superseded"), None, None)],
    ids=["pair", "thermal alone", "RGB alone", "dropped"],
)  # fmt: skip
def test_a_frame_is_what_its_status_says(status, luminance, difference):
    frame = Frame.from_status(0.5, 7, status, "night")
    assert (frame.time_s, frame.stamp_ns, frame.phase) == (0.5, 7, "night")
    assert (frame.primary, frame.mode, frame.reason) == (
        status.primary, status.mode, status.reason
    )  # fmt: skip
    assert (frame.luminance, frame.stamp_difference_ms) == (luminance, difference)
    assert (frame.miou, frame.matrix) == (None, None)


def test_a_dropped_frame_keeps_how_long_it_waited():
    status = FrameStatus("thermal", DROPPED, "", "bad_image", waited_ms=60.0)
    assert Frame.from_status(0.0, 7, status).waited_ms == 60.0


def test_a_score_is_over_the_classes_of_the_truth():
    labels = np.zeros(SIZE, np.uint8)
    true = labels.copy()
    true[:32] = PERSON
    frame = Frame(0.0, 7, "thermal", "fused", "ok")
    frame.score(labels, true, len(MFNET))
    assert frame.miou == pytest.approx(0.25)  # background 1/2, person 0
    assert frame.matrix.counts.sum() == labels.size
    frame.score(labels, np.full_like(true, MFNET.ignore_id), len(MFNET))
    assert frame.miou is None
    with pytest.raises(DataError):
        frame.score(labels, true[:1], len(MFNET))


def test_the_report_of_a_live_node_has_the_form_of_a_replays(tmp_path):
    """The same frames give the same numbers, whoever counted them."""
    run = Run("threshold", SegmenterSettings(), SyncSettings())
    segmenter = threshold_segmenter(ThresholdEngine())(run.segmenter)
    replayed = replay(Job(run, write_bag(tmp_path / "bag.mcap")), segmenter)
    live = BagResult("threshold", "live", MFNET, frames=replayed.frames, complete=True)
    reports = []
    for result in (replayed, live):
        out = tmp_path / f"out of {result.bag}"
        out.mkdir()
        assert write_report(out, "a title", [run], [result]) == []
        assert (out / PAGE).is_file()
        reports.append(json.loads((out / REPORT).read_text()))
    assert reports[0]["runs"] == reports[1]["runs"]
    assert reports[0].keys() == reports[1].keys()
    assert reports[0]["bags"][0].keys() == reports[1]["bags"][0].keys()
