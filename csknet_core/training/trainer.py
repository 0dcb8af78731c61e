"""The training loop: mixed real and rendered pairs, three heads, modality dropout, EMA."""

from __future__ import annotations

import copy
import csv
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from csknet_core.classes import ClassTable
from csknet_core.data.datasets import PairFolder
from csknet_core.data.mixture import TensorSample, TrainingMixture
from csknet_core.errors import ConfigError
from csknet_core.losses.objective import SupervisedObjective, class_weights
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import load_imagenet_encoder, load_network, save_network
from csknet_core.training.checkpoints import (
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)
from csknet_core.training.recipe import Recipe

_WEIGHT_SAMPLES = 96


class Trainer:
    """Runs one recipe in a folder, and goes on where a killed run of it stopped.

    The folder gets `state.safetensors` (to resume), `metrics.csv` and, at every checkpoint, the
    averaged weights as `NAME.safetensors`.

    Raises:
        ConfigError: the folder holds the state of another recipe.
    """

    def __init__(self, recipe: Recipe, folder: str | Path) -> None:
        self.recipe = recipe
        self.folder = Path(folder)
        self.classes = ClassTable.load(recipe.data.classes)
        torch.manual_seed(recipe.seed)
        self.network = self._build_network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.samples = self._build_samples()
        self.optimizer = self._build_optimizer()
        self.step = 0
        self.objective = self._resume() or self._build_objective()

    @property
    def weights_path(self) -> Path:
        """Where the averaged weights are written."""
        return self.folder / f"{self.recipe.name}.safetensors"

    def run(self) -> Path:
        """Train to the last step and return the path of the weights."""
        recipe = self.recipe
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns) as progress:
            task = progress.add_task(recipe.name, total=recipe.steps, completed=self.step)
            for batch in self._batches():
                terms = self._train_step(batch)
                self._log(terms)
                progress.update(
                    task, advance=1, description=f"{recipe.name} loss {terms['total']:.3f}"
                )
                if self.step % recipe.checkpoint_every == 0 or self.step == recipe.steps:
                    self.save()
        return self.weights_path

    def save(self) -> None:
        """Write the resumable state and the averaged weights."""
        parts = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "objective": self.objective.state_dict(),
        }
        save_state(self.folder / "state.safetensors", self.step, dict(parts), self.recipe.to_dict())
        card = {"recipe": self.recipe.to_dict(), "step": self.step}
        save_network(self.weights_path, self.average, self.classes, card)

    def _build_network(self) -> CSKNet:
        recipe = self.recipe
        if recipe.init:
            network, _ = load_network(recipe.init)
            return network.train()
        settings = {**recipe.model, "num_classes": len(self.classes)}
        network = CSKNet(ModelConfig.from_dict(settings))
        if recipe.pretrained:
            load_imagenet_encoder(network)
        return network

    def _build_samples(self) -> TrainingMixture:
        data = self.recipe.data
        folders = [PairFolder(folder, data.split, self.classes) for folder in data.folders]
        length = self.recipe.steps * self.recipe.batch
        return TrainingMixture(folders, length, data.rendered, data.augment, self.recipe.seed)

    def _build_objective(self) -> SupervisedObjective:
        counts = torch.zeros(256)
        for index in range(_WEIGHT_SAMPLES):
            counts += torch.bincount(self.samples[index][2].ravel(), minlength=256)
        frequency = counts[: len(self.classes)] / counts[: len(self.classes)].sum()
        return SupervisedObjective(class_weights(frequency))

    def _build_optimizer(self) -> torch.optim.AdamW:
        recipe = self.recipe
        encoder = list(self.network.encoder.parameters())
        inside = {id(parameter) for parameter in encoder}
        rest = [p for p in self.network.parameters() if id(p) not in inside]
        groups = [
            {"params": encoder, "scale": recipe.encoder_lr_scale},
            {"params": rest, "scale": 1.0},
        ]
        return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)

    def _resume(self) -> SupervisedObjective | None:
        path = self.folder / "state.safetensors"
        if not path.is_file():
            return None
        self.step, parts, recipe = load_state(path)
        if recipe != _plain(self.recipe.to_dict()):
            raise ConfigError(
                f"{self.folder}: holds the state of another recipe; choose another folder or "
                "delete it"
            )
        self.network.load_state_dict(parts["network"])
        self.average.load_state_dict(parts["average"])
        restore_optimizer(self.optimizer, parts["optimizer"])
        return SupervisedObjective(parts["objective"]["weight"])

    def _batches(self) -> Iterator[TensorSample]:
        first = self.step * self.recipe.batch
        rest = Subset(self.samples, range(first, len(self.samples)))
        workers = self.recipe.data.workers
        yield from DataLoader(rest, self.recipe.batch, num_workers=workers, drop_last=True)

    def _train_step(self, batch: TensorSample) -> dict[str, float]:
        recipe = self.recipe
        optical, thermal, labels = batch
        optical = optical.contiguous(memory_format=torch.channels_last)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.step)
        exchange = torch.rand(len(labels), generator=generator) >= recipe.modality_dropout
        self.network.train()
        rate = recipe.lr * _schedule(self.step, recipe.warmup, recipe.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            logits = self.network(optical, thermal, exchange)
        terms: dict[str, Tensor] = self.objective(logits, labels, exchange)
        self.optimizer.zero_grad()
        terms["total"].backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return {"lr": rate, **{name: float(term.detach()) for name, term in terms.items()}}

    @torch.no_grad()
    def _update_average(self) -> None:
        # Short runs would otherwise keep the random start in the average.
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        pairs = zip(
            self.average.state_dict().values(), self.network.state_dict().values(), strict=True
        )
        for average, value in pairs:
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def _log(self, terms: dict[str, float]) -> None:
        path = self.folder / "metrics.csv"
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", *terms])
            writer.writerow([self.step, *(f"{value:.6g}" for value in terms.values())])


def _schedule(step: int, warmup: int, steps: int) -> float:
    """Linear warm-up, then `(1 - progress) ** 0.9` (the poly schedule of DeepLab)."""
    if step < warmup:
        return (step + 1) / warmup
    return (1 - (step - warmup) / max(1, steps - warmup)) ** 0.9


def _plain(value: object) -> object:
    """Return data as it looks after a trip through JSON."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
