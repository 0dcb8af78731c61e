"""The folder a report is written into: report.json and report.html, of one bag or many."""

from __future__ import annotations

import json
from pathlib import Path

from csknet_ros.replay.compare import Comparison, compare
from csknet_ros.replay.page import write_page
from csknet_ros.replay.replay import Run
from csknet_ros.replay.result import BagResult, summarize

REPORT, TIMING, PAGE = "report.json", "timing.json", "report.html"


def write_report(
    out: Path, title: str, runs: list[Run], results: list[BagResult]
) -> list[Comparison]:
    """Write report.json and report.html.

    Args:
        out: a folder.
        title: heading of the page.
        runs: in the order they were asked for.
        results: of these runs.

    Returns:
        The runs against the first.
    """
    compared = compare(results)
    write_json(out / REPORT, to_json(results, compared))
    write_page(out / PAGE, title, runs, results, compared)
    return compared


def write_json(path: Path, data: object) -> None:
    """Write plain data."""
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def to_json(results: list[BagResult], compared: list[Comparison]) -> dict[str, object]:
    """Return the report as plain data: the same for the same bags and weights."""
    runs = list(dict.fromkeys(result.run for result in results))
    totals = {}
    for run in runs:
        own = [result for result in results if result.run == run]
        frames = [frame for result in own for frame in result.frames]
        totals[run] = summarize(frames, own[0].classes)
    return {
        "complete": all(result.complete for result in results),
        "runs": totals,
        "comparisons": [one.to_json() for one in compared],
        "bags": [result.to_json() for result in results],
    }
