"""ONNX graphs of a weights file: built once per mode and size, verified, cached on disk.

The cache is looked up without torch. Only when a graph is missing does a child process import
torch to build it, so that a node that runs ONNX never carries torch in its memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from csknet_core.errors import EngineError
from csknet_core.input_size import check_size
from csknet_core.modality import Modality, Mode
from csknet_core.weights.files import file_digest

EXPORT_VERSION = 1
"""Part of the cache key: raise it when the exported graph changes."""

MAX_DISAGREEMENT = 1e-3
"""Largest share of pixels whose label may differ between torch and the exported graph."""


def cache_folder() -> Path:
    """Return `$CSKNET_CACHE`, or csknet's folder in the user's cache."""
    base = os.environ.get("CSKNET_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csknet"


def onnx_path(weights: Path, mode: Mode, size: tuple[int, int], int8: bool = False) -> Path:
    """Return where the graph of these weights, mode, size and precision is cached."""
    key = f"{file_digest(weights)[:20]}-v{EXPORT_VERSION}-{mode.value}-{size[0]}x{size[1]}"
    return cache_folder() / f"{weights.stem}-{key}{'-int8' * int8}.onnx"


def ensure_onnx(weights: Path, mode: Mode, size: tuple[int, int], int8: bool = False) -> Path:
    """Return the cached graph, building all modes' graphs first if it is missing.

    Args:
        weights: the weights file.
        mode: the mode.
        size: height and width of the network input.
        int8: whether to take the eight-bit form, see `quantize`.

    Raises:
        EngineError: the graph cannot be built, for example because torch is not installed.
    """
    path = onnx_path(weights, mode, size, int8)
    if path.is_file():
        return path
    command = [sys.executable, "-m", "csknet_core.runtime.export", str(weights)]
    command += ["--size", str(size[0]), str(size[1]), *["--int8"] * int8]
    lasts = "1 min" if int8 else "20 s"
    print(
        f"csknet: building ONNX graphs of {weights.name} (once, about {lasts}) ...", file=sys.stderr
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not path.is_file():
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EngineError(
            f"cannot build the ONNX graph {path}: {reason}; install torch and onnx "
            "(pip install 'csknet_ros[train]') or copy the cache from a machine that has them"
        )
    return path


def export_onnx(weights: Path, mode: Mode, size: tuple[int, int], path: Path) -> float:
    """Write the verified ONNX graph of one mode.

    Args:
        weights: the weights file.
        mode: the mode whose graph to write.
        size: height and width of the network input.
        path: the file; it appears whole or not at all.

    Returns:
        The share of pixels whose label differs from torch on a test image.

    Raises:
        ConfigError: the network cannot take images of that size.
        EngineError: more pixels than `MAX_DISAGREEMENT` differ.
        WeightsError: the weights cannot be loaded.
    """
    import torch

    from csknet_core.model.inference import DeployedNetwork
    from csknet_core.model.zoo import load_network

    check_size(size)
    network, info = load_network(str(weights))
    deployed = DeployedNetwork(network, mode, info.temperature[mode])
    images = test_images(mode, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / path.name
        torch.onnx.export(
            deployed,
            tuple(torch.from_numpy(image) for image in images.values()),
            str(partial),
            input_names=list(images),
            output_names=["labels", "confidence"],
            opset_version=17,
            dynamo=False,
        )
        disagreement = _disagreement(partial, deployed, images)
        if disagreement > MAX_DISAGREEMENT:
            raise EngineError(
                f"{path}: {100 * disagreement:.2f} % of labels differ from torch; not used"
            )
        os.replace(partial, path)
    return disagreement


def test_images(mode: Mode, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return smooth random images of a mode's modalities, in input order."""
    import cv2

    rng = np.random.default_rng(0)
    images: dict[str, np.ndarray] = {}
    shape = (size[1], size[0])
    if Modality.OPTICAL in mode.modalities:
        coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
        images["optical"] = cv2.resize(coarse, shape, interpolation=cv2.INTER_CUBIC)
    if Modality.THERMAL in mode.modalities:
        coarse = rng.random((12, 16), np.float32)
        images["thermal"] = cv2.resize(coarse, shape, interpolation=cv2.INTER_LINEAR)
    return images


def _disagreement(path: Path, deployed: object, images: dict[str, np.ndarray]) -> float:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    labels, _ = session.run(None, images)
    with torch.inference_mode():
        expected, _ = deployed(*(torch.from_numpy(image) for image in images.values()))  # type: ignore[operator]
    return float((np.asarray(labels) != expected.numpy()).mean())


def main() -> int:
    """Build the graphs of every mode into the cache; the child process of `ensure_onnx`."""
    parser = argparse.ArgumentParser(description="Build a weights file's ONNX graphs.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640))
    parser.add_argument("--int8", action="store_true", help="their eight-bit forms, too")
    arguments = parser.parse_args()
    size = (arguments.size[0], arguments.size[1])
    for mode in Mode:
        path = onnx_path(arguments.weights, mode, size)
        if not path.is_file():
            export_onnx(arguments.weights, mode, size, path)
        if arguments.int8:
            _build_int8(path, onnx_path(arguments.weights, mode, size, True), mode, size)
    return 0


def _build_int8(source: Path, path: Path, mode: Mode, size: tuple[int, int]) -> None:
    from csknet_core.runtime.quantize import quantize_onnx

    if path.is_file():
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / path.name
        quantize_onnx(source, partial, mode, size)
        os.replace(partial, path)


if __name__ == "__main__":
    sys.exit(main())
