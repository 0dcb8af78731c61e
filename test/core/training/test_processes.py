"""Runs in processes of their own: torchrun with two of them, and SIGKILL at any moment."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file

from csknet_core.data.transforms import AugmentSettings
from csknet_core.losses.distillation import DistillationSettings
from csknet_core.model.zoo import save_network
from csknet_core.training.log import read_table
from csknet_core.training.recipe import DataRecipe, Recipe, SelfTrainingSettings
from csknet_core.training.trainer import Trainer

RECIPE = Recipe(
    name="tiny",
    data=DataRecipe(workers=0, augment=AugmentSettings((64, 64))),
    model={"decoder_width": 8},
    pretrained=False,
    steps=5,
    batch=4,
    warmup=1,
    bf16=False,
    checkpoint_every=1,
)


def write_recipe(path, recipe):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        return list(value) if isinstance(value, tuple) else value

    path.write_text(yaml.safe_dump(plain(recipe.to_dict())))
    return str(path)


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def command(recipe, out):
    return ["-m", "csknet_core.cli", "train", recipe, "--out", str(out)]


def test_two_processes_give_the_loss_curve_of_one_with_twice_the_batch(tmp_path, repository):
    teacher = tmp_path / "teacher.safetensors"
    trainer = Trainer(
        dataclasses.replace(RECIPE, seed=5, class_weighting=False), tmp_path / "teacher"
    )
    save_network(teacher, trainer.average, trainer.classes, {})
    taught = dataclasses.replace(
        RECIPE, distillation=DistillationSettings(teacher=str(teacher)), modality_dropout=0.3,
        self_training=SelfTrainingSettings(thermal_weight=1.0),
    )  # fmt: skip
    recipe = write_recipe(tmp_path / "recipe.yaml", taught)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = str(repository / "test/support/train_double.py")
    curves = {}
    for name, launch in (("one", []), ("two", launcher)):
        arguments = [script, recipe, str(tmp_path / name), str(tmp_path / f"{name}.json")]
        subprocess.run(
            [sys.executable, *launch, *arguments], check=True, env=environment(), timeout=300
        )
        curves[name] = json.loads((tmp_path / f"{name}.json").read_text())
    assert len(curves["one"]) == RECIPE.steps
    assert curves["one"][0]["total"] > 1.1 * curves["one"][-1]["total"]
    for one, two in zip(curves["one"], curves["two"], strict=True):
        # Rounding grows from step to step: 1e-7 in the first, 5e-4 in the last.
        assert two == pytest.approx(one, rel=1e-3, abs=1e-6)
    weights = [load_file(tmp_path / name / "tiny.safetensors") for name in ("one", "two")]
    for key, value in weights[0].items():
        assert torch.allclose(value.float(), weights[1][key].float(), rtol=2e-3, atol=1e-3), key


def test_a_run_killed_at_any_moment_ends_with_the_same_weights(tmp_path):
    # Class weights take longer to count than all steps, and every start would count them.
    settings = dataclasses.replace(RECIPE, steps=12, class_weighting=False)
    recipe = write_recipe(tmp_path / "recipe.yaml", settings)
    subprocess.run(
        [sys.executable, *command(recipe, tmp_path / "whole")], check=True, env=environment()
    )
    kills = 0
    rng = random.Random(4)
    while kills < 3:
        process = subprocess.Popen(
            [sys.executable, *command(recipe, tmp_path / "killed")], env=environment()
        )
        state, before = tmp_path / "killed" / "state.safetensors", time.time()
        while process.poll() is None and not (state.is_file() and state.stat().st_mtime > before):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        kills += 1
    assert kills >= 1
    subprocess.run(
        [sys.executable, *command(recipe, tmp_path / "killed")], check=True, env=environment()
    )
    whole, killed = (
        load_file(tmp_path / name / "tiny.safetensors") for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
    steps = read_table(tmp_path / "killed" / "metrics.csv")["step"]
    assert steps == list(range(1, 13))
