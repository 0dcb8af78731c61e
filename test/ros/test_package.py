"""What the package says of itself is what it does."""

import ast
import re
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest

DISTRIBUTIONS = {
    "PIL": "pillow",
    "backports": "backports.zstd",
    "cv2": "opencv-python",
    "yaml": "pyyaml",
}
"""Those that are called otherwise than what they are imported as."""

STANDARD = {*sys.stdlib_module_names, "compression"}


@pytest.fixture
def declared(repository) -> set[str]:
    """What package.xml says is needed to run."""
    root = ElementTree.parse(repository / "package.xml").getroot()
    return {entry.text for entry in root.iter("exec_depend")}


@pytest.fixture
def setup(repository, monkeypatch) -> dict:
    """What setup.py gives to setuptools."""
    given = {}
    monkeypatch.chdir(repository)
    monkeypatch.setattr("setuptools.setup", lambda **options: given.update(options))
    runpy.run_path("setup.py")
    return given


def imported(folder: Path) -> set[str]:
    """Return the packages of others that a folder's files import."""
    names = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names - STANDARD - {"csknet_core", "csknet_ros"}


def distributions(setup: dict, extras: Iterable[str]) -> set[str]:
    """Return the names of what is installed with extras."""
    lists = [setup["install_requires"], *(setup["extras_require"][name] for name in extras)]
    return {re.match(r"[\w.-]+", text)[0].lower() for texts in lists for text in texts}


def test_every_interface_package_that_is_imported_is_declared(repository, declared):
    used = set()
    for file in (repository / "csknet_ros").rglob("*.py"):
        used |= set(re.findall(r"\b(\w+)\.(?:msg|srv)\b(?: import|\")", file.read_text()))
    assert {"sensor_msgs", "vision_msgs", "geometry_msgs"} <= used
    assert used <= declared


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("csknet_core", ("train", "demo")),
        ("csknet_ros/replay", ("replay", "cluster")),
        ("csknet_ros/tools", ("demo",)),
    ],
)
def test_every_package_that_is_imported_is_required(repository, declared, setup, folder, extras):
    required = distributions(setup, extras)
    used = {DISTRIBUTIONS.get(name, name) for name in imported(repository / folder) - declared}
    assert "numpy" in used
    assert used <= required


def test_what_is_required_is_pinned(repository, setup):
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if "==" in line}
    assert distributions(setup, setup["extras_require"]) <= pinned


def test_what_the_installed_tools_draw_and_write_pages_with_is_declared(declared):
    assert {"python3-jinja2", "python3-matplotlib"} <= declared


def test_the_readme_names_every_topic_and_service_of_the_node(repository):
    named = set(re.findall(r"`(~/\w+)`", (repository / "README.md").read_text(encoding="utf-8")))
    texts = [file.read_text(encoding="utf-8") for file in (repository / "csknet_ros").glob("*.py")]
    offered = set(re.findall(r'"(~/\w+)"', "".join(texts)))
    assert {"~/label_map", "~/labels", "~/enable"} <= offered
    assert offered <= named


@pytest.mark.parametrize("package", ["csknet_core", "csknet_ros"])
def test_types_are_told_to_those_who_install_the_package(repository, setup, package):
    assert (repository / package / "py.typed").is_file()
    assert "py.typed" in setup["package_data"][package]
