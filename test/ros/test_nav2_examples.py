"""The Nav2 examples set what the layers read, and the layers' subscriptions get the node's answers.

Names, types and QoS of the layers are those of nav2_costmap_2d and of
github.com/kiwicampus/semantic_segmentation_layer. Parameters of the node and names of topics are
checked in test_navigation.py.
"""

import re
from typing import Any

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from support.graph import Graph, wait_for

from csknet_ros.parameters import BY_NAME

NAMES = ("nav2_example.yaml", "nav2_semantic_layer.yaml")
SENSOR = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
# ROS refuses an integer for a parameter that was declared as a double, and the other way round.
COSTMAP = {
    "global_frame": str, "robot_base_frame": str, "rolling_window": bool, "width": int,
    "height": int, "resolution": float, "plugins": list,
}  # fmt: skip
LAYER = {"plugin": str, "enabled": bool, "observation_sources": str}
OBSTACLE_LAYER = {**LAYER, "min_obstacle_height": float, "max_obstacle_height": float}
OBSTACLE_SOURCE = {
    "topic": str, "data_type": str, "marking": bool, "clearing": bool,
    "expected_update_rate": float, "min_obstacle_height": float, "max_obstacle_height": float,
    "obstacle_max_range": float, "raytrace_max_range": float, "raytrace_min_range": float,
}  # fmt: skip
SEMANTIC_SOURCE = {
    "segmentation_topic": str, "confidence_topic": str, "labels_topic": str,
    "pointcloud_topic": str, "max_obstacle_distance": float, "min_obstacle_distance": float,
    "tile_map_decay_time": float, "class_types": list,
}  # fmt: skip
CLASS_TYPE = {
    "classes": list, "base_cost": int, "max_cost": int, "mark_confidence": int,
    "samples_to_max_cost": int, "dominant_priority": bool,
}  # fmt: skip


@pytest.fixture
def example(repository):
    """Read one example."""
    return lambda name: yaml.safe_load((repository / "config" / name).read_text())


def costmap_of(example: dict[str, Any]) -> dict[str, Any]:
    return dict(example["local_costmap"]["local_costmap"]["ros__parameters"])


def check(settings: dict[str, Any], known: dict[str, type], more: tuple[str, ...] = ()) -> None:
    """Assert that all settings are known, of the right type; `more` are groups of others."""
    assert set(settings) <= {*known, *more}
    for name in set(settings) - set(more):
        assert type(settings[name]) is known[name], name


def test_the_obstacle_layer_reads_every_setting(example):
    costmap = costmap_of(example("nav2_example.yaml"))
    check(costmap, COSTMAP, ("csknet_layer",))
    layer = costmap["csknet_layer"]
    sources = tuple(layer["observation_sources"].split())
    check(layer, OBSTACLE_LAYER, sources)
    assert "csknet_layer" in costmap["plugins"]
    for source in sources:
        check(layer[source], OBSTACLE_SOURCE)
        # The layer drops by its own bounds, too; 0 is the ground itself.
        assert layer["min_obstacle_height"] <= layer[source]["min_obstacle_height"] < 0


def test_the_semantic_layer_reads_every_setting(example):
    costmap = costmap_of(example("nav2_semantic_layer.yaml"))
    check(costmap, COSTMAP, ("csknet_layer",))
    layer = costmap["csknet_layer"]
    (source,) = layer["observation_sources"].split()
    check(layer, LAYER, (source,))
    kinds = tuple(layer[source]["class_types"])
    check(layer[source], SEMANTIC_SOURCE, kinds)
    for kind in kinds:
        check(layer[source][kind], CLASS_TYPE)
        assert 0 <= layer[source][kind]["base_cost"] <= layer[source][kind]["max_cost"] <= 254


def names_in(node: Any) -> set[str]:
    """Return all keys and texts of a YAML document."""
    if isinstance(node, dict):
        return set(node).union(*map(names_in, node.values()))
    if isinstance(node, list):
        return set().union(*map(names_in, node))
    return {node} if isinstance(node, str) else set()


@pytest.mark.parametrize("name", NAMES)
def test_names_in_comments_are_names_of_something(repository, example, name):
    lines = (repository / "config" / name).read_text().splitlines()
    comments = " ".join(line.split("#", 1)[1] for line in lines if "#" in line)
    ours = {*BY_NAME, *(parameter.split(".")[-1] for parameter in BY_NAME)}
    choices = {choice for parameter in BY_NAME.values() for choice in parameter.choices}
    others = {"vision_msgs", "semantic_segmentation_layer", "github.com", "sensor_frame"}
    mentioned = set(re.findall(r"[a-z]+(?:[_.][a-z]+)+", comments))
    assert mentioned
    assert mentioned - ours - choices - names_in(example(name)) <= others


def subscriptions(example: Any) -> list[tuple[Any, str, QoSProfile]]:
    """Return type, topic and QoS of what both layers subscribe to."""
    obstacles = costmap_of(example(NAMES[0]))["csknet_layer"]
    clouds = [obstacles[source]["topic"] for source in obstacles["observation_sources"].split()]
    semantic = costmap_of(example(NAMES[1]))["csknet_layer"]["csknet"]
    return [
        *((PointCloud2, topic, SENSOR) for topic in (*clouds, semantic["pointcloud_topic"])),
        (Image, semantic["segmentation_topic"], SENSOR),
        (Image, semantic["confidence_topic"], SENSOR),
        (DiagnosticArray, semantic["labels_topic"], LATCHED),
    ]


def test_the_layers_subscriptions_match_the_nodes_publishers(example, monkeypatch):
    """DDS connects what has one topic, one type and QoS that go together, nothing else."""
    # vision_msgs may be missing: another message with a header goes out in place of LabelInfo.
    monkeypatch.setattr("csknet_ros.publishing.vision_label_info", lambda _: DiagnosticArray())
    parameters = example(NAMES[0])["/**"]["csknet"]["ros__parameters"]["navigation"]
    with Graph(**{f"navigation.{name}": value for name, value in parameters.items()}) as graph:
        wanted = subscriptions(example)
        publishers = {publisher.topic_name: publisher for publisher in graph.node.publishers}
        before = {topic: publishers[topic].get_subscription_count() for _, topic, _ in wanted}
        got: list[Any] = []
        for kind, topic, qos in wanted:
            keep = got.append if qos is LATCHED else lambda _: None
            graph.cameras.create_subscription(kind, topic, keep, qos)
        wait_for(lambda: all(publishers[t].get_subscription_count() > n for t, n in before.items()))
        # Published at configure, before anybody subscribed.
        wait_for(lambda: bool(got))
