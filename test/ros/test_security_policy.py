"""The SROS2 policy allows the node exactly what it does."""

import sys
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from support.engines import SIZE, ThresholdEngine, threshold_segmenter
from support.graph import next_domain
from support.tf_double import module

from csknet_core.runtime.registration import Homography
from csknet_ros.segmentation_node import SegmentationNode

NAME, SPACE = "csknet", "/"


def allowed(repository, kind: str, action: str) -> set[str]:
    """Full names in the policy, such as ("topic", "publish")."""
    root = ElementTree.parse(repository / "config" / "sros2_policy.xml").getroot()
    (profile,) = root.iter("profile")
    assert (profile.get("ns"), profile.get("node")) == (SPACE, NAME)
    names = [
        entry.text or ""
        for group in profile.findall(f"{kind}s")
        if group.get(action) == "ALLOW"
        for entry in group.findall(kind)
    ]
    assert len(names) == len(set(names))
    return {f"/{NAME}{n[1:]}" if n.startswith("~") else f"/{n}" for n in names}


@pytest.fixture(scope="module")
def used(tmp_path_factory) -> dict[str, set[str]]:
    """What the real node uses, with every optional output on, under each transport and grid."""
    registration = tmp_path_factory.mktemp("registration") / "cameras.yaml"
    Homography(np.eye(3), SIZE, SIZE).save(registration)
    used: dict[str, set[str]] = {"publish": set(), "subscribe": set(), "reply": set()}
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    try:
        for transport, grid in (("raw", "thermal"), ("compressed", "optical")):
            values = {
                "navigation.frame": "base_link",
                "navigation.mount": "tf",
                "navigation.depth": "depth_image",
                "rgb_transport": transport,
                "thermal_transport": transport,
                "registration.file": str(registration),
                "registration.grid": grid,
                "use_sim_time": True,
            }
            node = SegmentationNode(
                threshold_segmenter(ThresholdEngine()),
                context=context,
                parameter_overrides=[Parameter(k, value=v) for k, v in values.items()],
            )
            # The stand-in subscribes to what tf2's listener does, and another message with a header
            # goes out in place of vision_msgs/LabelInfo.
            with (
                mock.patch.dict(sys.modules, tf2_ros=module()),
                mock.patch(
                    "csknet_ros.publishing.vision_label_info", return_value=DiagnosticArray()
                ),
            ):
                node.autostart()
            for action, names in (
                ("publish", node.get_publisher_names_and_types_by_node(NAME, SPACE)),
                ("subscribe", node.get_subscriber_names_and_types_by_node(NAME, SPACE)),
                ("reply", node.get_service_names_and_types_by_node(NAME, SPACE)),
            ):
                used[action] |= {name for name, _ in names}
            assert not node.get_client_names_and_types_by_node(NAME, SPACE)
            node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
    return used


@pytest.mark.parametrize(
    ("kind", "action"), [("topic", "publish"), ("topic", "subscribe"), ("service", "reply")]
)
def test_the_policy_allows_exactly_what_the_node_uses(repository, used, kind, action):
    assert allowed(repository, kind, action) == used[action]


def test_the_policy_allows_no_wildcards_and_calls_no_services(repository):
    text = (repository / "config" / "sros2_policy.xml").read_text(encoding="utf-8")
    assert "*" not in text
    assert "request=" not in text
