import dataclasses
import shutil

import cv2
import numpy as np
import pytest
import torch

from csknet_core.classes import MFNET, PST900, ClassTable
from csknet_core.data.mixture import TrainingMixture
from csknet_core.data.synthetic import random_frame
from csknet_core.data.transforms import AugmentSettings
from csknet_core.errors import ConfigError, DataError, WeightsError
from csknet_core.losses.contrast import ContrastSettings
from csknet_core.losses.distillation import DistillationSettings
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import load_network, save_network
from csknet_core.training.log import read_table
from csknet_core.training.recipe import (
    DataRecipe,
    Recipe,
    SelfTrainingSettings,
    ValidationRecipe,
    load_recipe,
)
from csknet_core.training.trainer import Trainer, check_rendered

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


@pytest.mark.parametrize("taught", [0.0, 1.0])
def test_a_killed_run_resumes_to_exactly_the_same_weights(tmp_path, taught):
    recipe = dataclasses.replace(SMALL, self_training=SelfTrainingSettings(thermal_weight=taught))
    whole = Trainer(recipe, tmp_path / "whole").run()
    killed = Trainer(recipe, tmp_path / "killed")
    batches = killed._batches()
    for _ in range(2):
        killed.train_step(next(batches))
    killed.save()
    killed.train_step(next(batches))  # lost with the kill
    resumed = Trainer(recipe, tmp_path / "killed")
    assert resumed.step == 2
    weights = [load_network(str(path))[0].state_dict() for path in (whole, resumed.run())]
    if torch.cuda.is_available():  # sums on a GPU come out in another order every time
        assert all(torch.allclose(weights[0][k], weights[1][k], atol=0.01) for k in weights[0])
    else:
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_run_resumes_on_a_machine_with_other_cores(tmp_path):
    run = Trainer(SMALL, tmp_path)
    run.train_step(next(run._batches()))
    run.save()
    data = dataclasses.replace(SMALL.data, workers=3)
    assert Trainer(dataclasses.replace(SMALL, data=data), tmp_path).step == 1


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
     ("name: a\ndistillation: {shared_stages: [0]}", "stages"),
     ("name: a\ndata: {folders: [3]}", "expected str, got 3"),
     ("name: a\ndata: {augment: {crop: [64]}}", "expected 2 values"),
     ("name: a\ndata: {augment: {crop: [64, x]}}", "expected int, got 'x'"),
     ("name: a\ndata: {augment: {crop: [250, 320]}}", "crop 250x320.*multiples of 32"),
     ("name: a\nvalidation: {size: [250, 320]}", "size 250x320.*multiples of 32"),
     ("name: a\nvalidation: {every: 0}", "every 0 is not 1 or more"),
     ("name: a\ncheckpoint_every: 0", "checkpoint_every 0 is not 1 or more"),
     ("name: a\nbatch: 0", "batch 0"), ("name: a\nlr: -0.1", "lr -0.1 is not 0 or more"),
     ("name: a\nlr: .nan", "lr nan"), ("name: a\nclip: .inf", "clip inf"),
     ("name: a\nclip: 0", "clip 0 would"), ("name: a\nclip: -1", "clip -1"),
     ("name: a\nlr: 1" + "0" * 400, "too large"), ("name: a\nseed: -1", "seed -1"),
     ("name: a\ndata: {rendered: 2}", "rendered 2.0 is not in 0..1"),
     ("name: a\ndata: {folders: [a], pasted: 2}", "pasted 2.0 is not in 0..1"),
     ("name: a\ndata: {objects: [a]}", "objects are pasted into labelled pairs"),
     ("name: a\nself_training: {threshold: -1}", "threshold -1.0 is not in 0..1"),
     ("name: a\nself_training: {thermal_weight: -1}", "thermal_weight -1.0 is not 0 or more"),
     ("name: a\nmodality: thermal\nself_training: {thermal_weight: 1}",
      "self_training.thermal_weight needs both branches, but modality 'thermal'"),
     ("name: state", "name 'state' is that of the file"), ("name: runs/a", "name 'runs/a'"),
     ('name: "runs\\\\a"', "name"), ('name: ""', "name ''"),
     ("name: a\nmodality: optical\nself_training: {threshold: 0.9}",
      "self_training.threshold needs both branches, but modality 'optical'"),
     ("name: a\nmodality: thermal\ndistillation: {teacher: a.safetensors}",
      "distillation.teacher needs both branches, but modality 'thermal'")],
)  # fmt: skip
def test_malformed_recipes_say_what_is_wrong(tmp_path, text, words):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"recipe\.yaml: .*{words}"):
        load_recipe(file)


def test_every_recipe_of_the_repository_is_read(repository):
    recipes = sorted((repository / "config/recipes").glob("*.yaml"))
    assert len(recipes) > 5
    for recipe in recipes:
        load_recipe(recipe)


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


@pytest.mark.parametrize("modality", ["optical", "thermal"])
def test_a_branch_alone_is_scored_by_its_own_mode(tmp_path, pairs, modality):
    """The heads that are not trained would choose the best weights by chance."""
    validation = ValidationRecipe(str(pairs / "pairs"), "val", every=4, size=(96, 128))
    recipe = dataclasses.replace(SMALL, validation=validation, modality=modality)
    Trainer(recipe, tmp_path).run()
    assert set(read_table(tmp_path / "validation.csv")) == {"step", f"{modality}_only"}


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
        self_training=SelfTrainingSettings(threshold=0.2, thermal_weight=1.0, start=1),
    )  # fmt: skip
    trainer = Trainer(recipe, tmp_path / "run")
    terms = [trainer.train_step(batch) for batch in trainer._batches()]
    names = {"fused", "optical", "thermal", "pixel_distillation", "feature_distillation"}
    names.add("fused_distillation")
    assert set(terms[0]) == {"lr", "contrast", "total"} | names
    taught = [entry["fused_distillation"] for entry in terms]
    assert taught[0] == 0
    assert min(taught[1:]) > 0
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


def test_the_average_is_what_teaches_the_thermal_head(tmp_path):
    recipe = dataclasses.replace(SMALL, self_training=SelfTrainingSettings(thermal_weight=1.0))
    missed = []
    for bias in (0.0, 50.0):
        trainer = Trainer(recipe, tmp_path / str(bias))
        with torch.no_grad():
            trainer.average.fused_head[1].bias[3] += bias  # of the average, not of the network
        missed.append(trainer.train_step(next(trainer._batches())))
    assert missed[0]["fused"] == pytest.approx(missed[1]["fused"], rel=1e-4)
    assert missed[1]["fused_distillation"] > missed[0]["fused_distillation"] + 1


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


def test_objects_of_the_split_are_pasted_into_the_samples_of_a_run(tmp_path, pairs):
    root = str(pairs / "pairs")
    labels = np.zeros((96, 128), np.uint8)
    for name in "01":
        cv2.imwrite(str(pairs / "pairs" / "labels" / f"{name}.png"), labels)
    labels[40:60, 50:60] = 7
    cv2.imwrite(str(pairs / "pairs" / "labels" / "0.png"), labels)
    data = dataclasses.replace(SMALL.data, folders=(root,), objects=(root,), pasted=1.0)
    trainer = Trainer(dataclasses.replace(SMALL, data=data), tmp_path / "run")
    assert trainer.samples.objects is not None
    assert len(trainer.samples.objects) == 1
    assert trainer.samples.pasted == 1.0


def test_a_bad_file_among_the_objects_ends_a_run_before_it_starts(tmp_path, pairs):
    root = str(pairs / "pairs")
    shutil.copytree(root, pairs / "objects")
    cv2.imwrite(str(pairs / "objects" / "labels" / "1.png"), np.full((96, 128), 77, np.uint8))
    data = dataclasses.replace(SMALL.data, folders=(root,), objects=(str(pairs / "objects"),))
    with pytest.raises(DataError, match=r"objects.*1\.png: class id 77"):
        Trainer(dataclasses.replace(SMALL, data=data), tmp_path / "run")


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", [2, 4])
def test_a_run_killed_while_it_is_scored_is_scored_when_it_goes_on(
    tmp_path, pairs, monkeypatch, step
):
    validation = ValidationRecipe(str(pairs / "pairs"), "val", every=2, size=(96, 128))
    recipe = dataclasses.replace(SMALL, validation=validation)

    def score(weights, _):
        return {"fused": 0.1 * load_network(str(weights))[1].card["step"]}

    def score_until_killed(weights, _):
        scores = score(weights, _)
        return killed() if scores["fused"] == 0.1 * step else scores

    monkeypatch.setattr("csknet_core.training.trainer.validate", score_until_killed)
    with pytest.raises(KeyboardInterrupt):
        Trainer(recipe, tmp_path / "run").run()
    monkeypatch.setattr("csknet_core.training.trainer.validate", score)
    resumed = Trainer(recipe, tmp_path / "run")
    assert resumed.step == step
    resumed.run()
    table = read_table(tmp_path / "run" / "validation.csv")
    assert table == {"step": [2, 4], "fused": [0.2, 0.4]}
    assert load_network(str(resumed.best_path))[1].card["step"] == 4


def test_a_run_killed_before_it_copied_its_best_weights_copies_them(tmp_path, pairs, monkeypatch):
    validation = ValidationRecipe(str(pairs / "pairs"), "val", every=4, size=(96, 128))
    recipe = dataclasses.replace(SMALL, validation=validation)
    scored = []
    monkeypatch.setattr(
        "csknet_core.training.trainer.validate", lambda *_: scored.append(1) or {"fused": 0.5}
    )
    with monkeypatch.context() as patch:
        patch.setattr("csknet_core.training.trainer.shutil.copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            Trainer(recipe, tmp_path / "run").run()
    resumed = Trainer(recipe, tmp_path / "run")
    resumed.run()
    assert load_network(str(resumed.best_path))[1].card["step"] == 4
    assert len(scored) == 1


def test_a_run_killed_while_it_writes_its_last_weights_writes_them_when_it_goes_on(
    tmp_path, monkeypatch
):
    def save_until_killed(path, network, classes, card):
        return killed() if card["step"] == 4 else save_network(path, network, classes, card)

    with monkeypatch.context() as patch:
        patch.setattr("csknet_core.training.trainer.save_network", save_until_killed)
        with pytest.raises(KeyboardInterrupt):
            Trainer(SMALL, tmp_path).run()
    assert load_network(str(Trainer(SMALL, tmp_path).run()))[1].card["step"] == 4


def test_last_weights_that_are_gone_are_written_again(tmp_path):
    path = Trainer(SMALL, tmp_path).run()
    path.unlink()
    assert load_network(str(Trainer(SMALL, tmp_path).run()))[1].card["step"] == 4


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_rendered_samples_are_not_taken_for_those_of_another_table(tmp_path, share):
    """Without folders all samples are rendered, whatever their share."""
    data = dataclasses.replace(SMALL.data, classes="pst900", rendered=share)
    with pytest.raises(ConfigError, match=r"rendered samples .* 'mfnet', not of 'pst900'"):
        Trainer(dataclasses.replace(SMALL, data=data), tmp_path)


def test_another_table_is_trained_without_rendered_samples():
    data = dataclasses.replace(SMALL.data, classes="pst900", rendered=0.0, folders=("pairs",))
    check_rendered(data, PST900)
    with pytest.raises(ConfigError, match="rendered"):
        check_rendered(dataclasses.replace(data, rendered=0.1), PST900)
    alone = dataclasses.replace(data, folders=(), unlabelled=("bare",), unlabelled_share=1.0)
    check_rendered(alone, PST900)


def test_a_run_starts_from_weights_of_its_own_classes_and_network_alone(tmp_path):
    start = tmp_path / "start.safetensors"
    small = CSKNet(ModelConfig(len(MFNET), decoder_width=8))
    save_network(start, small, MFNET, {})
    recipe = dataclasses.replace(SMALL, init=str(start))
    trainer = Trainer(recipe, tmp_path / "run")
    started = trainer.average.fused_head[1].weight.cpu()
    assert torch.equal(started, small.fused_head[1].weight.half().float())
    for settings, words in (
        ({"decoder_width": 16}, "decoder_width is 8, the recipe's is 16"),
        ({"exchange": ["none"] * 5}, "exchange"),
        ({"deep": 1}, "deep"),
    ):
        with pytest.raises(ConfigError, match=words):
            Trainer(dataclasses.replace(recipe, model=settings), tmp_path / "run")
    other = ClassTable("other", MFNET.classes[::-1])
    save_network(start, small, other, {})
    with pytest.raises(ConfigError, match=r"start\.safetensors: its classes"):
        Trainer(recipe, tmp_path / "run")


def test_a_validation_folder_that_cannot_be_used_ends_a_run_before_it_starts(tmp_path, pairs):
    for folder, split, words in (("gone", "val", "gone"), ("pairs", "test", r"test\.txt"),
                                 ("bare", "", "no labels")):  # fmt: skip
        validation = ValidationRecipe(str(pairs / folder), split, size=(96, 128))
        with pytest.raises(DataError, match=words):
            Trainer(dataclasses.replace(SMALL, validation=validation), tmp_path / "run")
