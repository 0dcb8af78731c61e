"""Latency over input rate as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter


def draw_node(data: dict[str, Any], path: Path) -> None:
    """Draw p50 and p95 of every node over the rate, and the memory over time where watched.

    Args:
        data: as `python -m benchmarks.node --json` writes it.
        path: PNG to write.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    latency, memory = figure.subplots(1, 2)
    for name in dict.fromkeys(row["node"] for row in data["rates"]):
        rows = [row for row in data["rates"] if row["node"] == name and row["latency_ms"]]
        rates = [row["rate_hz"] for row in rows]
        (line,) = latency.plot(rates, [row["latency_ms"]["p95"] for row in rows], "o-", label=name)
        latency.plot(
            rates, [row["latency_ms"]["p50"] for row in rows], "o:", color=line.get_color()
        )
    latency.set_yscale("log")
    latency.yaxis.set_major_formatter(ScalarFormatter())
    latency.yaxis.set_minor_formatter(ScalarFormatter())
    latency.set_xlabel("pairs a second in")
    latency.set_ylabel("publish to label map, ms: p95, dotted p50")
    latency.legend()
    runs = [data["memory"]] if "memory" in data else data["rates"]
    for row in runs:
        series = row["rss_series_mb"]
        memory.plot([0.5 * i for i in range(len(series))], series,
                    label=f"{row['node']}, {row['rate_hz']:.0f} Hz")  # fmt: skip
    memory.set_ylim(0, 1.25 * max((max(row["rss_series_mb"]) for row in runs), default=1))
    memory.set_xlabel("seconds")
    memory.set_ylabel("resident memory, MB")
    memory.legend(fontsize=7)
    figure.savefig(path, dpi=110)
