"""What the terms of a training step reach."""

import dataclasses

import pytest
import torch

from csknet_core.losses.distillation import DistillationSettings
from csknet_core.losses.objective import SupervisedObjective
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.training.graph import TrainingGraph
from csknet_core.training.recipe import Recipe
from csknet_core.training.teacher import Teacher

CLASSES = 4
LATE_ONLY = DistillationSettings(shared_stages=(), optical_stages=(3, 4))
RECIPE = Recipe("a", distillation=LATE_ONLY, modality_dropout=0.5)


def graph(recipe: Recipe) -> TrainingGraph:
    torch.manual_seed(0)
    config = ModelConfig(CLASSES, decoder_width=8)
    teacher = Teacher(CSKNet(config))
    return TrainingGraph(CSKNet(config), SupervisedObjective(torch.ones(CLASSES)), recipe, teacher)


def reached(recipe: Recipe, exchange: list[bool]) -> dict[str, float]:
    """Return the largest gradient that distillation alone leaves in each branch's batch norm."""
    module = graph(recipe).eval()  # batch statistics would join the samples of a batch
    generator = torch.Generator().manual_seed(1)
    optical, thermal = (torch.rand(2, c, 64, 64, generator=generator) for c in (3, 1))
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    terms = module(optical, thermal, labels, torch.tensor(exchange), 0)
    (terms["pixel_distillation"] + terms["feature_distillation"]).backward()
    found = {"optical": 0.0, "thermal": 0.0}
    for name, parameter in module.network.encoder.named_parameters():
        for branch in found:
            if f".{branch}." in name and parameter.grad is not None:
                found[branch] = max(found[branch], float(parameter.grad.abs().max()))
    return found


@pytest.mark.parametrize("exchange", [[False, False], [True, False], [True, True]])
def test_what_the_teacher_teaches_the_optical_branch_alone_does_not_reach_the_thermal_one(exchange):
    found = reached(RECIPE, exchange)
    assert found["thermal"] == 0
    assert (found["optical"] > 0) == (not all(exchange))


def test_without_modality_dropout_every_sample_is_taught():
    found = reached(dataclasses.replace(RECIPE, modality_dropout=0.0), [True, True])
    assert found["optical"] > 0
