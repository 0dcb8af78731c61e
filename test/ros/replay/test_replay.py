"""Replaying small bags with a real but cheap engine."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.bags import PERIOD_NS, START_NS, scene, write_bag
from support.engines import PERSON, ThresholdEngine, threshold_segmenter

from csknet_core.errors import DataError, EngineError
from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_ros.replay.faults import Fault
from csknet_ros.replay.messages import Topics
from csknet_ros.replay.replay import Job, Run, replay
from csknet_ros.synchronizer import SyncSettings

RUN = Run("run", SegmenterSettings(), SyncSettings())


def answer(bag, faults=(), engine=None, **job):
    engine = engine or ThresholdEngine()
    segmenter = threshold_segmenter(engine)(SegmenterSettings())
    return replay(Job(replace(RUN, faults=tuple(faults)), Path(bag), **job), segmenter)


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / "bag.mcap", frames=12, rgb_lost=range(4, 8),
                     phases={0: "both", 4: "rgb lost", 8: "back"})  # fmt: skip


def modes(result):
    return [frame.mode for frame in result.frames]


def test_every_thermal_frame_is_answered_in_the_mode_its_cameras_allow(bag):
    result = answer(bag)
    assert result.complete
    assert [frame.stamp_ns for frame in result.frames] == [
        START_NS + index * PERIOD_NS for index in range(12)
    ]
    lost = ["thermal_only"] * 4
    assert modes(result) == ["fused"] * 4 + lost + ["fused"] * 4
    assert result.frames[4].reason == "optical_unpaired"
    assert result.frames[7].reason == "optical_lost"


def test_frames_wait_for_their_partner_in_bag_time(bag):
    result = answer(bag)
    # The first lost frames wait out the bound although the next message is 100 ms away.
    assert result.frames[4].waited_ms == pytest.approx(60.0)
    assert result.frames[7].waited_ms == 0.0


def test_scores_are_those_of_the_label_maps(bag):
    summary = answer(bag).to_json()
    assert summary["modes"]["all"]["scored"] == 12
    assert summary["modes"]["fused"]["miou"] == 1.0
    assert summary["modes"]["all"]["confusion"][PERSON][PERSON] == 12 * 20 * 16
    assert set(summary["phases"]) == {"both", "rgb lost", "back"}
    assert summary["phases"]["rgb lost"]["all"]["frames"] == 4


def test_wrong_answers_lower_the_score_of_their_frame_and_are_shown_first(tmp_path):
    bag = tmp_path / "bag.mcap"
    write_bag(bag, frames=30)
    engine = ThresholdEngine()
    run = engine.run

    def wrong_at_20(mode, optical, thermal):
        labels, confidence = run(mode, optical, thermal)
        return (np.zeros_like(labels) if len(engine.modes) == 21 else labels), confidence

    engine.run = wrong_at_20
    result = answer(bag, engine=engine)
    worst = min(result.frames, key=lambda frame: frame.miou)
    assert worst.stamp_ns == START_NS + 20 * PERIOD_NS
    assert worst.miou == pytest.approx((1 - 320 / (64 * 96)) / 2, abs=1e-6)
    assert result.pictures[0].time_s == pytest.approx(2.0)
    shown = cv2.imdecode(np.frombuffer(result.pictures[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (240, 4 * 320, 3)


def test_the_report_has_the_same_bytes_every_time(bag):
    first, second = (json.dumps(answer(bag).to_json()) for _ in range(2))
    assert first == second


def test_without_labels_fused_is_compared_with_thermal_alone(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=11, labels=False)
    engine = ThresholdEngine()
    result = answer(bag, engine=engine, compare_every=5)
    agreements = [frame.agreement for frame in result.frames]
    assert [a is not None for a in agreements] == [i in (0, 5, 10) for i in range(11)]
    assert agreements[0] == 1.0  # the threshold engine does not look at RGB when fused
    assert "miou" not in result.to_json()["modes"]["fused"]


def test_flips_are_the_share_of_pixels_that_change_label_a_second(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=3)
    result = answer(bag)
    assert result.frames[0].flips is None
    # The person moves by a pixel: 20 rows appear and 20 vanish, in a tenth of a second.
    assert result.frames[1].flips == pytest.approx(40 / (64 * 96) / 0.1)


def test_labels_come_from_a_folder_named_by_stamp(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=4, labels=False)
    folder = tmp_path / "labels"
    folder.mkdir()
    for index in (1, 3):
        cv2.imwrite(str(folder / f"{START_NS + index * PERIOD_NS}.png"), scene(index)[2])
    result = answer(bag, labels=folder)
    assert [frame.miou for frame in result.frames] == [None, 1.0, None, 1.0]


def test_a_folder_without_label_maps_is_refused(tmp_path, bag):
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="STAMP_IN_NANOSECONDS"):
        answer(bag, labels=tmp_path / "labels")


@pytest.mark.parametrize(("size", "value", "reason"), [
    ((10, 10), 0, "label map of another size"),
    ((64, 96), 77, "label map of other classes"),
])  # fmt: skip
def test_labels_that_do_not_fit_are_counted_and_not_scored(tmp_path, size, value, reason):
    bag = write_bag(tmp_path / "bag.mcap", frames=3, labels=False)
    folder = tmp_path / "labels"
    folder.mkdir()
    cv2.imwrite(str(folder / f"{START_NS}.png"), np.full(size, value, np.uint8))
    result = answer(bag, labels=folder)
    assert result.skipped == {reason: 1}
    assert "0.0" in result.notes[0]
    assert len(result.frames) == 3


def test_a_pair_with_an_offset_is_still_scored_and_the_offset_measured(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=5, rgb_shift_ns=20_000_000)
    result = answer(bag)
    assert result.to_json()["stamp_difference_ms"]["median"] == 20.0


@pytest.mark.parametrize("error", [EngineError("out of memory"), ValueError("bad shape")])
def test_whatever_inference_raises_costs_its_frame_only(tmp_path, error):
    bag = write_bag(tmp_path / "bag.mcap", frames=4)
    engine = ThresholdEngine()
    run, errors = engine.run, [error]

    def fail_once(*inputs):
        if errors:
            raise errors.pop()
        return run(*inputs)

    engine.run = fail_once
    result = answer(bag, engine=engine)
    assert [f.reason for f in result.frames] == ["engine_error", "ok", "ok", "ok"]
    assert result.skipped == {"inference failed": 1}


def test_an_interrupt_keeps_what_was_answered(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=8)
    engine = ThresholdEngine()
    run = engine.run

    def interrupted(*arguments):
        if len(engine.modes) == 5:
            raise KeyboardInterrupt
        return run(*arguments)

    engine.run = interrupted
    result = answer(bag, engine=engine)
    assert not result.complete
    assert result.problem == "interrupted"
    assert len(result.frames) == 5


@pytest.mark.parametrize("fault", [
    Fault("drop-rgb", 0, 0.3, 0.8), Fault("darken", 0.0, 0.3, 0.8),
])  # fmt: skip
def test_a_fault_takes_rgb_away_for_its_time_only(tmp_path, fault):
    bag = write_bag(tmp_path / "bag.mcap", frames=14)
    found = modes(answer(bag, [fault]))
    assert found[:3] == ["fused"] * 3
    assert "thermal_only" in found[3:8]
    assert "fused" not in found[5:8]
    assert found[11:] == ["fused"] * 3


def test_a_frozen_thermal_camera_leaves_rgb(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=14)
    found = answer(bag, [Fault("freeze-thermal", 0, 0.3, 1.0)])
    assert modes(found)[7:10] == ["optical_only"] * 3
    assert found.frames[8].reason == "thermal_frozen"
    # Labels go by what the bag recorded, so the frozen frames are scored against their own truth.
    assert found.frames[8].miou is not None


def test_a_clock_jump_and_reordered_and_doubled_messages_lose_no_frame(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=20)
    faults = [Fault("clock-jump", 5.0, 1.0, 9.0), Fault("duplicate", 0, 0.2, 0.5),
              Fault("reorder", 0, 0.6, 0.9)]  # fmt: skip
    result = answer(bag, faults)
    outcomes = [frame.mode or frame.reason for frame in result.frames]
    assert len(outcomes) == 20 + 3  # three thermal frames came twice
    assert outcomes.count("duplicate_stamp") == 3
    assert outcomes.count("out_of_order") >= 1
    assert result.sync["clock_jumps"] >= 1
    assert outcomes[-1] == "fused"


def test_topics_that_are_not_there_are_refused_with_the_candidates(bag):
    with pytest.raises(DataError, match="/thermal/image"):
        answer(bag, topics=Topics(thermal="/lepton/image"))


def test_a_bag_without_an_answer_still_gives_a_result(tmp_path):
    bag = write_bag(tmp_path / "bag.mcap", frames=4)
    result = answer(bag, [Fault("drop-thermal")])
    assert result.complete
    assert result.frames == []
    assert result.to_json()["modes"] == {}
