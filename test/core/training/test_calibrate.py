from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from csknet_core.classes import MFNET
from csknet_core.data.datasets import Pair
from csknet_core.data.synthetic import random_frame
from csknet_core.errors import ConfigError, DataError
from csknet_core.modality import Modality, Mode
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.inference import DeployedNetwork
from csknet_core.model.zoo import load_network
from csknet_core.training.calibrate import (
    TEMPERATURES,
    Fit,
    fit_temperatures,
    shift_classes,
    sum_shifts,
)

SIZE = (64, 96)
PERSON = MFNET.id_of("person")


@dataclass
class Pairs:
    """Labelled pairs in memory."""

    pairs: list[Pair]
    labelled: bool = True
    root: str = "memory"

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        return self.pairs[index]


@pytest.fixture
def network():
    torch.manual_seed(3)
    return CSKNet(ModelConfig(num_classes=len(MFNET), decoder_width=8)).eval()


def random_pair(seed: int, labels: np.ndarray | None = None) -> Pair:
    rng = np.random.default_rng(seed)
    optical = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    thermal = rng.integers(0, 256, SIZE, np.uint8)
    return Pair(f"{seed}D", optical, thermal, labels, Path(f"{seed}D.png"))


def logits(network: CSKNet, mode: Mode, pair: Pair) -> torch.Tensor:
    optical = torch.from_numpy(pair.optical)
    thermal = torch.from_numpy(pair.normalized_thermal())
    body = DeployedNetwork(network, mode)
    if mode is Mode.FUSED:
        return body.logits(optical, thermal)
    return body.logits(thermal if mode is Mode.THERMAL_ONLY else optical)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_shift_moves_the_logits_of_its_class_alone(network, mode):
    pair = random_pair(1)
    before = logits(network, mode, pair)
    shift_classes(network, MFNET, {"person": -1.5})
    change = logits(network, mode, pair) - before
    assert torch.allclose(change[:, PERSON], torch.tensor(-1.5), atol=1e-5)
    others = [index for index in range(len(MFNET)) if index != PERSON]
    assert torch.allclose(change[:, others], torch.tensor(0.0), atol=1e-5)


@pytest.mark.parametrize("shift", [float("nan"), 21.0])
def test_a_shift_that_makes_no_sense_is_refused(network, shift):
    with pytest.raises(ConfigError, match="person"):
        shift_classes(network, MFNET, {"person": shift})


def test_a_class_that_is_not_there_is_refused(network):
    with pytest.raises(ConfigError, match="unicorn"):
        shift_classes(network, MFNET, {"unicorn": 1.0})


def test_a_network_that_is_too_sure_gets_a_higher_temperature_than_one_that_is_not(network):
    """Labels are drawn from the network's own probabilities at a known temperature."""
    rng = np.random.default_rng(0)
    bodies = (network.fused_head[-1], network.optical_head, network.thermal_head)
    for head in bodies:
        head.weight.data *= 20.0
    found = {}
    for true in (0.7, 1.4):
        pairs = []
        for seed in range(3):
            pair = random_pair(seed)
            full = torch.nn.functional.interpolate(
                logits(network, Mode.OPTICAL_ONLY, pair), SIZE, mode="bilinear"
            )
            cumulated = (full / true).softmax(1)[0].detach().cumsum(0).numpy()
            drawn = (rng.random(SIZE)[None] > cumulated).sum(0).clip(max=len(MFNET) - 1)
            pairs.append(random_pair(seed, drawn.astype(np.uint8)))
        found[true] = fit_temperatures(network, Pairs(pairs), SIZE)[Mode.OPTICAL_ONLY]
    for true, fit in found.items():
        assert fit.temperature == pytest.approx(true, rel=0.08)
        assert fit.after < fit.before


def test_every_mode_is_fitted_on_the_images_it_reads(default_weights):
    """A fused network takes two images of any kind: swapped ones would go unnoticed."""
    assert Mode.FUSED.modalities == (Modality.OPTICAL, Modality.THERMAL)
    network, _ = load_network(default_weights)
    frame = random_frame(7, SIZE)
    pair = Pair("7D", frame.optical, frame.thermal, frame.labels, Path("7D.png"))
    truth = torch.from_numpy(frame.labels.astype(np.int64))[None]
    fits = fit_temperatures(network.eval(), Pairs([pair]), SIZE)
    for mode, fit in fits.items():
        full = torch.nn.functional.interpolate(logits(network, mode, pair), SIZE, mode="bilinear")
        loss = torch.nn.functional.cross_entropy(full, truth)
        assert fit.before == pytest.approx(float(loss), rel=1e-5)


def test_the_fit_is_never_worse_than_no_temperature(network):
    labels = np.full(SIZE, 255, np.uint8)
    labels[:10] = 2
    fits = fit_temperatures(network, Pairs([random_pair(5, labels)]), SIZE)
    assert set(fits) == set(Mode)
    for fit in fits.values():
        assert fit.after <= fit.before + 1e-9
        assert min(TEMPERATURES) <= fit.temperature <= max(TEMPERATURES)


def test_pairs_without_labels_are_refused(network):
    with pytest.raises(DataError, match="no labels"):
        fit_temperatures(network, Pairs([], labelled=False), SIZE)


def test_label_maps_without_any_class_are_refused(network):
    """All temperatures would fit them alike."""
    bare = np.full(SIZE, 255, np.uint8)
    with pytest.raises(DataError, match="memory: no pixel of its 2 label maps"):
        fit_temperatures(network, Pairs([random_pair(1, bare), random_pair(2, bare)]), SIZE)


def test_a_size_the_network_cannot_take_is_refused(network):
    with pytest.raises(ConfigError, match=r"100x100.*multiples of 32"):
        fit_temperatures(network, Pairs([random_pair(1, np.zeros(SIZE, np.uint8))]), (100, 100))


def test_a_fit_at_an_end_of_the_range_says_so():
    assert Fit(TEMPERATURES[0], 1.0, 0.9).at_end
    assert Fit(TEMPERATURES[-1], 1.0, 0.9).at_end
    assert not Fit(1.0, 1.0, 1.0).at_end


def test_shifts_of_several_calibrations_add_up():
    assert sum_shifts({}, {"car": 0.5}) == {"car": 0.5}
    card = {"shifts": {"person": -1.2, "car": 0.5}}
    assert sum_shifts(card, {"car": 0.25, "bike": 1.0}) == {"person": -1.2, "car": 0.75, "bike": 1}
    assert sum_shifts({"shifts": "many"}, {"car": 0.5}) == {"car": 0.5}
