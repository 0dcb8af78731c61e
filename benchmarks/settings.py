"""Settings of results that are kept from one start of a benchmark to the next."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml


def keep(file: Path, settings: dict[str, Any]) -> None:
    """Write down what a result is made with; end where an older one was made with something else.

    Raises:
        SystemExit: the file holds other settings.
    """
    text = yaml.safe_dump(
        {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}, sort_keys=False
    )
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{file}: made with other settings; choose another --out or delete it")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def merge(target: dict[str, Any], update: dict[str, Any]) -> None:
    """Put nested settings into others."""
    for key, value in update.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)  # the next merge may change it
