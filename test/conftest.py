"""Settings shared by all tests: this host only, large images, real data when it is there."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))

# ROS reads these when a context is made; large images need the shared-memory profile.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(REPOSITORY / "config" / "fastdds.xml")


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def mfnet() -> Path:
    """The real RGB-thermal pairs, from $CSKNET_DATA or a folder beside the repository."""
    roots = [os.environ.get("CSKNET_DATA"), REPOSITORY.parent / "shared" / "data"]
    for root in filter(None, roots):
        folder = Path(root) / "mfnet160"
        if folder.is_dir():
            return folder
    pytest.skip("no real data: set CSKNET_DATA to a folder that holds mfnet160/")


@pytest.fixture(scope="session")
def default_weights() -> Path:
    from csknet_core.weights.files import DEFAULT_WEIGHTS, SHIPPED

    path = SHIPPED / f"{DEFAULT_WEIGHTS}.safetensors"
    assert path.is_file(), "the default weights are part of the repository"
    return path
