"""Debug bundles: what is in them, and what happens where they cannot be written."""

import errno
import json
import resource
import shutil
import signal
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.engines import PERSON, ThresholdEngine, threshold_segmenter

from csknet_core.classes import MFNET
from csknet_core.errors import ConfigError
from csknet_core.modality import Reason
from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_ros import bundle
from csknet_ros.bundle import BundleError, BundleSettings, Recorder, write_bundle
from csknet_ros.decoding import Decoded
from csknet_ros.frame_status import FrameStatus
from csknet_ros.parameter_file import read_parameter_file
from csknet_ros.parameters import BY_NAME, build_settings

rng = np.random.default_rng(0)


def recorded(frames: int = 2, thermal_type: type = np.uint16) -> Recorder:
    recorder = Recorder(frames)
    segmenter = threshold_segmenter(ThresholdEngine())(SegmenterSettings())
    for stamp in (1, 2, 3):
        optical = rng.integers(80, 160, (64, 96, 3), np.uint8)
        thermal = rng.integers(29000, 29100, (64, 96)).astype(np.uint16)
        thermal[16:32, 16:48] += 1200
        images = Decoded(optical, thermal.astype(thermal_type), Reason.OK)
        shot = recorder.decoded(stamp, images)
        shot.answer = segmenter.segment(optical, thermal)
        recorder.decided(stamp, FrameStatus("thermal", "answered", "fused", "ok", total_ms=4.5))
    return recorder


def write(directory: Path, recorder: Recorder) -> Path:
    values = {name: parameter.default for name, parameter in BY_NAME.items()}
    values["policy.dark_enter"] = 0.021
    settings = BundleSettings(str(directory))
    return write_bundle(settings, recorder, values, {"engine": "threshold-cpu"}, MFNET)


def test_the_bundle_holds_the_last_frames_exactly(tmp_path):
    recorder = recorded()
    folder = write(tmp_path, recorder)
    assert folder.parent == tmp_path
    shots, _ = recorder.last()
    assert [shot.stamp_ns for shot in shots] == [2, 3]
    assert len(list(folder.glob("*.png"))) == 10
    for index, shot in enumerate(shots):
        start = folder / f"{index:03d}_{shot.stamp_ns:020d}"
        read = {
            name: cv2.imread(f"{start}_{name}.png", cv2.IMREAD_UNCHANGED)
            for name in ("rgb", "thermal", "labels", "confidence", "overlay")
        }
        assert (read["rgb"][..., ::-1] == shot.images.optical).all()
        assert read["thermal"].dtype == np.uint16
        assert (read["thermal"] == shot.images.thermal).all()
        assert (read["labels"][16:32, 16:48] == PERSON).all()
        assert (read["confidence"] == 200).all()
        assert read["overlay"].shape == (64, 96, 3)


def test_two_frames_of_one_stamp_are_both_kept(tmp_path):
    """RGB answered alone, then the thermal frame that ends the silence."""
    recorder, image = Recorder(), np.zeros((64, 96), np.uint8)
    recorder.decoded(7, Decoded(np.dstack([image] * 3), None, Reason.THERMAL_LOST))
    recorder.decoded(7, Decoded(None, image, Reason.OPTICAL_UNPAIRED))
    files = {path.name for path in write(tmp_path, recorder).glob("*.png")}
    assert files == {f"000_{7:020d}_rgb.png", f"001_{7:020d}_thermal.png"}


def test_float_thermal_images_keep_their_values(tmp_path):
    recorder = recorded(1, np.float32)
    folder = write(tmp_path, recorder)
    (file,) = folder.glob("*_thermal.npy")
    assert (np.load(file) == recorder.last()[0][0].images.thermal).all()


def test_the_parameters_can_be_given_to_the_node_again(tmp_path):
    values = read_parameter_file(write(tmp_path, recorded()) / "parameters.yaml")
    assert set(values) == set(BY_NAME)
    assert build_settings(values).segmenter.policy.optical_dark_enter == 0.021


def test_decisions_and_versions_are_listed(tmp_path):
    folder = write(tmp_path, recorded())
    decisions = json.loads((folder / "decisions.json").read_text())
    assert [(d["stamp_ns"], d["mode"], d["total_ms"]) for d in decisions] == [
        (stamp, "fused", 4.5) for stamp in (1, 2, 3)
    ]
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["numpy"] == np.__version__
    assert versions["engine"] == "threshold-cpu"


def test_only_the_nodes_user_may_read_it(tmp_path):
    assert stat.S_IMODE(write(tmp_path, recorded()).stat().st_mode) == 0o700


def test_two_bundles_do_not_share_a_directory(tmp_path):
    recorder = recorded()
    assert write(tmp_path, recorder) != write(tmp_path, recorder)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "directory", ["", "bundles", "../bundles", "/tmp/../etc", "~/../other", "~other/x", "/a\0b"]
)
def test_directories_that_are_relative_or_climb_are_refused(directory):
    with pytest.raises(ConfigError, match=r"capture\.directory"):
        build_settings({"capture.directory": directory})


def test_the_home_directory_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert write(Path("~/bundles"), recorded()).parent == tmp_path / "bundles"


def test_a_write_the_system_refuses_half_way_leaves_nothing_behind(tmp_path):
    """A real failure of write(2): the limit on the size of files, met by the images."""
    recorder = Recorder(1)
    noise = rng.integers(0, 255, (200, 200, 3), np.uint8)
    recorder.decoded(1, Decoded(noise, None, Reason.THERMAL_LOST))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(BundleError, match="File too large"):
            write(tmp_path, recorder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(bundle, "LEAST_FREE_BYTES", usage.total + 1)
    with pytest.raises(BundleError, match=r"No space left.*capture\.directory"):
        write(tmp_path, recorded())
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_of_the_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match=str(tmp_path / "file")):
        write(tmp_path / "file", recorded())


def test_disk_full_while_writing_is_told_as_such(tmp_path, monkeypatch):
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle.os, "fsync", full)
    with pytest.raises(BundleError, match="No space left on device"):
        write(tmp_path, recorded())
    assert not list(tmp_path.iterdir())
