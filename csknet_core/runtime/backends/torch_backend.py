"""PyTorch: the CUDA backend, and a CPU backend for machines without ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.errors import EngineError
from csknet_core.modality import Modality, Mode
from csknet_core.model.inference import DeployedNetwork
from csknet_core.model.zoo import load_network
from csknet_core.runtime.backends.base import LabelsAndConfidence
from csknet_core.runtime.backends.cuda_graph import CudaGraphRunner, capture, half_precision
from csknet_core.runtime.memory import release_memory
from csknet_core.weights.files import WeightsInfo


class TorchEngine:
    """Folded networks of the three modes on one device; on CUDA in half precision, as graphs.

    Args:
        weights: the weights file.
        size: height and width of the network input.
        device: "cpu" or "cuda".
        threads: threads per frame on the CPU; 0 lets torch choose.

    Raises:
        EngineError: the device is not available, or has no memory left.
        WeightsError: the weights file cannot be used.
    """

    def __init__(
        self, weights: Path, size: tuple[int, int], device: str = "cpu", threads: int = 0
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise EngineError("torch finds no CUDA device here; use device:=cpu")
        if threads:
            torch.set_num_threads(threads)
        self._size = size
        self._device = torch.device(device)
        network, info = load_network(str(weights))
        self._info: WeightsInfo = info
        try:
            self._networks = {
                mode: DeployedNetwork(network, mode, info.temperature[mode]).to(
                    self._device,
                    memory_format=torch.channels_last,  # type: ignore[call-overload]
                )
                for mode in Mode
            }
        except RuntimeError as error:  # such as torch.OutOfMemoryError
            raise EngineError(f"{self.name} cannot be opened: {error}") from error
        self._graphs: dict[Mode, CudaGraphRunner | None] = {}

    @property
    def name(self) -> str:
        """Backend and device."""
        return f"torch-{self._device.type}"

    @property
    def classes(self) -> ClassTable:
        """Classes of the ids in the label maps."""
        return self._info.classes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network input in pixels."""
        return self._size

    def run(
        self,
        mode: Mode,
        optical: NDArray[np.uint8] | None,
        thermal: NDArray[np.float32] | None,
    ) -> LabelsAndConfidence:
        """Segment one frame, see `Engine.run`."""
        images = [
            image
            for modality, image in ((Modality.OPTICAL, optical), (Modality.THERMAL, thermal))
            if modality in mode.modalities
        ]
        try:
            if self._device.type == "cuda":
                return self._run_cuda(mode, images)
            with torch.inference_mode():
                labels, confidence = self._networks[mode](*map(torch.from_numpy, images))
                return labels.numpy(), confidence.numpy()
        except (RuntimeError, TypeError) as error:
            raise EngineError(f"{self.name} failed on a {mode.value} frame: {error}") from error

    def _run_cuda(self, mode: Mode, images: list[Any]) -> LabelsAndConfidence:
        if mode not in self._graphs:
            self._graphs[mode] = capture(self._networks[mode], images)
        graph = self._graphs[mode]
        if graph is not None:
            return graph.run(images)
        with torch.inference_mode():
            tensors = [torch.from_numpy(image).to(self._device) for image in images]
            labels, confidence = half_precision(self._networks[mode], tensors)
            return labels.cpu().numpy(), confidence.cpu().numpy()

    def close(self) -> None:
        """Free the networks."""
        self._graphs.clear()
        self._networks.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        release_memory()
