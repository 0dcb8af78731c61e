"""Measure both forms: `python -m benchmarks.forms --json forms.json`."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.forms.stacked import StackedNetwork
from csknet_core.modality import Mode
from csknet_core.model.inference import DeployedNetwork
from csknet_core.model.zoo import load_network
from csknet_core.runtime.bench import example_input
from csknet_core.runtime.machine import describe_machine

console = Console()


def main(
    rounds: Annotated[int, typer.Option(help="Measurements of each.")] = 20,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
) -> None:
    """Run both forms in ONNX Runtime and in torch, side by side, and check that they agree."""
    size = (480, 640)
    images = example_input(size)
    network, _ = load_network()
    forms: dict[str, torch.nn.Module] = {
        "folded": DeployedNetwork(network, Mode.FUSED),
        "stacked": StackedNetwork(network),
    }
    runs: dict[tuple[str, str], Callable[[], Any]] = {}
    for name, form in forms.items():
        runs[name, "onnxruntime-cpu"] = _onnx(form, images)
        runs[name, "torch-cpu"] = _torch(form, images)
    labels = [np.asarray(run()[0]) for run in runs.values()]
    disagreement = max(float((other != labels[0]).mean()) for other in labels)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in track(range(rounds), "measuring", console=console):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            times[key].append(1e3 * (time.perf_counter() - start))
    table = Table(title="fused, 640x480, median ms")
    for column in ("form", "onnxruntime-cpu", "torch-cpu"):
        table.add_column(column)
    for name in forms:
        medians = [np.median(times[name, b]) for b in ("onnxruntime-cpu", "torch-cpu")]
        table.add_row(name, *(f"{value:.1f}" for value in medians))
    console.print(table)
    console.print(f"labels that differ between the forms: {100 * disagreement:.3f} %")
    if json_file:
        rows = [{"form": f, "backend": b, "median_ms": round(float(np.median(v)), 2)}
                for (f, b), v in times.items()]  # fmt: skip
        data = {"about": describe_machine(), "disagreement": disagreement, "rows": rows}
        json_file.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _onnx(form: torch.nn.Module, images: tuple[Any, Any]) -> Callable[[], Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "form.onnx"
        tensors = tuple(torch.from_numpy(image) for image in images)
        torch.onnx.export(form, tensors, str(path), input_names=["optical", "thermal"],
                          opset_version=17, dynamo=False)  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    feed = dict(zip(("optical", "thermal"), images, strict=True))
    return lambda: session.run(None, feed)


def _torch(form: torch.nn.Module, images: tuple[Any, Any]) -> Callable[[], Any]:
    last = form.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    tensors = [torch.from_numpy(image) for image in images]

    def run() -> Any:
        with torch.inference_mode():
            return last(*tensors)

    return run


if __name__ == "__main__":
    typer.run(main)
