"""Many lifecycle cycles and parameter changes: `python -m benchmarks.lifecycle --out FOLDER`.

Ends with exit code 1 if memory grows by more than 5 %; a transition, a change or an answer that
does not come is an error.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from benchmarks.lifecycle.operator import TRANSITIONS, Operator
from benchmarks.node.listener import ProcessMeter
from benchmarks.ros_domain import use_domain
from csknet_core.runtime.machine import describe_machine

_GROWTH = 0.05
_PARAMETERS = {"autostart": "false", "input_height": "128", "input_width": "160",
               "navigation.frame": "base_link"}  # fmt: skip
_CHANGES: tuple[tuple[str, Any, bool], ...] = (
    ("overlay_alpha", 0.3, True),
    ("sync.slop", 0.04, True),
    ("policy.hold", 3, True),
    ("thermal.mode", "auto", True),
    ("weights", "/elsewhere.safetensors", False),
    ("sync.slop", 0.05, True),
    ("policy.dark_enter", 0.9, False),
    ("policy.hold", 2, True),
    ("device", "cuda", False),
    ("fallback_confidence_scale", 0.8, True),
)
"""Name, value, and whether it has to be accepted."""
console = Console()


def main(
    out: Annotated[Path, typer.Option(help="Folder for figures, picture and the node's log.")],
    cycles: Annotated[int, typer.Option(min=2, help="Configure, activate, answer, undo.")] = 1000,
    changes: Annotated[int, typer.Option(min=1, help="Parameter changes.")] = 10_000,
    domain: Annotated[int, typer.Option(help="ROS domain.")] = 133,
) -> None:
    """Run the cycles, then the changes on an active node, and watch its memory."""
    use_domain(domain)
    out.mkdir(parents=True, exist_ok=True)
    given = [t for k, v in _PARAMETERS.items() for t in ("-p", f"{k}:={v}")]
    command = [sys.executable, "-m", "csknet_ros.segmentation_node", "--ros-args", *given]
    with (out / "node.log").open("wb") as log, Operator() as operator:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            operator.wait_for_node()
            meter = ProcessMeter(process.pid)
            summary = {**_cycle(operator, meter, cycles), **_change(operator, meter, changes)}
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(60)
    summary |= {"exit_code": code, "about": describe_machine()}
    (out / "lifecycle.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    _draw(summary, out / "lifecycle.png")
    _print(summary)
    grown = max(summary["cycles"]["growth"], summary["changes"]["growth"]) > _GROWTH
    raise typer.Exit(1 if grown or code else 0)


def _cycle(operator: Operator, meter: ProcessMeter, count: int) -> dict[str, Any]:
    memory, seconds = [], dict.fromkeys(TRANSITIONS, 0.0)
    for _ in track(range(count), "lifecycle cycles", console=console):
        for name in TRANSITIONS:
            started = time.monotonic()
            operator.transition(name)
            seconds[name] = max(seconds[name], time.monotonic() - started)
            if name == "activate":
                operator.see_an_answer()
        memory.append(round(meter.rss_mb(), 1))
    longest = {name: round(value, 3) for name, value in seconds.items()}
    return {"cycles": {"count": count, "longest_s": longest, **_growth(memory)}}


def _change(operator: Operator, meter: ProcessMeter, count: int) -> dict[str, Any]:
    operator.transition("configure")
    operator.transition("activate")
    memory, accepted, refused = [], 0, 0
    for index in track(range(count), "parameter changes", console=console):
        name, value, wanted = _CHANGES[index % len(_CHANGES)]
        result = operator.set_parameter(name, value)
        if result.successful is not wanted or bool(result.reason) is wanted:
            raise RuntimeError(f"{name}={value}: {result}")
        accepted, refused = accepted + wanted, refused + (not wanted)
        if index % max(1, count // 200) == 0:
            operator.see_an_answer()
            memory.append(round(meter.rss_mb(), 1))
    status = operator.see_an_answer()
    figures = {"count": count, "accepted": accepted, "refused": refused, **_growth(memory)}
    return {"changes": {**figures, "last_answer": status.mode}}


def _growth(memory: list[float]) -> dict[str, Any]:
    """Compare the last tenth with the second one; the first is for warming up."""
    tenth = max(1, len(memory) // 10)
    early, late = median(memory[tenth : 2 * tenth] or memory), median(memory[-tenth:])
    return {
        "early_mb": early,
        "late_mb": late,
        "growth": round(late / early - 1, 4),
        "series_mb": memory,
    }


def _draw(summary: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axis, name in zip(figure.subplots(1, 2, sharey=True), ("cycles", "changes"), strict=True):
        part = summary[name]
        series = part["series_mb"]
        axis.plot([index * part["count"] / len(series) for index in range(len(series))], series)
        axis.set_xlabel("lifecycle cycles" if name == "cycles" else "parameter changes")
        axis.set_ylabel("memory, MB")
        axis.set_ylim(0, 1.2 * max(series))
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _print(summary: dict[str, Any]) -> None:
    for name in ("cycles", "changes"):
        part = summary[name]
        console.print(
            f"{part['count']:,} {name}: {part['early_mb']:.0f} MB early, {part['late_mb']:.0f} MB "
            f"late ({100 * part['growth']:+.1f} %)"
        )
    changes = summary["changes"]
    console.print(f"accepted {changes['accepted']:,}, refused with a reason {changes['refused']:,}")
    console.print(f"longest transitions, seconds: {summary['cycles']['longest_s']}")


if __name__ == "__main__":
    typer.run(main)
