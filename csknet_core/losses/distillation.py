"""Spectral knowledge distillation: an optical teacher, at pixel and at feature level.

Stated in CSK-Net (arXiv 2312.02240): knowledge of an RGB teacher enters at the encoder and at the
optical decoder; in the early stages it raises the correlation of the low-frequency content that
both modalities share, later it stays in the optical branch, so that what only thermal sees is not
forced into alignment. The losses are chosen here: channel-wise distillation (Shu et al., ICCV
2021) of the optical head, attention transfer (Zagoruyko & Komodakis, ICLR 2017) of the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csknet_core.errors import ConfigError


@dataclass(frozen=True)
class DistillationSettings:
    """What the optical teacher teaches.

    Attributes:
        teacher: weights file of the teacher, whose optical-only mode is used; "" has none.
        pixel_weight: of channel-wise distillation of the optical head.
        temperature: of that distillation.
        feature_weight: of attention transfer; its terms are mean squares of maps whose squares sum
            to 1, so useful weights are large.
        shared_stages: encoder stages (1..5) in which both branches follow the teacher's low-passed
            features.
        optical_stages: encoder stages in which the optical branch alone follows the teacher.
        low_pass: side of the averaging window of the shared stages, in feature pixels.

    Raises:
        ConfigError: a value outside its range.
    """

    teacher: str = ""
    pixel_weight: float = 3.0
    temperature: float = 4.0
    feature_weight: float = 1000.0
    shared_stages: tuple[int, ...] = (1, 2)
    optical_stages: tuple[int, ...] = (3, 4)
    low_pass: int = 4

    def __post_init__(self) -> None:
        if not set(self.shared_stages + self.optical_stages) <= set(range(1, 6)):
            raise ConfigError("distillation stages must be from 1..5")
        if self.temperature <= 0 or self.low_pass < 1:
            raise ConfigError("distillation temperature and low_pass must be positive")


class SpectralDistillation(nn.Module):
    """Pixel-level and feature-level terms for one batch."""

    def __init__(self, settings: DistillationSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(
        self,
        optical_logits: Tensor,
        features: list[tuple[Tensor, Tensor]],
        teacher_logits: Tensor,
        teacher_features: list[Tensor],
        alone: Tensor,
    ) -> dict[str, Tensor]:
        """Return the weighted terms "pixel_distillation" and "feature_distillation".

        Args:
            optical_logits: (B, C, h, w) of the optical head.
            features: optical and thermal features of the five encoder stages.
            teacher_logits: (B, C, h, w).
            teacher_features: of the five encoder stages; channels may differ from the student's.
            alone: (B,) weight of every sample in what the optical branch alone learns: 0 for
                samples whose optical features are partly thermal ones, and mean 1.
        """
        settings = self.settings
        pixel = channel_wise_distillation(optical_logits, teacher_logits, settings.temperature)
        feature = torch.zeros(len(alone), device=optical_logits.device)
        for stage in settings.shared_stages:
            target = low_pass(teacher_features[stage - 1], settings.low_pass)
            for branch in features[stage - 1]:
                feature = feature + attention_transfer(low_pass(branch, settings.low_pass), target)
        for stage in settings.optical_stages:
            optical, _ = features[stage - 1]
            feature = feature + alone * attention_transfer(optical, teacher_features[stage - 1])
        return {
            "pixel_distillation": settings.pixel_weight * (alone * pixel).mean(),
            "feature_distillation": settings.feature_weight * feature.mean(),
        }


def channel_wise_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return `t^2 / C sum_c KL(softmax_HW(T_c / t) || softmax_HW(S_c / t))` (B,) of every sample.

    Every class map becomes a distribution over the image's places, so that the student learns
    where a class is rather than how sure the teacher is.

    Args:
        student: logits (B, C, H, W).
        teacher: logits (B, C, H, W); no gradient flows into them.
        temperature: t.
    """
    target = F.log_softmax(teacher.detach().float().flatten(2) / temperature, dim=2)
    own = F.log_softmax(student.float().flatten(2) / temperature, dim=2)
    divergence = (target.exp() * (target - own)).sum(2)
    return temperature**2 * divergence.mean(1)


def answer_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return `mean_HW KL(softmax_C(T) || softmax_C(S))`, over a batch (Hinton et al. 2015, t = 1).

    Args:
        student: logits (B, C, H, W).
        teacher: logits (B, C, H, W); no gradient flows into them.
    """
    target = F.log_softmax(teacher.detach().float(), dim=1)
    own = F.log_softmax(student.float(), dim=1)
    return (target.exp() * (target - own)).sum(1).mean()


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Return `mean (Q_S - Q_T)^2` (B,), where `Q = q / |q|_2` and `q = mean_c A_c^2`.

    Args:
        student: features (B, C, H, W).
        teacher: features (B, C', H, W); no gradient flows into them.
    """
    return (_attention(student) - _attention(teacher.detach())).square().mean(1)


def _attention(features: Tensor) -> Tensor:
    return F.normalize(features.float().square().mean(1).flatten(1), dim=1)


def low_pass(features: Tensor, window: int) -> Tensor:
    """Average (B, C, H, W) over windows, down to (B, C, ceil(H / window), ceil(W / window))."""
    return F.avg_pool2d(features, window, ceil_mode=True, count_include_pad=False)
