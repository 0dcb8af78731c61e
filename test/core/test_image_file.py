"""Images are in the file they were to be in, or an error names it."""

import os

import numpy as np
import pytest

from csknet_core.data.datasets import read_optical, read_thermal
from csknet_core.errors import DataError
from csknet_core.image_file import encode_image, write_image

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_images_are_read_as_they_were_written(tmp_path, depth):
    write_image(tmp_path / "rgb.png", RGB)
    assert np.array_equal(read_optical(tmp_path / "rgb.png"), RGB)
    grey = np.random.default_rng(1).integers(0, np.iinfo(depth).max, (40, 60), depth)
    write_image(tmp_path / "grey.png", grey)
    read = read_thermal(tmp_path / "grey.png")
    assert read.dtype == depth
    assert np.array_equal(read, grey)


@pytest.mark.parametrize("name", ["out.gone", "out", "out.txt"])
def test_a_format_that_is_not_known_is_named(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name}: no image can be written as '.*'; use \.png"):
        write_image(tmp_path / name, RGB)
    assert not (tmp_path / name).exists()


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name, words in (("gone/a.png", "No such file"), ("folder.png", "Is a directory")):
        with pytest.raises(DataError, match=rf"{name}: cannot be written \({words}.*space"):
            write_image(tmp_path / name, RGB)


def test_a_disk_without_space_is_told(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    (tmp_path / "a.png").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"a\.png: cannot be written \(No space left"):
        write_image(tmp_path / "a.png", RGB)


def test_an_empty_image_is_no_crash():
    with pytest.raises(DataError, match=r"use \.png"):
        encode_image(np.zeros((0, 4), np.uint8), ".png")
