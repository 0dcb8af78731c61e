"""Recipes: what to train on, with what and for how long, as short typed YAML."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from csknet_core.data.transforms import AugmentSettings
from csknet_core.errors import ConfigError
from csknet_core.input_size import check_size
from csknet_core.losses.contrast import ContrastSettings
from csknet_core.losses.distillation import DistillationSettings
from csknet_core.modality import Modality, Mode
from csknet_core.training.checkpoints import STATE_NAME
from csknet_core.training.schedule import SCHEDULES
from csknet_core.yaml_file import read_yaml

SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True)
class DataRecipe:
    """What to train on.

    Attributes:
        folders: folders of labelled pairs; may be empty.
        split: their split.
        limit: takes only so many pairs of each folder, its first ones; 0 takes all.
        rendered: share of samples that are rendered; all of them without folders.
        unlabelled: folders of pairs, all splits of them, which distillation, and self-training
            where it is on, learn from; their labels, if they have some, are not used.
        unlabelled_share: share of samples that are unlabelled.
        objects: folders of labelled pairs whose objects are pasted into those of `folders`, see
            `ObjectBank`; their `split`, and as many pairs as `limit` says.
        pasted: share of the real labelled samples that get some.
        classes: class table, a built-in name or a YAML file.
        workers: processes that prepare samples, beside each process that trains; -1 takes a core
            less than there are for it, 1 to 8.
        augment: see `AugmentSettings`; sides of the crop are multiples of 32.

    Raises:
        ConfigError: a value outside its range.
    """

    folders: tuple[str, ...] = ()
    split: str = "train"
    limit: int = 0
    rendered: float = 0.5
    unlabelled: tuple[str, ...] = ()
    unlabelled_share: float = 0.3
    objects: tuple[str, ...] = ()
    pasted: float = 0.5
    classes: str = "mfnet"
    workers: int = -1
    augment: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        _check_range(self, 0, math.inf, "limit")
        _check_range(self, -1, math.inf, "workers")
        _check_range(self, 0, 1, "rendered", "unlabelled_share", "pasted")
        _check_range(self.augment, 0, math.inf, "misregister_pixels")
        check_size(self.augment.crop, "crop")
        if self.objects and not self.folders:
            raise ConfigError("objects are pasted into labelled pairs; name some in folders")


@dataclass(frozen=True)
class ValidationRecipe:
    """What to score the averaged weights on while they are trained.

    Attributes:
        folder: folder of labelled pairs; "" scores nothing.
        split: its split.
        every: steps between scores.
        size: height and width of the network's input.

    Raises:
        ConfigError: a value outside its range.
    """

    folder: str = ""
    split: str = "val"
    every: int = 200
    size: tuple[int, int] = (480, 640)

    def __post_init__(self) -> None:
        _check_range(self, 1, math.inf, "every")
        check_size(self.size)


@dataclass(frozen=True)
class SelfTrainingSettings:
    """What the network learns from the fused answer of its own average.

    Attributes:
        threshold: least probability of an answer that is taken as the label of an unlabelled pair;
            0 takes none.
        thermal_weight: of the divergence of the thermal head's answer from the average's fused
            one, on all samples (where branches exchange it reaches the encoder's optical half,
            too); 0 leaves it out.
        start: step from which the averaged network is good enough.

    Raises:
        ConfigError: a value outside its range.
    """

    threshold: float = 0.0
    thermal_weight: float = 0.0
    start: int = 0

    def __post_init__(self) -> None:
        _check_range(self, 0, 1, "threshold")
        _check_range(self, 0, math.inf, "thermal_weight", "start")


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        name: of the weights it makes; a file name without its suffix, other than "state".
        data: what to train on.
        model: settings of `ModelConfig` other than num_classes.
        modality: "both"; or "optical" or "thermal", which trains that branch alone, for a teacher
            or a baseline: without contrast, whatever its weight, which is between two branches.
        pretrained: start the encoder from ImageNet weights.
        init: start from a weights file instead.
        distillation: knowledge of an optical teacher.
        contrast: pixel-wise contrastive loss.
        self_training: on its own fused answers.
        validation: scores on the way.
        steps: optimiser steps.
        batch: pairs per step, all processes together.
        optimizer: "adamw", or "sgd" with Nesterov momentum 0.9.
        schedule: "poly" or "one_cycle", see `rate_at`.
        lr: peak learning rate of decoders and heads.
        encoder_lr_scale: learning rate of the encoder relative to `lr`.
        weight_decay: of the optimiser.
        warmup: steps until the learning rate peaks.
        clip: largest gradient norm, more than 0.
        ema: decay of the averaged weights, which are the ones saved.
        class_weighting: weigh rare classes more, see `class_weights`; outlines get fatter for it.
        branch_weight: of the cross-entropy of the optical and of the thermal head; fused has 1.
        hard_share: share of the labelled pixels, those of the largest loss, that count.
        modality_dropout: probability that a sample's branches do not see each other.
        fuse_dropped: train the fused head on those samples, too.
        bf16: compute in bfloat16 where it is safe and the device does so by itself.
        seed: of everything drawn.
        checkpoint_every: steps between checkpoints.

    Raises:
        ConfigError: a name that is unknown, a value outside its range, or a setting that needs both
            branches where one is trained alone.
    """

    name: str
    data: DataRecipe = field(default_factory=DataRecipe)
    model: dict[str, Any] = field(default_factory=dict)
    modality: str = "both"
    pretrained: bool = True
    init: str = ""
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    contrast: ContrastSettings = field(default_factory=ContrastSettings)
    self_training: SelfTrainingSettings = field(default_factory=SelfTrainingSettings)
    validation: ValidationRecipe = field(default_factory=ValidationRecipe)
    steps: int = 1000
    batch: int = 8
    optimizer: str = "adamw"
    schedule: str = "poly"
    lr: float = 1e-3
    encoder_lr_scale: float = 0.4
    weight_decay: float = 0.01
    warmup: int = 50
    clip: float = 5.0
    ema: float = 0.995
    class_weighting: bool = True
    branch_weight: float = 0.5
    hard_share: float = 1.0
    modality_dropout: float = 0.5
    fuse_dropped: bool = True
    bf16: bool = True
    seed: int = 0
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("/\\"):
            raise ConfigError(f"name '{self.name}' is not one of a file; leave folders out of it")
        if f"{self.name}.safetensors" == STATE_NAME:
            raise ConfigError(f"name '{self.name}' is that of the file a run is resumed from")
        choices = {
            "modality": ("both", "optical", "thermal"),
            "optimizer": ("adamw", "sgd"),
            "schedule": SCHEDULES,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} '{getattr(self, name)}' is unknown; use one of {', '.join(known)}"
                )
        if not 0 < self.hard_share <= 1:
            raise ConfigError(f"hard_share {self.hard_share} is not in 0..1 (0 excluded)")
        if self.clip == 0:
            raise ConfigError("clip 0 would scale every gradient to nothing; give more than 0")
        _check_range(self, 1, math.inf, "steps", "batch", "checkpoint_every")
        _check_range(
            self, 0, math.inf, "lr", "encoder_lr_scale", "weight_decay", "warmup", "clip",
            "branch_weight", "seed",
        )  # fmt: skip
        _check_range(self, 0, 1, "ema", "modality_dropout")
        if self.modality != "both":
            self._check_alone()

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that the run trains."""
        if self.modality == "both":
            return tuple(Mode)
        return tuple(mode for mode in Mode if mode.modalities == (Modality(self.modality),))

    def _check_alone(self) -> None:
        """Check that nothing is asked for that a branch trained alone cannot learn from."""
        asked = {
            "self_training.threshold": self.self_training.threshold > 0,
            "self_training.thermal_weight": self.self_training.thermal_weight > 0,
            "distillation.teacher": bool(self.distillation.teacher),
        }
        for name in (name for name, wanted in asked.items() if wanted):
            raise ConfigError(
                f"{name} needs both branches, but modality '{self.modality}' trains one alone; "
                "leave one of the two out"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data."""
        return asdict(self)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from YAML.

    Raises:
        ConfigError: the file cannot be read, or has an unknown key or a value of a wrong type.
    """
    try:
        data = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"recipe {path}: cannot be read ({error})") from error
    return _build(Recipe, data, str(path))


def _build(kind: type[SettingsT], data: Any, where: str) -> SettingsT:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected a mapping, got {type(data).__name__}")
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(map(str, set(data) - known))
    if unknown:
        raise ConfigError(
            f"{where}: unknown {', '.join(unknown)}; it may have {', '.join(sorted(known))}"
        )
    hints = get_type_hints(kind)
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in data.items()}
    try:
        return kind(**values)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_range(settings: Any, low: float, high: float, *names: str) -> None:
    """Check that settings are finite and from `low` to `high`."""
    for name in names:
        value = getattr(settings, name)
        if not (low <= value <= high and value < math.inf):
            wanted = f"in {low}..{high}" if math.isfinite(high) else f"{low} or more"
            raise ConfigError(f"{name} {value} is not {wanted}")


def _convert(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, where)
    if get_origin(hint) is tuple:
        return _convert_list(get_args(hint), value, where)
    kind = get_origin(hint) or hint
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{where}: {error}") from error
    if type(value) is not kind:
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value


def _convert_list(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where}: expected a list, got {value!r}")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise ConfigError(f"{where}: expected {len(kinds)} values, got {value!r}")
    return tuple(_convert(kind, entry, where) for kind, entry in zip(kinds, value, strict=True))
