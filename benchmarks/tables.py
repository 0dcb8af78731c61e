"""Markdown tables of the benchmarks' JSON files, as docs/performance.md shows them.

python -m benchmarks.tables bench.json node.json synchronizer.json forms.json replay.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rows = list[list[object]]


def table(head: list[str], rows: Rows) -> str:
    """Return a Markdown table; all columns but the first are to the right."""
    rule: list[object] = ["---", *["---:"] * (len(head) - 1)]
    lines: Rows = [[*head], rule, *rows]
    return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)


def bench(data: dict[str, Any]) -> str:
    """Show `csknet bench --json`."""
    rows = [
        [row["backend"], row["mode"].replace("_", " "), row["median_ms"], row["p95_ms"],
         f"{row.get('speed_up', 1):.2f}", row["gflops"], _percent(row["share_of_ceiling"]),
         f"{100 * row['agreement']:.2f} %" if "agreement" in row else None]
        for row in data["timings"]
    ]  # fmt: skip
    head = ["backend", "mode", "median ms", "p95 ms", "speed-up", "GFLOP/s", "of the ceiling",
            "same labels"]  # fmt: skip
    counts = ", ".join(
        f"{mode.replace('_', ' ')} {count / 1e9:.2f}"
        for mode, count in data["multiply_adds"].items()
    )
    on_cuda = data.get("cuda_ceiling_gflops")
    cuda = f"; of the GPU, in half precision: {on_cuda:.0f} GFLOP/s" if on_cuda else ""
    costs: Rows = [[m.replace("_", " "), _shares(c)] for m, c in data.get("profile", {}).items()]
    profile = "\n\n" + table(["mode", "time of ONNX Runtime by operator"], costs) if costs else ""
    return (
        f"{_about(data)}\n\n{table(head, rows)}\n\n1e9 multiply-adds a frame: {counts}. Ceiling, a "
        f"float32 matrix product: {data['ceiling_gflops']:.0f} GFLOP/s{cuda}.{profile}"
        + "".join(f"\n\nNot measured: {name} ({why})." for name, why in data["absent"].items())
    )


def node(data: dict[str, Any]) -> str:
    """Show `python -m benchmarks.node --json`."""
    rows = [
        [row["node"], row["rate_hz"], row["per_second"], row["frames"], row["answered"],
         row["counted"], row["missed"], *(row["latency_ms"].get(q) for q in ("p50", "p95", "p99")),
         row["engine_ms"].get("p50"), *(row["overhead_ms"].get(q) for q in ("p50", "p95")),
         f"{row['cpu_share']:.2f}"]
        for row in data["rates"]
    ]  # fmt: skip
    head = ["node", "Hz in", "Hz out", "frames", "answered", "dropped and said so",
            "lost without a word", "p50 ms", "p95 ms", "p99 ms", "inference p50", "overhead p50",
            "overhead p95", "cores"]  # fmt: skip
    parts = [_about(data), table(head, rows)]
    if "start" in data:
        rows = [
            [
                name,
                f"{start['first_label_s']:.2f}",
                start["peak_rss_mb"],
                yes(start["torch_loaded"]),
            ]
            for name, start in data["start"].items()
        ]
        head = ["backend", "first label after, s", "peak memory, MB", "torch loaded"]
        parts.append(table(head, rows))
    if "memory" in data:
        memory = data["memory"]
        parts.append(
            f"At {memory['rate_hz']:.0f} Hz for {memory['frames'] / memory['rate_hz'] / 60:.1f} "
            f"minutes: {memory['answered']} answered, {memory['counted']} dropped and said so, "
            f"{memory['missed']} lost without a word; memory {memory['rss_mb']['start']:.0f} MB at "
            f"the start, {memory['rss_mb']['end']:.0f} MB at the end."
        )
    return "\n\n".join(parts)


def synchronizer(data: dict[str, Any]) -> str:
    """Show `python -m benchmarks.synchronizer --json`."""
    outcomes = data["outcomes"]
    names = [name for name in outcomes[0] if name != "name"]
    rows: Rows = [[name.replace("_", " "), *(o[name] for o in outcomes)] for name in names]
    return f"{_about(data)}\n\n" + table(["", *(outcome["name"] for outcome in outcomes)], rows)


def forms(data: dict[str, Any]) -> str:
    """Show `python -m benchmarks.forms --json`."""
    rows: Rows = [[row["form"], row["backend"], row["median_ms"]] for row in data["rows"]]
    return f"{_about(data)}\n\n" + table(["form", "backend", "median ms"], rows)


def replay(data: dict[str, Any]) -> str:
    """Show `python -m benchmarks.replay --json`."""
    rows: Rows = [
        ["offline, null engine", data["offline_null_fps"]],
        ["ROS graph, null engine, fastest rate without loss", data["graph_null_fps"]],
        ["offline, shipped weights", data["offline_engine_fps"]],
        ["bare engine on the same frames", data["bare_engine_fps"]],
    ]
    return table(["", "frames per second"], rows)


KINDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "timings": bench,
    "rates": node,
    "outcomes": synchronizer,
    "disagreement": forms,
    "offline_null_fps": replay,
}
"""What tells the files apart."""


def show(data: dict[str, Any]) -> str:
    """Return the Markdown of one benchmark's figures.

    Raises:
        ValueError: they are of no benchmark known here.
    """
    for key, function in KINDS.items():
        if key in data:
            return function(data)
    raise ValueError(f"no benchmark's figures: {', '.join(data)}")


def _about(data: dict[str, Any]) -> str:
    about = data["about"]
    versions = ", ".join(f"{n} {about[n]}" for n in ("onnxruntime", "torch") if n in about)
    hashes = "".join(
        f"{name} {about[key][:8]}, "
        for name, key in (("weights", "weights_sha256"), ("input", "input_sha256"))
        if key in about
    )
    gpu = f", {about['gpu']}" if "gpu" in about else ""
    return (
        f"{about['processor']}, {about['cores']} cores{gpu}, {versions}, {hashes}"
        f"commit {about['commit']}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %"


def _shares(costs: dict[str, float]) -> str:
    """Return what makes up at least 2 % each."""
    total = sum(costs.values())
    parts = [f"{name} {100 * cost / total:.0f} %" for name, cost in costs.items()
             if cost >= 0.02 * total]  # fmt: skip
    return ", ".join(parts)


def yes(value: bool) -> str:
    """Return yes or no."""
    return "yes" if value else "no"


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)


def main() -> None:
    """Print the tables of the files on the command line."""
    for name in sys.argv[1:]:
        print(f"{show(json.loads(Path(name).read_text(encoding='utf-8')))}\n")


if __name__ == "__main__":
    main()
