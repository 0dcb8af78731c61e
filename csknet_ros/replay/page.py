"""One self-contained page about replayed bags, with a timeline to move the mouse over."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jinja2

from csknet_core.classes import ClassTable
from csknet_core.image_file import encode_image
from csknet_core.runtime.overlay import draw_legend
from csknet_ros.mode_colors import MODE_COLORS, OUTCOME_COLORS
from csknet_ros.replay.advice import advise
from csknet_ros.replay.compare import Comparison
from csknet_ros.replay.replay import Run
from csknet_ros.replay.result import BagResult, summarize

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_MOST_POINTS = 20_000


def write_page(
    path: Path, title: str, runs: list[Run], results: list[BagResult], compared: list[Comparison]
) -> None:
    """Write the page.

    Args:
        path: the file.
        title: its heading.
        runs: in the order they were asked for.
        results: of these runs.
        compared: runs against the first.
    """
    by_name = {run.name: run for run in runs}
    names = list(dict.fromkeys(result.run for result in results))
    template = jinja2.Template(_TEMPLATE.read_text(encoding="utf-8"), autoescape=True)
    page = template.render(
        title=title,
        colors={**MODE_COLORS, "": OUTCOME_COLORS["dropped"]},
        bags=list(dict.fromkeys(result.bag for result in results)),
        incomplete=[result for result in results if not result.complete],
        totals=[(name, _total(results, name)) for name in names],
        comparisons=compared,
        sections=[_section(result, by_name[result.run]) for result in results],
        legend=_legend(results[0].classes),
        timelines=json.dumps([_timeline(result) for result in results]).replace("</", "<\\/"),
    )
    path.write_text(page, encoding="utf-8")


def _total(results: list[BagResult], run: str) -> dict[str, Any]:
    own = [result for result in results if result.run == run]
    frames = [frame for result in own for frame in result.frames]
    total = summarize(frames, own[0].classes)
    rates = [r.timing["frames_per_s"] for r in own if r.timing.get("frames_per_s")]
    return {**total, "frames_per_s": min(rates) if rates else None}


def _section(result: BagResult, run: Run) -> dict[str, Any]:
    return {
        "result": result,
        "summary": summarize(result.frames, result.classes),
        "advice": advise(result, run),
        "faults": [vars(fault) for fault in run.faults],
        "pictures": [
            (picture, "data:image/jpeg;base64," + base64.b64encode(picture.jpeg).decode())
            for picture in result.pictures
        ],
    }


def _timeline(result: BagResult) -> dict[str, Any]:
    """Return the frames by column, thinned out in very long bags."""
    frames = result.frames[:: max(1, len(result.frames) // _MOST_POINTS)]
    columns: dict[str, list[Any]] = {
        "t": [round(f.time_s, 3) for f in frames],
        "mode": [f.mode for f in frames],
        "reason": [f.reason for f in frames],
        "phase": [f.phase for f in frames],
        "luminance": [_short(f.luminance) for f in frames],
        "offset": [_short(f.stamp_difference_ms) for f in frames],
        "miou": [_short(f.miou) for f in frames],
        "agreement": [_short(f.agreement) for f in frames],
        "waited": [_short(f.waited_ms) for f in frames],
    }
    return {"seconds": max(result.seconds, columns["t"][-1] if frames else 0), **columns}


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _legend(classes: ClassTable) -> str:
    legend = encode_image(draw_legend(classes), ".png")
    return "data:image/png;base64," + base64.b64encode(legend).decode()
