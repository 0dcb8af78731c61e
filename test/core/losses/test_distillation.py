import numpy as np
import pytest
import torch

from csknet_core.errors import ConfigError
from csknet_core.losses.distillation import (
    DistillationSettings,
    SpectralDistillation,
    answer_divergence,
    attention_transfer,
    channel_wise_distillation,
    low_pass,
)

ALL = torch.ones(2)
"""Weights of two samples that both count."""


def softmax(values: np.ndarray) -> np.ndarray:
    shifted = np.exp(values - values.max())
    return shifted / shifted.sum()


def test_channel_wise_distillation_is_that_of_the_equation():
    rng = np.random.default_rng(0)
    student, teacher = rng.standard_normal((2, 2, 3, 4, 5)) * 6
    losses = channel_wise_distillation(torch.tensor(student), torch.tensor(teacher), 4.0)
    for b in range(2):
        total = 0.0
        for c in range(3):
            target, own = softmax(teacher[b, c] / 4.0), softmax(student[b, c] / 4.0)
            total += float((target * np.log(target / own)).sum())
        assert float(losses[b]) == pytest.approx(4.0**2 * total / 3, rel=1e-5)


def test_channel_wise_distillation_ignores_how_sure_the_teacher_is_of_a_class():
    student = torch.randn(1, 3, 4, 4)
    shifted = student + torch.tensor([5.0, -2.0, 0.0]).view(1, 3, 1, 1)
    assert float(channel_wise_distillation(student, shifted, 4.0)) == pytest.approx(0, abs=1e-5)


def test_the_divergence_of_answers_is_that_of_every_pixel():
    rng = np.random.default_rng(3)
    student, teacher = rng.standard_normal((2, 2, 5, 3, 4)) * 3
    total = 0.0
    for b, y, x in np.ndindex(2, 3, 4):
        target, own = softmax(teacher[b, :, y, x]), softmax(student[b, :, y, x])
        total += float((target * np.log(target / own)).sum())
    got = answer_divergence(torch.tensor(student), torch.tensor(teacher))
    assert float(got) == pytest.approx(total / 24, rel=1e-5)
    assert float(answer_divergence(torch.tensor(teacher), torch.tensor(teacher))) == 0


def test_the_divergence_of_answers_teaches_the_student_alone():
    student, teacher = (torch.randn(1, 3, 2, 2, requires_grad=True) for _ in range(2))
    answer_divergence(student, teacher).backward()
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


def test_attention_transfer_is_that_of_the_equation():
    rng = np.random.default_rng(1)
    student, teacher = rng.standard_normal((2, 6, 3, 4)), rng.standard_normal((2, 9, 3, 4))

    def attention(features: np.ndarray) -> np.ndarray:
        q = (features**2).mean(1).reshape(2, -1)
        return q / np.linalg.norm(q, axis=1, keepdims=True)

    expected = ((attention(student) - attention(teacher)) ** 2).mean(1)
    losses = attention_transfer(torch.tensor(student), torch.tensor(teacher))
    assert losses.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_low_pass_keeps_slow_changes_and_drops_fast_ones():
    fast = (-1.0) ** torch.arange(16).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    slow = torch.linspace(0, 1, 16).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    assert low_pass(fast, 4).abs().max() < 1e-6
    assert float(low_pass(slow, 4).std() / slow.std()) > 0.9
    assert low_pass(torch.ones(1, 1, 5, 6), 4).unique().tolist() == [1.0]


def make_features(seed: int, channels: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, channels, 32 >> i, 32 >> i, generator=generator).requires_grad_()
        for i in range(5)
    ]


def test_early_stages_teach_both_branches_and_late_ones_the_optical_branch():
    optical, thermal, teacher = make_features(0), make_features(1), make_features(2, 6)
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    terms = SpectralDistillation(DistillationSettings())(
        logits, list(zip(optical, thermal, strict=True)), torch.randn(2, 3, 8, 8), teacher, ALL
    )
    sum(terms.values()).backward()
    assert logits.grad is not None
    assert [feature.grad is not None for feature in optical] == [True, True, True, True, False]
    assert [feature.grad is not None for feature in thermal] == [True, True, False, False, False]
    assert all(feature.grad is None for feature in teacher)


def test_the_thermal_branch_learns_only_the_low_frequencies_of_the_teacher():
    thermal = make_features(1)
    fast = (-1.0) ** torch.arange(32).view(1, 1, 1, 32)
    settings = DistillationSettings(shared_stages=(1,), optical_stages=())

    def term(teacher_feature: torch.Tensor) -> float:
        teacher = [teacher_feature, *thermal[1:]]
        pairs = list(zip(thermal, thermal, strict=True))
        logits = torch.zeros(2, 3, 8, 8)
        distillation = SpectralDistillation(settings)
        return float(distillation(logits, pairs, logits, teacher, ALL)["feature_distillation"])

    same, with_detail = term(thermal[0].detach()), term(thermal[0].detach() + 5 * fast)
    assert same == pytest.approx(0, abs=1e-6)
    assert with_detail == pytest.approx(0, abs=1e-3)


def test_samples_of_no_weight_teach_the_optical_branch_nothing_alone():
    optical, thermal, teacher = make_features(0), make_features(1), make_features(2)
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    terms = SpectralDistillation(DistillationSettings())(
        logits, list(zip(optical, thermal, strict=True)), torch.randn(2, 3, 8, 8), teacher,
        torch.tensor([0.0, 2.0]),
    )  # fmt: skip
    sum(terms.values()).backward()
    for gradient in (logits.grad, optical[2].grad, optical[3].grad):
        assert gradient[0].abs().max() == 0
        assert gradient[1].abs().max() > 0
    assert optical[0].grad[0].abs().max() > 0  # what both share is taught with every sample


def test_weights_scale_their_terms():
    pairs = list(zip(make_features(0), make_features(1), strict=True))
    arguments = (torch.randn(2, 3, 8, 8), pairs, torch.randn(2, 3, 8, 8), make_features(2), ALL)
    one = SpectralDistillation(DistillationSettings(pixel_weight=1, feature_weight=1))(*arguments)
    two = SpectralDistillation(DistillationSettings(pixel_weight=2, feature_weight=3))(*arguments)
    assert float(two["pixel_distillation"] / one["pixel_distillation"]) == pytest.approx(2)
    assert float(two["feature_distillation"] / one["feature_distillation"]) == pytest.approx(3)


@pytest.mark.parametrize("bad", [{"shared_stages": (0,)}, {"temperature": 0.0}, {"low_pass": 0}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ConfigError):
        DistillationSettings(**bad)
