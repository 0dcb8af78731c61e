"""Label maps from probabilities and boxes: hand-made images, and one folder through and through."""

import cv2
import numpy as np
import pytest
import torch

from csknet_core.classes import MFNET
from csknet_core.data.layouts import open_pairs
from csknet_core.errors import ConfigError, DataError
from csknet_core.modality import Mode
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import save_network
from csknet_core.training.pseudo import (
    Box,
    PseudoSettings,
    average_probabilities,
    choose_labels,
    label_pairs,
    read_boxes,
)

CAR, PERSON, BIKE = (MFNET.names.index(name) for name in ("car", "person", "bike"))
BOXED = [PERSON, BIKE, CAR]
SETTINGS = PseudoSettings(margin=0)


def scene(**shares):
    """20x20 pixels with the same probabilities everywhere; background takes the rest."""
    probabilities = np.zeros((len(MFNET), 20, 20), np.float32)
    for name, share in shares.items():
        probabilities[MFNET.names.index(name)] = share
    probabilities[0] = 1 - probabilities.sum(0)
    return probabilities


def test_only_sure_answers_become_labels():
    assert (choose_labels(scene(bump=0.81), [], [], SETTINGS) == MFNET.names.index("bump")).all()
    assert (choose_labels(scene(bump=0.79), [], [], SETTINGS) == 255).all()


def test_a_boxed_class_is_only_inside_its_boxes():
    box = Box(CAR, 0.0, 0.0, 0.5, 1.0)
    labels = choose_labels(scene(car=0.9), [box], BOXED, SETTINGS)
    assert (labels[:, :10] == CAR).all()
    assert (labels[:, 10:] == 0).all()


def test_inside_its_box_a_class_needs_less_evidence():
    # Odds 0.3 / 0.7 times 6 make 72 %: enough inside a box, where 60 % are asked for.
    labels = choose_labels(scene(bike=0.3), [Box(BIKE, 0, 0, 1, 1)], BOXED, SETTINGS)
    assert (labels == BIKE).all()
    # 0.15 / 0.85 times 6 make 51 %: unknown.
    labels = choose_labels(scene(bike=0.15), [Box(BIKE, 0, 0, 1, 1)], BOXED, SETTINGS)
    assert (labels == 255).all()


def test_a_class_without_boxes_is_not_touched():
    labels = choose_labels(scene(bump=0.9), [Box(CAR, 0, 0, 0.5, 0.5)], BOXED, SETTINGS)
    assert (labels == MFNET.names.index("bump")).all()


def test_an_object_the_networks_miss_is_not_taught_as_background():
    labels = choose_labels(scene(), [Box(PERSON, 0.0, 0.0, 0.5, 0.5)], BOXED, SETTINGS)
    assert (labels[:10, :10] == 255).all()
    assert (labels[10:] == 0).all()


def test_of_a_missed_object_the_likeliest_share_of_its_box_can_be_labelled():
    probabilities = scene(bike=0.001)
    probabilities[BIKE, :, 4:8] = 0.01  # not enough to be found, but more than elsewhere
    settings = PseudoSettings(margin=0, box_share=0.4)
    labels = choose_labels(probabilities, [Box(BIKE, 0, 0, 0.5, 1)], BOXED, settings)
    assert (labels[:, 4:8] == BIKE).all()
    assert (labels[:, :4] == 255).all()
    assert (labels[:, 8:10] == 255).all()
    assert (labels[:, 10:] == 0).all()
    # Found, but not sure enough: 0.2 / 0.8 times 6 make 60 %, 0.19 / 0.81 a little less.
    labels = choose_labels(scene(bike=0.19), [Box(BIKE, 0, 0, 1, 1)], BOXED, settings)
    assert (labels == BIKE).mean() == pytest.approx(0.4, abs=0.03)
    # Nothing to go by: the middle.
    labels = choose_labels(scene(), [Box(BIKE, 0, 0, 1, 1)], BOXED, settings)
    assert (labels == BIKE).mean() == pytest.approx(0.4, abs=0.03)
    assert (labels[8:12, 8:12] == BIKE).all()
    assert (labels[0] == 255).all()


@pytest.mark.parametrize("order", [1, -1])
def test_a_missed_rider_and_the_bike_below_both_get_labels(order):
    bike, rider = Box(BIKE, 0.0, 0.3, 1.0, 1.0), Box(PERSON, 0.2, 0.0, 0.8, 0.7)
    settings = PseudoSettings(margin=0, box_share=0.4)
    labels = choose_labels(scene(), [bike, rider][::order], BOXED, settings)
    for box in (bike, rider):
        cut = labels[box.cut(labels.shape)]
        assert (cut == box.class_id).mean() > 0.15
    first = bike if order == 1 else rider
    cut = labels[first.cut(labels.shape)]
    assert (cut == first.class_id).mean() == pytest.approx(0.4, abs=0.05)


def test_boxes_are_read_from_the_lines_of_a_file(tmp_path):
    file = tmp_path / "one.txt"
    file.write_text("2 0.5 0.5 0.2 0.4\n\n")
    (box,) = read_boxes(file, BOXED)
    assert box.class_id == CAR
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert box.cut((10, 20)) == (slice(3, 7), slice(8, 12))
    assert Box(CAR, -0.1, 0.0, 0.5, 1.0).cut((10, 20), 2) == (slice(0, 12), slice(0, 12))


@pytest.mark.parametrize(
    "line",
    [
        "3 0.5 0.5 0.1 0.1", "-1 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1", "car 0 0 1 1",
        "0 320 240 60 120", "0 0.5 nan 0.1 0.1", "0 0.5 0.5 0 0.1", "0 0.5 0.5 inf 0.1",
    ],
)  # fmt: skip
def test_a_bad_line_of_boxes_is_named(tmp_path, line):
    file = tmp_path / "one.txt"
    file.write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(DataError, match=r"one\.txt:2"):
        read_boxes(file, BOXED)


def test_missing_boxes_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt"):
        read_boxes(tmp_path / "none.txt", BOXED)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    network = CSKNet(ModelConfig(num_classes=len(MFNET), decoder_width=8))
    path = tmp_path / "weights.safetensors"
    save_network(path, network, MFNET, {})
    return str(path)


def test_probabilities_do_not_depend_on_which_side_an_image_is_seen_from(weights):
    from csknet_core.model.zoo import load_network

    network = load_network(weights)[0].eval()
    rng = np.random.default_rng(0)
    optical = rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)
    thermal = rng.random((64, 96), np.float32)
    one = average_probabilities([network], optical, thermal, (64, 96))
    other = average_probabilities([network], optical[:, ::-1], thermal[:, ::-1], (64, 96))
    assert one.sum(0) == pytest.approx(1, abs=1e-4)
    assert other[..., ::-1] == pytest.approx(one, abs=2e-3)


def test_least_probabilities_are_those_at_the_networks_temperature(tmp_path, weights):
    from csknet_core.model.zoo import load_network

    network, info = load_network(weights)
    network.fused_head[-1].weight.data *= 100
    for kind, shape in (("rgb", (64, 64, 3)), ("thermal", (64, 64))):
        (tmp_path / "pairs" / kind).mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        cv2.imwrite(str(tmp_path / "pairs" / kind / "a.png"), noise)
    pairs = open_pairs(tmp_path / "pairs", "", MFNET)
    unknown = {}
    for temperature in (1.0, 100.0):
        file = tmp_path / f"{temperature}.safetensors"
        save_network(file, network, MFNET, {}, {**info.temperature, Mode.FUSED: temperature})
        out = tmp_path / f"{temperature}"
        unknown[temperature] = label_pairs([str(file)], pairs, out, PseudoSettings((64, 64)))[-1]
    assert unknown[1.0] < 64 * 64 / 2
    assert unknown[100.0] == 64 * 64


def test_networks_see_images_as_they_are_resized_in_training():
    """Columns of single pixels average out; sampling between neighbours would keep them."""
    seen = []

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def predict(self, mode, optical, thermal):
            seen.append((optical, thermal))
            return torch.zeros(1, 2, 16, 24)

    columns = np.zeros((256, 384), np.uint8)
    columns[:, ::4] = 240
    thermal = columns / np.float32(255)
    average_probabilities([Network()], np.stack([columns] * 3, -1), thermal, (64, 96))
    optical, thermal = seen[0]
    assert optical.shape == (1, 3, 64, 96)
    assert thermal.shape == (1, 1, 64, 96)
    assert optical == pytest.approx(60 / 255, abs=0.01)
    assert float(thermal.std()) < 0.01


def test_a_folder_of_pairs_comes_out_labelled_and_ready_for_training(tmp_path, weights):
    source = tmp_path / "pairs"
    for kind, shape in (("rgb", (48, 64, 3)), ("thermal", (48, 64))):
        (source / kind).mkdir(parents=True)
        cv2.imwrite(str(source / kind / "a.png"), np.full(shape, 90, np.uint8))
    (source / "boxes").mkdir()
    (source / "boxes" / "a.txt").write_text("2 0.5 0.5 0.5 0.5\n")
    out = tmp_path / "out"
    settings = PseudoSettings(size=(64, 64))
    pairs = open_pairs(source, "", MFNET)
    counts = label_pairs([weights], pairs, out, settings, ("person", "bike", "car"))
    assert counts.sum() == 48 * 64
    labelled = open_pairs(out, "train", MFNET)[0]
    assert labelled.optical.shape == (48, 64, 3)
    unknown = int((labelled.labels == 255).sum())
    assert unknown == counts[-1]


def test_a_box_class_that_is_not_in_the_table_is_refused(tmp_path, weights):
    (tmp_path / "rgb").mkdir()
    (tmp_path / "thermal").mkdir()
    for kind in ("rgb", "thermal"):
        cv2.imwrite(str(tmp_path / kind / "a.png"), np.zeros((32, 32), np.uint8))
    pairs = open_pairs(tmp_path, "", MFNET)
    with pytest.raises(ConfigError, match="bicycle"):
        label_pairs([weights], pairs, tmp_path / "out", PseudoSettings(), ("bicycle",))


def test_a_size_the_network_cannot_take_is_refused():
    with pytest.raises(ConfigError, match=r"240x320.*multiples of 32"):
        PseudoSettings(size=(240, 320))
