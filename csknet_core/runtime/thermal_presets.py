"""Thermal settings for what common cameras send in 16 bits; docs/robot.md says where from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from csknet_core.errors import ConfigError
from csknet_core.runtime.preprocess import ThermalSettings

_SPAN_K = 4.0  # smallest range stretched in auto mode, as for images in centikelvin
_COLD_C, _WARM_C = 0.0, 50.0  # range in fixed mode
_ZERO_C_IN_K = 273.15


def _radiometric(per_kelvin: float, zero_celsius: float) -> dict[str, float]:
    """Return settings for counts that are temperatures.

    Args:
        per_kelvin: counts.
        zero_celsius: count of 0 degrees Celsius.
    """
    return {
        "minimum": round(zero_celsius + _COLD_C * per_kelvin, 3),
        "maximum": round(zero_celsius + _WARM_C * per_kelvin, 3),
        "minimum_span": _SPAN_K * per_kelvin,
    }


PRESETS: Mapping[str, Mapping[str, float]] = {
    # Uncalibrated, of no known scale: only the default span, which is for counts of any camera.
    "boson_raw16": {"minimum_span": 400.0},
    # About 0.025 K per count around the camera's own temperature.
    "lepton_raw14": {"minimum": 0.0, "maximum": 16383.0, "minimum_span": _SPAN_K / 0.025},
    "lepton_centikelvin": _radiometric(100.0, 100.0 * _ZERO_C_IN_K),
    "lepton_decikelvin": _radiometric(10.0, 10.0 * _ZERO_C_IN_K),
    "optris": _radiometric(10.0, 1000.0),
    # Six bits after the point; where zero is does not matter in auto mode.
    "seek_fixed_10_6": {"minimum_span": _SPAN_K * 64},
}
"""By name, fields of `ThermalSettings`."""


def apply_preset(settings: ThermalSettings, name: str) -> ThermalSettings:
    """Fill in a preset where settings are at their own default; others win over it.

    Args:
        settings: as given.
        name: one of `PRESETS`, "" for none.

    Raises:
        ConfigError: an unknown name, or a preset that does not go with the settings given.
    """
    if not name:
        return settings
    if name not in PRESETS:
        raise ConfigError(f"thermal preset {name!r} is unknown; use one of {', '.join(PRESETS)}")
    defaults = ThermalSettings()
    free = {
        field: value
        for field, value in PRESETS[name].items()
        if getattr(settings, field) == getattr(defaults, field)
    }
    return replace(settings, **free)  # type: ignore[arg-type]
