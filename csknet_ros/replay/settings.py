"""The node's settings for a replay, out of its parameter file; needs no ROS."""

from __future__ import annotations

from pathlib import Path

from csknet_core.errors import ConfigError, CsknetError
from csknet_ros.parameters import (
    BY_NAME,
    NodeSettings,
    Value,
    build_settings,
    read_parameter_file,
)


def read_settings(file: Path | None) -> NodeSettings:
    """Return the settings in a parameter file; the defaults without one.

    Raises:
        ConfigError: the file cannot be read, or the node would refuse a value in it.
    """
    if file is None:
        return build_settings({})
    try:
        values = read_parameter_file(file)
        for name, value in values.items():
            _check_range(name, value)
        return build_settings(values)
    except CsknetError as error:
        known = str(file) in str(error)
        raise error if known else ConfigError(f"parameter file {file}: {error}") from error
    except (AttributeError, TypeError) as error:
        raise ConfigError(f"parameter file {file}: not a file of parameters ({error})") from error


def _check_range(name: str, value: Value) -> None:
    """Check the range, which ROS checks for the node."""
    known = BY_NAME[name]
    if known.low is not None and known.high is not None:
        assert isinstance(value, int | float)  # as its default, see `read_parameter_file`
        if not known.low <= value <= known.high:
            raise ConfigError(f"{name} is {value!r}, not within {known.low:g} to {known.high:g}")
