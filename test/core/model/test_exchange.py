import pytest
import torch

from csknet_core.errors import ConfigError
from csknet_core.model.exchange import FeatureExchange

OPTICAL = torch.zeros(2, 4, 3, 6)
THERMAL = torch.ones(2, 4, 3, 6)


def test_channel_exchange_swaps_every_second_channel():
    optical, thermal = FeatureExchange("channel")(OPTICAL, THERMAL)
    assert optical[0, :, 0, 0].tolist() == [1, 0, 1, 0]
    assert thermal[0, :, 0, 0].tolist() == [0, 1, 0, 1]


def test_spatial_exchange_swaps_every_second_column():
    optical, thermal = FeatureExchange("spatial")(OPTICAL, THERMAL)
    assert optical[0, 0, 0].tolist() == [1, 0, 1, 0, 1, 0]
    assert thermal[1, 3, 2].tolist() == [0, 1, 0, 1, 0, 1]


def test_one_way_exchange_leaves_thermal_alone():
    optical, thermal = FeatureExchange("channel", one_way=True)(OPTICAL, THERMAL)
    assert optical[0, :, 0, 0].tolist() == [1, 0, 1, 0]
    assert torch.equal(thermal, THERMAL)


def test_exchanging_twice_gives_the_input_back():
    optical, thermal = torch.rand(1, 6, 4, 4), torch.rand(1, 6, 4, 4)
    for kind in ("channel", "spatial"):
        exchange = FeatureExchange(kind, period=3)
        again = exchange(*exchange(optical, thermal))
        assert torch.equal(again[0], optical)
        assert torch.equal(again[1], thermal)


def test_samples_that_miss_a_modality_are_not_exchanged():
    active = torch.tensor([False, True])
    optical, thermal = FeatureExchange("spatial")(OPTICAL, THERMAL, active)
    assert torch.equal(optical[0], OPTICAL[0])
    assert torch.equal(thermal[0], THERMAL[0])
    assert not torch.equal(optical[1], OPTICAL[1])


def test_exchange_has_no_parameters():
    assert not list(FeatureExchange("channel").parameters())


def test_unknown_kind_and_period_are_refused():
    with pytest.raises(ConfigError, match="swirl"):
        FeatureExchange("swirl")
    with pytest.raises(ConfigError, match="period"):
        FeatureExchange("channel", period=1)
