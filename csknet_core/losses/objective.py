"""The supervised objective on all three heads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csknet_core.classes import IGNORE_ID
from csknet_core.model.csknet import Logits


def class_weights(frequency: Tensor, offset: float = 1.10) -> Tensor:
    """Return `1 / ln(offset + frequency)` (Paszke et al. 2016, ENet), scaled to mean 1.

    Args:
        frequency: (C,) share of pixels of every class.
        offset: larger values weigh rare classes less.
    """
    weights = 1.0 / torch.log(offset + frequency)
    return weights / weights.mean()


def _alone(total: Tensor) -> Tensor:
    return total


class SupervisedObjective(nn.Module):
    """Weighted cross-entropy on the fused, optical and thermal heads.

    `L = CE(fused) + 0.5 CE(optical) + 0.5 CE(thermal)`; the weights are chosen, the paper does not
    state them. Modality dropout: samples whose branches did not exchange features train the
    optical and thermal heads as they are used alone. The fused head never sees such features at
    inference; whether it learns from them all the same is `fuse_dropped`.

    Args:
        weight: (C,) weight of every class.
        branch_weight: of the optical and of the thermal term.
        hard_share: share of a batch's labelled pixels, those of the largest loss, that count
            (online hard example mining, Shrivastava et al. 2016); 1 counts all.
        fuse_dropped: train the fused head on samples whose branches did not exchange, too.
        share_of_batch: maps the weights of this process's pixels to those of an average process,
            where a batch is spread over several.
    """

    weight: Tensor

    def __init__(
        self,
        weight: Tensor,
        branch_weight: float = 0.5,
        hard_share: float = 1.0,
        fuse_dropped: bool = False,
        share_of_batch: Callable[[Tensor], Tensor] = _alone,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.branch_weight = branch_weight
        self.hard_share = hard_share
        self.fuse_dropped = fuse_dropped
        self.share_of_batch = share_of_batch

    def forward(self, logits: Logits, labels: Tensor, exchange: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms "fused", "optical" and "thermal".

        Args:
            logits: of the three heads, (B, C, h, w) each.
            labels: (B, H, W) int64 class ids, 255 is ignored.
            exchange: (B,) bool, which samples exchanged features.
        """
        learns = exchange | self.fuse_dropped
        fused_labels = torch.where(learns.view(-1, 1, 1), labels, IGNORE_ID)
        return {
            "fused": self.cross_entropy(logits.fused, fused_labels),
            "optical": self.branch_weight * self.cross_entropy(logits.optical, labels),
            "thermal": self.branch_weight * self.cross_entropy(logits.thermal, labels),
        }

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted cross-entropy of one head, 0 for a batch without labelled pixels.

        Args:
            logits: (B, C, h, w); upsampled to the labels' size.
            labels: (B, H, W) int64 class ids, 255 is ignored.
        """
        full = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
        known = labels != IGNORE_ID
        if self.hard_share >= 1:
            total = F.cross_entropy(
                full, labels, self.weight, ignore_index=IGNORE_ID, reduction="sum"
            )
            return total / self._denominator(labels[known])
        losses = F.cross_entropy(
            full, labels, self.weight, ignore_index=IGNORE_ID, reduction="none"
        )[known]
        hardest, picks = losses.topk(round(self.hard_share * len(losses)), sorted=False)
        return hardest.sum() / self._denominator(labels[known][picks])

    def _denominator(self, ids: Tensor) -> Tensor:
        """Weights of the pixels that count; at least 1, so that none is a loss of 0, not NaN."""
        return self.share_of_batch(self.weight[ids].sum()).clamp(min=1.0)
