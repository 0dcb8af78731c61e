"""Who the network learns from besides the labels: an optical teacher, and its own average."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from csknet_core.classes import IGNORE_ID, ClassTable
from csknet_core.errors import ConfigError
from csknet_core.modality import Modality, Mode
from csknet_core.model.csknet import CSKNet
from csknet_core.model.zoo import load_network


class Taught(NamedTuple):
    """A teacher's logits (B, C, H / 4, W / 4) and the features of its five encoder stages."""

    logits: Tensor
    features: list[Tensor]


class Teacher:
    """The frozen optical-only mode of a network; a recipe with `modality: optical` trains one."""

    def __init__(self, network: CSKNet) -> None:
        self._network = network.eval().requires_grad_(False)

    @classmethod
    def load(cls, path: str, classes: ClassTable, device: torch.device) -> Teacher:
        """Load a teacher from a weights file.

        Raises:
            ConfigError: it was trained on other classes.
            WeightsError: the file cannot be used.
        """
        network, info = load_network(path)
        if info.classes.names != classes.names:
            raise ConfigError(
                f"teacher {path}: its classes ({', '.join(info.classes.names)}) are not those of "
                f"table '{classes.name}'; train a teacher on this table"
            )
        return cls(network.to(device))

    @torch.no_grad()
    def __call__(self, optical: Tensor) -> Taught:
        """Look at (B, 3, H, W) optical images in 0..1."""
        features = self._network.encode_single(Modality.OPTICAL, optical)
        return Taught(self._network.decode_single(Modality.OPTICAL, features), features)


@torch.no_grad()
def pseudo_labels(
    average: CSKNet, optical: Tensor, thermal: Tensor, labels: Tensor, threshold: float
) -> Tensor:
    """Label the unlabelled samples of a batch with the confident part of the fused answer.

    Self-training across modalities: what both cameras together are sure of teaches each branch.

    Args:
        average: the averaged network, in evaluation mode.
        optical: (B, 3, H, W) in 0..1.
        thermal: (B, 1, H, W) in 0..1.
        labels: (B, H, W) int64; samples that are 255 everywhere are unlabelled.
        threshold: least probability.

    Returns:
        The labels (B, H, W), 255 where the answer is not sure.
    """
    bare = (labels == IGNORE_ID).all(2).all(1)
    if not bare.any():
        return labels
    logits = average.predict(Mode.FUSED, optical[bare], thermal[bare]).float()
    full = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
    confidence, answer = full.softmax(1).max(1)
    filled = labels.clone()
    filled[bare] = torch.where(confidence >= threshold, answer, IGNORE_ID)
    return filled
