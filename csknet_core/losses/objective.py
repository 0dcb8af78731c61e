"""The supervised objective on all three heads."""

from __future__ import annotations

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


class SupervisedObjective(nn.Module):
    """Weighted cross-entropy on the fused, optical and thermal heads.

    `L = CE(fused) + 0.5 CE(optical) + 0.5 CE(thermal)`; the weights are chosen, the paper does not
    state them. Modality dropout: samples whose branches did not exchange features train the
    optical and thermal heads as they are used alone, and not the fused head, which never sees
    such features at inference.
    """

    weight: Tensor

    def __init__(self, weight: Tensor, branch_weight: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.branch_weight = branch_weight

    def forward(self, logits: Logits, labels: Tensor, exchange: Tensor) -> dict[str, Tensor]:
        """Return the terms and their sum under "total".

        Args:
            logits: of the three heads, (B, C, h, w) each.
            labels: (B, H, W) int64 class ids, 255 is ignored.
            exchange: (B,) bool, which samples exchanged features.
        """
        fused_labels = torch.where(exchange.view(-1, 1, 1), labels, IGNORE_ID)
        terms = {
            "fused": self._cross_entropy(logits.fused, fused_labels),
            "optical": self._cross_entropy(logits.optical, labels),
            "thermal": self._cross_entropy(logits.thermal, labels),
        }
        branches = terms["optical"] + terms["thermal"]
        terms["total"] = terms["fused"] + self.branch_weight * branches
        return terms

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        full = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
        total = F.cross_entropy(full, labels, self.weight, ignore_index=IGNORE_ID, reduction="sum")
        # Dividing by the weights present keeps a batch without valid pixels at zero, not NaN.
        known = labels != IGNORE_ID
        return total / self.weight[labels[known]].sum().clamp(min=1.0)
