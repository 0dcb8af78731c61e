"""A stand-in for Nav2's semantic segmentation layer reads the node's topics as the layer does.

The contract (github.com/kiwicampus/semantic_segmentation_layer): label map, confidence and an
organised cloud with one stamp, by sensor-data QoS of depth 50; a class table that is latched. The
layer looks at neither encoding nor size of the maps, so that ours must be right. A pixel's class
and confidence go to the tile that its point is on; of the pixels of a tile the surest one counts,
the first of equally sure ones.
"""

import json

import numpy as np
import pytest
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from support.engines import SIZE
from support.graph import Graph, header_at, optical_image, stamp_of, wait_for

from csknet_core.runtime.ground import Intrinsics, Mount, ground_points
from csknet_ros.publishing import vision_label_info

SENSOR = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
MOUNT = Mount(x=0.2, height=1.2, pitch=0.5)
FOCAL = 60.0
POINTS = ground_points(
    Intrinsics(FOCAL, FOCAL, SIZE[1] / 2, SIZE[0] / 2, SIZE[1], SIZE[0]), MOUNT, 20.0
)
PARAMETERS = {
    "navigation.frame": "base_link",
    "navigation.x": MOUNT.x,
    "navigation.height": MOUNT.height,
    "navigation.pitch": MOUNT.pitch,
    "navigation.max_range": 20.0,
    "fallback_confidence_scale": 0.5,
}
COSTS = {"person": 254, "background": 0}
TILE = 0.25


class Layer:
    """The layer's side of the contract."""

    def __init__(self, graph: Graph) -> None:
        self.node = rclpy.create_node("semantic_layer", context=graph.context)
        graph.executor.add_node(self.node)
        self.parts: dict[int, dict[str, object]] = {}
        self.costmaps: dict[int, dict[tuple[int, int], tuple[int, int]]] = {}
        self.names: dict[int, str] = {}
        subscribe = self.node.create_subscription
        subscribe(String, "csknet/label_info", self._on_labels, LATCHED)
        for topic, kind in (("label_map", Image), ("confidence", Image), ("points", PointCloud2)):
            subscribe(
                kind, f"csknet/{topic}", lambda m, topic=topic: self._on_part(topic, m), SENSOR
            )

    def wait_until_served(self) -> None:
        """Wait for the latched table and for all publishers."""
        topics = [f"csknet/{name}" for name in ("label_map", "confidence", "points")]
        wait_for(lambda: bool(self.names) and all(map(self.node.count_publishers, topics)))

    def _on_labels(self, message: String) -> None:
        table = json.loads(message.data)
        self.names = {entry["id"]: entry["name"] for entry in table["classes"]}

    def _on_part(self, topic: str, message: object) -> None:
        """ExactTime: the three parts of one stamp make one observation."""
        stamp = stamp_of(message.header)
        parts = self.parts.setdefault(stamp, {})
        parts[topic] = message
        if len(parts) == 3:
            self.costmaps[stamp] = self._tiles(**parts)

    def _tiles(self, label_map, confidence, points) -> dict[tuple[int, int], tuple[int, int]]:
        """Return cost and confidence of every tile; read as the layer does, index by index."""
        count = label_map.width * label_map.height
        assert count == points.width * points.height == confidence.width * confidence.height
        assert points.height == label_map.height
        assert (label_map.encoding, confidence.encoding) == ("mono8", "mono8")
        assert label_map.step == label_map.width
        assert len(label_map.data) == len(confidence.data) == count
        offsets = {field.name: field.offset for field in points.fields}
        assert all(offsets[axis] % 4 == 0 for axis in "xyz")
        assert points.header.frame_id == "base_link"
        cloud = np.frombuffer(points.data, np.float32).reshape(count, points.point_step // 4)
        tiles: dict[tuple[int, int], tuple[int, int]] = {}
        for index in range(count):
            x, y = cloud[index, offsets["x"] // 4], cloud[index, offsets["y"] // 4]
            name = self.names.get(label_map.data[index])
            if not np.isfinite(x) or name is None:
                continue
            tile = int(np.floor(x / TILE)), int(np.floor(y / TILE))
            seen = COSTS.get(name, 0), confidence.data[index]
            if tile not in tiles or seen[1] > tiles[tile][1]:
                tiles[tile] = seen
        return tiles


def publish(graph: Graph, index: int, optical: np.ndarray | None) -> None:
    if optical is not None:
        graph.publish_rgb(index, optical)
    graph.publish_thermal(index)


def expected_tiles() -> dict[tuple[int, int], int]:
    """The person of the test images stands on row 31, columns 16 to 47; all pixels are as sure."""
    tiles: dict[tuple[int, int], int] = {}
    for row, column in np.argwhere(np.isfinite(POINTS[..., 0])):
        person = 16 <= row < 32 and 16 <= column < 48
        if not person or row == 31:
            x, y, _ = POINTS[row, column]
            tile = int(np.floor(x / TILE)), int(np.floor(y / TILE))
            tiles.setdefault(tile, COSTS["person"] if person else 0)
    return tiles


def test_the_layer_builds_its_costmap_by_day_by_night_and_without_rgb():
    with Graph(**PARAMETERS) as graph:
        layer = Layer(graph)
        layer.wait_until_served()
        publishers = graph.node._navigation._publishers
        wait_for(publishers["points"].get_subscription_count)
        info = CameraInfo(header=header_at(1, "thermal_optical"), height=SIZE[0], width=SIZE[1])
        info.k = [FOCAL, 0.0, SIZE[1] / 2, 0.0, FOCAL, SIZE[0] / 2, 0.0, 0.0, 1.0]
        graph.give_intrinsics(info)
        night = np.random.default_rng(1).integers(0, 3, (*SIZE, 3), np.uint8)
        modes = {}
        for index, optical in enumerate([optical_image(), optical_image(), night, night, None]):
            publish(graph, index, optical)
            modes[index] = graph.status_at(index).mode
            wait_for(lambda: len(layer.costmaps) == len(modes))
        assert list(modes.values()) == [
            "fused", "fused", "fused", "thermal_only", "thermal_only"
        ]  # fmt: skip
        expected = expected_tiles()
        assert sum(cost == 254 for cost in expected.values()) >= 5
        for index, mode in modes.items():
            tiles = layer.costmaps[graph.stamp(index)]
            assert {tile: cost for tile, (cost, _) in tiles.items()} == expected
            # 200 of 255 by the engine; half of it while a camera is missing.
            sure = 200 if mode == "fused" else 100
            assert {confidence for _, confidence in tiles.values()} == {sure}


def test_a_layer_that_starts_late_gets_the_class_table():
    with Graph(**PARAMETERS) as graph:
        graph.send(0)
        layer = Layer(graph)
        layer.wait_until_served()
        assert layer.names[0] == "background"


def test_label_info_of_vision_msgs_names_every_class_where_it_is_installed():
    messages = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not on PyPI")
    from csknet_core.classes import MFNET

    info = vision_label_info(MFNET)
    assert isinstance(info, messages.LabelInfo)
    assert {c.class_id: c.class_name for c in info.class_map} == dict(enumerate(MFNET.names))
