import pytest
import torch
from torch import nn

from csknet_core.modality import Modality
from csknet_core.model.encoders import conv_norm
from csknet_core.model.norm import ModalBatchNorm2d, Routing, convert_batch_norm, fold_batch_norm


def _network() -> tuple[nn.Sequential, Routing]:
    torch.manual_seed(0)
    routing = Routing()
    network = nn.Sequential(conv_norm(3, 8, 3, activation=nn.ReLU), conv_norm(8, 4))
    convert_batch_norm(network, routing)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.bias, -1, 1)
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval(), routing


def test_stacked_batch_is_normalised_with_each_modalitys_own_statistics():
    network, routing = _network()
    optical, thermal = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    with routing.use(Modality.OPTICAL, Modality.THERMAL):
        stacked = network(torch.cat([optical, thermal]))
    with routing.use(Modality.OPTICAL):
        alone_optical = network(optical)
    with routing.use(Modality.THERMAL):
        alone_thermal = network(thermal)
    assert torch.equal(stacked, torch.cat([alone_optical, alone_thermal]))
    with routing.use(Modality.THERMAL):
        assert not torch.allclose(network(optical), alone_optical)


def test_training_one_modality_leaves_the_other_ones_statistics_alone():
    routing = Routing()
    norm = ModalBatchNorm2d(nn.BatchNorm2d(3), routing)
    with routing.use(Modality.THERMAL):
        norm(torch.rand(4, 3, 8, 8) + 5)
    assert torch.equal(norm.optical.running_mean, torch.zeros(3))
    assert (norm.thermal.running_mean > 0.1).all()


def test_routing_is_restored_after_an_error():
    routing = Routing()
    with pytest.raises(ZeroDivisionError), routing.use(Modality.THERMAL):
        raise ZeroDivisionError
    assert routing.modalities == (Modality.OPTICAL, Modality.THERMAL)


@pytest.mark.parametrize("modality", list(Modality))
def test_folding_is_exact_for_each_modality(modality):
    network, routing = _network()
    x = torch.rand(2, 3, 8, 8)
    with routing.use(modality):
        expected = network(x)
    folded = fold_batch_norm(network, modality)
    assert not any(isinstance(m, (nn.BatchNorm2d, ModalBatchNorm2d)) for m in folded.modules())
    torch.testing.assert_close(folded(x), expected, rtol=1e-5, atol=1e-5)


def test_fold_matches_the_equation_in_float64():
    network, _ = _network()
    conv, norm = network[1][0], network[1][1].thermal
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    folded = fold_batch_norm(network, Modality.THERMAL)[1][0]
    weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
    bias = norm.bias.double() - norm.running_mean.double() * scale
    torch.testing.assert_close(folded.weight.double(), weight, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(folded.bias.double(), bias, rtol=1e-6, atol=1e-6)


def test_folding_refuses_a_norm_without_a_convolution_before_it():
    with pytest.raises(ValueError, match="no convolution"):
        fold_batch_norm(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))


def test_folding_a_per_modality_norm_needs_the_modality():
    network, _ = _network()
    with pytest.raises(ValueError, match="which modality"):
        fold_batch_norm(network)
