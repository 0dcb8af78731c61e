import cv2
import numpy as np
import pytest

from csknet_core.data.copy_paste import ObjectBank
from csknet_core.data.layouts import open_pairs
from csknet_core.data.mixture import TrainingMixture
from csknet_core.data.samples import list_pairs
from csknet_core.data.transforms import AugmentSettings

STILL = AugmentSettings((32, 32), (1.0, 1.0), 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def folders(tmp_path):
    """Three labelled pairs of classes 1, 2, 3 and two unlabelled ones."""
    for folder, values in (("labelled", (1, 2, 3)), ("bare", (8, 9))):
        for kind in ("rgb", "thermal", "labels"):
            (tmp_path / folder / kind).mkdir(parents=True)
        for value in values:
            grey = np.full((32, 32), value, np.uint8)
            root, name = tmp_path / folder, f"{value}.png"
            cv2.imwrite(str(root / "rgb" / name), cv2.merge([grey * 20] * 3))
            cv2.imwrite(str(root / "thermal" / name), grey)
            if folder == "labelled":
                cv2.imwrite(str(root / "labels" / name), grey)
    return open_pairs(tmp_path / "labelled"), open_pairs(tmp_path / "bare")


def classes_of(mixture):
    return [int(mixture[index][2].unique()) for index in range(len(mixture))]


def test_unlabelled_pairs_come_in_their_share_without_labels(folders):
    labelled, bare = folders
    mixture = TrainingMixture([labelled], 200, 0.0, STILL, 0, [bare], 0.25)
    classes = classes_of(mixture)
    assert set(classes) == {1, 2, 3, 255}
    assert 0.15 < classes.count(255) / 200 < 0.35
    optical = mixture[classes.index(255)][0]
    assert float(optical.mean()) * 255 / 20 == pytest.approx(8.5, abs=0.6)


def test_labels_of_unlabelled_pairs_are_not_used(folders):
    """A folder may be named for its images though it has labels, of a validation split even."""
    labelled, _ = folders
    mixture = TrainingMixture([labelled], 12, 0.0, STILL, 0, [labelled], 1.0)
    assert set(classes_of(mixture)) == {255}


def test_a_limit_takes_the_first_pairs(folders):
    labelled, _ = folders
    mixture = TrainingMixture([labelled], 60, 0.0, STILL, 0, limit=2)
    assert set(classes_of(mixture)) == {1, 2}


def test_without_labelled_pairs_everything_else_is_rendered(folders):
    _, bare = folders
    mixture = TrainingMixture([], 12, 0.0, STILL, 0, [bare], 0.5)
    kinds = {bool((mixture[index][2] == 255).all()) for index in range(12)}
    assert kinds == {True, False}


def test_objects_are_pasted_into_their_share_of_the_real_labelled_samples(tmp_path):
    labels = np.zeros((64, 64), np.uint8)
    labels[20:34, 24:34] = 7
    for root, image in (("objects", labels), ("plain", np.zeros_like(labels))):
        for kind in ("rgb", "thermal", "labels"):
            (tmp_path / root / kind).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / root / "rgb" / "0.png"), cv2.merge([image + 90] * 3))
        cv2.imwrite(str(tmp_path / root / "thermal" / "0.png"), image * 10 + 90)
        cv2.imwrite(str(tmp_path / root / "labels" / "0.png"), image)
    bank = ObjectBank(list_pairs([open_pairs(tmp_path / "objects")]))
    plain = [open_pairs(tmp_path / "plain")]
    whole = AugmentSettings((64, 64), (1.0, 1.0), 0.0, 0.0, 0.0, 0.0, 0.0)
    mixture = TrainingMixture(plain, 100, 0.0, whole, 0, objects=bank, pasted=0.4)
    labels = [mixture[index][2] for index in range(100)]
    assert 0.25 < sum(bool((one == 7).any()) for one in labels) / 100 < 0.55
    assert (mixture[3][2] == labels[3]).all(), "a resumed run sees other samples"
    bare = TrainingMixture(plain, 12, 0.0, whole, 0, plain, 1.0, objects=bank, pasted=1.0)
    assert set(classes_of(bare)) == {255}
