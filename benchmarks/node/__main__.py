"""Measure the node over DDS: `python -m benchmarks.node --json node.json`.

Camera, node and listener are processes of their own on this host. The node is measured at rising
rates, then the node that users write otherwise (see `usual_node`), then start-up and memory.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.node.camera import input_hash
from benchmarks.node.draw import draw_node
from benchmarks.node.listener import Listener
from benchmarks.node.scenario import OURS, USUAL, Figures, NodeProcess, measure, measure_start
from benchmarks.ros_domain import use_domain
from csknet_core.runtime.machine import describe_machine
from csknet_core.weights.files import find_weights

console = Console()


def main(
    rates: Annotated[list[float] | None, typer.Option(help="Pairs a second; repeat.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of each measurement.")] = 20.0,
    minutes: Annotated[float, typer.Option(help="Also watch memory at 30 Hz so long.")] = 0.0,
    usual: Annotated[bool, typer.Option(help="Measure the usual node, too.")] = True,
    start: Annotated[bool, typer.Option(help="Measure start and memory of both backends.")] = True,
    domain: Annotated[int, typer.Option(help="ROS domain.")] = 131,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Draw the latencies here.")] = None,
) -> None:
    """Run all measurements and print them."""
    use_domain(domain)
    rows: list[Figures] = []
    for module, name in ((OURS, "csknet"), (USUAL, "usual")):
        if module == OURS or usual:
            rows += _at_rates(module, name, rates or [2.0, 5.0, 10.0, 15.0, 30.0], seconds)
    _print(rows)
    weights = find_weights()
    about = {
        **describe_machine(),
        "weights": weights.stem,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()[:16],
        "input_sha256": input_hash(),
        "seconds": seconds,
    }
    data: dict[str, Any] = {"about": about, "rates": [row.to_json() for row in rows]}
    if minutes:
        data["memory"] = _memory(minutes)
    if start:
        data["start"] = {
            device: measure_start({"device": device}) for device in ("onnx-cpu", "torch-cpu")
        }
        for device, figures in data["start"].items():
            console.print(
                f"{device}: first label after {figures['first_label_s']} s, peak memory "
                f"{figures['peak_rss_mb']:.0f} MB, torch "
                f"{'loaded' if figures['torch_loaded'] else 'not loaded'}"
            )
    if json_file:
        json_file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if png:
        draw_node(data, png)


def _at_rates(module: str, name: str, rates: list[float], seconds: float) -> list[Figures]:
    with Listener() as listener, NodeProcess(module) as node:
        measure(node, name, listener, 5.0, 10)  # the first frames allocate
        found = []
        for rate in rates:
            with console.status(f"{name} at {rate:.0f} Hz"):
                found.append(measure(node, name, listener, rate, round(rate * seconds)))
        return found


def _memory(minutes: float) -> dict[str, Any]:
    """Watch the node's memory above its capacity."""
    with (
        Listener() as listener,
        NodeProcess(OURS) as node,
        console.status(f"memory at 30 Hz for {minutes:.0f} min"),
    ):
        measure(node, "csknet", listener, 30.0, 300)
        figures = measure(node, "csknet", listener, 30.0, round(30 * 60 * minutes))
    change = figures.rss_mb["end"] / figures.rss_mb["start"] - 1
    console.print(f"memory over {minutes:.0f} min at 30 Hz: {100 * change:+.1f} %, "
                  f"{figures.missed} frames missed without a word")  # fmt: skip
    return figures.to_json()


def _print(rows: list[Figures]) -> None:
    # dropped: and announced so; over: latency less inference.
    table = Table(title="publish to label map in ms, 640x480 pairs")
    for column in ("node", "Hz", "frames", "answered", "per s", "dropped", "lost",
                   "p50", "p95", "p99", "engine", "over p50", "over p95",
                   "CPU"):  # fmt: skip
        table.add_column(column, justify="left" if column == "node" else "right")
    for row in rows:
        values = [row.latency_ms.get(f"p{q}") for q in (50, 95, 99)]
        values += [row.engine_ms.get("p50"), *(row.overhead_ms.get(f"p{q}") for q in (50, 95))]
        table.add_row(
            row.node, f"{row.rate_hz:.0f}", str(row.frames), str(row.answered),
            f"{row.per_second:.1f}", str(row.counted), str(row.missed),
            *("-" if v is None else f"{v:.1f}" for v in values),
            f"{row.cpu_share:.2f}",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
