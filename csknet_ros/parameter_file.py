"""Reads the node's parameters out of a ROS parameter file as ROS does; needs no ROS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from csknet_core.errors import ConfigError
from csknet_core.yaml_file import read_yaml
from csknet_ros.parameters import BY_NAME, Parameter, Value, range_text

NODE = "csknet"
_KEY = "ros__parameters"
_ANY, _ANY_NUMBER = "*", "**"
# What rclpy declares in every node; a dumped file has it.
_OF_EVERY_NODE = ("use_sim_time", "start_type_description_service")
_QOS = "qos_overrides."


class _Section(NamedTuple):
    """Parameters of one entry of a file, and the names that lead to it."""

    names: tuple[str, ...]
    values: dict[Any, Any]

    @property
    def for_any_node(self) -> bool:
        return self.names[-1] in (_ANY, _ANY_NUMBER)

    @property
    def namespace(self) -> str:
        """The namespace it is for, "" for several."""
        literal = [name for name in self.names[:-1] if name not in (_ANY, _ANY_NUMBER)]
        if literal:
            return "/" + "/".join(literal)
        return "" if {_ANY, _ANY_NUMBER} & set(self.names) else "/"


def read_parameter_file(path: Path) -> dict[str, Value]:
    """Return the node's parameters from a ROS parameter file, as `build_settings` takes them.

    As in ROS, sections count whose name is the node's or a pattern of it (`csknet`, `/**`,
    `/*/csknet`), later ones win, groups may be nested or dotted, and sections of other nodes may
    be there. What every node has, such as `use_sim_time`, is left out. Which namespace the node is
    in is not known here, so a file must not have sections for several.

    Raises:
        ConfigError: the file cannot be read, has no parameters of the node, or one that is
            unknown, of the wrong type or outside its range.
    """
    try:
        sections = list(_sections(read_yaml(path)))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"parameter file {path}: cannot be read ({error})") from error
    except ValueError as error:
        raise ConfigError(f"parameter file {path}: {error}; see config/segment.yaml") from error
    ours = [one for one in sections if one.for_any_node or one.names[-1] == NODE]
    _check_sections(path, sections, ours)
    values: dict[str, Value] = {}
    for section in ours:
        # Among sections of other nodes, what stands in one for all may be meant for those.
        shared = section.for_any_node and len(ours) < len(sections)
        for name, value in _flatten(section.values).items():
            if name in _OF_EVERY_NODE or name.startswith(_QOS):
                continue
            if name in BY_NAME:
                where = f"parameter file {path}: {name}"
                values[name] = _checked(BY_NAME[name], value, where)
            elif not shared:
                raise ConfigError(f"parameter file {path}: {name} is unknown")
    return values


def _sections(data: Any, names: tuple[str, ...] = ()) -> Iterator[_Section]:
    """Yield the sections of a file in its order.

    Raises:
        ValueError: a value is outside of any.
    """
    if not isinstance(data, dict):
        place = f"at {'/'.join(names)}" if names else "in it"
        raise ValueError(f"no {_KEY} {place}")
    for key, value in data.items():
        if key != _KEY:
            # A name may hold several parts, or be nested: /robot/csknet is robot: {csknet: ...}.
            yield from _sections(value, (*names, *str(key).strip("/").split("/")))
        elif names and isinstance(value, dict):
            yield _Section(names, value)
        else:
            raise ValueError(f"{_KEY} of no node, or no parameters in them")


def _check_sections(path: Path, sections: list[_Section], ours: list[_Section]) -> None:
    if not ours:
        there = ", ".join("/" + "/".join(one.names) for one in sections) or "none"
        raise ConfigError(
            f"parameter file {path}: no section for the node {NODE}; it has {there:.200}"
        )
    namespaces = sorted({one.namespace for one in ours} - {""})
    if len(namespaces) > 1:
        raise ConfigError(
            f"parameter file {path}: sections for {NODE} in several namespaces "
            f"({', '.join(namespaces):.200}); keep those of one"
        )


def _flatten(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _checked(parameter: Parameter, value: Any, where: str) -> Value:
    """Return a value of the parameter's type, within its range, as ROS demands it at declaration.

    Raises:
        ConfigError: it is not; an integer is no double, as for the node.
    """
    kind = type(parameter.default)
    if kind is float and isinstance(value, str):
        value = _exponential(value)
    if type(value) is not kind:
        cure = f"; write {value}.0" if kind is float and type(value) is int else ""
        raise ConfigError(f"{where} must be {kind.__name__}, got {value!r:.100}{cure:.100}")
    low, high = parameter.low, parameter.high
    if low is not None and high is not None:
        assert isinstance(value, int | float)
        if not low <= value <= high:
            raise ConfigError(f"{where} is {value!r}, not within {range_text(parameter)}")
    return value


def _exponential(text: str) -> float | str:
    """Return the number that ROS reads in a text such as 5e-2, which is none for PyYAML."""
    mantissa, letter, exponent = text.lower().partition("e")
    if not letter or not mantissa[-1:].isdecimal() or not exponent[-1:].isdecimal():
        return text
    try:
        return float(text)
    except ValueError:
        return text
