"""Ablation: every component of the method added in turn, on one budget, over several seeds.

python -m benchmarks.ablation --out runs/ablation                          # rendered pairs
python -m benchmarks.ablation --out runs/ablation_real --data FOLDER --steps 0 7 --seeds 3

Each run is `csknet train` and `csknet eval` in a process of its own. Run the command again after
an interruption: finished runs are kept, the others go on from their checkpoints. A folder whose
runs were made with other settings is refused.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.ablation.rendered import SIZE, write_rendered
from benchmarks.ablation.summary import print_summary, write_summary
from benchmarks.settings import keep, merge

_STILLS = 400
console = Console()


@dataclass(frozen=True)
class Run:
    """One training run: a step of the ablation (None is the teacher) and a seed."""

    step: int | None
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{'teacher' if self.step is None else f'step{self.step}'}_seed{self.seed}"


class Ablation:
    """Recipes and processes of all runs in one folder.

    Raises:
        SystemExit: the options name a step that the configuration does not have.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.out: Path = options.out
        config = yaml.safe_load(options.config.read_text(encoding="utf-8"))
        self.base: dict[str, Any] = config["recipe"]
        if options.iterations:
            self.base["steps"] = options.iterations
        self.steps: list[dict[str, Any]] = config["steps"]
        self.chosen: list[int] = options.steps or list(range(len(self.steps)))
        self._check_steps()
        self.data: Path = options.data or self.out / "rendered"
        self.size = (480, 640) if options.data else SIZE

    def prepare(self) -> None:
        """Render the pairs, unless a folder was given."""
        if self.options.data is None:
            with Progress(console=console) as progress:
                task = progress.add_task("rendering", total=_STILLS + 60)
                write_rendered(self.data, _STILLS, lambda n: progress.update(task, completed=n))

    def run_all(self) -> list[dict[str, Any]]:
        """Run what is missing, teachers first; return a row per run of a step."""
        seeds = range(self.options.seeds)
        teachers = [Run(None, seed) for seed in seeds if any(map(self._is_taught, self.chosen))]
        runs = [Run(step, seed) for seed in seeds for step in self.chosen]
        columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=len(teachers) + len(runs))
            with ThreadPoolExecutor(self.options.jobs) as pool:
                for wave in (teachers, runs):
                    for _ in pool.map(self._run, wave):
                        progress.advance(task)
        return [
            {
                "step": run.step,
                "name": self.steps[run.step or 0]["name"],
                "seed": run.seed,
                "scores": json.loads((self.out / run.name / "scores.json").read_text()),
            }
            for run in runs
        ]

    def recipe(self, run: Run) -> dict[str, Any]:
        """Return the recipe of one run: the shared one and the steps up to this one."""
        recipe = copy.deepcopy(self.base)
        recipe["name"] = run.name
        recipe["seed"] = run.seed
        recipe["data"]["folders"] = [str(self.data.resolve())]
        if run.step is None:
            recipe["modality"] = "optical"
            return recipe
        for step in self.steps[1 : run.step + 1]:
            merge(recipe, step["set"])
        if "distillation" in recipe:
            teacher = Run(None, run.seed).name
            recipe["distillation"]["teacher"] = str(
                (self.out / teacher / f"{teacher}.safetensors").resolve()
            )
        return recipe

    def _check_steps(self) -> None:
        unknown = [str(step) for step in self.chosen if not 0 <= step < len(self.steps)]
        if unknown:
            raise SystemExit(
                f"--steps {' '.join(unknown)}: {self.options.config} has the steps 0 to "
                f"{len(self.steps) - 1}"
            )

    def _is_taught(self, step: int) -> bool:
        return "distillation" in self.recipe(Run(step, 0))

    def _run(self, run: Run) -> None:
        folder = self.out / run.name
        recipe, scores = folder / "recipe.yaml", folder / "scores.json"
        size, device = [str(side) for side in self.size], self.options.device
        keep(recipe, self.recipe(run))
        keep(folder / "scoring.yaml", {"size": size, "device": device})
        if scores.is_file():
            return
        self._csknet(folder, "train", str(recipe), "--out", str(folder))
        weights = folder / f"{run.name}.safetensors"
        self._csknet(
            folder, "eval", "--weights", str(weights), "--data", str(self.data), "--size", *size,
            "--device", device, "--json", str(scores),
        )  # fmt: skip

    def _csknet(self, folder: Path, *arguments: str) -> None:
        cores = max(1, (os.cpu_count() or 1) // self.options.jobs)
        with (folder / "log.txt").open("ab") as log:
            code = subprocess.call(
                [sys.executable, "-m", "csknet_core.cli", *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": str(cores)},
            )
        if code:
            raise SystemExit(f"{folder / 'log.txt'}: csknet {arguments[0]} ended with {code}")


def main() -> None:
    """Run the ablation from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--data", type=Path, help="folder of real pairs instead of rendered ones")
    parser.add_argument("--seeds", type=int, default=2, help="runs of every step")
    parser.add_argument("--steps", type=int, nargs="+", help="steps to run, from 0; default all")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--iterations", type=int, help="optimiser steps of a run")
    parser.add_argument("--device", default="torch-cpu", help="device of the evaluation")
    config = Path(__file__).with_name("ablation.yaml")
    parser.add_argument("--config", type=Path, default=config, help="steps of the ablation")
    ablation = Ablation(parser.parse_args())
    ablation.prepare()
    rows = ablation.run_all()
    summary = write_summary(ablation.out, rows, ablation.base, ablation.data.name)
    print_summary(summary, console)


if __name__ == "__main__":
    main()
