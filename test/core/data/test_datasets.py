import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from csknet_core.data.datasets import read_optical
from csknet_core.data.layouts import open_pairs
from csknet_core.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("rgb", "thermal", "labels"):
        (tmp_path / name).mkdir()
    for index, name in enumerate(("00001D", "00002N", "00003D")):
        rgb = np.full((40, 60, 3), (200, 30 * index, 0), np.uint8)
        cv2.imwrite(str(tmp_path / "rgb" / f"{name}.png"), rgb[..., ::-1])
        cv2.imwrite(str(tmp_path / "thermal" / f"{name}.png"), np.full((40, 60), index, np.uint16))
        cv2.imwrite(str(tmp_path / "labels" / f"{name}.png"), np.full((40, 60), index, np.uint8))
    (tmp_path / "train.txt").write_text("00003D\n00001D\n")
    return tmp_path


def test_a_split_is_read_in_its_order_with_depth_and_colour_kept(folder):
    pairs = open_pairs(folder, "train")
    assert [pairs[i].name for i in range(len(pairs))] == ["00003D", "00001D"]
    assert pairs[0].optical[0, 0].tolist() == [200, 60, 0]
    assert pairs[0].thermal.dtype == np.uint16
    assert pairs[0].labels.max() == 2
    assert len(open_pairs(folder)) == 3


def test_labels_may_be_absent(folder):
    for file in (folder / "labels").iterdir():
        file.unlink()
    pairs = open_pairs(folder)
    assert not pairs.labelled
    assert pairs[0].labels is None


def test_whatever_is_missing_is_named_before_training_starts(folder):
    with pytest.raises(DataError, match=r"test\.txt: no such split; .* has: train"):
        open_pairs(folder, "test")
    (folder / "thermal" / "00001D.png").unlink()
    with pytest.raises(DataError, match=r"thermal/00001D"):
        open_pairs(folder, "train")
    with pytest.raises(DataError, match="no such folder, or not one of pairs"):
        open_pairs(folder / "rgb")


def test_damaged_and_mismatched_files_are_named(folder):
    pairs = open_pairs(folder)
    (folder / "rgb" / "00001D.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError, match=r"00001D\.png: cannot be read"):
        pairs[0]
    cv2.imwrite(str(folder / "thermal" / "00002N.png"), np.zeros((20, 30), np.uint8))
    with pytest.raises(DataError, match=r"00002N\.png: 30x20 pixels"):
        pairs[1]
    cv2.imwrite(str(folder / "labels" / "00003D.png"), np.full((40, 60), 9, np.uint8))
    with pytest.raises(DataError, match=r"00003D\.png: class id 9"):
        pairs[2]


def bomb() -> bytes:
    """A PNG whose header tells of 900 million pixels."""
    data = bytearray(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes())
    data[16:24] = struct.pack(">II", 30_000, 30_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "words"),
    [(bomb(), "more than 67108864"), (b"nothing at all", "cannot be read"), (b"", "cannot be read"),
     (bomb()[:40], "cut short")],
)  # fmt: skip
def test_a_bad_file_is_found_before_a_run(folder, content, words):
    pairs = open_pairs(folder)
    pairs.check()
    (folder / "thermal" / "00002N.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"00002N\.png: .*{words}"):
        pairs.check()


def test_an_orientation_turns_no_image(folder):
    """Thermal images and labels have none."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20] = 200
    (folder / "rgb" / "00001D.png").unlink()
    Image.fromarray(upright).save(folder / "rgb" / "00001D.jpg", exif=exif)
    pairs = open_pairs(folder, "train")
    pairs.check()
    optical = pairs[1].optical
    assert optical.shape == (40, 60, 3)
    assert optical[:18].min() > 150
    assert optical[22:].max() < 50


def test_the_real_pairs_load(mfnet):
    train, val = open_pairs(mfnet, "train"), open_pairs(mfnet, "val")
    assert (len(train), len(val)) == (100, 60)
    assert not set(train.names) & set(val.names)
    pair = val[0]
    assert pair.optical.shape == (480, 640, 3)
    assert pair.thermal.dtype == np.uint8


def test_reading_no_image_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png"):
        read_optical(tmp_path / "gone.png")
