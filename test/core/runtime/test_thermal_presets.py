import re
from dataclasses import fields

import numpy as np
import pytest

from csknet_core.errors import ConfigError
from csknet_core.runtime.preprocess import ThermalNormalizer, ThermalSettings
from csknet_core.runtime.thermal_presets import PRESETS, apply_preset

# Counts of a temperature in degrees Celsius, as the cameras' documents tell them.
COUNTS = {
    "lepton_centikelvin": lambda celsius: 100 * (celsius + 273.15),
    "lepton_decikelvin": lambda celsius: 10 * (celsius + 273.15),
    "optris": lambda celsius: 1000 + 10 * celsius,
}


def scene(counts, rise_k: float, room_c: float = 20.0) -> np.ndarray:
    """A room with something warmer in a tenth of the image."""
    celsius = np.full((48, 64), room_c)
    celsius[20:28, 10:50] += rise_k
    return np.rint(counts(celsius)).astype(np.uint16)


@pytest.mark.parametrize("name", COUNTS)
def test_five_kelvin_fill_the_range_in_auto_mode(name):
    image = scene(COUNTS[name], rise_k=5.0)
    got = ThermalNormalizer(apply_preset(ThermalSettings(), name))(image)
    assert np.ptp(got) > 0.95


@pytest.mark.parametrize("name", COUNTS)
def test_noise_of_a_tenth_of_a_kelvin_is_not_stretched(name):
    image = scene(COUNTS[name], rise_k=0.1)
    assert np.ptp(ThermalNormalizer(apply_preset(ThermalSettings(), name))(image)) < 0.05


@pytest.mark.parametrize("name", COUNTS)
def test_fixed_mode_shows_0_to_50_degrees(name):
    normalizer = ThermalNormalizer(apply_preset(ThermalSettings(mode="fixed"), name))
    got = normalizer(scene(COUNTS[name], rise_k=20.0, room_c=10.0))
    assert sorted(np.unique(got)) == pytest.approx([0.2, 0.6], abs=0.01)


def test_what_is_given_wins_over_the_preset():
    given = ThermalSettings(minimum_span=10.0, smoothing=0.9, telemetry_rows=2)
    got = apply_preset(given, "optris")
    assert (got.minimum_span, got.smoothing, got.telemetry_rows) == (10.0, 0.9, 2)
    assert (got.minimum, got.maximum) == (1000.0, 1500.0)


def test_no_preset_changes_nothing_and_an_unknown_one_is_refused_by_name():
    given = ThermalSettings(minimum_span=10.0)
    assert apply_preset(given, "") is given
    with pytest.raises(ConfigError, match="'lepton' is unknown; use one of boson_raw16, lepton_"):
        apply_preset(given, "lepton")


def test_a_preset_that_does_not_go_with_what_is_given_is_refused():
    with pytest.raises(ConfigError, match=r"minimum 1000\.0 must be below thermal maximum 900\.0"):
        apply_preset(ThermalSettings(maximum=900.0), "optris")


def test_every_preset_makes_settings():
    names = {field.name for field in fields(ThermalSettings)}
    for name, values in PRESETS.items():
        assert set(values) <= names
        apply_preset(ThermalSettings(), name)


def test_the_guide_tells_what_presets_set(repository):
    guide = (repository / "docs" / "robot.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", guide, re.MULTILINE))
    for name, values in PRESETS.items():
        told = {k: float(v) for k, v in re.findall(r"`(\w+): ([\d.]+)`", rows[name])}
        assert told == dict(values)
