"""The training loop: batches in, averaged weights, checkpoints and curves out."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from torch.optim.swa_utils import get_ema_multi_avg_fn

from csknet_core.classes import MFNET, ClassTable
from csknet_core.data.copy_paste import ObjectBank
from csknet_core.data.datasets import PairDataset
from csknet_core.data.layouts import open_pairs
from csknet_core.data.mixture import TensorSample, TrainingMixture
from csknet_core.data.samples import list_pairs
from csknet_core.errors import ConfigError, WeightsError
from csknet_core.losses.objective import SupervisedObjective, class_weights
from csknet_core.modality import Mode
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import load_imagenet_encoder, load_network, save_network
from csknet_core.training.checkpoints import (
    STATE_NAME,
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
from csknet_core.training.loading import load_batches
from csknet_core.training.log import RunLog
from csknet_core.training.precision import has_fast_bfloat16
from csknet_core.training.recipe import DataRecipe, Recipe
from csknet_core.training.schedule import rate_at
from csknet_core.training.teacher import Teacher, pseudo_labels
from csknet_core.training.validation import open_validation, validate
from csknet_core.weights.files import WeightsInfo, read_info

_WEIGHT_SAMPLES = 96


class Trainer:
    """Runs one recipe in a folder, and goes on where a killed run of it stopped.

    The folder gets `state.safetensors` (to resume), the log's files and, at every checkpoint, the
    averaged weights as `NAME.safetensors`. Under torchrun every process runs one trainer; the
    first writes.

    Raises:
        ConfigError: the folder holds the state of another recipe, rendered samples are of other
            classes than the recipe's, or its `init` is of another network.
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
        """Where those of the best validation so far are kept (mean mIoU of the modes trained)."""
        return self.folder / f"{self.recipe.name}-best.safetensors"

    def run(self) -> Path:
        """Train to the last step and return the path of the weights."""
        if process_index():
            for batch in self._batches():
                self.train_step(batch)
            return self.weights_path
        recipe = self.recipe
        log = RunLog(self.folder, self.step)
        self._catch_up(log)
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
        own = recipe.self_training
        begun = self.step >= own.start
        if own.threshold > 0 and begun:
            labels = pseudo_labels(self.average, optical, thermal, labels, own.threshold)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            fused = None
            if own.thermal_weight > 0 and begun:
                fused = self.average.predict(Mode.FUSED, optical, thermal)
            terms: dict[str, Tensor] = self._parallel(
                optical, thermal, labels, self._draw_exchange(), self.step, fused
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
        """Write the averaged weights and the resumable state."""
        card = {"recipe": self.recipe.to_dict(), "step": self.step}
        # Before the state: a run that resumes at the last step writes no weights any more.
        save_network(self.weights_path, self.average, self.classes, card)
        parts = {
            "graph": self.graph.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        save_state(self.folder / STATE_NAME, self.step, dict(parts), self.recipe.to_dict())

    def _keep(self, log: RunLog) -> None:
        """Save and score what is due at this step."""
        last = self.step == self.recipe.steps
        if self._scores_here() or last or self.step % self.recipe.checkpoint_every == 0:
            self.save()
            self._score(log)

    def _catch_up(self, log: RunLog) -> None:
        """Do what a killed run left undone at the step it is resumed from."""
        if self.step:
            if _step_of(self.weights_path) != self.step:
                self.save()
            self._score(log)

    def _scores_here(self) -> bool:
        validation = self.recipe.validation
        last = self.step == self.recipe.steps
        return bool(validation.folder) and (last or self.step % validation.every == 0)

    def _score(self, log: RunLog) -> None:
        """Score the saved weights where that is due and not done yet, and keep the best."""
        if self._scores_here():
            if self.step not in log.scored_steps():
                log.scores(self.step, validate(self.weights_path, self.recipe))
            if log.best_step() == self.step and _step_of(self.best_path) != self.step:
                partial = self.best_path.with_suffix(".partial")
                shutil.copyfile(self.weights_path, partial)
                partial.replace(self.best_path)
        log.draw()

    def _build_network(self) -> CSKNet:
        recipe = self.recipe
        if recipe.init:
            network, info = load_network(recipe.init)
            check_start(info, recipe.model, self.classes)
            return network.train()
        settings = {**recipe.model, "num_classes": len(self.classes)}
        network = CSKNet(ModelConfig.from_dict(settings))
        if recipe.pretrained:
            load_imagenet_encoder(network)
        return network

    def _build_samples(self) -> TrainingMixture:
        data = self.recipe.data
        check_rendered(data, self.classes)
        folders = [open_pairs(folder, data.split, self.classes) for folder in data.folders]
        unlabelled = [open_pairs(folder, "", self.classes) for folder in data.unlabelled]
        validation = self.recipe.validation
        scored = [open_validation(validation, self.classes)] if validation.folder else []
        if process_index() == 0:
            check_pairs(folders + unlabelled + scored)
        length = self.recipe.steps * self.recipe.batch
        return TrainingMixture(
            folders, length, data.rendered, data.augment, self.recipe.seed, unlabelled,
            data.unlabelled_share, data.limit,
            objects=self._collect_objects() if data.objects else None, pasted=data.pasted,
        )  # fmt: skip

    def _collect_objects(self) -> ObjectBank:
        data = self.recipe.data
        folders = [open_pairs(folder, data.split, self.classes) for folder in data.objects]
        pairs = list_pairs(folders, data.limit)
        with Progress(transient=True, disable=process_index() != 0) as progress:
            task = progress.add_task("collecting objects", total=len(pairs))
            return ObjectBank(pairs, lambda done: progress.update(task, completed=done))

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
        resumed = (self.folder / STATE_NAME).is_file()  # the state holds them
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
        path = self.folder / STATE_NAME
        if not path.is_file():
            return
        self.step, parts, recipe = load_state(path)
        if _matter(recipe) != _matter(self.recipe.to_dict()):
            raise ConfigError(
                f"{self.folder}: holds the state of another recipe, or of another version of "
                "csknet; choose another folder or delete it"
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
        size = len(range(batch)[self.part])
        yield from load_batches(self.samples, own, size, self.recipe.data.workers)

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
        averages = self.average.state_dict()
        names = [name for name, average in averages.items() if average.is_floating_point()]
        # One launch for all: hundreds of small ones take a GPU longer than the network's own.
        update = get_ema_multi_avg_fn(decay)
        update([averages[n] for n in names], [values[n] for n in names], self.step)
        for name in averages.keys() - set(names):
            averages[name].copy_(values[name])


def check_rendered(data: DataRecipe, classes: ClassTable) -> None:
    """Check that rendered samples, whose ids are MFNet's, are of the table that is trained.

    Raises:
        ConfigError: there are rendered samples, and the table is another one.
    """
    only_unlabelled = bool(data.unlabelled) and data.unlabelled_share >= 1
    rendered = (data.rendered > 0 or not data.folders) and not only_unlabelled
    if rendered and classes.names != MFNET.names:
        raise ConfigError(
            f"rendered samples have the classes of table '{MFNET.name}', not of '{classes.name}'; "
            "set 'rendered: 0.0' in 'data' and name folders of labelled pairs"
        )


def check_start(info: WeightsInfo, model: dict[str, Any], classes: ClassTable) -> None:
    """Check that the weights to start from are of the network that a recipe describes.

    Args:
        info: of the weights.
        model: settings that the recipe has.
        classes: the recipe's table.

    Raises:
        ConfigError: the classes or a setting differ.
    """
    if info.classes.names != classes.names:
        raise ConfigError(
            f"init {info.path}: its classes ({', '.join(info.classes.names)}) are not those of "
            f"table '{classes.name}'; start from weights of this table"
        )
    wanted = ModelConfig.from_dict({**info.model, **model, "num_classes": len(classes)}).to_dict()
    own = ModelConfig.from_dict(info.model).to_dict()
    for name in model:
        if wanted[name] != own[name]:
            raise ConfigError(
                f"init {info.path}: its {name} is {own[name]!r}, the recipe's is {wanted[name]!r}; "
                "leave 'model' out, or start without 'init'"
            )


def check_pairs(folders: list[PairDataset]) -> None:
    """Look at every file, so that a bad one ends a run before it starts and not within.

    Raises:
        DataError: the first file that cannot be used.
    """
    with Progress(transient=True) as progress:
        for folder in folders:
            task = progress.add_task(f"checking {folder.root}", total=len(folder))
            folder.check(lambda done, task=task: progress.update(task, completed=done))  # type: ignore[misc]


def _step_of(weights: Path) -> int | None:
    """Return the step a run wrote weights at; None without readable weights."""
    try:
        step = read_info(weights).card.get("step")
    except WeightsError:
        return None
    return step if isinstance(step, int) else None


def _matter(recipe: dict[str, Any]) -> object:
    """Return what of a recipe changes its result, as plain data."""
    return _plain({**recipe, "data": {**recipe.get("data", {}), "workers": 0}})


def _plain(value: object) -> object:
    """Return data as it looks after a trip through JSON."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
