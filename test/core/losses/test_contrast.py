import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from csknet_core.errors import ConfigError
from csknet_core.losses.contrast import (
    ContrastSettings,
    PixelContrast,
    contrastive_loss,
    sample_anchors,
)


def reference(embeddings: np.ndarray, classes: np.ndarray, temperature: float) -> float:
    """Equation 3 of Wang et al. 2021, one anchor and one positive at a time, in float64."""
    similarity = embeddings @ embeddings.T / temperature
    losses = []
    for i in range(len(classes)):
        positives = [j for j in range(len(classes)) if j != i and classes[j] == classes[i]]
        negatives = sum(math.exp(similarity[i, j]) for j in np.flatnonzero(classes != classes[i]))
        if positives:
            terms = [math.exp(similarity[i, p]) for p in positives]
            losses.append(np.mean([-math.log(term / (term + negatives)) for term in terms]))
    return float(np.mean(losses))


def random_case(count: int = 40, classes: int = 4):
    rng = np.random.default_rng(3)
    embeddings = rng.standard_normal((count, 8))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings, rng.integers(0, classes, count)


def test_the_loss_is_that_of_the_equation():
    embeddings, classes = random_case()
    loss = contrastive_loss(torch.tensor(embeddings), torch.tensor(classes), 0.1)
    assert float(loss) == pytest.approx(reference(embeddings, classes, 0.1), rel=1e-9)


def test_the_loss_stays_float32_under_mixed_precision():
    embeddings, classes = random_case()
    single = torch.tensor(embeddings, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(single, torch.tensor(classes), 0.1)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(reference(embeddings, classes, 0.1), rel=1e-5)


@pytest.mark.parametrize(
    "classes", [[], [3], [0, 1, 2], [5, 5, 5]], ids=["none", "one", "no pair", "no negative"]
)
def test_missing_partners_give_zero_with_finite_gradients(classes):
    embeddings = F.normalize(torch.randn(len(classes), 4), dim=1).requires_grad_()
    loss = contrastive_loss(embeddings, torch.tensor(classes, dtype=torch.long), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(embeddings.grad).all()


def test_gradient_steps_pull_a_class_together_and_push_classes_apart():
    torch.manual_seed(0)
    raw = torch.randn(20, 8, requires_grad=True)
    classes = torch.arange(20) % 2
    optimizer = torch.optim.SGD([raw], 0.5)
    for _ in range(100):
        optimizer.zero_grad()
        contrastive_loss(F.normalize(raw, dim=1), classes, 0.1).backward()
        optimizer.step()
    unit = F.normalize(raw.detach(), dim=1)
    similarity, same = unit @ unit.T, classes[:, None] == classes[None]
    assert similarity[same].mean() > similarity[~same].mean() + 0.8


def test_anchors_come_evenly_from_classes_and_images_and_half_are_mistakes():
    classes = torch.tensor([0] * 500 + [1] * 20 + [255] * 100 + [0] * 300)
    images = torch.tensor([0] * 620 + [1] * 300)
    wrong = torch.arange(len(classes)) % 10 == 0
    picks = sample_anchors(classes, images, wrong, total=90, per_class=40)
    assert len(picks.unique()) == len(picks)
    drawn = {
        (image, cls): int(((images[picks] == image) & (classes[picks] == cls)).sum())
        for image in (0, 1)
        for cls in (0, 1, 255)
    }
    assert drawn == {(0, 0): 30, (0, 1): 20, (0, 255): 0, (1, 0): 30, (1, 1): 0, (1, 255): 0}
    of_first = picks[(images[picks] == 0) & (classes[picks] == 0)]
    assert int(wrong[of_first].sum()) == 15


def test_no_more_anchors_than_asked_for_even_with_many_groups():
    classes, images = torch.arange(200) % 50, torch.arange(200) // 100
    picks = sample_anchors(classes, images, torch.zeros(200, dtype=torch.bool), 30, 100)
    assert len(picks) == 30


def test_easy_pixels_make_up_for_missing_mistakes():
    classes, images = torch.zeros(10, dtype=torch.long), torch.zeros(10, dtype=torch.long)
    for wrong in (torch.zeros(10, dtype=torch.bool), torch.ones(10, dtype=torch.bool)):
        assert len(sample_anchors(classes, images, wrong, 8, 8)) == 8


def test_both_branches_are_contrasted_and_a_batch_without_labels_is_not():
    torch.manual_seed(0)
    contrast = PixelContrast(6, ContrastSettings(weight=1.0, dimensions=8))
    features = [torch.randn(2, 6, 8, 8, requires_grad=True) for _ in range(2)]
    predictions = (torch.zeros(2, 16, 16, dtype=torch.long),) * 2
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    labels[:, 16:] = 1
    pair = features[0], features[1]
    contrast(pair, labels, predictions).backward()
    assert all(feature.grad is not None and feature.grad.abs().sum() > 0 for feature in features)
    nothing = contrast(pair, torch.full_like(labels, 255), predictions)
    assert nothing.item() == 0


def test_the_draw_depends_on_the_generator_alone():
    torch.manual_seed(0)
    contrast = PixelContrast(6, ContrastSettings(weight=1.0, anchors=8)).eval()
    pair = torch.randn(1, 6, 8, 8), torch.randn(1, 6, 8, 8)
    predictions = (torch.zeros(1, 8, 8, dtype=torch.long),) * 2
    labels = torch.arange(64).view(1, 8, 8) % 2

    def loss(seed: int) -> float:
        return float(contrast(pair, labels, predictions, torch.Generator().manual_seed(seed)))

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)


@pytest.mark.parametrize("bad", [{"stage": 0}, {"stage": 6}, {"temperature": 0}, {"anchors": 0}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ConfigError):
        ContrastSettings(**bad)
