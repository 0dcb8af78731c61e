import pytest
import torch

from csknet_core.classes import MFNET, PST900
from csknet_core.errors import ConfigError
from csknet_core.modality import Mode
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import load_network, save_network
from csknet_core.training.average import average_weights


def write(path, seed, classes=MFNET, temperature=None, card=None):
    torch.manual_seed(seed)
    network = CSKNet(ModelConfig(num_classes=len(classes), decoder_width=8))
    save_network(path, network, classes, card or {}, temperature)
    return str(path)


def test_the_average_is_the_mean_of_every_tensor(tmp_path):
    files = [write(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2, 3)]
    out = tmp_path / "mean.safetensors"
    average_weights(files, out)
    states = [load_network(file)[0].state_dict() for file in (*files, str(out))]
    for name, value in states[3].items():
        if value.is_floating_point():
            mean = (states[0][name] + states[1][name] + states[2][name]) / 3
            assert torch.allclose(value, mean, atol=1e-3), name


def test_the_average_has_no_temperatures_and_it_is_told_whose_are_lost(tmp_path):
    one = write(tmp_path / "one.safetensors", 1)
    other = write(tmp_path / "other.safetensors", 2, temperature={Mode.FUSED: 1.5})
    out = tmp_path / "mean.safetensors"
    assert average_weights([one, one], out) == []
    assert average_weights([one, other], out) == [other]
    assert set(load_network(str(out))[1].temperature.values()) == {1.0}


def test_the_average_knows_the_shifts_it_has_of_its_parts(tmp_path):
    """Biases are averaged with everything else, and a later calibration adds to the sum."""
    cards = {"person": -1.0, "car": 0.5}, {"person": -0.5}, {}
    files = [
        write(tmp_path / f"{index}.safetensors", index, card={"shifts": shifts} if shifts else {})
        for index, shifts in enumerate(cards)
    ]
    out = tmp_path / "mean.safetensors"
    average_weights(files, out)
    shifts = load_network(str(out))[1].card["shifts"]
    assert shifts == pytest.approx({"person": -0.5, "car": 1 / 6})
    average_weights(files[2:] * 2, out)
    assert load_network(str(out))[1].card == {"average_of": ["2.safetensors"] * 2}


def test_what_does_not_fit_together_is_refused(tmp_path):
    one = write(tmp_path / "one.safetensors", 1)
    other = write(tmp_path / "other.safetensors", 1, PST900)
    with pytest.raises(ConfigError, match=r"other\.safetensors"):
        average_weights([one, other], tmp_path / "mean.safetensors")
    with pytest.raises(ConfigError, match="two or more"):
        average_weights([one], tmp_path / "mean.safetensors")
