"""Which operators of the ONNX graph take the time, as ONNX Runtime itself measures them."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from csknet_core.modality import Modality, Mode
from csknet_core.runtime.backends.onnx_backend import session_options
from csknet_core.runtime.export import ensure_onnx


def profile_onnx(
    weights: Path,
    mode: Mode,
    optical: NDArray[np.uint8],
    thermal: NDArray[np.float32],
    rounds: int,
    threads: int = 0,
) -> dict[str, float]:
    """Run a mode on the CPU under ONNX Runtime's profiler.

    Args:
        weights: the weights file.
        mode: which graph.
        optical: (H, W, 3) uint8.
        thermal: (H, W) float32 in 0..1.
        rounds: frames to average over.
        threads: CPU threads; 0 lets ONNX Runtime choose.

    Returns:
        Milliseconds a frame of every kind of operator, largest first. The profiler itself makes
        every operator a little slower.

    Raises:
        EngineError: the graph cannot be built.
        WeightsError: the weights cannot be used.
    """
    inputs = {Modality.OPTICAL: ("optical", optical), Modality.THERMAL: ("thermal", thermal)}
    feed: dict[str, Any] = dict(inputs[modality] for modality in mode.modalities)
    path = ensure_onnx(weights, mode, (thermal.shape[0], thermal.shape[1]))
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        for _ in range(rounds + 1):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return cost_by_operator(events, skip=1)


def cost_by_operator(events: Iterable[dict[str, Any]], skip: int = 0) -> dict[str, float]:
    """Sum up a profile.

    Args:
        events: as ONNX Runtime writes them, `dur` in microseconds.
        skip: first runs of every operator to leave out, which allocate.

    Returns:
        Milliseconds a run by kind of operator, largest first.
    """
    runs: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            runs[operator_kind(event["args"]), event["name"]].append(event["dur"])
    costs: dict[str, float] = defaultdict(float)
    for (kind, _), durations in runs.items():
        kept = durations[skip:]
        costs[kind] += 1e-3 * sum(kept) / max(1, len(kept))
    return {k: round(ms, 3) for k, ms in sorted(costs.items(), key=lambda cost: -cost[1])}


def operator_kind(arguments: dict[str, Any]) -> str:
    """Return the operator's name; of a convolution with its kernel and whether it is depthwise."""
    name = str(arguments["op_name"])
    inputs = arguments.get("input_type_shape", [])
    if "Conv" not in name or len(inputs) < 2:
        return name
    _, per_group, height, width = next(iter(inputs[1].values()))
    depthwise = ", depthwise" if per_group == 1 else ""
    return f"convolution {height}x{width}{depthwise}"
