"""What a measurement was made on, so that figures can be compared or not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_GPUS = Path("/proc/driver/nvidia/gpus")
_PACKAGES = ("torch", "onnxruntime", "numpy", "opencv-python")


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, NVIDIA GPUs if there are any, system, versions and commit."""
    gpus = _gpus()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        **({"gpu": ", ".join(gpus)} if gpus else {}),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version for name in _PACKAGES if (version := _version(name))},
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _gpus() -> list[str]:
    """Return the models that the NVIDIA driver lists; asking torch would load it."""
    models = []
    try:
        for file in sorted(_GPUS.glob("*/information")):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                name, _, value = line.partition(":")
                if name == "Model":
                    models.append(value.strip())
    except OSError:
        pass
    return models


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """Return the commit this checkout is at, "" where it is none."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude", "*"],
            capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
