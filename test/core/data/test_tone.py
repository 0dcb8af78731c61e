"""Tones of thermal images: two made-up cameras that see the same heat, by day and by night."""

import cv2
import numpy as np
import pytest

from csknet_core.data.layouts import open_pairs
from csknet_core.data.tone import ThermalTones, match_tones, matching_steps, write_matched
from csknet_core.errors import ConfigError, DataError

SIZE = (48, 64)


def heat(seed):
    """(H, W) in 0..1, mostly cold."""
    return np.random.default_rng(seed).random(SIZE) ** 3


def bright(value):
    return np.full((*SIZE, 3), value, np.uint8)


def write_set(root, camera, seeds):
    """Pairs by day and by night; `camera` maps heat and whether it is day to grey."""
    for kind in ("rgb", "thermal", "labels"):
        (root / kind).mkdir(parents=True)
    for seed in seeds:
        for name, value in (("D", 120), ("N", 10)):
            image = np.rint(camera(heat(seed), name == "D") * 255).astype(np.uint8)
            cv2.imwrite(str(root / "rgb" / f"{seed}{name}.png"), bright(value))
            cv2.imwrite(str(root / "thermal" / f"{seed}{name}.png"), image)
            cv2.imwrite(str(root / "labels" / f"{seed}{name}.png"), np.full(SIZE, 2, np.uint8))
    (root / "train.txt").write_text("\n".join(f"{s}{t}" for s in seeds for t in "DN"))
    return open_pairs(root)


def flat(values, day):
    """A camera that uses the middle of its range, by night less of it."""
    return 0.3 + values * (0.4 if day else 0.2)


def dark(values, day):
    """A data set whose contrast was enhanced."""
    return values**2


@pytest.fixture
def sets(tmp_path):
    pairs = write_set(tmp_path / "dark", dark, range(4))
    return pairs, write_set(tmp_path / "flat", flat, range(10, 15))


def test_the_same_heat_gets_the_grey_it_has_in_the_other_set(sets):
    own, wanted = (ThermalTones(pairs, neighbours=4) for pairs in sets)
    image = np.rint(dark(heat(99), True) * 255).astype(np.uint8)
    for day, value in ((True, 120), (False, 10)):
        matched = match_tones(bright(value), image, own, wanted)
        assert matched.dtype == np.uint8
        # Heat below 0.06 is one dark grey in the image: nothing tells it apart any more.
        seen = heat(99) > 0.15
        expected = flat(heat(99), day) * 255
        assert np.abs(matched - expected)[seen].max() < 8
        assert np.abs(matched - expected).mean() < 4


def test_hotter_stays_hotter_also_beyond_what_the_set_has_seen(sets):
    own, wanted = (ThermalTones(pairs, neighbours=4) for pairs in sets)
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for source, target in ((own, wanted), (wanted, own)):
        matched = match_tones(bright(120), ramp, source, target).ravel().astype(int)
        assert (np.diff(matched) >= 0).all()
        hottest = int(np.ceil(source.quantiles(bright(120))[-1] * 255))
        beyond = matched[hottest] + np.arange(256 - hottest)
        assert matched[hottest:].tolist() == np.minimum(beyond, 255).tolist()


def test_a_grey_that_many_pixels_share_gets_the_middle_of_their_ranks(tmp_path):
    def bordered(values, day):
        image = flat(values, day)
        image[:, : SIZE[1] // 2] = 100 / 255
        return image

    def even(values, day):
        return np.linspace(0, 1, values.size).reshape(values.shape)

    own, wanted = (
        ThermalTones(write_set(tmp_path / camera.__name__, camera, range(3)), neighbours=3)
        for camera in (bordered, even)
    )
    image = np.rint(bordered(heat(1), True) * 255).astype(np.uint8)
    rank = (image < 100).mean() + (image == 100).mean() / 2
    matched = match_tones(bright(120), image, own, wanted)
    assert matched[0, 0] == pytest.approx(rank * 255, abs=5)


def test_a_set_in_its_own_tones_stays_as_it_is(sets):
    tones = ThermalTones(sets[1], neighbours=4)
    _, image = sets[1].images(0)
    matched = match_tones(bright(120), image, tones, tones)
    assert np.abs(matched.astype(int) - image).max() <= 2


def test_16_bit_images_come_out_as_8_bit(sets):
    own, wanted = (ThermalTones(pairs, neighbours=4) for pairs in sets)
    values = dark(heat(5), True)
    kelvin = (28000 + 3000 * values).astype(np.uint16)
    matched = match_tones(bright(120), kelvin, own, wanted)
    assert matched.dtype == np.uint8
    # Automatic gain control cuts off 1 % at both ends.
    seen = (values > 0.1) & (values < np.quantile(values, 0.98))
    assert np.abs(matched - flat(heat(5), True) * 255)[seen].max() < 12


def test_a_folder_gets_new_thermal_images_and_keeps_the_rest(sets, tmp_path):
    pairs, target = sets
    seen: list[int] = []
    out = tmp_path / "out"
    write_matched(pairs, target, out, seen.append)
    assert seen == list(range(1, matching_steps(pairs, target) + 1))
    written = open_pairs(out, "train")
    assert sorted(written.names) == sorted(pairs.names)
    for index, name in enumerate(written.names):
        before = pairs[pairs.names.index(name)]
        after = written[index]
        assert (after.optical == before.optical).all()
        assert (after.labels == before.labels).all()
        assert after.thermal.min() > 60
    write_matched(pairs, target, out)  # again: nothing is in its way


def test_label_maps_of_any_class_table_are_linked_as_they_are(sets, tmp_path):
    pairs, target = sets
    foreign = np.full(SIZE, 40, np.uint8)  # MFNet's ids end at 8
    cv2.imwrite(str(pairs.root / "labels" / "0D.png"), foreign)
    write_matched(pairs, target, tmp_path / "out")
    assert (cv2.imread(str(tmp_path / "out/labels/0D.png"), cv2.IMREAD_UNCHANGED) == 40).all()


def test_no_other_pairs_are_ever_written_over(sets):
    pairs, target = sets
    for out in (pairs.root, target.root):
        with pytest.raises(ConfigError, match="is not empty"):
            write_matched(pairs, target, out)


def test_an_image_that_cannot_be_used_is_named(sets, tmp_path):
    pairs, target = sets
    dead = np.zeros(SIZE, np.uint16)
    cv2.imwrite(str(target.root / "thermal" / "11N.png"), dead)
    with pytest.raises(DataError, match=r"flat/thermal/11N.png: thermal image has no live pixel"):
        write_matched(pairs, target, tmp_path / "out")


def test_a_damaged_image_is_named(sets, tmp_path):
    pairs, target = sets
    (target.root / "thermal" / "12D.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"12D\.png"):
        write_matched(pairs, target, tmp_path / "out")
