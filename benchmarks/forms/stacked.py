"""Both modalities as one batch through shared convolutions, scaled and shifted per modality.

It reads every shared weight once instead of twice, but batch norm cannot be folded into a
convolution that two modalities share, so every layer gets one more pass over its output.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from csknet_core.model.csknet import CSKNet, prepare_input
from csknet_core.model.inference import maps_from_logits
from csknet_core.model.norm import ModalBatchNorm2d, fold_batch_norm


class ScaleShift(nn.Module):
    """Batch norm of two stacked modalities in evaluation mode, as one multiply and one add."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: ModalBatchNorm2d) -> None:
        super().__init__()
        pairs = [_affine(one) for one in (norm.optical, norm.thermal)]
        self.register_buffer("scale", torch.stack([s for s, _ in pairs])[..., None, None])
        self.register_buffer("shift", torch.stack([t for _, t in pairs])[..., None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Map (2, C, H, W), optical first."""
        return x * self.scale + self.shift


class StackedNetwork(nn.Module):
    """The fused mode from raw arrays to maps, its encoder stacked; exact like the folded form."""

    def __init__(self, network: CSKNet, temperature: float = 1.0) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(network.encoder)
        _replace(self.encoder)
        self.exchanges = network.exchanges
        self.optical_decoder = fold_batch_norm(network.optical_decoder)
        self.thermal_decoder = fold_batch_norm(network.thermal_decoder)
        self.gsu = network.gsu
        self.head = fold_batch_norm(network.fused_head)
        self.temperature = temperature
        self.eval().requires_grad_(False)

    def forward(self, optical: Tensor, thermal: Tensor) -> tuple[Tensor, Tensor]:
        """Map (H, W, 3) uint8 and (H, W) float32 to label map and confidence."""
        first = optical.permute(2, 0, 1)[None].float() * (1 / 255)
        x = torch.cat([prepare_input(first), prepare_input(thermal[None, None])])
        pairs = []
        for stage, exchange in zip(self.encoder.stages, self.exchanges, strict=True):
            pair = exchange(*stage(x).chunk(2))
            pairs.append(pair)
            x = torch.cat(pair)
        o = self.optical_decoder([pair[0] for pair in pairs])
        t = self.thermal_decoder([pair[1] for pair in pairs])
        logits = self.head(o + t if self.gsu is None else self.gsu(o, t))
        return maps_from_logits(logits / self.temperature, (thermal.shape[0], thermal.shape[1]))


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, ModalBatchNorm2d):
            setattr(module, name, ScaleShift(child))
        else:
            _replace(child)


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale.detach(), (norm.bias - norm.running_mean * scale).detach()
