import dataclasses

import cv2
import numpy as np
import pytest
import torch

from csknet_core.data.mixture import TrainingMixture
from csknet_core.data.synthetic import random_frame
from csknet_core.data.transforms import AugmentSettings
from csknet_core.errors import ConfigError, DataError, WeightsError
from csknet_core.losses.contrast import ContrastSettings
from csknet_core.losses.distillation import DistillationSettings
from csknet_core.model.zoo import load_network
from csknet_core.training.log import read_table
from csknet_core.training.recipe import (
    DataRecipe,
    Recipe,
    SelfTrainingSettings,
    ValidationRecipe,
    load_recipe,
)
from csknet_core.training.trainer import Trainer

SMALL = Recipe(
    name="tiny",
    data=DataRecipe(workers=0, augment=AugmentSettings((64, 64))),
    model={"decoder_width": 8},
    pretrained=False,
    steps=4,
    batch=2,
    warmup=1,
    bf16=False,
    checkpoint_every=2,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("csknet_core.training.trainer._WEIGHT_SAMPLES", 2)


def test_a_killed_run_resumes_to_exactly_the_same_weights(tmp_path):
    whole = Trainer(SMALL, tmp_path / "whole").run()
    killed = Trainer(SMALL, tmp_path / "killed")
    batches = killed._batches()
    for _ in range(2):
        killed.train_step(next(batches))
    killed.save()
    killed.train_step(next(batches))  # lost with the kill
    resumed = Trainer(SMALL, tmp_path / "killed")
    assert resumed.step == 2
    weights = [load_network(str(path))[0].state_dict() for path in (whole, resumed.run())]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_folder_of_another_recipe_is_refused(tmp_path):
    trainer = Trainer(SMALL, tmp_path)
    trainer.save()
    other = dataclasses.replace(SMALL, lr=0.5)
    with pytest.raises(ConfigError, match="another recipe"):
        Trainer(other, tmp_path)


def test_a_damaged_checkpoint_names_the_file(tmp_path):
    (tmp_path / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"state\.safetensors"):
        Trainer(SMALL, tmp_path)


def test_the_loss_falls_on_one_batch(tmp_path):
    recipe = dataclasses.replace(SMALL, steps=40, lr=3e-3, modality_dropout=0.5)
    trainer = Trainer(recipe, tmp_path)
    batch = next(trainer._batches())
    losses = [trainer.train_step(batch)["total"] for _ in range(40)]
    assert losses[-1] < 0.75 * losses[0]


def test_samples_depend_on_seed_and_index_alone():
    def mixture(seed: int) -> TrainingMixture:
        return TrainingMixture([], 10, 1.0, AugmentSettings((64, 64)), seed)

    first, second = mixture(1), mixture(1)
    assert all(torch.equal(a, b) for a, b in zip(first[7], second[7], strict=True))
    assert not torch.equal(mixture(2)[7][0], first[7][0])


def test_recipes_are_read_with_their_types(tmp_path, repository):
    recipe = load_recipe(repository / "config/recipes/lite0.yaml")
    assert recipe.data.rendered == 0.5
    assert recipe.name == "csknet-lite0"
    file = tmp_path / "recipe.yaml"
    file.write_text("name: a\nlr: 1\ndata: {augment: {crop: [64, 96]}}\n")
    recipe = load_recipe(file)
    assert type(recipe.lr) is float
    assert recipe.data.augment.crop == (64, 96)


@pytest.mark.parametrize(
    ("text", "words"),
    [("name: a\nstep: 3", "unknown step"), ("name: 3", "expected str"), ("lr: 0.1", "name"),
     ("- a", "expected a mapping"), ("name: a\ndata: {folders: x}", "expected a list"),
     ("name: [", "cannot be read"), ("name: a\nmodality: radar", "modality 'radar'"),
     ("name: a\noptimizer: lion", "adamw, sgd"), ("name: a\nhard_share: 0.0", "hard_share"),
     ("name: a\ncontrast: {stage: 7}", "contrast stage 7"),
     ("name: a\ndistillation: {shared_stages: [0]}", "stages")],
)  # fmt: skip
def test_malformed_recipes_say_what_is_wrong(tmp_path, text, words):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_recipe(file)


@pytest.fixture
def pairs(tmp_path):
    """Four rendered pairs on disk, two of them in the split val; and two without labels."""
    for folder, seeds in (("pairs", range(4)), ("bare", range(4, 6))):
        root = tmp_path / folder
        for seed in seeds:
            frame = random_frame(seed, (96, 128))
            images = {"rgb": frame.optical[..., ::-1], "thermal": frame.thermal}
            if folder == "pairs":
                images["labels"] = frame.labels
            for kind, image in images.items():
                (root / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / kind / f"{seed}.png"), image)
    (tmp_path / "pairs" / "train.txt").write_text("0\n1\n")
    (tmp_path / "pairs" / "val.txt").write_text("2\n3\n")
    return tmp_path


def test_the_averaged_weights_are_scored_on_the_way(tmp_path, pairs):
    validation = ValidationRecipe(str(pairs / "pairs"), "val", every=2, size=(96, 128))
    data = dataclasses.replace(SMALL.data, folders=(str(pairs / "pairs"),), rendered=0.5)
    Trainer(dataclasses.replace(SMALL, data=data, validation=validation), tmp_path / "run").run()
    table = read_table(tmp_path / "run" / "validation.csv")
    assert table["step"] == [2, 4]
    assert set(table) == {"step", "fused", "thermal_only", "optical_only"}
    assert all(0 <= value < 1 for value in table["fused"])


def test_the_weights_of_the_best_validation_are_kept(tmp_path, pairs, monkeypatch):
    scores = iter([0.2, 0.4, 0.1])
    monkeypatch.setattr(
        "csknet_core.training.trainer.validate", lambda *_: {"fused": next(scores), "thermal": 0.3}
    )
    validation = ValidationRecipe(str(pairs / "pairs"), "val", every=1, size=(96, 128))
    recipe = dataclasses.replace(SMALL, steps=3, validation=validation)
    trainer = Trainer(recipe, tmp_path)
    trainer.run()
    assert load_network(str(trainer.best_path))[1].card["step"] == 2
    assert load_network(str(trainer.weights_path))[1].card["step"] == 3


@pytest.mark.parametrize(("modality", "other"), [("optical", "thermal"), ("thermal", "optical")])
def test_one_branch_alone_is_trained_and_the_other_left_alone(tmp_path, modality, other):
    trainer = Trainer(dataclasses.replace(SMALL, modality=modality), tmp_path)
    before = {name: p.detach().clone() for name, p in trainer.graph.network.named_parameters()}
    terms = trainer.train_step(next(iter(trainer._batches())))
    assert set(terms) == {"lr", modality, "total"}
    moved = {
        name
        for name, parameter in trainer.graph.network.named_parameters()
        if parameter.grad is not None and not torch.equal(parameter, before[name])
    }
    assert any(name.startswith(f"{modality}_decoder") for name in moved)
    assert not any(name.startswith((f"{other}_", "gsu", "fused")) for name in moved)
    assert not any(f".{other}." in name for name in moved)


def test_every_loss_of_the_method_reaches_the_network(tmp_path, pairs):
    teacher = Trainer(dataclasses.replace(SMALL, steps=1), tmp_path / "teacher").run()
    data = dataclasses.replace(
        SMALL.data, folders=(str(pairs / "pairs"),), rendered=0.0,
        unlabelled=(str(pairs / "bare"),), unlabelled_share=0.5,
    )  # fmt: skip
    recipe = dataclasses.replace(
        SMALL, data=data, steps=6, distillation=DistillationSettings(teacher=str(teacher)),
        contrast=ContrastSettings(weight=0.1, warmup=2),
        self_training=SelfTrainingSettings(threshold=0.2, start=1),
    )  # fmt: skip
    trainer = Trainer(recipe, tmp_path / "run")
    terms = [trainer.train_step(batch) for batch in trainer._batches()]
    names = {"fused", "optical", "thermal", "pixel_distillation", "feature_distillation"}
    assert set(terms[0]) == {"lr", "contrast", "total"} | names
    contrast = [entry["contrast"] for entry in terms]
    assert contrast[:2] == [0, 0]
    assert max(contrast[2:]) > 0
    for entry in terms:
        assert entry["total"] == pytest.approx(
            sum(entry[n] for n in names | {"contrast"}), rel=1e-4
        )
    assert trainer.graph.contrast.project[1].weight.grad.abs().sum() > 0
    trainer.save()
    saved = load_network(str(trainer.weights_path))[0]
    assert not any("project." in name and "contrast" in name for name in saved.state_dict())


def test_the_average_follows_slowly_and_starts_fast(tmp_path):
    trainer = Trainer(dataclasses.replace(SMALL, ema=0.9), tmp_path)
    name = "fused_head.1.bias"
    average, value = trainer.average.state_dict()[name], trainer.graph.network.state_dict()[name]
    average.zero_()
    with torch.no_grad():
        value.fill_(1.0)
    trainer._update_average()  # step 0: decay 1 / 10
    assert float(average[0]) == pytest.approx(0.9)
    trainer.step = 10_000
    average.zero_()
    trainer._update_average()
    assert float(average[0]) == pytest.approx(0.1)


def test_a_bad_file_ends_a_run_before_it_starts(tmp_path, pairs):
    file = pairs / "pairs" / "labels" / "1.png"
    cv2.imwrite(str(file), np.full((96, 128), 77, np.uint8))
    data = dataclasses.replace(SMALL.data, folders=(str(pairs / "pairs"),))
    with pytest.raises(DataError, match=r"1\.png: class id 77"):
        Trainer(dataclasses.replace(SMALL, data=data), tmp_path / "run")
