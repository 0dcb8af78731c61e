import pytest
import torch

from csknet_core.training.schedule import rate_at


def test_poly_rises_linearly_and_falls_with_the_power_of_deeplab():
    rates = [rate_at("poly", step, 4, 20) for step in range(20)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[12] == pytest.approx(0.5**0.9)
    assert 0 < rates[-1] < 0.1


def test_one_cycle_is_that_of_pytorch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=101, pct_start=0.3, final_div_factor=400, cycle_momentum=False
    )
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    # Theirs starts at the foot, ours one step up; both peak and end at the same places.
    assert max(rates) == pytest.approx(rate_at("one_cycle", 29, 30, 101), rel=1e-3)
    for step in (5, 15, 40, 70, 95):
        assert rate_at("one_cycle", step, 30, 101) == pytest.approx(rates[step], abs=0.06)


@pytest.mark.parametrize("schedule", ["poly", "one_cycle"])
def test_a_run_without_warm_up_starts_at_the_peak(schedule):
    assert rate_at(schedule, 0, 0, 10) == pytest.approx(1.0)
