"""A ROS graph of one's own for a measurement, with the profile that large images need."""

from __future__ import annotations

import os

from csknet_ros.fastdds import profile_variable
from csknet_ros.tools.files import config_folder


def use_domain(domain: int) -> None:
    """Let this process and those it starts meet on this host, in this domain, and nobody else.

    Call it before rclpy is initialised. A profile chosen outside is not used: figures are those of
    `config/fastdds.xml`.
    """
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ[profile_variable()] = str(config_folder() / "fastdds.xml")
