"""Do to the node all that a robot may do to it: `python -m benchmarks.faults --minutes 30`.

Ends with exit code 1 if a frame is unaccounted for, an answer is wrong, or recovery takes too long.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.faults import archive
from benchmarks.faults.campaign import Campaign, run
from benchmarks.faults.draw import draw
from benchmarks.faults.report import markdown, summarise
from benchmarks.faults.schedule import Episode, make_schedule
from benchmarks.performance.__main__ import fill_in
from benchmarks.ros_domain import use_domain
from csknet_core.runtime.machine import describe_machine

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
_RECORD = "record.json.gz"
console = Console()


def main(
    out: Annotated[Path, typer.Option(help="Folder for report, picture and the node's log.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Length; a round is finished.")] = 30.0,
    rate: Annotated[float, typer.Option(min=0.5, help="Pairs a second.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the order and the lengths of the faults.")] = 0,
    fault_s: Annotated[
        tuple[float, float], typer.Option(help="Shortest and longest fault, seconds.")
    ] = (1.5, 4.0),
    gap_s: Annotated[float, typer.Option(help="Seconds without faults after each.")] = 3.0,
    domain: Annotated[int, typer.Option(help="ROS domain.")] = 132,
    document: Annotated[
        bool, typer.Option(help="Also write the table into docs/reliability.md.")
    ] = False,
    judge: Annotated[
        Path | None, typer.Option(help="Judge a kept record.json.gz again; nothing is run.")
    ] = None,
) -> None:
    """Run a campaign, judge every frame, write report.json, report.md and report.png.

    Everything recorded is kept in record.json.gz before it is judged.
    """
    out.mkdir(parents=True, exist_ok=True)
    if judge is None:
        use_domain(domain)
        campaign = _run(make_schedule(60 * minutes, seed, fault_s, gap_s), rate, seed, out)
        settings = {"seed": seed, "fault_s": fault_s, "gap_s": gap_s}
        campaign.about = {**describe_machine(), **settings}
        archive.save(campaign, out / _RECORD)
    else:
        campaign = archive.load(judge)
    summary = {**summarise(campaign), "about": campaign.about}
    text = _text(summary)
    (out / "report.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (out / "report.md").write_text(text + "\n", encoding="utf-8")
    draw(summary, out / "report.png")
    if document:
        filled = fill_in(DOCUMENT.read_text(encoding="utf-8"), {"campaign": text})
        DOCUMENT.write_text(filled, encoding="utf-8")
        draw(summary, DOCUMENT.with_suffix(".png"))
    console.print(_totals(summary))
    for problem in summary["problems"]:
        console.print(f"[red]{problem}")
    console.print(f"report: {out / 'report.md'}, {out / 'report.png'}")
    raise typer.Exit(1 if summary["problems"] else 0)


def _run(episodes: list[Episode], rate: float, seed: int, out: Path) -> Campaign:
    columns = (
        TextColumn("{task.description:16}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=episodes[-1].end_s + episodes[-1].gap_s)
        return run(
            episodes,
            rate,
            seed,
            out,
            lambda seconds, fault: progress.update(
                task, completed=seconds, description=fault or "healthy"
            ),
        )


def _totals(summary: dict[str, Any]) -> str:
    memory = summary["memory"]
    text = (
        f"{summary['episodes']} faults in {summary['seconds'] / 60:.1f} minutes at "
        f"{summary['rate_hz']:g} Hz: {summary['sent']} thermal frames sent, {summary['received']} "
        f"received, {summary['answered']} frames answered, {summary['died']} died with a killed "
        f"process, {len(summary['unaccounted'])} unaccounted, {len(summary['wrong'])} wrong."
    )
    if memory["growth"] is not None:
        text += (
            f" Own memory of the process that lived longest ({memory['lived_s'] / 60:.1f} "
            f"minutes): {memory['own_mb'][0]:.0f} MB early, {memory['own_mb'][1]:.0f} MB late "
            f"({100 * memory['growth']:+.1f} %), with Fast DDS's shared segments "
            f"{memory['rss_mb'][0]:.0f} and {memory['rss_mb'][1]:.0f} MB; "
            f"{memory['cores']:.2f} cores."
        )
    return text


def _text(summary: dict[str, Any]) -> str:
    about = summary["about"]
    where = f"{about['processor']}, {about['cores']} cores; seed {about['seed']}."
    return f"{where} {_totals(summary)}\n\n{markdown(summary)}"


if __name__ == "__main__":
    typer.run(main)
