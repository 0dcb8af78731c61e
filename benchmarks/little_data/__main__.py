"""The whole recipe against a plain network: same labelled pairs and steps.

python -m benchmarks.little_data --data LABELLED --unlabelled PAIRS_WITH_BOXES --out runs/little

LABELLED has the splits train and val. Run the command again after an interruption: finished runs
are kept, the others go on from their checkpoints.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from benchmarks.ablation.summary import print_summary, write_summary
from benchmarks.settings import keep, merge
from csknet_core.data.layouts import read_split

_CONFIG = Path(__file__).with_name("little_data.yaml")
_BASELINE, _FULL = "two branches, summed", "the method"
APART = "apart"
"""Split of the unlabelled pairs that are used."""
console = Console()


class Comparison:
    """Recipes and processes of all runs in one folder.

    Args:
        out: the folder.
        data: labelled pairs.
        unlabelled: pairs with boxes.
        boxes: classes of the boxes' ids.
        size: height and width at which runs are scored and pairs labelled.
        steps: optimiser steps of a run; 0 takes the configuration's.
    """

    def __init__(
        self, out: Path, data: Path, unlabelled: Path, boxes: str, size: tuple[int, int], steps: int
    ) -> None:
        self.config: dict[str, Any] = yaml.safe_load(_CONFIG.read_text(encoding="utf-8"))
        self.config["recipe"]["steps"] = steps or self.config["recipe"]["steps"]
        self.out, self.data, self.unlabelled = out.resolve(), data.resolve(), unlabelled.resolve()
        self.boxes, self.size = boxes, [str(side) for side in size]

    def run(self, seed: int) -> list[dict[str, Any]]:
        """Train and score both with one seed; return their rows."""
        baseline = self._train(f"baseline{seed}", seed, self.config["baseline"], [self.data])
        full = self.config["full"]
        steps = self.config["recipe"]["steps"]
        first = round(full["share"] * steps)
        start = {**full["stages"][0], "steps": first}
        stage1 = self._train(f"stage1_{seed}", seed, start, [self.data])
        labelled = self._label(f"labelled{seed}", stage1)
        rest = {**full["stages"][1], "steps": steps - first, "init": str(stage1)}
        matched = self._match(f"matched{seed}", labelled)
        folders = [self.data] * full["repeat"] + [matched]
        stage2 = self._train(f"full{seed}", seed + 100, rest, folders)
        return [
            {"step": step, "name": name, "seed": seed, "scores": self._score(weights)}
            for step, (name, weights) in enumerate(((_BASELINE, baseline), (_FULL, stage2)))
        ]

    def _train(self, name: str, seed: int, update: dict[str, Any], folders: list[Path]) -> Path:
        recipe = copy.deepcopy(self.config["recipe"])
        merge(recipe, update)
        data: dict[str, Any] = {"folders": [str(folder) for folder in folders]}
        if recipe["data"].get("pasted"):
            data["objects"] = [str(self.data)]
        merge(recipe, {"name": name, "seed": seed, "data": data})
        folder = self.out / name
        keep(folder / "recipe.yaml", recipe)
        if not (folder / "done").is_file():
            self._csknet(name, "train", folder / "recipe.yaml", "--out", folder)
            (folder / "done").touch()
        return folder / f"{name}.safetensors"

    def _label(self, name: str, weights: Path) -> Path:
        folder = self.out / name
        pairs = self.out / "unlabelled"
        keep_apart(self.unlabelled, self.data, self.config["full"]["apart"], pairs)
        own = {"data": pairs, "split": APART, "weights": weights, "boxes": self.boxes}
        options = {**own, **self.config["full"]["label"]}
        keep(self.out / f"{name}.yaml", {**options, "size": self.size})
        if not (folder / "train.txt").is_file():
            self._csknet(
                name, "pseudo-label", *flags(options), "--size", *self.size, "--out", folder
            )
        return folder

    def _match(self, name: str, labelled: Path) -> Path:
        """Give the thermal images the tones of the labelled pairs'."""
        folder = self.out / name
        options = {"data": labelled, "split": "train", "to": self.data, "to-split": "train"}
        if not (folder / "done").is_file():
            self._csknet(name, "match-tones", *flags(options), "--out", folder)
            (folder / "done").touch()
        return folder

    def _score(self, weights: Path) -> dict[str, Any]:
        scores = weights.with_name("scores.json")
        options = {"data": self.data, "weights": weights}
        keep(weights.with_name("scoring.yaml"), {**options, "size": self.size})
        if not scores.is_file():
            self._csknet(
                weights.stem, "eval", *flags(options), "--size", *self.size,
                "--device", "torch-cpu", "--json", scores,
            )  # fmt: skip
        found: dict[str, Any] = json.loads(scores.read_text(encoding="utf-8"))
        return found

    def _csknet(self, name: str, *arguments: object) -> None:
        console.print(f"{name}: csknet {arguments[0]}")
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "log.txt").open("ab") as log:
            command = [sys.executable, "-m", "csknet_core.cli", *map(str, arguments)]
            code = subprocess.call(command, stdout=log, stderr=log)
        if code:
            raise SystemExit(f"{self.out / 'log.txt'}: csknet {arguments[0]} ended with {code}")


def keep_apart(unlabelled: Path, data: Path, apart: int, out: Path) -> None:
    """List the pairs that were not recorded close to a validation pair.

    Args:
        unlabelled: plain folder of pairs that are named by number and D or N, as MFNet's are.
        data: labelled pairs with a split `val`, named alike.
        apart: of two pairs as close in number, and both of the day or of the night, the unlabelled
            one is left out: it may show the place that is scored.
        out: folder that gets links to the pairs and the list.
    """
    out.mkdir(parents=True, exist_ok=True)
    for kind in ("rgb", "thermal", "boxes"):
        if not (out / kind).exists():
            (out / kind).symlink_to(unlabelled / kind)
    scored = read_split(data, "val")
    names = sorted(file.stem for file in (unlabelled / "rgb").iterdir())
    far = [name for name in names if not any(_close(name, other, apart) for other in scored)]
    (out / f"{APART}.txt").write_text("\n".join(far) + "\n", encoding="utf-8")


def _close(name: str, other: str, apart: int) -> bool:
    return name[-1] == other[-1] and abs(int(name[:-1]) - int(other[:-1])) <= apart


def flags(options: Mapping[str, object]) -> list[object]:
    """Return options as a command line has them."""
    return [text for key, value in options.items() for text in (f"--{key}", value)]


def main(
    data: Annotated[Path, typer.Option(help="Labelled pairs with train and val splits.")],
    unlabelled: Annotated[Path, typer.Option(help="Pairs with boxes.")],
    out: Annotated[Path, typer.Option(help="Folder of all runs.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 3,
    steps: Annotated[int, typer.Option(help="Optimiser steps of a run; 0 as configured.")] = 0,
    boxes: Annotated[str, typer.Option(help="Classes of the box ids.")] = "person,bike,car",
    size: Annotated[tuple[int, int], typer.Option(help="Scored at, multiples of 32.")] = (256, 320),
) -> None:
    """Run everything that is missing and print the table."""
    comparison = Comparison(out, data, unlabelled, boxes, size, steps)
    rows = [row for seed in range(seeds) for row in comparison.run(seed)]
    summary = write_summary(comparison.out, rows, comparison.config, data.name)
    print_summary(summary, console)


if __name__ == "__main__":
    typer.run(main)
