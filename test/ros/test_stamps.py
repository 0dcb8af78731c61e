"""Stamps and nanoseconds, and that only one file puts them together."""

import ast

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rosbags.typesys import Stores, get_typestore

from csknet_ros.stamps import fill, to_ns

RECORDED = get_typestore(Stores.ROS2_HUMBLE).types["builtin_interfaces/msg/Time"]


@pytest.mark.parametrize("kind", [Time, RECORDED], ids=["of rclpy", "of a bag"])
@pytest.mark.parametrize(
    ("time_ns", "parts"),
    [(0, (0, 0)), (999_999_999, (0, 999_999_999)),
     (1_700_000_000_123_456_789, (1_700_000_000, 123_456_789)), (-1, (-1, 999_999_999))],
)  # fmt: skip
def test_a_stamp_is_filled_and_read(kind, time_ns, parts):
    stamp = kind(sec=0, nanosec=0)
    fill(stamp, time_ns)
    assert (stamp.sec, stamp.nanosec) == parts
    assert to_ns(stamp) == time_ns


def test_narrow_numbers_do_not_overflow():
    assert to_ns(RECORDED(sec=np.int32(2_000_000_000), nanosec=np.uint32(7))) == 2 * 10**18 + 7


def test_no_other_file_takes_stamps_apart(repository):
    files = [f for f in (repository / "csknet_ros").rglob("*.py") if f.name != "stamps.py"]
    assert len(files) > 50
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert getattr(node, "attr", "") != "nanosec", f"{file}:{node.lineno}"
            assert getattr(node, "value", 0) not in (10**9, 1e9), f"{file}:{node.lineno}"
