"""What the terms of a training step reach."""

import dataclasses

import pytest
import torch

from csknet_core.losses.distillation import DistillationSettings, answer_divergence
from csknet_core.losses.objective import SupervisedObjective
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.training.graph import TrainingGraph
from csknet_core.training.recipe import Recipe, SelfTrainingSettings
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


@pytest.mark.parametrize("exchange", [False, True])
def test_the_fused_answer_teaches_what_the_thermal_head_sees(exchange):
    """Alone that is the thermal branch; after an exchange the optical encoder is a part of it."""
    recipe = Recipe("a", self_training=SelfTrainingSettings(thermal_weight=2.0))
    module = graph(recipe).eval()
    optical, thermal = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    labels, exchanged = torch.zeros(2, 64, 64, dtype=torch.int64), torch.tensor([exchange] * 2)
    fused = torch.randn(2, CLASSES, 16, 16)
    term = module(optical, thermal, labels, exchanged, 0, fused)["fused_distillation"]
    own = module.network(optical, thermal, exchanged).thermal
    expected = 2 * float(answer_divergence(own, fused).detach())
    assert float(term.detach()) == pytest.approx(expected, rel=1e-4)
    term.backward()
    moved = {name: parameter for name, parameter in module.network.named_parameters()
             if parameter.grad is not None and parameter.grad.abs().max() > 0}  # fmt: skip
    assert {n.partition(".")[0] for n in moved} == {"encoder", "thermal_decoder", "thermal_head"}
    assert any(".thermal." in name for name in moved)
    assert any(".optical." in name for name in moved) == exchange


def test_the_terms_are_the_same_before_the_fused_answer_teaches():
    """The log is one table."""
    module = graph(Recipe("a", self_training=SelfTrainingSettings(thermal_weight=2.0)))
    images = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    labels, exchange = torch.zeros(2, 64, 64, dtype=torch.int64), torch.zeros(2, dtype=torch.bool)
    before = module(*images, labels, exchange, 0)
    after = module(*images, labels, exchange, 1, torch.randn(2, CLASSES, 16, 16))
    assert list(before) == list(after)
    assert float(before["fused_distillation"]) == 0
