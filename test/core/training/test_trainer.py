import dataclasses

import pytest
import torch

from csknet_core.data.mixture import TrainingMixture
from csknet_core.data.transforms import AugmentSettings
from csknet_core.errors import ConfigError, WeightsError
from csknet_core.model.zoo import load_network
from csknet_core.training.recipe import DataRecipe, Recipe, load_recipe
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
    recipe = dataclasses.replace(SMALL, steps=12, lr=3e-3, modality_dropout=0.5)
    trainer = Trainer(recipe, tmp_path)
    batch = next(trainer._batches())
    losses = [trainer.train_step(batch)["total"] for _ in range(12)]
    assert losses[-1] < 0.6 * losses[0]


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
