"""Mean and spread over seeds of every step: JSON, tables, picture."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

MODES = ("fused", "thermal_only", "optical_only")


def write_summary(
    out: Path, rows: list[dict[str, Any]], recipe: dict[str, Any], data: str
) -> dict[str, Any]:
    """Write `summary.json`, `summary.md` and `summary.png`; return the summary.

    Args:
        out: folder.
        rows: one per run: step, name, seed, scores.
        recipe: what all runs share.
        data: name of the data.
    """
    steps = []
    for step in sorted({row["step"] for row in rows}):
        own = [row for row in rows if row["step"] == step]
        values = {mode: [100 * row["scores"][mode]["miou"] for row in own] for mode in MODES}
        steps.append({"step": step, "name": own[0]["name"], "miou": values})
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    summary = {
        "data": data,
        "recipe": recipe,
        "steps": steps,
        "machine": {"processor": platform.machine(), "torch": torch.__version__},
        "commit": commit.stdout.strip(),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (out / "summary.md").write_text(_markdown(steps), encoding="utf-8")
    _draw(out / "summary.png", steps, data)
    return summary


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print the table: mean mIoU in % and half the range over seeds."""
    table = Table(title=f"mIoU in % on {summary['data']} (mean over seeds, ± half the range)")
    table.add_column("step")
    for mode in MODES:
        table.add_column(mode, justify="right")
    for step in summary["steps"]:
        table.add_row(step["name"], *(_cell(step["miou"][mode]) for mode in MODES))
    console.print(table)


def _markdown(steps: list[dict[str, Any]]) -> str:
    lines = ["| step | fused | thermal only | optical only |", "|---|---|---|---|"]
    for step in steps:
        cells = (_cell(step["miou"][mode]) for mode in MODES)
        lines.append(f"| {step['name']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f} ± {_spread(values):.1f}"


def _spread(values: list[float]) -> float:
    return (max(values) - min(values)) / 2


def _draw(path: Path, steps: list[dict[str, Any]], data: str) -> None:
    figure = Figure(figsize=(9, 0.8 + 0.55 * len(steps)), layout="constrained")
    axis = figure.subplots()
    height = 0.27
    for offset, mode in enumerate(MODES):
        places = [index + (offset - 1) * height for index in range(len(steps))]
        means = [statistics.mean(step["miou"][mode]) for step in steps]
        spreads = [_spread(step["miou"][mode]) for step in steps]
        axis.barh(places, means, height, xerr=spreads, label=mode.replace("_", " "))
    axis.set_yticks(range(len(steps)), [step["name"] for step in steps])
    axis.invert_yaxis()
    axis.set_xlabel(f"mIoU in % on {data}")
    figure.legend(loc="outside lower center", ncols=len(MODES))
    figure.savefig(path, dpi=110)
