"""Pixel-wise contrastive loss across modalities and classes.

Stated in CSK-Net (arXiv 2312.02240): pixels of one class attract each other across modalities,
pixels of other classes repel. The loss itself is chosen here, after Wang et al., "Exploring
Cross-Image Pixel Contrast for Semantic Segmentation" (ICCV 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csknet_core.classes import IGNORE_ID
from csknet_core.errors import ConfigError
from csknet_core.model.encoders import conv_norm

# Stands for exp(-inf) = 0 in a float32 log-sum-exp, without the NaN gradient of -inf.
_NEVER = -1e4


@dataclass(frozen=True)
class ContrastSettings:
    """How to contrast pixels.

    Attributes:
        weight: of the loss; 0 turns it off.
        stage: encoder stage (1..5) whose features are contrasted. Stage 4 (stride 16) rather than
            the last, because people and cones are smaller than a pixel at stride 32.
        dimensions: length of an embedding.
        temperature: similarities are divided by it.
        anchors: most pixels of a batch, both branches together.
        per_class: most pixels of one class in one image.
        warmup: steps before the loss counts; misclassified pixels mean little before.

    Raises:
        ConfigError: a value outside its range.
    """

    weight: float = 0.0
    stage: int = 4
    dimensions: int = 256
    temperature: float = 0.1
    anchors: int = 1024
    per_class: int = 100
    warmup: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.stage <= 5:
            raise ConfigError(f"contrast stage {self.stage} is not one of 1..5")
        if self.temperature <= 0 or min(self.dimensions, self.anchors, self.per_class) < 1:
            raise ConfigError(
                "contrast temperature, dimensions, anchors and per_class must be positive"
            )


class ProjectionHead(nn.Sequential):
    """1x1 convolution, batch norm, ReLU, 1x1 convolution; used in training only."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__(
            conv_norm(channels, channels, activation=nn.ReLU), nn.Conv2d(channels, dimensions, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, channels, H, W) to embeddings (B, dimensions, H, W) of length 1."""
        # In float32: the norm of a bfloat16 embedding is off by up to a percent.
        return F.normalize(super().forward(features).float(), dim=1)


class PixelContrast(nn.Module):
    """Contrasts pixels of both branches' features, drawn evenly from classes and images."""

    def __init__(self, channels: int, settings: ContrastSettings) -> None:
        super().__init__()
        self.settings = settings
        self.project = ProjectionHead(channels, settings.dimensions)

    def forward(
        self,
        features: tuple[Tensor, Tensor],
        labels: Tensor,
        predictions: tuple[Tensor, Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss, 0 where no two pixels of a class were drawn.

        Args:
            features: (B, channels, h, w) of the optical and of the thermal branch.
            labels: (B, H, W) int64 class ids, 255 is ignored.
            predictions: (B, h', w') class ids put out by the optical and the thermal head; pixels
                they get wrong are preferred as anchors.
            generator: of the draw.
        """
        size = features[0].shape[2:]
        embeddings = torch.cat([self.project(branch) for branch in features])
        flat = embeddings.permute(0, 2, 3, 1).flatten(0, 2)
        classes = _to_size(labels, size)
        wrong = [(_to_size(prediction, size) != classes).flatten() for prediction in predictions]
        image = torch.arange(len(labels), device=labels.device).view(-1, 1, 1).expand_as(classes)
        picks = sample_anchors(
            classes.flatten().repeat(2),
            image.flatten().repeat(2),
            torch.cat(wrong),
            self.settings.anchors,
            self.settings.per_class,
            generator,
        )
        return contrastive_loss(
            flat[picks], classes.flatten().repeat(2)[picks], self.settings.temperature
        )


def _to_size(ids: Tensor, size: torch.Size) -> Tensor:
    """Bring (B, H, W) ids to another size by nearest neighbour."""
    return F.interpolate(ids[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()


def sample_anchors(
    classes: Tensor,
    images: Tensor,
    wrong: Tensor,
    total: int,
    per_class: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw pixels, evenly from every class of every image, half of them misclassified ones.

    Args:
        classes: (N,) class id of every pixel, 255 is never drawn.
        images: (N,) which image a pixel is of.
        wrong: (N,) bool, whether its prediction is wrong.
        total: most pixels drawn.
        per_class: most pixels drawn of one class in one image.
        generator: of the draw; on the CPU.

    Returns:
        (M,) int64 indices, M at most `total`.
    """
    shuffled = torch.randperm(len(classes), generator=generator).to(classes.device)
    shuffled = shuffled[classes[shuffled] != IGNORE_ID]
    if not len(shuffled):
        return shuffled
    group_of = images[shuffled] * (IGNORE_ID + 1) + classes[shuffled]
    groups = group_of.unique()
    groups = groups[torch.randperm(len(groups), generator=generator).to(groups.device)][:total]
    share = min(per_class, total // len(groups))
    picks = []
    for group in groups:
        members = shuffled[group_of == group]
        hard, easy = members[wrong[members]], members[~wrong[members]]
        count = min(share, len(members))
        # Half hard and half easy; whichever is short is made up for by the other.
        count_hard = min(len(hard), max((count + 1) // 2, count - len(easy)))
        picks += [hard[:count_hard], easy[: count - count_hard]]
    return torch.cat(picks)


def contrastive_loss(embeddings: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return the supervised InfoNCE loss (Wang et al. 2021, equation 3) over a set of pixels.

    `L_i = 1 / |P_i| sum_{p in P_i} -log(e^{i.p / t} / (e^{i.p / t} + sum_{n in N_i} e^{i.n / t}))`
    with P_i the other pixels of i's class and N_i those of other classes; the mean over the i that
    have any p, and 0 (with a gradient of 0) where none has.

    Args:
        embeddings: (M, D) of length 1, float32.
        classes: (M,) class ids.
        temperature: t.
    """
    if not len(embeddings):
        return embeddings.sum()
    # Autocast would compute the product in bfloat16, whose steps near 10 are 1/16.
    with torch.autocast(embeddings.device.type, enabled=False):
        similarity = embeddings @ embeddings.T / temperature
    same = classes[:, None] == classes[None]
    positive = same & ~torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    negatives = similarity.masked_fill(same, _NEVER).logsumexp(1, keepdim=True)
    terms = torch.logaddexp(similarity, negatives) - similarity
    partners = positive.sum(1)
    per_anchor = (terms * positive).sum(1) / partners.clamp(min=1)
    return per_anchor.sum() / (partners > 0).sum().clamp(min=1)
