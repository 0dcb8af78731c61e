import dataclasses

import pytest
import yaml

from csknet_core.errors import ConfigError
from csknet_core.modality import Mode
from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_ros.parameters import (
    PARAMETERS,
    build_settings,
    describe,
    to_markdown,
    to_yaml,
)
from csknet_ros.synchronizer import SyncSettings


def test_defaults_are_the_librarys_own():
    settings = build_settings({})
    assert settings.sync == SyncSettings()
    assert settings.segmenter == SegmenterSettings()


def test_the_shipped_file_is_made_from_the_table(repository):
    assert (repository / "config" / "segment.yaml").read_text() == to_yaml()


def test_the_yaml_file_holds_every_parameter_with_its_type():
    values = yaml.safe_load(to_yaml())["/**"]["ros__parameters"]
    for parameter in PARAMETERS:
        entry = values
        for part in parameter.name.split("."):
            entry = entry[part]
        assert type(entry) is type(parameter.default), parameter.name
        assert entry == parameter.default


def test_every_parameter_reaches_the_settings():
    for parameter in PARAMETERS:
        if parameter.name == "autostart":
            continue
        default = parameter.default
        if isinstance(default, str):
            other = parameter.choices[-1] if parameter.choices else "other"
            other = "fixed" if parameter.name == "thermal.mode" else other
            other = "/other" if parameter.name == "capture.directory" else other
            other = "bump:60" if parameter.name == "navigation.class_costs" else other
        else:
            other = type(default)(default * 1.01 + 1) if default >= 1 else default + 0.01
            other = type(default)(other)
            other = default + 1 if isinstance(default, int) else other
        if parameter.name in (
            "policy.dark_enter",
            "thermal.high_percentile",
            "policy.saturated_leave",
        ):
            other = default * 0.99
        needed = {"registration.file": "x"} if parameter.name == "registration.grid" else {}
        base = build_settings(needed)
        changed = build_settings({**needed, parameter.name: other})
        assert dataclasses.asdict(changed) != dataclasses.asdict(base), parameter.name


def test_values_outside_their_choices_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"policy\.force_mode: 'both' is not one of"):
        build_settings({"policy.force_mode": "both"})
    assert build_settings({"policy.force_mode": "fused"}).segmenter.policy.force is Mode.FUSED


def test_values_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigError, match="thermal minimum"):
        build_settings({"thermal.minimum": 9.0, "thermal.maximum": 1.0})


def test_descriptors_carry_range_and_constraints():
    by_name = {p.name: describe(p) for p in PARAMETERS}
    assert by_name["sync.slop"].floating_point_range[0].to_value == 0.9
    assert by_name["threads"].integer_range[0].from_value == 0
    assert "unconfigured" in by_name["weights"].additional_constraints
    assert "reliable" in by_name["input_reliability"].additional_constraints
    assert all(d.description.endswith(".") for d in by_name.values())


def test_the_parameter_reference_is_the_table(repository):
    text = to_markdown()
    assert (repository / "docs" / "parameters.md").read_text() == text
    for parameter in PARAMETERS:
        assert f"| `{parameter.name}` |" in text
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(headings) == len(set(headings))


def test_the_guide_names_all_parameters_read_at_configure(repository):
    guide = (repository / "docs" / "robot.md").read_text()
    lifecycle = guide[guide.index("## Lifecycle") : guide.index("## Pausing")]
    for parameter in PARAMETERS:
        group = parameter.name.partition(".")[0]
        named = f"`{parameter.name}`" in lifecycle or f"`{group}.*`" in lifecycle
        assert named is not parameter.live, parameter.name


def test_limits_of_whole_numbers_are_written_out():
    assert "1 to 67108864 |" in to_markdown()
    assert "Range 1 to 67108864." in to_yaml()
    assert "-1e+06 to 1e+06" in to_markdown()


def test_costs_are_read_by_name():
    settings = build_settings({"navigation.class_costs": "bump: 60, curve:-1,"})
    assert settings.cost_grid.costs == {"bump": 60, "curve": -1}
    for text in ("bump", ":3", "bump:much", "bump:1.5", "bump:101"):
        with pytest.raises(ConfigError, match=r"bump|class_costs"):
            build_settings({"navigation.class_costs": text})
