"""Scripts of a drive: phases with light, faults and the mode the node is expected to choose."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from csknet_core.errors import ConfigError
from csknet_core.image_header import MAX_PIXELS
from csknet_core.modality import Mode
from csknet_core.yaml_file import read_yaml
from csknet_ros.tools.faults import Faults

_LONGEST_S = 86_400.0


@dataclass(frozen=True)
class Phase:
    """A stretch of the drive.

    Attributes:
        name: shown in reports.
        seconds: its length.
        expected_mode: the mode the node should answer in.
        daylight: at its start and end, 1 = noon, 0 = night; rendered drives only.
        faults: what goes wrong in it.
    """

    name: str
    seconds: float
    expected_mode: Mode
    daylight: tuple[float, float] = (1.0, 1.0)
    faults: Faults = field(default_factory=Faults)


@dataclass(frozen=True)
class Script:
    """Phases in order, and what a rendered drive needs besides."""

    phases: tuple[Phase, ...]
    seed: int = 0
    size: tuple[int, int] = (480, 640)

    @property
    def seconds(self) -> float:
        """Length of all phases."""
        return sum(phase.seconds for phase in self.phases)

    def scaled(self, seconds: float) -> Script:
        """Return the script stretched to another length."""
        factor = seconds / self.seconds
        phases = tuple(replace(p, seconds=p.seconds * factor) for p in self.phases)
        return replace(self, phases=phases)

    def phase_at(self, time_s: float) -> Phase:
        """Return the phase at a time; the last one after the end."""
        end = 0.0
        for phase in self.phases:
            end += phase.seconds
            if time_s < end - 1e-9:
                return phase
        return self.phases[-1]

    def daylight_at(self, time_s: float) -> float:
        """Return the daylight at a time."""
        start = 0.0
        for phase in self.phases:
            if time_s < start + phase.seconds - 1e-9 or phase is self.phases[-1]:
                share = min(1.0, (time_s - start) / phase.seconds)
                first, last = phase.daylight
                return first + (last - first) * share
            start += phase.seconds
        return 1.0


def load_script(path: Path) -> Script:
    """Read a script from YAML, in the form of config/drives/day_to_night.yaml.

    Raises:
        ConfigError: the file cannot be read or has another form.
    """
    try:
        data = read_yaml(path)
        phases = tuple(_phase(entry) for entry in data["phases"])
        height, width = (int(side) for side in data.get("size", (480, 640)))
        if not phases:
            raise ValueError("no phases")
        if min(height, width) < 1 or height * width > MAX_PIXELS:
            raise ValueError(f"size {height}x{width} is none, or more than {MAX_PIXELS} pixels")
        return Script(phases, int(data.get("seed", 0)), (height, width))
    except (
        OSError,
        yaml.YAMLError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
        ConfigError,
    ) as error:
        raise ConfigError(
            f"script {path}: {error}; see config/drives/day_to_night.yaml for the form"
        ) from error


def _phase(entry: dict[str, Any]) -> Phase:
    unknown = set(entry) - {spec.name for spec in fields(Phase)}
    if unknown:
        raise ValueError(f"unknown {', '.join(sorted(unknown))} in phase {entry.get('name')}")
    first, last = entry.get("daylight", (1.0, 1.0))
    seconds = float(entry["seconds"])
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError(f"phase {entry['name']} must last longer than 0 s, and a day at most")
    return Phase(
        str(entry["name"]),
        seconds,
        Mode(entry["expected_mode"]),
        (float(first), float(last)),
        Faults(**entry.get("faults", {})),
    )


def real_pairs_script(seconds: float) -> Script:
    """Return the script for real frames: RGB is dropped for the middle third."""
    third = seconds / 3
    return Script(
        (
            Phase("both cameras", third, Mode.FUSED),
            Phase("rgb lost", third, Mode.THERMAL_ONLY, faults=Faults(drop_rgb=True)),
            Phase("rgb back", third, Mode.FUSED),
        )
    )
