"""The oracle of the fault campaign, and the short version of the campaign itself."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

pytest.importorskip("rclpy", reason="the fault campaign needs ROS")

from support.graph import next_domain

from benchmarks.faults import archive
from benchmarks.faults.cameras import DARK, GARBAGE, Sent
from benchmarks.faults.campaign import Campaign, Happened
from benchmarks.faults.draw import draw
from benchmarks.faults.oracle import Oracle
from benchmarks.faults.record import LabelMap, Received, Record, Sample, Status
from benchmarks.faults.report import markdown, summarise
from benchmarks.faults.schedule import BY_NAME, FAULTS, LAST, make_schedule
from csknet_core.errors import ConfigError
from csknet_core.modality import Modality
from csknet_ros.frame_status import ANSWERED, DROPPED, FrameStatus

MS = 1_000_000
EPOCH = 1_700_000_000_000 * MS
PERIOD = 100 * MS


def stamp(index):
    return EPOCH + index * PERIOD


def healthy(count=30):
    """Pairs, 10 a second, that were all answered fused, with one fault that did nothing."""
    record = Record(starts=[0])
    for index in range(count):
        at = (index + 1) * PERIOD
        for modality in Modality:
            record.sent.append(Sent(modality, stamp(index), at, picture=index))
            record.received.append(Received(modality, stamp(index), at + MS))
        record.statuses.append(Status(stamp(index), at + 50 * MS, answer(index)))
        record.label_maps.append(label_map(index))
    happened = [Happened("jitter", 1.0, 10 * PERIOD, 15 * PERIOD, (count + 1) * PERIOD)]
    return Campaign(10.0, happened, record)


def answer(index, mode="fused", reason="ok", **changes):
    known = {"optical_stamp_ns": stamp(index), **changes}
    return FrameStatus("thermal", ANSWERED, mode, reason, **known)


def label_map(index, **changes):
    known = {"height": 240, "width": 320, "encoding": "mono8", "largest": 8, **changes}
    return LabelMap(stamp(index), (index + 1) * PERIOD + 50 * MS, **known)


def say(campaign, index, status):
    """Let the node have said something else of a frame."""
    entry = campaign.record.statuses[index]
    campaign.record.statuses[index] = replace(entry, status=status)


def answer_rgb_alone(campaign, *indices):
    """Let the node have answered RGB frames as in thermal silence."""
    for index in indices:
        said = FrameStatus(
            "optical", ANSWERED, "optical_only", "thermal_lost", optical_stamp_ns=stamp(index)
        )
        at = (index + 1) * PERIOD + 50 * MS
        campaign.record.statuses.append(Status(stamp(index), at, said))
        campaign.record.label_maps.append(label_map(index))


def show(campaign, index, modality, quality):
    """Let a camera have sent something else."""
    for place, sent in enumerate(campaign.record.sent):
        if sent.stamp_ns == stamp(index) and sent.modality is modality:
            campaign.record.sent[place] = replace(sent, quality=quality)


def forget(campaign, index, modality):
    """Let the node never have got a message."""
    campaign.record.received = [
        r for r in campaign.record.received
        if r.stamp_ns != stamp(index) or r.modality is not modality
    ]  # fmt: skip


def texts(campaign):
    verdict = Oracle(campaign).judge()
    violations = verdict.unaccounted + verdict.wrong
    return [violation.text.rpartition(": ")[2] for violation in violations]


def test_a_healthy_record_passes():
    summary = summarise(healthy())
    assert summary["problems"] == []
    assert (summary["sent"], summary["received"], summary["answered"]) == (30, 30, 30)
    (row,) = summary["faults"]
    assert (row["fused"], row["dropped"], row["unaccounted"]) == (21, {}, 0)
    # The fault ends with tick 15; the first frame after it is tick 16's, answered 50 ms later.
    assert row["recovery_s"]["longest"] == pytest.approx(0.05)


def test_a_frame_without_a_status_is_unaccounted():
    campaign = healthy()
    del campaign.record.statuses[12], campaign.record.label_maps[12]
    summary = summarise(campaign)
    assert len(summary["unaccounted"]) == 1
    assert summary["faults"][0]["unaccounted"] == 1
    assert "jitter, 0.30 s after it began" in summary["unaccounted"][0]


def test_unless_its_process_was_killed_with_it():
    campaign = healthy()
    del campaign.record.statuses[12], campaign.record.label_maps[12]
    campaign.happened[0] = replace(
        campaign.happened[0], fault="sigkill", began_ns=13 * PERIOD + 5 * MS
    )
    verdict = Oracle(campaign).judge()
    assert verdict.unaccounted == []
    assert [received.stamp_ns for received in verdict.died] == [stamp(12)]


def test_a_second_status_of_a_frame_is_wrong():
    campaign = healthy()
    campaign.record.statuses.append(campaign.record.statuses[3])
    campaign.record.label_maps.append(campaign.record.label_maps[3])
    assert "a status too many" in texts(campaign)


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"width": 319}, r"a label map of \(240, 319\) mono8"),
     ({"encoding": "rgb8"}, "rgb8"),
     ({"largest": 9}, "class 9")],
)  # fmt: skip
def test_a_malformed_label_map_is_wrong(changes, text):
    import re

    campaign = healthy()
    campaign.record.label_maps[4] = label_map(4, **changes)
    assert any(re.search(text, found) for found in texts(campaign))


def test_an_answer_needs_its_label_map_and_a_label_map_its_answer():
    campaign = healthy()
    del campaign.record.label_maps[4]
    assert texts(campaign) == ["0 label maps for 1 answers"]
    campaign = healthy()
    say(campaign, 4, FrameStatus("thermal", DROPPED, "", "superseded"))
    assert texts(campaign) == ["a label map without a status"]


def test_fused_needs_two_good_images_of_one_moment():
    campaign = healthy()
    show(campaign, 5, Modality.OPTICAL, GARBAGE)
    assert "fused with an image that cannot be decoded" in texts(campaign)
    campaign = healthy()
    show(campaign, 5, Modality.OPTICAL, DARK)  # one dark image may pass
    assert texts(campaign) == []
    show(campaign, 6, Modality.OPTICAL, DARK)
    assert texts(campaign) == ["fused with a bad optical image"]
    campaign = healthy()
    say(campaign, 5, answer(5, optical_stamp_ns=stamp(4)))
    found = texts(campaign)
    assert "pair is 100 ms apart" in found
    assert "a nearer RGB image was there already" in found


def test_frozen_images_count_as_bad_from_the_third_repeat():
    campaign = healthy()
    for place, sent in enumerate(campaign.record.sent):
        if sent.modality is Modality.THERMAL and 5 <= sent.picture <= 8:
            campaign.record.sent[place] = replace(sent, picture=5)
    assert texts(campaign) == ["fused with a bad thermal image"]
    say(campaign, 8, answer(8, "optical_only", "thermal_frozen"))
    assert texts(campaign) == []


def test_a_fallback_needs_a_true_reason():
    campaign = healthy()
    say(campaign, 5, answer(5, "thermal_only", "optical_dark"))
    assert texts(campaign) == ["the RGB image was good"]
    say(campaign, 5, answer(5, "thermal_only", "optical_invalid"))
    assert texts(campaign) == ["the RGB message was good"]
    say(campaign, 5, answer(5, "optical_only", "thermal_blank"))
    assert texts(campaign) == ["the thermal image was good"]
    say(campaign, 5, answer(5, "thermal_only", "ok"))
    assert texts(campaign) == ["no reason for this mode"]
    alone = answer(5, "thermal_only", "optical_unpaired", optical_stamp_ns=0, waited_ms=60.0)
    say(campaign, 5, alone)
    assert texts(campaign) == ["a partner was there"]
    forget(campaign, 5, Modality.OPTICAL)
    assert texts(campaign) == []


def test_rgb_must_not_stay_lost_when_it_is_back():
    campaign = healthy()
    lost = answer(9, "thermal_only", "optical_lost", optical_stamp_ns=0)
    say(campaign, 9, lost)
    forget(campaign, 9, Modality.OPTICAL)
    assert texts(campaign) == ["RGB was back"]
    forget(campaign, 8, Modality.OPTICAL)
    say(campaign, 8, answer(8, "thermal_only", "optical_unpaired", optical_stamp_ns=0))
    assert texts(campaign) == []


@pytest.mark.parametrize(
    "reason",
    ["zero_stamp", "duplicate_stamp", "out_of_order", "engine_error", "engine_stuck", "bad_image",
     "no_usable_modality", "inactive", "paused"],
)  # fmt: skip
def test_a_drop_needs_a_true_reason(reason):
    campaign = healthy()
    say(campaign, 5, FrameStatus("thermal", DROPPED, "", reason))
    del campaign.record.label_maps[5]
    assert texts(campaign) == ["not true"]


def test_rgb_is_answered_while_thermal_is_silent():
    campaign = healthy()
    for index in range(10, 25):
        forget(campaign, index, Modality.THERMAL)
    record = campaign.record
    quiet = [s for s in record.statuses if not stamp(10) <= s.stamp_ns < stamp(25)]
    record.label_maps = [m for m in record.label_maps if not stamp(10) <= m.stamp_ns < stamp(25)]
    record.statuses = quiet
    # Frames 20 to 25 came more than a second after the last thermal one, the last of them just
    # before the thermal frame that ends the silence.
    assert texts(campaign) == ["an RGB frame was not answered in thermal silence"] * 6
    answer_rgb_alone(campaign, *range(19, 26))
    assert texts(campaign) == []
    say(campaign, -1, answer(24, "thermal_only", "ok"))
    assert texts(campaign)


@pytest.mark.parametrize(("again", "reason"), [(stamp(9), "duplicate_stamp"), (0, "zero_stamp")])
def test_refused_thermal_messages_are_silence(again, reason):
    """As when the driver repeats its last message, or sends no stamps."""
    campaign = healthy()
    record = campaign.record
    refused = FrameStatus("thermal", DROPPED, "", reason)
    for index in range(10, 25):
        place = next(
            i for i, r in enumerate(record.received)
            if r.stamp_ns == stamp(index) and r.modality is Modality.THERMAL
        )  # fmt: skip
        record.received[place] = replace(record.received[place], stamp_ns=again)
        record.sent.append(Sent(Modality.THERMAL, again, record.received[place].at_ns))
        record.statuses[index] = replace(record.statuses[index], stamp_ns=again, status=refused)
    record.label_maps = [m for m in record.label_maps if not stamp(10) <= m.stamp_ns < stamp(25)]
    assert texts(campaign) == ["an RGB frame was not answered in thermal silence"] * 6
    answer_rgb_alone(campaign, *range(20, 26))
    assert texts(campaign) == []


def test_rgb_without_stamps_cannot_be_answered_in_silence():
    campaign = healthy()
    for index in range(10, 30):
        forget(campaign, index, Modality.THERMAL)
        forget(campaign, index, Modality.OPTICAL)
        at = (index + 1) * PERIOD
        campaign.record.sent.append(Sent(Modality.OPTICAL, 0, at))
        campaign.record.received.append(Received(Modality.OPTICAL, 0, at + MS))
    del campaign.record.statuses[10:], campaign.record.label_maps[10:]
    assert texts(campaign) == []


def test_a_frame_the_node_never_got_cannot_be_answered():
    campaign = healthy()
    forget(campaign, 9, Modality.THERMAL)
    assert texts(campaign) == ["a status too many", "the node never got this frame"]


@pytest.mark.parametrize("reason", ["duplicate_stamp", "out_of_order", "bad_image"])
def test_a_dropped_rgb_frame_is_judged_by_the_rgb_stream(reason):
    """Also where no thermal frame of its stamp ever came."""
    campaign = healthy()
    record = campaign.record
    forget(campaign, 9, Modality.THERMAL)
    del record.statuses[9], record.label_maps[9]
    dropped = FrameStatus("optical", DROPPED, "", reason)
    record.statuses.append(Status(stamp(9), 13 * PERIOD, dropped))
    assert texts(campaign) == ["not true"]
    record.received.append(Received(Modality.OPTICAL, stamp(9), 13 * PERIOD))
    show(campaign, 9, Modality.OPTICAL, GARBAGE)
    assert texts(campaign) == []


def test_a_kept_record_is_judged_as_it_was(tmp_path):
    campaign = healthy()
    campaign.record.samples = [Sample(second * 1000 * MS, 1, 300.0, 1.0) for second in range(20)]
    campaign.record.notes["disk_full"].append("refused: no space")
    del campaign.record.statuses[12]
    archive.save(campaign, tmp_path / "record.json.gz")
    kept = archive.load(tmp_path / "record.json.gz")
    assert kept == campaign
    assert summarise(kept) == summarise(campaign)


def test_a_process_stopped_on_getting_an_rgb_frame_finds_thermal_silent():
    campaign = healthy()
    answer_rgb_alone(campaign, 12)
    assert texts(campaign) == ["thermal was there"]
    stop = Happened("sigstop", 1.0, 13 * PERIOD + 2 * MS, 33 * PERIOD, 40 * PERIOD)
    campaign.happened.append(stop)
    assert texts(campaign) == []


def test_shared_segments_are_not_the_process_s_own_memory():
    campaign = healthy()
    campaign.record.samples = [
        Sample(second * 1000 * MS, 1, 300.0 + second / 10, 0.1 * second, 20.0 + second / 10)
        for second in range(400)
    ]
    memory = summarise(campaign)["memory"]
    assert memory["growth"] == 0
    assert memory["own_mb"] == [280.0, 280.0]
    assert memory["rss_mb"][1] > 330


def test_slow_recovery_and_growing_memory_are_problems():
    campaign = healthy(80)
    for index in range(15, 28):
        say(campaign, index, answer(index, "thermal_only", "optical_dark"))
        show(campaign, index, Modality.OPTICAL, DARK)
    campaign.record.samples = [
        Sample(second * 1000 * MS, 1, 300.0 + second / 10, 0.1 * second) for second in range(400)
    ]
    problems = "\n".join(summarise(campaign)["problems"])
    assert "jitter: recovery took 1.45 s, more than 1.0 s" in problems
    assert "memory grew by 9" in problems


def test_every_fault_happens_in_a_round_and_a_process_lives_long():
    episodes = make_schedule(1200, 3)
    names = [episode.fault.name for episode in episodes]
    first = names[: len(FAULTS)]
    assert set(first) == set(BY_NAME)
    assert tuple(first[-2:]) == LAST
    assert tuple(names[-2:]) == LAST
    assert names.count("sigkill") == 2
    assert names.count("rgb_lost") >= 3
    assert names == [episode.fault.name for episode in make_schedule(1200, 3)]
    assert names != [episode.fault.name for episode in make_schedule(1200, 4)]
    for one, other in pairwise(episodes):
        assert other.start_s == pytest.approx(one.end_s + one.gap_s)
        assert one.gap_s >= one.fault.bound_s
    with pytest.raises(ConfigError, match="gap"):
        make_schedule(10, 0, gap_s=0)


@pytest.mark.usefixtures("default_weights")
def test_a_minute_of_every_fault_leaves_no_frame_unaccounted_and_no_answer_wrong(
    tmp_path, repository
):
    """How long recovery takes is for the long campaign on a quiet machine."""
    command = [
        sys.executable, "-m", "benchmarks.faults", "--out", str(tmp_path), "--minutes", "0.5",
        "--fault-s", "0.5", "0.5", "--gap-s", "0.8", "--domain", str(next_domain()),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=400
    )
    assert (tmp_path / "report.json").is_file(), done.stderr
    summary = json.loads((tmp_path / "report.json").read_text())
    assert summary["episodes"] == len(FAULTS)
    assert summary["unaccounted"] == []
    assert summary["wrong"] == []
    assert summary["deaths"] == 1
    assert summary["notes"]["disk_full"][0].startswith("refused")
    rows = {row["fault"]: row for row in summary["faults"]}
    assert rows["rgb_lost"]["thermal_only"] > 0
    assert rows["thermal_lost"]["optical_only"] > 0
    assert rows["engine_stuck"]["dropped"]["engine_stuck"] == 1
    assert "sigkill" not in markdown(summary)  # people read what happens, not its name
    draw(summary, tmp_path / "again.png")
    assert (tmp_path / "again.png").stat().st_size > 20_000
