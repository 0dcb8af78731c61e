"""What the benchmarks measured beside what was to be reached."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.tables import table, yes

FLOAT = ("onnx-cpu", "torch-cpu")

HELD = 0.99
"""A node holds a rate when it answers this share of the frames."""


def goals_table(bench: dict[str, Any], node: dict[str, Any]) -> str:
    """Return the goals beside what was measured; those without figures are left out."""
    rows = [*_bench_goals(bench), *_node_goals(node)]
    return table(
        ["goal", "bound", "measured", "met"],
        [[text, bound, value, yes(met)] for text, bound, value, met in rows],
    )


Goal = tuple[str, str, str, bool]


def _bench_goals(data: dict[str, Any]) -> Iterable[Goal]:
    cpu = [row for row in data["timings"] if row["backend"] in FLOAT]
    fused = min((r for r in cpu if r["mode"] == "fused"), key=lambda r: r["median_ms"])
    if "speed_up" in fused:
        value = fused["speed_up"]
        text = f"fused, {fused['backend']}, over eager torch"
        yield text, "at least 3.5x", f"{value:.2f}x", value >= 3.5
    for row in data["timings"]:
        if (row["mode"], row["backend"]) == ("fused", "onnx-int8") and "speed_up" in row:
            value = row["speed_up"]
            yield (
                "fused, onnx-int8, over eager torch",
                "at least 3.5x",
                f"{value:.2f}x",
                value >= 3.5,
            )
    for row in cpu:
        if (row["mode"], row["backend"]) == ("thermal_only", fused["backend"]):
            share = row["median_ms"] / fused["median_ms"]
            yield "thermal only over fused, time", "at most 0.55", f"{share:.2f}", share <= 0.55


def _node_goals(data: dict[str, Any]) -> Iterable[Goal]:
    ours = [row for row in data["rates"] if row["node"] == "csknet" and row["overhead_ms"]]
    for row in ours:
        if row["rate_hz"] == 5:
            for key, bound in (("p50", 15), ("p95", 30)):
                value = row["overhead_ms"][key]
                yield (
                    f"overhead at 5 Hz, {key}",
                    f"at most {bound} ms",
                    f"{value:.1f}",
                    value <= bound,
                )
    for row in ours:
        if row["answered"] < HELD * row["frames"]:
            times = row["latency_ms"]["p95"] / row["engine_ms"]["p50"]
            text = f"p95 latency at {row['rate_hz']:.0f} Hz, above capacity, in engine times"
            yield text, "at most 2.2", f"{times:.2f}", times <= 2.2
    missed = sum(row["missed"] for row in ours)
    if memory := data.get("memory"):
        grown = memory["rss_mb"]["end"] / memory["rss_mb"]["start"] - 1
        yield (
            "growth of memory, above capacity",
            "at most 5 %",
            f"{100 * grown:.1f} %",
            grown <= 0.05,
        )
        missed += memory["missed"]
    yield "frames missed and not counted, all runs", "0", str(missed), missed == 0
    if (ratio := usual_over_ours(data)) is not None:
        rate, value = ratio
        text = f"p95 of the usual node over ours at {rate:.0f} Hz, the most it holds"
        yield text, "at least 2x", f"{value:.2f}x", value >= 2
    for device, seconds, megabytes in (("onnx-cpu", 3, 450), ("torch-cpu", 8, 900)):
        if start := data.get("start", {}).get(device):
            first, peak = start["first_label_s"], start["peak_rss_mb"]
            yield f"{device}: first label", f"at most {seconds} s", f"{first:.2f}", first <= seconds
            yield f"{device}: peak RSS", f"at most {megabytes} MB", f"{peak:.0f}", peak <= megabytes
            if device == "onnx-cpu":
                yield ("onnx-cpu: torch loaded", "no", yes(start["torch_loaded"]),
                       not start["torch_loaded"])  # fmt: skip


def usual_over_ours(data: dict[str, Any]) -> tuple[float, float] | None:
    """Return the highest rate that the usual node holds, and its p95 latency there over ours.

    None where it held none of the rates, or ours was not measured there.
    """
    held = [row for row in data["rates"]
            if row["node"] == "usual" and row["answered"] >= HELD * row["frames"]]  # fmt: skip
    for theirs in sorted(held, key=lambda row: -row["rate_hz"]):
        for ours in data["rates"]:
            if (ours["node"], ours["rate_hz"]) == ("csknet", theirs["rate_hz"]):
                ratio = theirs["latency_ms"]["p95"] / ours["latency_ms"]["p95"]
                return theirs["rate_hz"], ratio
    return None
