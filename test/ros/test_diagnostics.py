"""What /diagnostics says, and under which name."""

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from support.graph import next_domain

from csknet_core.modality import Modality
from csknet_ros.diagnostics import Statistics
from csknet_ros.frame_status import ANSWERED, FrameStatus
from csknet_ros.frames import DropReason
from csknet_ros.segmentation_node import SegmentationNode
from csknet_ros.synchronizer import MS, PairOrAlone, SyncSettings, SyncState

SECOND = 1000 * MS
ENGINE = "torch-cuda"


def report(trouble: str = "", sync: PairOrAlone | None = None, **changes) -> DiagnosticStatus:
    statistics = Statistics()
    statistics.add(FrameStatus("thermal", ANSWERED, "thermal_only", "optical_lost"))
    return statistics.report(sync and sync.health, ENGINE, True, trouble, **changes)


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def stream(rgb_stamp) -> PairOrAlone:
    """Twenty thermal frames at 10 Hz and as many RGB messages, stamped as told."""
    sync = PairOrAlone()
    for index in range(1, 21):
        now = index * SECOND // 10
        sync.add(Modality.OPTICAL, rgb_stamp(now), "rgb", now)
        sync.add(Modality.THERMAL, now + 3600 * SECOND, "thermal", now)
    assert sync.health.state is SyncState.OPTICAL_LOST
    return sync


def test_nodes_of_several_namespaces_have_names_of_their_own():
    names = {report(node=node).name for node in ("/csknet", "/front/csknet", "/rear/csknet")}
    assert names == {
        "csknet: segmentation", "front/csknet: segmentation", "rear/csknet: segmentation"
    }  # fmt: skip


def test_the_node_reports_under_its_full_name(monkeypatch):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    node = SegmentationNode(context=context, namespace="front")
    sent = []
    monkeypatch.setattr(node._diagnostics, "publish", sent.append)
    node._on_watchdog()
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    assert [status.name for status in sent[0].status] == ["front/csknet: segmentation"]


def test_rgb_that_comes_with_wrong_stamps_is_not_said_to_be_down():
    status = report(sync=stream(lambda now: now + 3595 * SECOND))
    assert status.message.startswith("optical_lost: RGB comes, but its stamps are -5000 ms off")
    assert "sync.thermal_offset to -5.000" in status.message
    assert values(status)["clock_difference_ms"] == "-5000.0"
    assert "stamp_difference_ms" not in values(status)


def test_the_difference_of_pairs_and_that_of_clocks_are_told_apart():
    """Pairs 20 ms apart, 15 of which the offset takes out; then RGB's clock goes five seconds."""
    sync = PairOrAlone(SyncSettings(offset_ns=15 * MS))
    for index in range(1, 41):
        now = index * SECOND // 10
        off = 20 * MS if index <= 20 else 5 * SECOND
        sync.add(Modality.OPTICAL, now + 3600 * SECOND + off, "rgb", now)
        sync.add(Modality.THERMAL, now + 3600 * SECOND, "thermal", now)
        if index == 20:
            paired = values(report(sync=sync))
    assert paired["stamp_difference_ms"] == "5.0"
    assert "clock_difference_ms" not in paired
    lost = values(report(sync=sync))
    assert (lost["stamp_difference_ms"], lost["clock_difference_ms"]) == ("5.0", "4985.0")


def test_a_new_offset_starts_new_differences():
    sync = PairOrAlone()
    for index in range(1, 21):
        now = index * SECOND // 10
        sync.add(Modality.OPTICAL, now + 20 * MS, "rgb", now)
        sync.add(Modality.THERMAL, now, "thermal", now)
    assert values(report(sync=sync))["stamp_difference_ms"] == "20.0"
    sync.settings = SyncSettings(offset_ns=20 * MS)
    assert "stamp_difference_ms" not in values(report(sync=sync))
    sync.add(Modality.OPTICAL, 3 * SECOND + 20 * MS, "rgb", 3 * SECOND)
    sync.add(Modality.THERMAL, 3 * SECOND, "thermal", 3 * SECOND)
    assert values(report(sync=sync))["stamp_difference_ms"] == "0.0"


def test_rgb_that_comes_without_stamps_is_counted_and_named():
    status = report(sync=stream(lambda now: 0))
    assert status.message == (
        "optical_lost: RGB comes, but its messages are refused, zero_stamp: the camera driver must "
        "fill header.stamp"
    )
    assert values(status)[f"dropped_optical_{DropReason.ZERO_STAMP.value}"] == "20"


@pytest.mark.parametrize(
    ("failed", "cure"),
    [(ENGINE, ""), ("onnxruntime-cpu", "; restart the node to try the first one again")],
)
def test_only_a_backend_that_was_replaced_can_be_tried_again(failed, cure):
    trouble = f"{failed} failed (out of memory); something runs now"
    assert report(trouble).message == trouble + cure
