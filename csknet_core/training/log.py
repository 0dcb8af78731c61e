"""What a run leaves to look at: CSV tables, TensorBoard events and a picture of the curves."""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path
from typing import Any

METRICS = "metrics.csv"
SCORES = "validation.csv"
_log = logging.getLogger(__name__)


class RunLog:
    """Writes the terms of every step and the scores of every validation.

    TensorBoard events and the picture need `tensorboard` and `matplotlib` (extra `train`); without
    them the tables are all there is.

    Args:
        folder: gets `metrics.csv`, `validation.csv`, `curves.png` and TensorBoard's event file.
        step: the run goes on from this step; rows after it, of a killed run, are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, SCORES):
            _drop_rows_after(folder / name, step)
        self._events = _open_events(folder, step)

    def terms(self, step: int, terms: dict[str, float]) -> None:
        """Log the terms of one training step."""
        self._write(METRICS, step, terms)

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """Log scores by name, in 0..1."""
        self._write(SCORES, step, scores)

    def scored_steps(self) -> list[int]:
        """Return the steps that have scores."""
        return [int(step) for step in read_table(self.folder / SCORES).get("step", [])]

    def best_step(self) -> int | None:
        """Return the step of the highest mean of the scores, the latest of equals."""
        columns = read_table(self.folder / SCORES)
        steps = columns.pop("step", [])
        sums = [sum(row) for row in zip(*columns.values(), strict=True)]
        scored = [(sums[i], step) for i, step in enumerate(steps) if not math.isnan(sums[i])]
        return int(max(scored)[1]) if scored else None

    def draw(self) -> None:
        """Draw all curves into `curves.png`; failing at that ends no run."""
        try:
            self._draw()
        except ImportError:
            return
        except Exception as error:  # fonts that are gone, a damaged matplotlib, a full disk
            _log.warning("curves not drawn: %s: %.200s", type(error).__name__, error)

    def _draw(self) -> None:
        from matplotlib.figure import Figure

        tables = {name: read_table(self.folder / name) for name in (METRICS, SCORES)}
        figure = Figure(figsize=(9, 6), layout="constrained")
        loss, score = figure.subplots(2, 1, sharex=True)
        for axis, name, label in ((loss, METRICS, "loss"), (score, SCORES, "mIoU")):
            for column, values in tables[name].items():
                if column not in ("step", "lr"):
                    axis.plot(tables[name]["step"], _smooth(values), label=column)
            axis.set_ylabel(label)
            axis.grid(alpha=0.3)
            if axis.has_data():
                axis.legend(fontsize="small", ncols=2)
        loss.set_yscale("log")
        score.set_xlabel("step")
        figure.savefig(self.folder / "curves.png", dpi=110)

    def close(self) -> None:
        """Flush the events."""
        if self._events is not None:
            self._events.close()

    def _write(self, name: str, step: int, values: dict[str, float]) -> None:
        path = self.folder / name
        fresh = not path.is_file()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", *values])
            writer.writerow([step, *(f"{value:.6g}" for value in values.values())])
        if self._events is not None:
            for key, value in values.items():
                self._events.add_scalar(f"{Path(name).stem}/{key}", value, step)


def read_table(path: Path) -> dict[str, list[float]]:
    """Read one of the log's tables as columns; without a file, or in an empty one, are none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    if not lines:
        return {}
    header, *rows = lines
    return {name: [float(row[i]) for row in rows] for i, name in enumerate(header)}


def _drop_rows_after(path: Path, step: int) -> None:
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A killed run may have left half a line, or an empty file.
    header, *rows = [line for line in lines if line.endswith("\n")] or [""]
    if not header:
        path.unlink()
        return
    kept = [row for row in rows if int(row.split(",")[0]) <= step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join([header, *kept]), encoding="utf-8")
    partial.replace(path)


def _open_events(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def _smooth(values: list[float], keep: float = 0.9) -> list[float]:
    """Average exponentially, so that the course shows through the noise of single batches."""
    if len(values) < 50:
        return values
    smooth, last = [], math.nan
    for value in values:
        last = value if math.isnan(last) else keep * last + (1 - keep) * value
        smooth.append(last)
    return smooth
