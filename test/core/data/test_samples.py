"""Pairs of folders as samples, one after the other."""

import cv2
import numpy as np
import pytest

from csknet_core.data.layouts import open_pairs
from csknet_core.data.samples import list_pairs, read_sample
from csknet_core.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Three pairs, a hot half in every thermal image, without labels."""
    thermal = np.zeros((32, 32), np.uint16)
    thermal[:, 16:] = 3000
    for kind, image in (("rgb", np.full((32, 32, 3), 90, np.uint8)), ("thermal", thermal)):
        (tmp_path / "pairs" / kind).mkdir(parents=True)
        for name in ("a", "b", "c"):
            cv2.imwrite(str(tmp_path / "pairs" / kind / f"{name}.png"), image)
    return open_pairs(tmp_path / "pairs")


def test_the_limit_counts_for_every_folder_of_its_own(folder):
    assert [index for _, index in list_pairs([folder, folder])] == [0, 1, 2, 0, 1, 2]
    assert [index for _, index in list_pairs([folder, folder], 2)] == [0, 1, 0, 1]
    assert len(list_pairs([folder], 9)) == 3


def test_a_pair_without_labels_is_all_unknown(folder):
    sample = read_sample(folder, 1)
    assert sample.labels.shape == (32, 32)
    assert (sample.labels == 255).all()
    assert 0 <= sample.thermal[:, :16].max() < sample.thermal[:, 16:].min() <= 1
    assert (sample.optical == 90).all()


def test_a_pair_without_a_live_thermal_pixel_is_named(folder):
    cv2.imwrite(str(folder.root / "thermal" / "b.png"), np.zeros((32, 32), np.uint16))
    with pytest.raises(DataError, match=r"pairs/thermal/b.png: thermal image has no live pixel"):
        read_sample(folder, 1)
