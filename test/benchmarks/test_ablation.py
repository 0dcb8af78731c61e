"""The recipes of the ablation's runs, and that results of other settings are not taken for new."""

import argparse
import copy
from pathlib import Path

import pytest
import yaml

from benchmarks.ablation.__main__ import Ablation, Run
from benchmarks.settings import keep, merge

CONFIG = Path(__file__).resolve().parents[2] / "benchmarks/ablation/ablation.yaml"


def ablation(out: Path, **changes) -> Ablation:
    options = {
        "out": out, "data": None, "seeds": 1, "steps": None, "jobs": 1, "iterations": None,
        "device": "torch-cpu", "config": CONFIG,
    }  # fmt: skip
    return Ablation(argparse.Namespace(**{**options, **changes}))


def test_every_step_adds_to_the_one_before_it_and_seeds_have_teachers_of_their_own(tmp_path):
    runs = ablation(tmp_path)
    steps = copy.deepcopy(runs.steps)
    recipes = [runs.recipe(Run(step, 1)) for step in range(len(steps))]
    assert "distillation" not in recipes[3]
    assert recipes[4]["distillation"]["teacher"].endswith("teacher_seed1.safetensors")
    assert recipes[7]["model"] == recipes[3]["model"]
    assert recipes[7]["fuse_dropped"] is True
    other = runs.recipe(Run(4, 0))["distillation"]["teacher"]
    assert other.endswith("teacher_seed0.safetensors")
    assert recipes[4]["distillation"]["teacher"] != other
    assert runs.steps == steps


@pytest.mark.parametrize("step", [8, -1])
def test_a_step_that_the_configuration_does_not_have_is_refused_before_the_first_run(
    tmp_path, step
):
    with pytest.raises(SystemExit, match=rf"--steps {step}: .*ablation\.yaml has .* 0 to 7"):
        ablation(tmp_path, steps=[0, step])


@pytest.mark.parametrize("changes", [{"iterations": 3}, {"device": "onnx-cpu"}])
def test_a_run_made_with_other_settings_is_refused_and_an_equal_one_kept(tmp_path, changes):
    run = Run(0, 0)
    first = ablation(tmp_path)
    calls = []

    def finish(folder, *arguments):
        calls.append(arguments[0])
        (folder / "scores.json").write_text("{}")

    first._csknet = finish
    first._run(run)
    first._run(run)
    assert calls == ["train", "eval"]
    recipe = tmp_path / run.name / "recipe.yaml"
    assert yaml.safe_load(recipe.read_text()) == first.recipe(run)
    other = ablation(tmp_path, **changes)
    other._csknet = finish
    with pytest.raises(SystemExit, match=r"step0_seed0.*other settings"):
        other._run(run)
    assert yaml.safe_load(recipe.read_text()) == first.recipe(run)


def test_settings_that_are_merged_are_copied():
    target, update = {"steps": 3, "data": {"crop": 1}}, {"data": {"rendered": 0.3}, "new": {"a": 1}}
    merge(target, update)
    assert target == {"steps": 3, "data": {"crop": 1, "rendered": 0.3}, "new": {"a": 1}}
    target["new"]["a"] = 2
    assert update["new"] == {"a": 1}


def test_paths_are_kept_as_text(tmp_path):
    keep(tmp_path / "deep" / "options.yaml", {"data": tmp_path})
    assert yaml.safe_load((tmp_path / "deep/options.yaml").read_text()) == {"data": str(tmp_path)}
