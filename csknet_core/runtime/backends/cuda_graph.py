"""One mode's network as a CUDA graph: one launch, pinned memory, a stream of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from csknet_core.runtime.backends.base import LabelsAndConfidence

MAX_DISAGREEMENT = 0.005
"""Largest share of labels by which the graph may differ from the network it was made of."""

_WARM_UPS = 3
_log = logging.getLogger(__name__)


class CudaGraphRunner:
    """Uploads, replays, downloads; nothing else happens between two frames.

    Images are written into pinned memory, so that the copy to the device runs on this stream. Only
    the two uint8 maps leave the device.

    Args:
        network: on the device, in evaluation mode; takes images and returns label map, confidence.
        images: arrays of the shapes and types it will be run on.

    Raises:
        RuntimeError: the graph cannot be captured, or does not answer as the network does.
    """

    def __init__(self, network: nn.Module, images: Sequence[NDArray[np.generic]]) -> None:
        self._stream = torch.cuda.Stream()
        self._host = [torch.from_numpy(np.ascontiguousarray(i)).pin_memory() for i in images]
        with torch.cuda.stream(self._stream), torch.inference_mode():
            self._inputs = [tensor.cuda(non_blocking=True) for tensor in self._host]
            for _ in range(_WARM_UPS):
                expected = half_precision(network, self._inputs)
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(self._graph, stream=self._stream):
            self._maps = half_precision(network, self._inputs)
        self._answers = [torch.empty(m.shape, dtype=m.dtype, pin_memory=True) for m in self._maps]
        labels, _ = self.run(images)
        differs = float((labels != expected[0].cpu().numpy()).mean())
        if differs > MAX_DISAGREEMENT:
            raise RuntimeError(f"{100 * differs:.1f} % of labels of the CUDA graph differ")

    def run(self, images: Sequence[NDArray[np.generic]]) -> LabelsAndConfidence:
        """Answer one frame; the arrays are the caller's."""
        for host, image in zip(self._host, images, strict=True):
            host.numpy()[...] = image
        with torch.cuda.stream(self._stream), torch.inference_mode():
            for device, host in zip(self._inputs, self._host, strict=True):
                device.copy_(host, non_blocking=True)
            self._graph.replay()
            for answer, result in zip(self._answers, self._maps, strict=True):
                answer.copy_(result, non_blocking=True)
        self._stream.synchronize()
        labels, confidence = (answer.numpy().copy() for answer in self._answers)
        return labels, confidence


def half_precision(network: nn.Module, images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Run a network in float16 where autocast takes it as safe."""
    # A cached cast made while a graph is captured would belong to the graph's memory.
    with torch.autocast(images[0].device.type, torch.float16, cache_enabled=False):
        labels, confidence = network(*images)
    return labels, confidence


def capture(network: nn.Module, images: Sequence[NDArray[np.generic]]) -> CudaGraphRunner | None:
    """Return a runner, or None where the network has to be launched kernel by kernel."""
    try:
        return CudaGraphRunner(network, images)
    except RuntimeError as error:
        _log.warning("no CUDA graph, the network runs kernel by kernel: %s", error)
        return None
