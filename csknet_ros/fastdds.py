"""How Fast DDS is told of the profile under which it does not drop large images. Imports no ROS."""

from __future__ import annotations

import os
from collections.abc import Mapping

_NEWER, _OLDER = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
_OLDER_DISTRIBUTIONS = ("humble", "iron", "jazzy")


def profile_variable(environment: Mapping[str, str] = os.environ) -> str:
    """Return the environment variable that names the profile; Kilted gave it a new name."""
    return _OLDER if environment.get("ROS_DISTRO") in _OLDER_DISTRIBUTIONS else _NEWER


def profile_environment(
    profile: str, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return what to add to an environment; nothing where a profile is chosen, by either name."""
    if _NEWER in environment or _OLDER in environment:
        return {}
    return {profile_variable(environment): profile}
