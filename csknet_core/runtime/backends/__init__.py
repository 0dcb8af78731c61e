"""Inference backends, and which of them runs on a machine."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from csknet_core.errors import ConfigError, EngineError
from csknet_core.input_size import check_size
from csknet_core.runtime.backends.base import Engine

DEVICES = (
    "auto", "cpu", "cuda", "onnx-cpu", "onnx-int8", "onnx-cuda", "onnx-tensorrt", "torch-cpu",
    "torch-cuda",
)  # fmt: skip

_log = logging.getLogger(__name__)


def open_engine(
    weights: Path, size: tuple[int, int], device: str = "auto", threads: int = 0
) -> Engine:
    """Open a backend.

    Args:
        weights: the weights file.
        size: height and width of the network input; multiples of 32.
        device: one of `DEVICES`. "auto" takes CUDA where there is a GPU, else the CPU; "cpu"
            takes ONNX Runtime and falls back to torch; "cuda" takes torch; "onnx-int8" is faster
            on a CPU with 8-bit dot products and a little less accurate.
        threads: CPU threads per frame; 0 lets the backend choose.

    Raises:
        ConfigError: unknown device or unusable size.
        EngineError: the backend is not installed or cannot be built.
        WeightsError: the weights file cannot be used.
    """
    if device not in DEVICES:
        raise ConfigError(f"device '{device}' is unknown; use one of {', '.join(DEVICES)}")
    check_size(size)
    if device == "auto":
        device = "cuda" if _cuda_present() else "cpu"
    if device == "cpu":
        try:
            return _open("onnx", weights, size, "cpu", threads)
        except (ImportError, EngineError) as error:
            _log.warning("ONNX Runtime is not usable, running torch on the CPU: %s", error)
            device = "torch-cpu"
    library, _, target = ("torch", "", "cuda") if device == "cuda" else device.partition("-")
    try:
        return _open(library, weights, size, target, threads)
    except ImportError as error:
        raise EngineError(
            f"device '{device}' needs a package that is not installed ({error}); "
            f"pip install {'onnxruntime' if library == 'onnx' else 'torch'}"
        ) from error


def _open(library: str, weights: Path, size: tuple[int, int], target: str, threads: int) -> Engine:
    if library == "onnx":
        from csknet_core.runtime.backends.onnx_backend import OnnxEngine

        return OnnxEngine(weights, size, target, threads)
    from csknet_core.runtime.backends.torch_backend import TorchEngine

    return TorchEngine(weights, size, target, threads)


def _cuda_present() -> bool:
    """Look for an NVIDIA driver before importing torch, which is slow and large."""
    if not Path("/dev/nvidiactl").exists() and not Path("/etc/nv_tegra_release").exists():
        return False
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())
