import pytest

from benchmarks.settings import keep, merge


def test_results_made_with_other_settings_are_not_taken_for_new_ones(tmp_path):
    file = tmp_path / "run" / "recipe.yaml"
    keep(file, {"steps": 300, "data": tmp_path})
    keep(file, {"steps": 300, "data": tmp_path})
    with pytest.raises(SystemExit, match="other settings"):
        keep(file, {"steps": 200, "data": tmp_path})


def test_nested_settings_are_merged():
    target = {"steps": 300, "data": {"rendered": 0.0, "crop": 1}}
    merge(target, {"data": {"rendered": 0.3}, "seed": 2})
    assert target == {"steps": 300, "data": {"rendered": 0.3, "crop": 1}, "seed": 2}
