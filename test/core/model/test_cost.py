"""The missing-modality path costs what a network of one branch costs, counted by PyTorch."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from csknet_core.modality import Modality, Mode
from csknet_core.model.csknet import CSKNet, ModelConfig, prepare_input
from csknet_core.model.decoder import Decoder
from csknet_core.model.encoders import build_encoder

SIZE = (64, 96)


class OneBranch(nn.Module):
    """A plain network of one modality: encoder, decoder, head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = build_encoder(config.encoder)
        self.decoder = Decoder(self.encoder.channels, config.decoder_width)
        self.head = nn.Conv2d(config.decoder_width, config.num_classes, 1)

    def forward(self, image):
        return self.head(self.decoder(self.encoder(prepare_input(image))))


def multiply_adds(call) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops() // 2


def parameters_touched(network: nn.Module, call) -> int:
    touched = {}

    def note(module, _inputs, _output):
        touched.update({id(p): p.numel() for p in module.parameters(recurse=False)})

    handles = [module.register_forward_hook(note) for module in network.modules()]
    with torch.no_grad():
        call()
    for handle in handles:
        handle.remove()
    return sum(touched.values())


@pytest.fixture(scope="module", params=["efficientnet_lite0", "resnet18"])
def networks(request):
    config = ModelConfig(num_classes=9, encoder=request.param, decoder_width=16)
    return CSKNet(config).eval(), OneBranch(config).eval()


@pytest.mark.parametrize("modality", list(Modality))
def test_a_missing_modality_costs_no_more_than_one_branch(networks, modality):
    network, one_branch = networks
    image = torch.rand(1, 1 if modality is Modality.THERMAL else 3, *SIZE)

    def ours():
        network.forward_single(modality, image)

    def plain():
        one_branch(image)

    assert multiply_adds(ours) == multiply_adds(plain) > 1e6
    assert parameters_touched(network, ours) == parameters_touched(one_branch, plain)
    assert parameters_touched(one_branch, plain) == sum(p.numel() for p in one_branch.parameters())


def test_the_fused_pass_costs_two_branches_and_the_joint_head(networks):
    network, one_branch = networks
    optical, thermal = torch.rand(1, 3, *SIZE), torch.rand(1, 1, *SIZE)
    fused = multiply_adds(lambda: network.predict(Mode.FUSED, optical, thermal))
    single = multiply_adds(lambda: one_branch(optical))
    head = multiply_adds(lambda: one_branch.head(torch.rand(1, 16, SIZE[0] // 4, SIZE[1] // 4)))
    joint = multiply_adds(
        lambda: network.fused_head(network.gsu(*(torch.rand(2, 1, 16, SIZE[0] // 4, SIZE[1] // 4))))
    )
    assert fused == 2 * (single - head) + joint
