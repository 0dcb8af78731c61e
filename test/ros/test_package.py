"""What the package says of itself is what it does."""

import re
from xml.etree import ElementTree


def test_every_interface_package_that_is_imported_is_declared(repository):
    root = ElementTree.parse(repository / "package.xml").getroot()
    declared = {entry.text for entry in root.iter("exec_depend")}
    used = set()
    for file in (repository / "csknet_ros").rglob("*.py"):
        used |= set(re.findall(r"\b(\w+)\.(?:msg|srv)\b(?: import|\")", file.read_text()))
    assert {"sensor_msgs", "vision_msgs", "geometry_msgs"} <= used
    assert used <= declared
