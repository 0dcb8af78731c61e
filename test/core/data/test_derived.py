"""Folders made from pairs: nothing that was there before is ever written over."""

import cv2
import numpy as np
import pytest

from csknet_core.data.derived import DerivedFolder
from csknet_core.data.layouts import open_pairs
from csknet_core.errors import ConfigError


def write_pairs(root, names="ab"):
    for kind in ("rgb", "thermal"):
        (root / kind).mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(root / "rgb" / f"{name}.jpg"), np.zeros((8, 8, 3), np.uint8))
        cv2.imwrite(str(root / "thermal" / f"{name}.png"), np.full((8, 8), 9, np.uint8))
    (root / "train.txt").write_text("b\na\n")
    (root / "val.txt").write_text("c\n")
    return open_pairs(root)


@pytest.fixture
def pairs(tmp_path):
    return write_pairs(tmp_path / "pairs")


def test_files_are_linked_and_lists_cut_to_the_pairs(pairs, tmp_path):
    one = open_pairs(pairs.root, "train")
    folder = DerivedFolder(tmp_path / "out", one)
    for name in one.names[:1]:
        for kind in ("rgb", "thermal", "labels", "boxes"):
            folder.link(kind, name)
    one.names.remove("a")
    folder.write_lists()
    made = open_pairs(tmp_path / "out", "train")
    assert made.names == ["b"]
    assert (tmp_path / "out" / "rgb" / "b.jpg").resolve() == pairs.root / "rgb" / "b.jpg"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "rgb", "thermal", "train.txt", "made_from",
    }  # fmt: skip


def test_a_new_file_takes_the_place_of_a_link_and_not_of_what_it_leads_to(pairs, tmp_path):
    folder = DerivedFolder(tmp_path / "out", pairs)
    folder.link("thermal", "a")
    folder.new_file("thermal", "a").write_bytes(b"new")
    assert (pairs.root / "thermal" / "a.png").read_bytes() != b"new"


def test_the_same_pairs_may_be_worked_on_again(pairs, tmp_path):
    for _ in range(2):
        folder = DerivedFolder(tmp_path / "out", pairs)
        folder.link("rgb", "a")
        folder.new_file("thermal", "a").touch()


def test_a_folder_with_anything_else_in_it_is_refused_and_stays_as_it_is(pairs, tmp_path):
    other = write_pairs(tmp_path / "other")
    DerivedFolder(tmp_path / "of_other", other)
    for root in (pairs.root, other.root, tmp_path / "of_other"):
        before = sorted(root.rglob("*"))
        with pytest.raises(ConfigError, match=r"is not empty, nor made from .*pairs before"):
            DerivedFolder(root, pairs)
        assert sorted(root.rglob("*")) == before


def test_a_name_that_begins_anothers_does_not_link_that_ones_files(tmp_path):
    pairs = write_pairs(tmp_path / "pairs", ("a", "a.b"))
    DerivedFolder(tmp_path / "out", pairs).link("rgb", "a")
    assert [file.name for file in (tmp_path / "out" / "rgb").iterdir()] == ["a.jpg"]
