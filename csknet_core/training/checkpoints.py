"""Training state on disk: safetensors, so that resuming never runs code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from csknet_core.errors import WeightsError

STATE_NAME = "state.safetensors"
"""The file of a run's folder that it is resumed from."""


def save_state(path: Path, step: int, parts: dict[str, dict[str, Tensor]], meta: Any) -> None:
    """Write named groups of tensors; a kill at any moment leaves the old or the new file."""
    tensors = {
        f"{part}/{key}": value.detach().clone().contiguous()
        for part, group in parts.items()
        for key, value in group.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"state": json.dumps({"step": step, "meta": meta})})
    os.replace(partial, path)


def load_state(path: Path) -> tuple[int, dict[str, dict[str, Tensor]], Any]:
    """Read what `save_state` wrote: the step, the groups and the meta data.

    Raises:
        WeightsError: the file is damaged or something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            state = json.loads((file.metadata() or {})["state"])
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(
            f"checkpoint {path}: cannot be read ({error}); delete it to start again"
        ) from error
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, key = name.partition("/")
        parts.setdefault(part, {})[key] = value
    return int(state["step"]), parts, state["meta"]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's state as flat tensors, keyed `parameter/name`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{k}": v for i, entry in state.items() for k, v in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
