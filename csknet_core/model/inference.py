"""The network of one mode as it is deployed: folded, from raw arrays to label map and confidence.

`FusedNetwork` folds batch norm into two sets of convolutions, one per modality; the exchange still
couples the branches between stages.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csknet_core.modality import Modality, Mode
from csknet_core.model.csknet import CSKNet, prepare_input
from csknet_core.model.norm import fold_batch_norm


class SingleNetwork(nn.Module):
    """Encoder, decoder and head of one modality, batch norm folded. Touches nothing else."""

    def __init__(self, network: CSKNet, modality: Modality) -> None:
        super().__init__()
        optical = modality is Modality.OPTICAL
        self.encoder = fold_batch_norm(network.encoder, modality)
        self.decoder = fold_batch_norm(
            network.optical_decoder if optical else network.thermal_decoder
        )
        self.head = fold_batch_norm(network.optical_head if optical else network.thermal_head)

    def forward(self, image: Tensor) -> Tensor:
        """Map one modality (B, 1 or 3, H, W) in 0..1 to logits (B, C, H / 4, W / 4)."""
        return self.head(self.decoder(self.encoder(prepare_input(image))))


class FusedNetwork(nn.Module):
    """Both branches with their own folded convolutions, exchange, GSU and the fused head."""

    def __init__(self, network: CSKNet) -> None:
        super().__init__()
        self.optical_encoder = fold_batch_norm(network.encoder, Modality.OPTICAL)
        self.thermal_encoder = fold_batch_norm(network.encoder, Modality.THERMAL)
        # Copied as what is folded is: deploying freezes them and moves them to a device.
        self.exchanges = copy.deepcopy(network.exchanges)
        self.optical_decoder = fold_batch_norm(network.optical_decoder)
        self.thermal_decoder = fold_batch_norm(network.thermal_decoder)
        self.gsu = copy.deepcopy(network.gsu)
        self.head = fold_batch_norm(network.fused_head)

    def forward(self, optical: Tensor, thermal: Tensor) -> Tensor:
        """Map (B, 3, H, W) and (B, 1, H, W) in 0..1 to logits (B, C, H / 4, W / 4)."""
        o, t = prepare_input(optical), prepare_input(thermal)
        pairs = []
        stages = zip(
            self.optical_encoder.stages, self.thermal_encoder.stages, self.exchanges, strict=True
        )
        for optical_stage, thermal_stage, exchange in stages:
            o, t = exchange(optical_stage(o), thermal_stage(t))
            pairs.append((o, t))
        o = self.optical_decoder([pair[0] for pair in pairs])
        t = self.thermal_decoder([pair[1] for pair in pairs])
        return self.head(o + t if self.gsu is None else self.gsu(o, t))


class DeployedNetwork(nn.Module):
    """One mode from raw arrays to uint8 maps, the graph that backends run.

    Optical comes as (H, W, 3) uint8, thermal as (H, W) float32 in 0..1; out go the label map and
    the confidence, (H, W) uint8 each. Confidence is 255 times the largest softmax probability at
    the mode's temperature, so that maps stay one byte a pixel. The network it is made of stays as
    it is; nothing is shared with it.
    """

    def __init__(self, network: CSKNet, mode: Mode, temperature: float = 1.0) -> None:
        super().__init__()
        self.mode = mode
        self.temperature = temperature
        self.body: nn.Module
        if mode is Mode.FUSED:
            self.body = FusedNetwork(network)
        else:
            (modality,) = mode.modalities
            self.body = SingleNetwork(network, modality)
        self.eval().requires_grad_(False)

    def forward(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Take the mode's images (optical before thermal), return label map and confidence."""
        size = images[0].shape[:2]
        return maps_from_logits(self.logits(*images) / self.temperature, (size[0], size[1]))

    def logits(self, *images: Tensor) -> Tensor:
        """Take the mode's images, return logits (1, C, H / 4, W / 4) without temperature."""
        logits: Tensor = self.body(*(_to_batch(image) for image in images))
        return logits


def _to_batch(image: Tensor) -> Tensor:
    if image.dtype == torch.uint8:
        return image.permute(2, 0, 1)[None].float() * (1 / 255)
    return image[None, None]


def maps_from_logits(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Upsample logits (1, C, h, w) to `size` and return label map and confidence, uint8.

    The largest probability is `1 / sum_c exp(l_c - max_c l_c)`: no division per class is needed.
    """
    full = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)[0]
    best, labels = full.max(0)
    confidence = 255.0 / torch.exp(full - best).sum(0)
    return labels.to(torch.uint8), (confidence + 0.5).to(torch.uint8)
