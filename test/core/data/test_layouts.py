"""Every layout against a tiny copy of it."""

import cv2
import numpy as np
import pytest

from csknet_core.classes import FMB, MFNET, MVSS, PST900
from csknet_core.data.layouts import open_pairs
from csknet_core.errors import DataError

SIZE = (24, 32)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def grey(value, dtype=np.uint8):
    return np.full(SIZE, value, dtype)


def colour(red):
    return cv2.merge([grey(0), grey(0), grey(red)])  # OpenCV writes BGR


def make_plain(root):
    for index, name in enumerate(("1D", "2N")):
        write(root / "rgb" / f"{name}.jpg", colour(200))
        write(root / "thermal" / f"{name}.png", grey(30000 + index, np.uint16))
        write(root / "labels" / f"{name}.png", grey(index))
    (root / "val.txt").write_text("2N\n")
    return "val", ["2N"], ["1D", "2N"], MFNET


def make_mfnet(root):
    for index, name in enumerate(("00001D", "00002N")):
        write(root / "images" / f"{name}.png", cv2.merge([colour(200), grey(60 + index)]))
        write(root / "labels" / f"{name}.png", grey(index))
    (root / "test_night.txt").write_text("00002N\n")
    return "test_night", ["00002N"], ["00001D", "00002N"], MFNET


def make_split_folders(optical, thermal, labels, table):
    def make(root):
        for split, name in (("test", "b"), ("train", "a")):
            write(root / split / optical / f"{name}.png", colour(200))
            write(root / split / thermal / f"{name}.png", grey(60))
            write(root / split / labels / f"{name}.png", grey(len(table) - 1))
        return "train", ["a"], ["test/b", "train/a"], table

    return make


def make_mvss(root):
    for video in ("night_3", "walk_1"):
        for frame in ("00236", "00237"):
            write(root / "data" / video / "visible" / f"{frame}v.jpg", colour(200))
            write(root / "data" / video / "infrared" / f"{frame}i.jpg", grey(60))
        write(root / "data" / video / "label" / "00237l.png", grey(25))
    (root / "train.txt").write_text("walk_1\n")
    return "train", ["walk_1/00237"], ["night_3/00237", "walk_1/00237"], MVSS


LAYOUTS = {
    "plain": make_plain,
    "mfnet": make_mfnet,
    "msrs": make_split_folders("vi", "ir", "Segmentation_labels", MFNET),
    "fmb": make_split_folders("Visible", "Infrared", "Label", FMB),
    "pst900": make_split_folders("rgb", "thermal", "labels", PST900),
    "mvss": make_mvss,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_and_read(tmp_path, layout):
    split, names, all_names, table = LAYOUTS[layout](tmp_path)
    pairs = open_pairs(tmp_path, split)
    assert pairs.names == names
    assert open_pairs(tmp_path).names == all_names
    assert open_pairs(tmp_path, split, layout=layout).names == names
    assert pairs.classes == table
    assert pairs.labelled
    pair = pairs[0]
    assert pair.optical.shape == (*SIZE, 3)
    assert (abs(pair.optical[0, 0].astype(int) - (200, 0, 0)) < 8).all()
    assert pair.thermal.shape == pair.labels.shape == SIZE
    assert 50 < pair.thermal.mean() < 70 or pair.thermal.dtype == np.uint16
    done = []
    open_pairs(tmp_path).check(done.append)
    assert done == [1, 2]


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "plain"])
def test_a_data_set_refuses_another_class_table(tmp_path, layout):
    _, _, _, table = LAYOUTS[layout](tmp_path)
    other = FMB if table is not FMB else MFNET
    with pytest.raises(DataError, match=f"table '{table.name}', not of '{other.name}'"):
        open_pairs(tmp_path, "", other)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_unknown_split_lists_what_there_is(tmp_path, layout):
    split, *_ = LAYOUTS[layout](tmp_path)
    with pytest.raises(DataError, match=rf"no such split; .* has: .*{split}"):
        open_pairs(tmp_path, "minival")


@pytest.mark.parametrize(
    ("layout", "kind"),
    [
        ("plain", "thermal"),
        ("mfnet", "labels"),
        ("msrs", "train/ir"),
        ("mvss", "data/walk_1/infrared"),
    ],
)
def test_a_missing_file_is_named(tmp_path, layout, kind):
    LAYOUTS[layout](tmp_path)
    for file in sorted((tmp_path / kind).iterdir())[1 if layout == "mvss" else 0 :][:1]:
        file.unlink()
    if kind == "train/ir":
        write(tmp_path / kind / "other.png", grey(0))
    with pytest.raises(DataError, match=f"{kind}.*missing"):
        open_pairs(tmp_path)


def test_a_split_has_one_name_a_line_which_may_have_spaces(tmp_path):
    for name in ("yard 1", "yard 2"):
        write(tmp_path / "rgb" / f"{name}.png", colour(200))
        write(tmp_path / "thermal" / f"{name}.png", grey(60))
    (tmp_path / "val.txt").write_text("\r\n  yard 2\t\r\n\r\nyard 1")
    assert open_pairs(tmp_path, "val").names == ["yard 2", "yard 1"]


def test_a_split_that_names_an_absent_pair_is_an_error(tmp_path):
    make_plain(tmp_path)
    (tmp_path / "val.txt").write_text("2N\n3D\n")
    with pytest.raises(DataError, match=r"rgb/3D.*missing"):
        open_pairs(tmp_path, "val")


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("thermal/2N.png", np.zeros((5, 6), np.uint8), r"2N\.png: 6x5 pixels, .* 32x24"),
        ("labels/2N.png", grey(9), r"2N\.png: class id 9"),
        ("rgb/2N.jpg", None, r"2N\.jpg: cannot be read"),
    ],
)
def test_a_check_finds_the_bad_file_before_it_is_needed(tmp_path, name, image, words):
    make_plain(tmp_path)
    if image is None:
        (tmp_path / name).write_bytes(b"not an image")
    else:
        write(tmp_path / name, image)
    with pytest.raises(DataError, match=words):
        open_pairs(tmp_path).check()


def test_a_thermal_channel_that_is_not_there_is_named(tmp_path):
    make_mfnet(tmp_path)
    write(tmp_path / "images" / "00001D.png", colour(200))
    with pytest.raises(DataError, match=r"00001D\.png: no channel 3"):
        open_pairs(tmp_path)[0]


def test_a_folder_of_something_else_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"plain: rgb, thermal; mfnet: images"):
        open_pairs(tmp_path)
    with pytest.raises(DataError, match="layout 'coco' is unknown; use auto, plain"):
        open_pairs(tmp_path, layout="coco")
