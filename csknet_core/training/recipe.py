"""Recipes: what to train on, with what and for how long, as short typed YAML."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from csknet_core.data.transforms import AugmentSettings
from csknet_core.errors import ConfigError

SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True)
class DataRecipe:
    """What to train on.

    Attributes:
        folders: folders of pairs in the MFNet layout; may be empty.
        split: their split.
        rendered: share of samples that are rendered.
        classes: class table, a built-in name or a YAML file.
        workers: processes that prepare samples.
        augment: see `AugmentSettings`.
    """

    folders: tuple[str, ...] = ()
    split: str = "train"
    rendered: float = 0.5
    classes: str = "mfnet"
    workers: int = 1
    augment: AugmentSettings = field(default_factory=AugmentSettings)


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        name: of the weights it makes.
        data: what to train on.
        model: settings of `ModelConfig` other than num_classes.
        pretrained: start the encoder from ImageNet weights.
        init: start from a weights file instead.
        steps: optimiser steps.
        batch: pairs per step.
        lr: peak learning rate of decoders and heads.
        encoder_lr_scale: learning rate of the encoder relative to `lr`.
        weight_decay: of AdamW.
        warmup: steps of linear warm-up; then the rate falls as (1 - progress) ** 0.9.
        clip: largest gradient norm.
        ema: decay of the averaged weights, which are the ones saved.
        modality_dropout: probability that a sample's branches do not see each other.
        bf16: compute in bfloat16 where it is safe.
        seed: of everything drawn.
        checkpoint_every: steps between checkpoints.
    """

    name: str
    data: DataRecipe = field(default_factory=DataRecipe)
    model: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    init: str = ""
    steps: int = 1000
    batch: int = 8
    lr: float = 1e-3
    encoder_lr_scale: float = 0.4
    weight_decay: float = 0.01
    warmup: int = 50
    clip: float = 5.0
    ema: float = 0.995
    modality_dropout: float = 0.5
    bf16: bool = True
    seed: int = 0
    checkpoint_every: int = 50

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data."""
        return asdict(self)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from YAML.

    Raises:
        ConfigError: the file cannot be read, or has an unknown key or a value of a wrong type.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"recipe {path}: cannot be read ({error})") from error
    return _build(Recipe, data, str(path))


def _build(kind: type[SettingsT], data: Any, where: str) -> SettingsT:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected a mapping, got {type(data).__name__}")
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = set(data) - known
    if unknown:
        raise ConfigError(
            f"{where}: unknown {', '.join(sorted(unknown))}; it may have {', '.join(sorted(known))}"
        )
    hints = get_type_hints(kind)
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, where)
    if getattr(hint, "__origin__", None) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where}: expected a list, got {value!r}")
        return tuple(value)
    kind = dict if getattr(hint, "__origin__", None) is dict else hint
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value
