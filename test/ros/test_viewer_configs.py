"""The layouts for Foxglove and RViz load and show only what the real node publishes and reads."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support.graph import Graph, wait_for

from csknet_ros.frame_status import FrameStatus, describe

IMAGE = "sensor_msgs/msg/Image"
CLOUD = "sensor_msgs/msg/PointCloud2"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
RVIZ_TYPES = {"Image": IMAGE, "PointCloud2": CLOUD}


@pytest.fixture(scope="module")
def graph_topics() -> dict[str, str]:
    """Types of all topics the real node publishes or subscribes to."""
    with Graph(**{"navigation.frame": "base_link"}) as graph:
        written = graph.cameras.get_publisher_names_and_types_by_node
        wait_for(lambda: "/csknet/clear" in dict(written("csknet", "/")))
        read = graph.cameras.get_subscriber_names_and_types_by_node
        both = [*written("csknet", "/"), *read("csknet", "/")]
        return {topic: types[0] for topic, types in both}


def rviz_topics(node: Any) -> Iterator[tuple[str, str]]:
    """Return topic and message type of every display."""
    for display in node["Visualization Manager"]["Displays"]:
        if "Topic" in display:
            yield display["Topic"]["Value"], RVIZ_TYPES[display["Class"].rsplit("/", 1)[1]]


def foxglove_topics(panels: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return topic and message type of every panel's sources."""
    for panel, config in panels.items():
        if panel.startswith("Image!"):
            yield config["imageMode"]["imageTopic"], IMAGE
        elif panel.startswith("3D!"):
            yield from ((topic, CLOUD) for topic in config["topics"])
        elif panel.startswith("DiagnosticSummary!"):
            yield config["topicToRender"], DIAGNOSTICS
        else:
            yield from ((path["value"].split(".")[0], DIAGNOSTICS) for path in config["paths"])


def leaves(layout: Any) -> Iterator[str]:
    if isinstance(layout, str):
        yield layout
    else:
        yield from leaves(layout["first"])
        yield from leaves(layout["second"])


def test_rviz_shows_topics_the_node_has(repository, graph_topics):
    config = yaml.safe_load((repository / "config/csknet.rviz").read_text())
    shown = dict(rviz_topics(config))
    assert set(shown) == {
        "/csknet/overlay", "/thermal/image", "/rgb/image", "/csknet/obstacles", "/csknet/clear"
    }  # fmt: skip
    assert {topic: graph_topics[topic] for topic in shown} == shown
    classes = {d["Class"] for d in config["Visualization Manager"]["Displays"]}
    assert "rviz_default_plugins/TF" in classes


def test_foxglove_shows_topics_the_node_has(repository, graph_topics):
    layout = json.loads((repository / "config/foxglove_layout.json").read_text())
    shown = dict(foxglove_topics(layout["configById"]))
    assert set(shown) == {
        "/csknet/overlay", "/thermal/image", "/rgb/image", "/csknet/obstacles", "/csknet/clear",
        "/csknet/frame_status", "/diagnostics",
    }  # fmt: skip
    assert {topic: graph_topics[topic] for topic in shown} == shown


def test_every_foxglove_panel_is_placed_and_configured(repository):
    layout = json.loads((repository / "config/foxglove_layout.json").read_text())
    assert sorted(leaves(layout["layout"])) == sorted(layout["configById"])


def test_foxglove_plots_values_that_frame_statuses_have(repository):
    text = (repository / "config/foxglove_layout.json").read_text()
    plotted = set(re.findall(r'key==\\"(\w+)\\"', text))
    keys = dict(describe(FrameStatus("thermal", "answered", "fused", "ok")).values)
    assert plotted == {"total_ms", "inference_ms"}
    assert plotted <= set(keys)
