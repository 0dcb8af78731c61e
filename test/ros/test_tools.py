"""Camera faults, scripts, accounting and reports, without a graph."""

import json

import numpy as np
import pytest

from csknet_core.errors import ConfigError, DataError
from csknet_core.modality import Mode
from csknet_ros.frame_status import ANSWERED, DROPPED, FrameStatus
from csknet_ros.tools.camera_node import Prepared
from csknet_ros.tools.faults import FaultInjector, Faults
from csknet_ros.tools.recorder import Recording
from csknet_ros.tools.report import (
    PAGE,
    SHEET,
    SUMMARY,
    TIMELINE,
    VIDEO,
    contact_sheet,
    write_report,
    write_video,
)
from csknet_ros.tools.script import Phase, Script, load_script, real_pairs_script
from csknet_ros.tools.sources import SourceFrame
from csknet_ros.tools.summary import PlayedFrame, failures, outcome_of, summarize

RGB = np.full((4, 6, 3), 100, np.uint8)


def thermal(value: int) -> np.ndarray:
    return np.full((4, 6), value, np.uint16)


def test_no_fault_changes_nothing():
    frame = FaultInjector().apply(RGB, thermal(1), Faults())
    assert frame.optical is RGB
    assert frame.thermal[0, 0] == 1
    assert frame.optical_shift_ns == 0


def test_cameras_can_be_dropped_and_darkened():
    injector = FaultInjector()
    assert injector.apply(RGB, thermal(1), Faults(drop_rgb=True)).optical is None
    assert injector.apply(RGB, thermal(1), Faults(drop_thermal=True)).thermal is None
    assert injector.apply(RGB, thermal(1), Faults(darken=0.25)).optical.max() == 25
    assert RGB.max() == 100


def test_a_frozen_camera_repeats_its_last_image_and_then_goes_on():
    injector = FaultInjector()
    shown = [
        injector.apply(RGB, thermal(n), Faults(freeze_thermal=n in (3, 4))).thermal[0, 0]
        for n in range(1, 7)
    ]
    assert shown == [1, 2, 2, 2, 5, 6]


def test_offset_and_jitter_move_rgb_stamps():
    injector = FaultInjector(seed=1)
    assert injector.apply(RGB, thermal(1), Faults(offset_ms=7)).optical_shift_ns == 7_000_000
    shifts = [
        injector.apply(RGB, thermal(1), Faults(jitter_ms=5)).optical_shift_ns for _ in range(100)
    ]
    assert -5_000_000 <= min(shifts) < -3_000_000
    assert 3_000_000 < max(shifts) <= 5_000_000


def test_the_shipped_script_goes_through_every_mode(repository):
    script = load_script(repository / "config/drives/day_to_night.yaml")
    assert [phase.name for phase in script.phases] == [
        "day", "dusk", "night", "rgb lost", "rgb back", "thermal frozen", "recovery",
    ]  # fmt: skip
    assert {phase.expected_mode for phase in script.phases} == set(Mode)
    assert script.scaled(9).seconds == pytest.approx(9)
    assert script.daylight_at(0) == 1.0
    assert script.daylight_at(13.5) == 0.0
    assert script.phase_at(13.0).name == "night"
    assert script.phase_at(1e9).name == "recovery"


def test_real_pairs_lose_rgb_in_the_middle_third():
    script = real_pairs_script(9)
    assert [phase.faults.drop_rgb for phase in script.phases] == [False, True, False]
    assert script.phase_at(3.0).expected_mode is Mode.THERMAL_ONLY


@pytest.mark.parametrize(
    "text",
    ["", "phases: []", "phases: [{name: a}]",
     "phases: [{name: a, seconds: 0, expected_mode: fused}]",
     "phases: [{name: a, seconds: 1, expected_mode: both}]",
     "phases: [{name: a, seconds: 1, expected_mode: fused, light: 3}]",
     "phases: [{name: a, seconds: 1, expected_mode: fused, faults: {explode: true}}]", "a: ["],
)  # fmt: skip
def test_malformed_scripts_name_the_file(tmp_path, text):
    file = tmp_path / "drive.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"drive\.yaml"):
        load_script(file)


SCRIPT = Script((Phase("light", 1, Mode.FUSED), Phase("dark", 1, Mode.THERMAL_ONLY)))


def recorded() -> tuple[Recording, list[PlayedFrame]]:
    """Ten frames: 0-4 in "light" and 5-9 in "dark", with every kind of outcome."""
    recording = Recording()
    played = [
        PlayedFrame(1_000_000_000 + index, "light" if index < 5 else "dark") for index in range(10)
    ]
    rng = np.random.default_rng(0)
    for index, frame in enumerate(played):
        stamp = frame.stamp_ns
        truth = rng.integers(0, 3, (24, 32)).astype(np.uint8)
        mode = Mode.FUSED if index < 6 else Mode.THERMAL_ONLY
        recording.optical[stamp] = rng.integers(0, 255, (24, 32, 3), np.uint8)
        recording.thermal[stamp] = rng.integers(28000, 31000, (24, 32)).astype(np.uint16)
        recording.truth[stamp] = truth
        if index == 3:
            recording.statuses[stamp] = [FrameStatus("thermal", DROPPED, "", "superseded")]
            continue
        if index == 4:
            continue
        recording.statuses[stamp] = [
            FrameStatus("thermal", ANSWERED, mode.value, "ok", optical_luminance=0.3,
                        hardware_id="threshold-cpu")
        ]  # fmt: skip
        recording.answers[stamp] = 1
        recording.received_ns[stamp] = stamp + (index + 1) * 1_000_000
        recording.label_maps[stamp] = truth if index < 5 else np.zeros_like(truth)
    return recording, played


def test_every_frame_has_exactly_one_outcome():
    recording, played = recorded()
    outcomes = [outcome_of(recording, frame.stamp_ns) for frame in played]
    assert outcomes == ["out"] * 3 + ["dropped", "lost"] + ["out"] * 5
    first = played[0].stamp_ns
    recording.answers[first] = 2
    assert outcome_of(recording, first) == "unaccounted"
    recording.answers[first] = 0
    assert outcome_of(recording, first) == "unaccounted"
    recording.answers[played[4].stamp_ns] = 1
    assert outcome_of(recording, played[4].stamp_ns) == "unaccounted"


def test_answers_in_a_silent_thermal_cameras_place_are_not_held_against_it():
    recording, played = recorded()
    late = played[0].stamp_ns  # its RGB frame was answered before the thermal frame came
    recording.answers[late] = 2
    recording.optical_answers[late] = 1
    recording.answers[7] = recording.optical_answers[7] = 1  # thermal never came
    assert outcome_of(recording, late) == "out"
    assert summarize(recording, played, SCRIPT, "rmw_test")["unaccounted"] == 0


def test_a_label_map_with_nobodys_stamp_is_unaccounted():
    recording, played = recorded()
    recording.answers[7] = 1
    assert summarize(recording, played, SCRIPT, "rmw_test")["unaccounted"] == 1


def test_the_summary_adds_up():
    recording, played = recorded()
    summary = summarize(recording, played, SCRIPT, "rmw_test")
    assert summary["frames_in"] == 10
    assert (summary["frames_out"], summary["lost"], summary["unaccounted"]) == (8, 1, 0)
    assert summary["dropped"] == {"superseded": 1}
    assert summary["modes"] == {"fused": 4, "thermal_only": 4}
    light, dark = summary["phases"]
    assert (light["share_in_expected_mode"], light["miou"]) == (1.0, 1.0)
    assert dark["share_in_expected_mode"] == 0.8
    assert dark["miou"] == pytest.approx(1 / 9, abs=0.02)
    assert summary["latency_ms"]["p50"] == 6.5
    assert (summary["rmw"], summary["backend"]) == ("rmw_test", "threshold-cpu")
    assert not failures(summary)


def test_a_truth_of_other_classes_is_an_error_and_not_left_out():
    recording, played = recorded()
    recording.truth[played[0].stamp_ns][0, 0] = 12
    with pytest.raises(DataError, match="ground truth id 12 is not below 9"):
        summarize(recording, played, SCRIPT, "rmw_test")


def test_a_truth_on_another_grid_is_left_out():
    recording, played = recorded()
    for frame in played[:3]:
        recording.truth[frame.stamp_ns] = np.zeros((2, 2), np.uint8)
    light, dark = summarize(recording, played, SCRIPT, "rmw_test")["phases"]
    assert (light["miou"], dark["frames"]) == (None, 5)


def test_a_run_fails_when_frames_or_modes_are_wrong():
    recording, played = recorded()
    summary = summarize(recording, played, SCRIPT, "rmw_test")
    assert "1 frame(s) unaccounted" in failures({**summary, "unaccounted": 1})[0]
    wrong = Script((Phase("light", 1, Mode.OPTICAL_ONLY), SCRIPT.phases[1]))
    problems = failures(summarize(recording, played, wrong, "rmw_test"))
    assert problems == ["phase 'light' was in optical_only for only 0%"]
    assert failures(summarize(Recording(), played, SCRIPT, "rmw_test")) == [
        "no frame was answered", "phase 'light' got no answer", "phase 'dark' got no answer",
    ]  # fmt: skip


def test_a_phase_without_any_answer_fails_the_run():
    recording, played = recorded()
    for frame in played[5:]:
        recording.answers[frame.stamp_ns] = 0
        recording.statuses[frame.stamp_ns] = [FrameStatus("thermal", DROPPED, "", "superseded")]
    summary = summarize(recording, played, SCRIPT, "rmw_test")
    assert failures(summary) == ["phase 'dark' got no answer"]


def test_the_sheet_shows_answered_frames_where_there_are_any():
    recording, played = recorded()
    for frame in played[:2]:  # of "light", only 2 to 4 are left, and 2 is the only answer
        recording.answers[frame.stamp_ns] = 0
        del recording.statuses[frame.stamp_ns]
    for stamp in recording.label_maps:
        recording.overlay[stamp] = np.full((48, 64, 3), 255 if stamp == played[2].stamp_ns else 0,
                                           np.uint8)  # fmt: skip
    sheet = contact_sheet(recording, played, SCRIPT)
    shown = [sheet[26 + 240 * row + 100, 2 * 320 + 160, 0] for row in range(2)]
    assert shown == [255, 255]


def test_an_unwritable_video_names_the_file(tmp_path):
    with pytest.raises(DataError, match=r"gone.overlay\.webm"):
        write_video(tmp_path / "gone" / "overlay.webm", Recording(), [], 5.0)


class Broken:
    """A source whose second frame fails in a way nobody foresaw."""

    def __len__(self) -> int:
        return 5

    def frame(self, index: int) -> SourceFrame:
        if index:
            raise RuntimeError("unforeseen")
        return SourceFrame(RGB, thermal(1), None)


class Log:
    def get_logger(self):
        return self

    def info(self, text: str) -> None:
        pass


def test_a_source_that_breaks_does_not_leave_the_player_waiting():
    frames = Prepared(Broken())
    frames.fill(Log())
    player = iter(frames)
    assert next(player).thermal[0, 0] == 1
    with pytest.raises(RuntimeError, match="unforeseen"):
        next(player)


class Endless:
    def __len__(self) -> int:
        return 10_000

    def frame(self, index: int) -> SourceFrame:
        return SourceFrame(RGB, thermal(1), None)


def test_preparing_can_be_stopped_while_the_queue_is_full():
    frames = Prepared(Endless())
    frames.fill(Log())
    frames.stop()
    assert not frames._thread.is_alive()


def test_the_report_is_whole_and_its_pictures_open(tmp_path):
    import cv2

    recording, played = recorded()
    summary = summarize(recording, played, SCRIPT, "rmw_test")
    write_report(tmp_path, recording, played, SCRIPT, summary, 5.0, "a <test>")
    assert json.loads((tmp_path / SUMMARY).read_text()) == summary
    assert cv2.imread(str(tmp_path / SHEET)).shape == (26 + 4 * 240, 4 * 320 + 160, 3)
    assert cv2.imread(str(tmp_path / TIMELINE)) is not None
    video = cv2.VideoCapture(str(tmp_path / VIDEO))
    frames = 0
    while video.read()[0]:
        frames += 1
    assert frames == 10
    page = (tmp_path / PAGE).read_text()
    assert "a &lt;test&gt;" in page
    assert page.count("data:image/png;base64,") == 2
    assert "data:video/webm;base64," in page
    assert 'src="/' not in page
