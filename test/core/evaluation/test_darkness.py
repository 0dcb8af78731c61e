import cv2
import numpy as np
import pytest
from support.engines import PERSON, SIZE, ThresholdEngine

from csknet_core.data.layouts import open_pairs
from csknet_core.evaluation.darkness import Bin, draw_study, find_crossing, study_darkness
from csknet_core.modality import Mode


def bins(*rows):
    return [Bin(luminance, 10, fused, thermal) for luminance, fused, thermal in rows]


def test_the_crossing_lies_between_the_bins_where_the_better_mode_changes():
    curve = bins((0.4, 0.6, 0.4), (0.04, 0.5, 0.4), (0.0004, 0.1, 0.4))
    # From +0.1 to -0.3 over two decades: a quarter of the way down from 0.04.
    assert find_crossing(curve) == pytest.approx(0.04 * 10**-0.5)
    assert find_crossing(curve[::-1]) == find_crossing(curve)


def test_a_mode_that_is_always_better_gives_the_ends():
    assert find_crossing(bins((0.4, 0.6, 0.4), (0.01, 0.5, 0.4))) == 0
    assert find_crossing(bins((0.4, 0.3, 0.4), (0.01, 0.2, 0.4))) == 0.4
    assert find_crossing([]) == 0


def test_a_fused_win_below_the_crossing_moves_it_there():
    curve = bins((0.4, 0.6, 0.4), (0.1, 0.3, 0.4), (0.01, 0.5, 0.4))
    assert find_crossing(curve) == 0


class BlindInTheDark(ThresholdEngine):
    """Fused sees people in thermal as long as RGB is not dark."""

    def run(self, mode, optical, thermal):
        if mode is Mode.FUSED and optical.mean() < 20:
            return np.zeros(SIZE, np.uint8), np.full(SIZE, 200, np.uint8)
        labels, confidence = super().run(mode, optical, thermal)
        if mode is Mode.THERMAL_ONLY:
            labels[0] = 0  # thermal alone is a little worse
        return labels, confidence


@pytest.fixture
def pairs(tmp_path):
    for kind in ("rgb", "thermal", "labels"):
        (tmp_path / kind).mkdir()
    warm = np.zeros(SIZE, np.uint8)
    warm[:, :30] = 255
    for index in range(6):
        name = f"{index}.png"
        cv2.imwrite(str(tmp_path / "rgb" / name), np.full((*SIZE, 3), 160, np.uint8))
        cv2.imwrite(str(tmp_path / "thermal" / name), warm)
        cv2.imwrite(str(tmp_path / "labels" / name), (warm > 0).astype(np.uint8) * PERSON)
    return open_pairs(tmp_path)


def test_a_study_finds_where_the_engine_goes_blind(pairs, tmp_path):
    done = []
    study = study_darkness(BlindInTheDark(), pairs, progress=done.append)
    assert done == [1, 2, 3, 4, 5, 6]
    luminance = [entry.luminance for entry in study.bins]
    assert luminance == sorted(luminance, reverse=True)
    assert sum(entry.frames for entry in study.bins) == 6 * 7
    assert all(entry.fused > entry.thermal for entry in study.bins if entry.luminance > 0.1)
    assert all(entry.fused < entry.thermal for entry in study.bins if entry.luminance < 0.06)
    assert 10 / 255 < study.threshold < 40 / 255  # blind between 160 / 4 and 160 / 16
    draw_study(study, tmp_path / "out" / "curve.png")
    assert (tmp_path / "out" / "curve.png").stat().st_size > 5000
