"""Scores of the averaged weights while they are trained."""

from __future__ import annotations

from pathlib import Path

import torch

from csknet_core.classes import ClassTable
from csknet_core.data.datasets import PairDataset
from csknet_core.data.layouts import open_pairs
from csknet_core.errors import DataError
from csknet_core.evaluation.evaluator import evaluate
from csknet_core.runtime.backends import open_engine
from csknet_core.training.recipe import Recipe, ValidationRecipe


def open_validation(recipe: ValidationRecipe, classes: ClassTable) -> PairDataset:
    """Open the folder that a run is scored on.

    Raises:
        DataError: it cannot be used, or has no labels.
    """
    pairs = open_pairs(recipe.folder, recipe.split, classes)
    if not pairs.labelled:
        raise DataError(f"{pairs.root}: no labels to score against; it needs labels/NAME.png")
    return pairs


def validate(weights: Path, recipe: Recipe) -> dict[str, float]:
    """Return the mIoU over the classes present of every mode that a recipe trains.

    Raises:
        DataError: the folder cannot be used.
    """
    validation = recipe.validation
    device = "torch-cuda" if torch.cuda.is_available() else "torch-cpu"
    engine = open_engine(weights, validation.size, device)
    scores = evaluate(engine, open_validation(validation, engine.classes), modes=recipe.modes)
    return {mode.value: score.parts["all"].miou() for mode, score in scores.modes.items()}
