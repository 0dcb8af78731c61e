import numpy as np
import torch

from csknet_core.model.gsu import GatedSpectralUnit


def _conv(conv, x):
    weight = conv.weight.detach().double().numpy()[:, :, 0, 0]
    return np.einsum("oc,chw->ohw", weight, x) + conv.bias.detach().double().numpy()[:, None, None]


def test_gsu_matches_its_equation_in_float64():
    torch.manual_seed(1)
    gsu = GatedSpectralUnit(4)
    optical, thermal = torch.randn(1, 4, 3, 5), torch.randn(1, 4, 3, 5)
    o, t = optical[0].double().numpy(), thermal[0].double().numpy()
    expected = sum(
        np.tanh(_conv(value, x)) / (1 + np.exp(-_conv(gate, x)))
        for gate, value, x in zip(gsu.gates, gsu.values, (o, t, o + t), strict=True)
    )
    np.testing.assert_allclose(gsu(optical, thermal)[0].detach().numpy(), expected, atol=1e-6)


def test_own_gates_ignore_the_other_sources_and_joint_gates_do_not():
    torch.manual_seed(2)
    optical, thermal = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    for joint in (False, True):
        gsu = GatedSpectralUnit(4, joint_gates=joint)
        for value in gsu.values[1:]:
            torch.nn.init.zeros_(value.weight)
            torch.nn.init.zeros_(value.bias)
        depends = not torch.equal(gsu(optical, thermal), gsu(optical, thermal * 2))
        assert depends is joint
