"""The training loop: batches in, averaged weights, checkpoints and curves out."""

from __future__ import annotations

import copy
import shutil
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
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset

from csknet_core.classes import ClassTable
from csknet_core.data.datasets import PairDataset
from csknet_core.data.layouts import open_pairs
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
from csknet_core.training.distributed import (
    average_process,
    own_part,
    process_index,
    start_processes,
    synchronize_batch_norm,
)
from csknet_core.training.graph import TrainingGraph
from csknet_core.training.log import RunLog
from csknet_core.training.precision import has_fast_bfloat16
from csknet_core.training.recipe import Recipe
from csknet_core.training.schedule import rate_at
from csknet_core.training.teacher import Teacher, pseudo_labels
from csknet_core.training.validation import validate

_WEIGHT_SAMPLES = 96


class Trainer:
    """Runs one recipe in a folder, and goes on where a killed run of it stopped.

    The folder gets `state.safetensors` (to resume), the log's files and, at every checkpoint, the
    averaged weights as `NAME.safetensors`. Under torchrun every process runs one trainer; the
    first writes.

    Raises:
        ConfigError: the folder holds the state of another recipe.
        DataError: training or validation data cannot be used.
        WeightsError: the weights to start from, or the teacher's, cannot be used.
    """

    def __init__(self, recipe: Recipe, folder: str | Path) -> None:
        self.recipe = recipe
        self.folder = Path(folder)
        self.classes = ClassTable.load(recipe.data.classes)
        self.device = start_processes()
        self.part = own_part(recipe.batch)
        self._bf16 = recipe.bf16 and has_fast_bfloat16(self.device)
        torch.manual_seed(recipe.seed)
        self.samples = self._build_samples()
        network = self._build_network().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.graph = self._build_graph(network)
        self.optimizer = self._build_optimizer()
        self.step = 0
        self._resume()
        self._parallel = self._spread()

    @property
    def weights_path(self) -> Path:
        """Where the averaged weights are written."""
        return self.folder / f"{self.recipe.name}.safetensors"

    @property
    def best_path(self) -> Path:
        """Where those of the best validation so far are kept (mean mIoU of all modes)."""
        return self.folder / f"{self.recipe.name}-best.safetensors"

    def run(self) -> Path:
        """Train to the last step and return the path of the weights."""
        if process_index():
            for batch in self._batches():
                self.train_step(batch)
            return self.weights_path
        recipe = self.recipe
        log = RunLog(self.folder, self.step)
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
                terms = self.train_step(batch)
                log.terms(self.step, terms)
                description = f"{recipe.name} loss {terms['total']:.3f}"
                progress.update(task, advance=1, description=description)
                self._keep(log)
        log.close()
        return self.weights_path

    def train_step(self, batch: TensorSample) -> dict[str, float]:
        """Take one optimiser step on this process's part of a batch; return the loss's terms."""
        recipe = self.recipe
        optical, thermal, labels = (tensor.to(self.device) for tensor in batch)
        optical = optical.contiguous(memory_format=torch.channels_last)
        rate = self._set_rate()
        self.graph.train()
        threshold = recipe.self_training.threshold
        if threshold > 0 and self.step >= recipe.self_training.start:
            labels = pseudo_labels(self.average, optical, thermal, labels, threshold)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            terms: dict[str, Tensor] = self._parallel(
                optical, thermal, labels, self._draw_exchange(), self.step
            )
        self.optimizer.zero_grad()
        terms["total"].backward()
        nn.utils.clip_grad_norm_(self.graph.parameters(), recipe.clip)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return {
            "lr": rate,
            **{name: float(average_process(t.detach())) for name, t in terms.items()},
        }

    def save(self) -> None:
        """Write the resumable state and the averaged weights."""
        parts = {
            "graph": self.graph.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        save_state(self.folder / "state.safetensors", self.step, dict(parts), self.recipe.to_dict())
        card = {"recipe": self.recipe.to_dict(), "step": self.step}
        save_network(self.weights_path, self.average, self.classes, card)

    def _keep(self, log: RunLog) -> None:
        recipe = self.recipe
        last = self.step == recipe.steps
        score = bool(recipe.validation.folder) and (last or not self.step % recipe.validation.every)
        if score or last or self.step % recipe.checkpoint_every == 0:
            self.save()
            if score:
                log.scores(self.step, validate(self.weights_path, recipe.validation))
                if log.best_step() == self.step:
                    shutil.copyfile(self.weights_path, self.best_path)
            log.draw()

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
        folders = [open_pairs(folder, data.split, self.classes) for folder in data.folders]
        unlabelled = [open_pairs(folder, "", self.classes) for folder in data.unlabelled]
        if process_index() == 0:
            check_pairs(folders + unlabelled)
        length = self.recipe.steps * self.recipe.batch
        return TrainingMixture(
            folders, length, data.rendered, data.augment, self.recipe.seed, unlabelled,
            data.unlabelled_share, data.limit,
        )  # fmt: skip

    def _build_graph(self, network: CSKNet) -> TrainingGraph:
        recipe = self.recipe
        supervised = SupervisedObjective(
            self._class_weights(), recipe.branch_weight, recipe.hard_share, recipe.fuse_dropped,
            average_process,
        )  # fmt: skip
        teacher = None
        if recipe.distillation.teacher:
            teacher = Teacher.load(recipe.distillation.teacher, self.classes, self.device)
        return TrainingGraph(network, supervised, recipe, teacher).to(self.device)

    def _class_weights(self) -> Tensor:
        resumed = (self.folder / "state.safetensors").is_file()  # the state holds them
        if resumed or not self.recipe.class_weighting:
            return torch.ones(len(self.classes))
        counts = torch.zeros(256)
        for index in range(min(_WEIGHT_SAMPLES, len(self.samples))):
            counts += torch.bincount(self.samples[index][2].ravel(), minlength=256)
        counts = counts[: len(self.classes)]
        return class_weights(counts / counts.sum().clamp(min=1))

    def _build_optimizer(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        encoder = list(self.graph.network.encoder.parameters())
        inside = {id(parameter) for parameter in encoder}
        rest = [p for p in self.graph.parameters() if id(p) not in inside]
        groups = [
            {"params": encoder, "scale": recipe.encoder_lr_scale},
            {"params": rest, "scale": 1.0},
        ]
        decay = recipe.weight_decay
        if recipe.optimizer == "sgd":
            return torch.optim.SGD(groups, recipe.lr, 0.9, weight_decay=decay, nesterov=True)
        return torch.optim.AdamW(groups, recipe.lr, weight_decay=decay)

    def _resume(self) -> None:
        path = self.folder / "state.safetensors"
        if not path.is_file():
            return
        self.step, parts, recipe = load_state(path)
        if recipe != _plain(self.recipe.to_dict()):
            raise ConfigError(
                f"{self.folder}: holds the state of another recipe; choose another folder or "
                "delete it"
            )
        self.graph.load_state_dict(parts["graph"])
        self.average.load_state_dict(parts["average"])
        restore_optimizer(self.optimizer, parts["optimizer"])

    def _spread(self) -> nn.Module:
        if not torch.distributed.is_initialized():
            return self.graph
        synchronize_batch_norm(self.graph)
        alone = self.recipe.modality != "both"
        return DistributedDataParallel(self.graph, find_unused_parameters=alone)

    def _batches(self) -> Iterator[TensorSample]:
        batch = self.recipe.batch
        steps = range(self.step, self.recipe.steps)
        own = [step * batch + index for step in steps for index in range(batch)[self.part]]
        workers = self.recipe.data.workers
        size = len(range(batch)[self.part])
        yield from DataLoader(Subset(self.samples, own), size, num_workers=workers)

    def _set_rate(self) -> float:
        recipe = self.recipe
        rate = recipe.lr * rate_at(recipe.schedule, self.step, recipe.warmup, recipe.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        return rate

    def _draw_exchange(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        draws = torch.rand(self.recipe.batch, generator=generator)[self.part]
        return (draws >= self.recipe.modality_dropout).to(self.device)

    @torch.no_grad()
    def _update_average(self) -> None:
        # Short runs would otherwise keep the random start in the average.
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        values = self.graph.network.state_dict()
        for name, average in self.average.state_dict().items():
            if average.is_floating_point():
                average.lerp_(values[name], 1 - decay)
            else:
                average.copy_(values[name])


def check_pairs(folders: list[PairDataset]) -> None:
    """Look at every file, so that a bad one ends a run before it starts and not within.

    Raises:
        DataError: the first file that cannot be used.
    """
    with Progress(transient=True) as progress:
        for folder in folders:
            task = progress.add_task(f"checking {folder.root}", total=len(folder))
            folder.check(lambda done, task=task: progress.update(task, completed=done))  # type: ignore[misc]


def _plain(value: object) -> object:
    """Return data as it looks after a trip through JSON."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
