"""Batch norm with separate statistics and affine per modality on shared convolutions.

Stated in CSK-Net (arXiv 2312.02240): the encoder's convolutions are shared by both modalities,
its batch norm is not. A layer learns which modality it is looking at from a `Routing` object that
it shares with every other converted layer of the network, so that any module tree can be
converted without changing a `forward` signature.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from csknet_core.modality import Modality

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Routing:
    """Which modalities the batch in flight holds, in the order they are stacked in."""

    def __init__(self) -> None:
        self.modalities: tuple[Modality, ...] = (Modality.OPTICAL, Modality.THERMAL)

    @contextmanager
    def use(self, *modalities: Modality) -> Iterator[None]:
        """Declare the modalities of every batch passed through the network in this block."""
        previous, self.modalities = self.modalities, modalities
        try:
            yield
        finally:
            self.modalities = previous


class ModalBatchNorm2d(nn.Module):
    """One `BatchNorm2d` per modality behind the interface of one.

    The input is (M*B, C, H, W): the batches of the `routing`'s M modalities stacked along the
    first axis, B samples each. The output has the same shape.
    """

    def __init__(self, norm: nn.BatchNorm2d, routing: Routing) -> None:
        super().__init__()
        self.optical = copy.deepcopy(norm)
        self.thermal = copy.deepcopy(norm)
        self.routing = routing

    def of(self, modality: Modality) -> nn.BatchNorm2d:
        """Return the batch norm of one modality."""
        return self.optical if modality is Modality.OPTICAL else self.thermal

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every modality's part of the batch with its own batch norm."""
        modalities = self.routing.modalities
        if len(modalities) == 1:
            return self.of(modalities[0])(x)
        parts = x.chunk(len(modalities))
        return torch.cat([self.of(m)(part) for m, part in zip(modalities, parts, strict=True)])


def convert_batch_norm(module: ModuleT, routing: Routing) -> ModuleT:
    """Replace every `BatchNorm2d` below `module` by a `ModalBatchNorm2d`, in place.

    Both modalities start from the weights and statistics the layer had.

    Returns:
        `module` itself.
    """
    return replace_batch_norm(
        module, lambda norm: ModalBatchNorm2d(norm, routing), leave=ModalBatchNorm2d
    )


def replace_batch_norm(
    module: ModuleT,
    replacement: Callable[[nn.BatchNorm2d], nn.Module],
    leave: type[nn.Module] | tuple[type[nn.Module], ...] = (),
) -> ModuleT:
    """Replace every `BatchNorm2d` below `module`, in place.

    Args:
        module: the tree.
        replacement: called with each batch norm.
        leave: types of modules not to look into.

    Returns:
        `module` itself.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, replacement(child))
        elif not isinstance(child, leave):
            replace_batch_norm(child, replacement, leave)
    return module


def fold_batch_norm(module: ModuleT, modality: Modality | None = None) -> ModuleT:
    """Return a copy in which batch norm is folded into the convolution before it.

    Exact in evaluation mode up to rounding: `w' = w * gamma / sqrt(var + eps)`,
    `b' = (b - mean) * gamma / sqrt(var + eps) + beta`. A convolution and its batch norm must be
    neighbours in an `nn.Sequential`.

    Args:
        module: network in evaluation mode; it is not changed.
        modality: whose statistics to fold where the batch norm is per modality.

    Raises:
        ValueError: a batch norm has no convolution right before it, or it is per modality and
            `modality` is None.
    """
    folded = copy.deepcopy(module).eval()
    for parent in list(folded.modules()):
        if isinstance(parent, nn.Sequential):
            _fold_sequential(parent, modality)
    left = [n for n, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)]
    if left:
        raise ValueError(f"no convolution right before batch norm '{left[0]}' to fold it into")
    return folded


def _fold_sequential(sequence: nn.Sequential, modality: Modality | None) -> None:
    for index in range(len(sequence) - 1):
        conv, norm = sequence[index], sequence[index + 1]
        if not isinstance(conv, nn.Conv2d):
            continue
        if isinstance(norm, ModalBatchNorm2d):
            if modality is None:
                raise ValueError("batch norm is per modality: say which modality to fold")
            norm = norm.of(modality)
        if isinstance(norm, nn.BatchNorm2d):
            sequence[index] = fuse_conv_bn_eval(conv, norm)
            sequence[index + 1] = nn.Identity()
