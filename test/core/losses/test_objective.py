import math

import torch

from csknet_core.losses.objective import SupervisedObjective, class_weights
from csknet_core.model.csknet import Logits


def _logits(*values):
    return torch.tensor(values).view(1, -1, 1, 1).expand(2, -1, 2, 2).clone().requires_grad_()


def test_cross_entropy_of_the_heads_is_weighted_one_half_half():
    objective = SupervisedObjective(torch.ones(2))
    logits = Logits(_logits(0.0, 0.0), _logits(1.0, 0.0), _logits(0.0, 2.0))
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    terms = objective(logits, labels, torch.tensor([True, True]))
    fused, optical = math.log(2), math.log(1 + math.exp(-1))
    thermal = math.log(1 + math.exp(2))
    expected = fused + 0.5 * (optical + thermal)
    assert math.isclose(float(sum(terms.values())), expected, rel_tol=1e-5)


def test_a_class_counts_by_its_weight():
    objective = SupervisedObjective(torch.tensor([1.0, 3.0]))
    logits = Logits(_logits(1.0, 0.0), _logits(0.0, 0.0), _logits(0.0, 0.0))
    labels = torch.zeros(2, 2, 2, dtype=torch.long)
    labels[0] = 1
    terms = objective(logits, labels, torch.tensor([True, True]))
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    assert math.isclose(float(terms["fused"]), (right + 3 * wrong) / 4, rel_tol=1e-5)


def test_fused_head_learns_only_from_exchanged_samples():
    objective = SupervisedObjective(torch.ones(2))
    logits = Logits(_logits(0.0, 0.0), _logits(0.0, 0.0), _logits(0.0, 0.0))
    labels = torch.zeros(2, 4, 4, dtype=torch.long)
    sum(objective(logits, labels, torch.tensor([True, False])).values()).backward()
    assert logits.fused.grad[0].abs().sum() > 0
    assert logits.fused.grad[1].abs().sum() == 0
    assert logits.thermal.grad[1].abs().sum() > 0


def test_fused_head_learns_from_every_sample_when_asked_to():
    objective = SupervisedObjective(torch.ones(2), fuse_dropped=True)
    logits = Logits(_logits(0.0, 0.0), _logits(0.0, 0.0), _logits(0.0, 0.0))
    labels = torch.zeros(2, 4, 4, dtype=torch.long)
    sum(objective(logits, labels, torch.tensor([True, False])).values()).backward()
    assert logits.fused.grad[1].abs().sum() > 0


def test_a_batch_without_labels_gives_zero_and_finite_gradients():
    objective = SupervisedObjective(torch.ones(2))
    logits = Logits(_logits(0.0, 0.0), _logits(0.0, 0.0), _logits(0.0, 0.0))
    labels = torch.full((2, 4, 4), 255)
    total = sum(objective(logits, labels, torch.tensor([False, False])).values())
    total.backward()
    assert float(total) == 0
    assert torch.isfinite(logits.fused.grad).all()


def test_rare_classes_weigh_more_and_weights_average_one():
    weights = class_weights(torch.tensor([0.9, 0.09, 0.01]))
    assert weights[0] < weights[1] < weights[2]
    assert math.isclose(float(weights.mean()), 1, rel_tol=1e-6)
    ratio = math.log(1.10 + 0.9) / math.log(1.10 + 0.01)
    assert math.isclose(float(weights[2] / weights[0]), ratio, rel_tol=1e-5)


def test_hard_share_counts_the_pixels_of_the_largest_loss():
    objective = SupervisedObjective(torch.tensor([1.0, 3.0]), hard_share=0.25)
    margins = torch.tensor([4.0, 1.0, -1.0, 2.0]).view(1, 1, 2, 2)
    logits = torch.cat([margins, torch.zeros(1, 1, 2, 2)], 1).requires_grad_()
    loss = objective.cross_entropy(logits, torch.zeros(1, 2, 2, dtype=torch.long))
    loss.backward()
    assert math.isclose(float(loss.detach()), math.log(1 + math.exp(1.0)), rel_tol=1e-5)
    assert (logits.grad.abs().sum(1) > 0).flatten().tolist() == [False, False, True, False]


def test_hard_share_of_a_batch_without_labels_is_zero():
    objective = SupervisedObjective(torch.ones(2), hard_share=0.5)
    loss = objective.cross_entropy(_logits(0.0, 0.0), torch.full((2, 4, 4), 255))
    assert float(loss) == 0
