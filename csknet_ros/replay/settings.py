"""The node's settings for a replay, out of its parameter file; needs no ROS."""

from __future__ import annotations

from pathlib import Path

from csknet_core.errors import ConfigError, CsknetError
from csknet_ros.parameter_file import read_parameter_file
from csknet_ros.parameters import NodeSettings, build_settings


def read_settings(file: Path | None) -> NodeSettings:
    """Return the settings in a parameter file; the defaults without one.

    Raises:
        ConfigError: the file cannot be read, or the node would refuse a value in it.
    """
    if file is None:
        return build_settings({})
    try:
        return build_settings(read_parameter_file(file))
    except CsknetError as error:
        known = str(file) in str(error)
        raise error if known else ConfigError(f"parameter file {file}: {error}") from error
