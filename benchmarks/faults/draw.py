"""A campaign as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from csknet_ros.mode_colors import MODE_COLORS, OUTCOME_COLORS

_COLORS = {**MODE_COLORS, **OUTCOME_COLORS}
_PARTS = tuple((part, _COLORS[part]) for part in (*MODE_COLORS, "dropped", "unaccounted"))


def draw(summary: dict[str, Any], path: Path) -> None:
    """Draw what became of the frames of every fault, the recovery times, and memory over time.

    Args:
        summary: as `report.summarise` returns it.
        path: PNG to write.
    """
    rows = summary["faults"][::-1]
    names = [row["fault"].replace("_", " ") for row in rows]
    figure = Figure(figsize=(12, 2.6 + 0.22 * len(rows)), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(len(rows), 9), width_ratios=(3, 2))
    frames = figure.add_subplot(grid[0, 0])
    left = [0.0] * len(rows)
    for part, colour in _PARTS:
        shares = [_share(row, part) for row in rows]
        frames.barh(names, shares, left=left, color=colour, label=part.replace("_", " "))
        left = [a + b for a, b in zip(left, shares, strict=True)]
    frames.set_xlim(0, 100)
    frames.set_xlabel("% of the frames of the fault and the time after it")
    frames.legend(ncols=len(_PARTS), fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    recovery = figure.add_subplot(grid[0, 1], sharey=frames)
    for key, mark in (("median", "o"), ("longest", ">")):
        values = [row["recovery_s"][key] for row in rows]
        recovery.plot([v if math.isfinite(v) else 100 for v in values], names, mark, label=key)
    recovery.plot(
        [row["bound_s"] for row in rows], names, "|", color="#c0392b", ms=10, label="bound"
    )
    recovery.set_xscale("log")
    recovery.set_xlabel("recovery, s")
    recovery.tick_params(labelleft=False)
    recovery.grid(alpha=0.3)
    recovery.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    memory = figure.add_subplot(grid[1, :])
    series = summary["memory"]["series"]
    for pid in dict.fromkeys(entry[1] for entry in series):
        life = [entry for entry in series if entry[1] == pid]
        minutes = [entry[0] / 60 for entry in life]
        (line,) = memory.plot(minutes, [entry[3] for entry in life])
        memory.plot(minutes, [entry[2] for entry in life], ":", color=line.get_color())
    memory.set_ylim(bottom=0)
    memory.set_xlabel("minutes; a new line is a new process, dotted with shared segments")
    memory.set_ylabel("memory, MB")
    memory.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _share(row: dict[str, Any], part: str) -> float:
    parts = {name: row.get(name, 0) for name, _ in _PARTS}
    parts["dropped"] = sum(row["dropped"].values())
    return float(100 * parts[part] / max(1, sum(parts.values())))
