import pytest
import torch
from torch import nn

from csknet_core.errors import ConfigError
from csknet_core.modality import Modality, Mode
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.encoders import ENCODERS, build_encoder
from csknet_core.model.inference import DeployedNetwork, maps_from_logits


def randomise_norms(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.8, 1.2)


@pytest.fixture(scope="module")
def network() -> CSKNet:
    torch.manual_seed(0)
    network = CSKNet(ModelConfig(5, decoder_width=16))
    randomise_norms(network)
    return network.eval()


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_encoders_halve_the_grid_at_every_stage(name):
    encoder = build_encoder(name).eval()
    features = encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape[1:]) for f in features] == [
        (channels, 64 >> level, 96 >> level) for level, channels in enumerate(encoder.channels, 1)
    ]


def test_every_mode_answers_at_a_quarter_of_the_grid(network, images):
    for mode in Mode:
        assert network.predict(mode, *images).shape == (2, 5, 16, 24)


@torch.no_grad()
def test_samples_without_exchange_give_the_single_modality_answers(network, images):
    logits = network(*images, torch.tensor([True, False]))
    fused = network(*images)
    optical = network.forward_single(Modality.OPTICAL, images[0])
    thermal = network.forward_single(Modality.THERMAL, images[1])
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(logits.optical[1], optical[1], **close)
    torch.testing.assert_close(logits.thermal[1], thermal[1], **close)
    torch.testing.assert_close(logits.fused[0], fused.fused[0], **close)
    assert not torch.allclose(logits.thermal[0], thermal[0], **close)


def test_thermal_alone_touches_no_parameter_of_the_optical_side(network, images):
    network.zero_grad()
    network.forward_single(Modality.THERMAL, images[1]).sum().backward()
    touched = {name for name, p in network.named_parameters() if p.grad is not None}
    foreign = [n for n in touched if "optical" in n or n.startswith(("gsu", "fused"))]
    assert touched
    assert not foreign
    network.zero_grad()


@pytest.mark.parametrize("mode", list(Mode))
@torch.no_grad()
def test_deployed_network_answers_as_the_trained_one(network, mode):
    optical = torch.randint(0, 256, (64, 96, 3), dtype=torch.uint8)
    thermal = torch.rand(64, 96)
    logits = network.predict(mode, optical.permute(2, 0, 1)[None] / 255, thermal[None, None])
    expected, confidence = maps_from_logits(logits, (64, 96))
    inputs = {Mode.FUSED: (optical, thermal), Mode.OPTICAL_ONLY: (optical,)}.get(mode, (thermal,))
    got, got_confidence = DeployedNetwork(network, mode)(*inputs)
    assert got.dtype == got_confidence.dtype == torch.uint8
    assert (got != expected).float().mean() < 0.002
    assert (got_confidence.int() - confidence.int()).abs().max() <= 1


@pytest.mark.parametrize("mode", list(Mode))
def test_deploying_leaves_the_network_as_it_was_and_shares_nothing_with_it(mode):
    network = CSKNet(ModelConfig(5, decoder_width=16)).train()
    deployed = DeployedNetwork(network, mode)
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    own, other = (
        {tensor.data_ptr() for tensor in (*part.parameters(), *part.buffers()) if tensor.numel()}
        for part in (network, deployed)
    )
    assert not own & other


def test_confidence_is_the_largest_softmax_probability():
    logits = torch.randn(1, 5, 4, 4) * 3
    labels, confidence = maps_from_logits(logits, (16, 16))
    full = nn.functional.interpolate(logits, (16, 16), mode="bilinear", align_corners=False)[0]
    best, expected = full.softmax(0).max(0)
    assert torch.equal(labels.long(), expected)
    assert (confidence - best * 255).abs().max() <= 0.51


def test_temperature_changes_confidence_and_not_labels(network):
    thermal = torch.rand(64, 96)
    labels, sharp = DeployedNetwork(network, Mode.THERMAL_ONLY, 0.5)(thermal)
    same, soft = DeployedNetwork(network, Mode.THERMAL_ONLY, 2.0)(thermal)
    assert torch.equal(labels, same)
    assert sharp.float().mean() > soft.float().mean()


def test_a_size_that_does_not_divide_names_the_pad(network):
    with pytest.raises(ValueError, match="pad it by 2 rows and 0 columns"):
        network.forward_single(Modality.THERMAL, torch.rand(1, 1, 62, 96))


def test_settings_survive_a_round_trip_and_refuse_unknown_ones():
    config = ModelConfig(9, fusion="sum", exchange=("none",) * 5)
    assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="depth"):
        ModelConfig.from_dict({"num_classes": 9, "depth": 3})
    with pytest.raises(ConfigError, match="fusion"):
        ModelConfig(9, fusion="attention")


@pytest.mark.parametrize(
    "settings",
    [
        {"fusion": "sum"},
        {"fusion": "gsu_joint"},
        {"separate_norm": False},
        {"exchange_one_way": True},
        {"encoder": "resnet18"},
    ],
)
def test_every_switch_builds_a_network_that_trains(settings):
    network = CSKNet(ModelConfig(4, decoder_width=8, **settings))
    logits = network(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64))
    sum(x.sum() for x in logits).backward()
    assert all(p.grad is not None for p in network.encoder.parameters())
