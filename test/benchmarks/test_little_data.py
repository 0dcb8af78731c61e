"""Which unlabelled pairs the comparison on few labels takes."""

import pytest

from benchmarks.little_data.__main__ import APART, keep_apart


def touch(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.fixture
def folders(tmp_path):
    names = ("00480D", "00449D", "00450N", "00600D", "00651D")
    for kind, suffix in (("rgb", "jpg"), ("thermal", "png"), ("boxes", "txt")):
        touch(*(tmp_path / "pairs" / kind / f"{name}.{suffix}" for name in names))
    (tmp_path / "labelled").mkdir()
    (tmp_path / "labelled" / "val.txt").write_text("00500D\n00550D\n01100N\n")
    return tmp_path


def test_pairs_recorded_beside_scored_ones_are_left_out(folders):
    out = folders / "out"
    for _ in range(2):  # as when it is started again
        keep_apart(folders / "pairs", folders / "labelled", 50, out)
    assert (out / f"{APART}.txt").read_text().split() == ["00449D", "00450N", "00651D"]
    assert (out / "boxes" / "00449D.txt").is_file()
    assert (out / "rgb" / "00449D.jpg").is_file()
