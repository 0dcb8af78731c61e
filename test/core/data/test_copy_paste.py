"""Copy-paste: made-up pairs with a grey background and blocks for objects."""

import cv2
import numpy as np
import pytest

from csknet_core.data.copy_paste import ObjectBank, cut_objects, paste
from csknet_core.data.layouts import open_pairs
from csknet_core.data.samples import list_pairs
from csknet_core.data.transforms import Sample
from csknet_core.errors import DataError

SIZE = (120, 160)
CONE, PERSON = 7, 2


def scene(blocks=(), light=100, heat=0.3, contrast=0.2, size=SIZE):
    """A flat scene with blocks (class, top, left, height, width), brighter and hotter than it."""
    optical = np.full((*size, 3), light, np.uint8)
    thermal = np.full(size, heat, np.float32)
    labels = np.zeros(size, np.uint8)
    for class_id, top, left, height, width in blocks:
        window = np.s_[top : top + height, left : left + width]
        optical[window] = light * 3 // 2
        thermal[window] += np.float32(contrast)
        labels[window] = class_id
    return Sample(optical, thermal, labels)


def write_folder(root, scenes):
    for kind in ("rgb", "thermal", "labels"):
        (root / kind).mkdir(parents=True)
    for index, one in enumerate(scenes):
        cv2.imwrite(str(root / "rgb" / f"{index}.png"), one.optical)
        cv2.imwrite(str(root / "thermal" / f"{index}.png"), np.rint(one.thermal * 255))
        cv2.imwrite(str(root / "labels" / f"{index}.png"), one.labels)
    return open_pairs(root)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_objects_are_the_regions_of_a_class_that_the_frame_does_not_cut():
    found = cut_objects(
        scene([(CONE, 50, 40, 12, 8), (CONE, 50, 90, 12, 8), (PERSON, 30, 0, 40, 10)])
    )
    assert [entry.class_id for entry in found] == [CONE, CONE]
    assert [entry.corner for entry in found] == [(46, 36), (46, 86)]
    assert all(entry.mask.sum() == 12 * 8 for entry in found)
    assert all(entry.optical.shape == (20, 16, 3) for entry in found)


def test_specks_and_unknown_regions_are_no_objects():
    assert cut_objects(scene([(CONE, 50, 40, 5, 5), (255, 20, 20, 30, 30)])) == []


def test_a_pasted_object_has_its_size_label_and_height_and_nothing_else_changes(rng):
    (cone,) = cut_objects(scene([(CONE, 80, 40, 14, 9)]))
    target = scene()
    tops = set()
    for _ in range(40):
        result = paste(cone, target, rng)
        rows, columns = np.nonzero(result.labels == CONE)
        assert np.ptp(rows) == 13
        assert np.ptp(columns) == 8
        assert rows.size == 14 * 9
        tops.add(int(rows.min()))
        changed = (result.optical != target.optical).any(2) | (result.thermal != target.thermal)
        near = cv2.dilate((result.labels == CONE).astype(np.uint8), np.ones((9, 9))) > 0
        assert changed[rows, columns].all()
        assert not changed[~near].any()
    assert min(tops) >= 80 - 7
    assert max(tops) <= 80 + 7
    assert len(tops) > 3
    assert not target.labels.any()
    assert (target.optical == 100).all()


def test_both_images_take_the_level_of_what_is_around(rng):
    (cone,) = cut_objects(scene([(CONE, 50, 40, 20, 20)], light=100, heat=0.3))
    result = paste(cone, scene(light=80, heat=0.6), rng)
    inside = cv2.erode((result.labels == CONE).astype(np.uint8), np.ones((9, 9))) > 0
    assert result.thermal[inside] == pytest.approx(0.8, abs=1e-3)
    assert result.optical[inside] == pytest.approx(120, abs=1)
    assert result.thermal.dtype == np.float32
    assert result.optical.dtype == np.uint8


def test_levels_stay_within_what_images_can_hold(rng):
    (hot,) = cut_objects(scene([(PERSON, 50, 40, 20, 20)], heat=0.1, contrast=0.8))
    result = paste(hot, scene(light=250, heat=0.7), rng)
    assert float(result.thermal.max()) == 1.0
    assert int(result.optical[result.labels == PERSON].min()) >= 240


def test_nothing_is_pasted_where_it_would_hide_an_object(rng):
    (cone,) = cut_objects(scene([(CONE, 50, 40, 12, 8)]))
    crowded = scene([(PERSON, 0, 0, *SIZE)])
    assert (paste(cone, crowded, rng).labels == PERSON).all()


def test_a_bank_takes_the_pairs_it_is_given(tmp_path):
    scenes = [scene([(CONE, 50, 40, 12, 8)]), scene([(PERSON, 30, 60, 30, 10)])]
    folder = write_folder(tmp_path / "pairs", scenes)
    assert len(ObjectBank(list_pairs([folder]))) == 2
    read = []
    assert len(ObjectBank(list_pairs([folder, folder], 1), read.append)) == 2
    assert read == [1, 2]


def test_a_bank_gives_objects_from_light_like_the_targets(tmp_path, rng):
    day = scene([(CONE, 50, 40, 12, 8)], light=120)
    # The one of the night is twice as high, which tells them apart.
    night = scene([(CONE, 50, 40, 24, 8)], light=20)
    bank = ObjectBank(list_pairs([write_folder(tmp_path / "pairs", [day, night])]))
    for light, pixels in ((120, 12 * 8), (20, 24 * 8)):
        for _ in range(10):
            result = bank.paste_into(scene(light=light), rng, most=1)
            assert (result.labels == CONE).sum() == pixels


def test_rare_classes_are_drawn_more_often_than_they_occur(tmp_path, rng):
    many = scene(
        [(PERSON, 10 + 20 * row, 10 + 20 * i, 12, 8) for row in range(4) for i in range(4)]
    )
    folder = write_folder(tmp_path / "pairs", [many, scene([(CONE, 50, 40, 12, 8)])])
    bank = ObjectBank(list_pairs([folder]))
    drawn = [bank.paste_into(scene(), rng, most=1).labels.max() for _ in range(300)]
    assert 0.12 < drawn.count(CONE) / 300 < 0.28  # 1 of 17 objects; by the root 1 of 5


def test_pairs_of_another_size_and_banks_without_objects_leave_samples_alone(tmp_path, rng):
    small = scene(size=(64, 64))
    folder = write_folder(tmp_path / "pairs", [scene([(CONE, 50, 40, 12, 8)])])
    bank = ObjectBank(list_pairs([folder]))
    assert bank.paste_into(small, rng).labels.max() == 0
    empty = ObjectBank(list_pairs([write_folder(tmp_path / "bare", [scene()])]))
    assert empty.paste_into(scene(), rng).labels.max() == 0


def test_a_pair_without_a_live_thermal_pixel_is_named(tmp_path):
    write_folder(tmp_path / "pairs", [scene([(CONE, 50, 40, 12, 8)])])
    dead = np.zeros(SIZE, np.uint16)
    cv2.imwrite(str(tmp_path / "pairs" / "thermal" / "0.png"), dead)
    with pytest.raises(DataError, match=r"thermal/0.png: thermal image"):
        ObjectBank(list_pairs([open_pairs(tmp_path / "pairs")]))
