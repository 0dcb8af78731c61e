"""What the launch files share: checks that name the argument at fault, camera topics, log names.

Imports nothing of launch, so that it can be tested where launch is not installed.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from rclpy.exceptions import NameValidationException
from rclpy.validate_topic_name import validate_topic_name

from csknet_core.errors import ConfigError
from csknet_core.runtime.backends import DEVICES
from csknet_core.yaml_file import read_yaml

# Nav2's launch files spell them with capitals.
BOOLEANS = ("true", "false", "True", "False")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
# Empty leaves it to the parameter file.
LAUNCH_DEVICES = ("", *DEVICES)
_CAMERAS = ("rgb", "thermal")
CAMERA_ARGUMENTS = (
    *(f"{camera}_{kind}" for camera in _CAMERAS for kind in ("topic", "info_topic")),
    "depth_topic",
)
_COMPRESSED = "/compressed"
UNUSABLE = 2
"""Exit code of a process that refuses its parameters or arguments."""


def is_true(value: str) -> bool:
    """Read one of `BOOLEANS`."""
    return value.lower() == "true"


def check_path(name: str, value: str) -> str:
    """Return the path of a file or folder that must be there; `~` is the home directory.

    Raises:
        ConfigError: there is none.
    """
    path = os.path.expanduser(value)
    if not os.path.exists(path):
        raise ConfigError(f"{name}:={value}: no such file; give an existing one, best in full")
    return path


def check_parameters(name: str, value: str) -> str:
    """Return the path of a parameter file, which launch_ros would leave out if it is not there.

    Raises:
        ConfigError: it is missing, or no YAML.
    """
    path = check_path(name, value)
    form = "copy config/segment.yaml for the form"
    try:
        content = read_yaml(Path(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{name}:={value}: cannot be read ({error}); {form}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{name}:={value}: no parameters in it; {form}")
    return path


def check_number(name: str, value: str, zero: bool = False) -> float:
    """Read a positive number.

    Args:
        name: of the argument.
        value: as given.
        zero: whether 0 will do, too.

    Raises:
        ConfigError: it is no such number.
    """
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        wanted = "0 or a positive number" if zero else "a positive number"
        raise ConfigError(f"{name}:={value}: give {wanted}")
    return number


def check_modules(modules: Sequence[str], install: str) -> None:
    """Raise ConfigError with the command that installs them when modules are missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} is not installed: pip install {install}")


def check_exit(process: str, code: int) -> None:
    """Raise ConfigError when a process that must succeed did not; launch then ends with 1."""
    if code:
        raise ConfigError(f"{process} failed with exit code {code}; its message is above")


def check_started(process: str, code: int) -> None:
    """Raise ConfigError when a process that is started again, should it die, never can start."""
    if code == UNUSABLE:
        raise ConfigError(
            f"{process} cannot use its parameters or ROS arguments; its message is above. It is "
            "not started again: put them right first"
        )


def check_topics(arguments: Mapping[str, str], names: Sequence[str]) -> None:
    """Check topic names; rcl's own message does not say which argument it means.

    Raises:
        ConfigError: one is no name of a topic.
    """
    for name in names:
        try:
            validate_topic_name(arguments[name])
        except NameValidationException as error:
            reason = str(error).splitlines()[0].rstrip(":")
            raise ConfigError(f"{name}:={arguments[name]}: {reason}") from error


def check_namespace(value: str) -> str:
    """Return a namespace, empty for none.

    Raises:
        ConfigError: it is no namespace.
    """
    if value.strip("/"):
        check_topics({"namespace": value.rstrip("/")}, ["namespace"])
    return value


def camera_remaps(arguments: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the remapping of all camera topics.

    A rule moves one topic only, so the compressed one, which image_transport publishes below the
    raw one, gets its own.

    Args:
        arguments: those of `CAMERA_ARGUMENTS`.

    Raises:
        ConfigError: one is no name of a topic.
    """
    check_topics(arguments, CAMERA_ARGUMENTS)
    rules = [("depth/image", arguments["depth_topic"])]
    for camera in _CAMERAS:
        topic = arguments[f"{camera}_topic"].removesuffix(_COMPRESSED)
        rules += [
            (f"{camera}/image", topic),
            (f"{camera}/image{_COMPRESSED}", topic + _COMPRESSED),
            (f"{camera}/camera_info", arguments[f"{camera}_info_topic"]),
        ]
    return rules


def camera_transports(arguments: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that follow from image topics that end in /compressed."""
    return {
        f"{camera}_transport": "compressed"
        for camera in _CAMERAS
        if arguments.get(f"{camera}_topic", "").endswith(_COMPRESSED)
    }


def check_raw(arguments: Mapping[str, str]) -> None:
    """Raise ConfigError for image topics that end in /compressed."""
    for name in camera_transports(arguments):
        topic = name.replace("transport", "topic")
        raise ConfigError(
            f"{topic}:={arguments[topic]}: these cameras publish raw images; leave out /compressed"
        )


def logger_name(namespace: str | None, node: str) -> str:
    """Return the name of a node's logger, which has the namespace in it."""
    return ".".join([*filter(None, (namespace or "").split("/")), node])
