"""One run on several processes (torchrun): PyTorch's DDP, and batch norm over all of them.

Launched as `torchrun --nproc_per_node N -m csknet_core.cli train ...`; every process takes an
equal part of each batch, and the run is the same as that of one process. Two settings make it
another one: with `hard_share` below 1 every process picks the hardest pixels of its own part, and
contrast draws its anchors from it.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from csknet_core.errors import ConfigError
from csknet_core.model.norm import replace_batch_norm


def start_processes() -> torch.device:
    """Join the other processes of a torchrun launch, if there are any; return the own device."""
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if cuda:
        torch.cuda.set_device(local)
    if dist.is_torchelastic_launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return torch.device("cuda", local) if cuda else torch.device("cpu")


def process_index() -> int:
    """Return this process's number, 0 for the one that writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def process_count() -> int:
    """Return how many processes share the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own_part(batch: int) -> slice:
    """Return which samples of every batch are this process's.

    Raises:
        ConfigError: the batch cannot be divided evenly.
    """
    count = process_count()
    if batch % count:
        raise ConfigError(f"batch {batch} does not divide into {count} processes")
    size = batch // count
    return slice(process_index() * size, (process_index() + 1) * size)


def average_process(value: Tensor) -> Tensor:
    """Return the mean of a value over all processes; no gradient flows through it."""
    if process_count() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / process_count()


def synchronize_batch_norm(module: nn.Module) -> nn.Module:
    """Let every `BatchNorm2d` below `module` see the batches of all processes, in place.

    `torch.nn.SyncBatchNorm` does the same on CUDA only; this one also runs on gloo.
    """
    if process_count() == 1:
        return module
    return replace_batch_norm(module, _SynchronizedBatchNorm2d.of)


class _SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of all processes' equally large batches."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
        """Return one that shares the parameters and statistics of `norm`."""
        synchronized = cls(norm.num_features, norm.eps, norm.momentum)
        for name, parameter in norm.named_parameters():
            setattr(synchronized, name, parameter)
        for name, buffer in norm.named_buffers():
            setattr(synchronized, name, buffer)
        return synchronized

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if not self.training:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _Mean.apply(wide.mean((0, 2, 3)))
        centred = wide - mean.view(1, -1, 1, 1)
        variance = _Mean.apply(centred.square().mean((0, 2, 3)))
        self._track(mean.detach(), variance.detach(), x.numel() // x.shape[1] * process_count())
        scale = (self.weight * torch.rsqrt(variance + self.eps)).view(1, -1, 1, 1)
        return (centred * scale + self.bias.view(1, -1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)
        self.num_batches_tracked.add_(1)


class _Mean(torch.autograd.Function):
    """Mean over processes of a tensor; its gradient is the mean of their gradients."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        return average_process(value)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return average_process(gradient)
