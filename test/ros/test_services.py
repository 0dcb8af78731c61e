"""~/capture and ~/enable of the real node over real DDS."""

import json
import threading
from pathlib import Path

import numpy as np
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger
from support.graph import Graph, optical_image, thermal_image, wait_for

from csknet_core.modality import Mode, Reason
from csknet_ros import bundle
from csknet_ros.frames import DropReason


def start(node: Node, kind: type, name: str, **fields):
    client = node.create_client(kind, f"csknet/{name}")
    wait_for(client.service_is_ready)
    return client.call_async(kind.Request(**fields))


def call(graph: Graph, kind: type, name: str, **fields):
    future = start(graph.cameras, kind, name, **fields)
    wait_for(future.done)
    return future.result()


def enable(graph: Graph, wanted: bool) -> None:
    assert call(graph, SetBool, "enable", data=wanted).success


def test_capture_writes_a_bundle_of_what_the_node_saw(tmp_path):
    with Graph(**{"capture.directory": str(tmp_path), "capture.frames": 2}) as graph:
        for index in range(3):
            graph.send(index)
        answer = call(graph, Trigger, "capture")
        assert answer.success, answer.message
        folder = Path(answer.message)
        assert folder.parent == tmp_path
        stamps = {path.name.split("_")[1] for path in folder.glob("*.png")}
        assert stamps == {f"{graph.stamp(index):020d}" for index in (1, 2)}
        decisions = json.loads((folder / "decisions.json").read_text())
        assert [d["stamp_ns"] for d in decisions] == [graph.stamp(index) for index in range(3)]
        versions = json.loads((folder / "versions.json").read_text())
        assert (versions["engine"], versions["active"]) == ("threshold-cpu", True)


def test_frames_without_an_answer_are_in_the_bundle_too(tmp_path):
    with Graph(**{"capture.directory": str(tmp_path), "policy.hold": 1}) as graph:
        graph.publish_rgb(0, np.zeros_like(optical_image()))
        graph.publish_thermal(0, np.zeros_like(thermal_image()))
        assert graph.status_at(0).reason == DropReason.NO_USABLE_MODALITY.value
        folder = Path(call(graph, Trigger, "capture").message)
        kinds = {path.name.split("_")[2] for path in folder.glob("*.png")}
        assert kinds == {"rgb.png", "thermal.png"}


def test_capture_works_before_the_node_is_configured(tmp_path):
    with Graph(activate=False, **{"capture.directory": str(tmp_path)}) as graph:
        answer = call(graph, Trigger, "capture")
        assert answer.success, answer.message
        assert not list(Path(answer.message).glob("*.png"))


def test_a_full_disk_is_the_answer_and_the_node_goes_on(tmp_path, monkeypatch):
    with Graph(**{"capture.directory": str(tmp_path)}) as graph:
        graph.send(0)
        with monkeypatch.context() as patch:
            patch.setattr(bundle, "LEAST_FREE_BYTES", 1 << 62)
            answer = call(graph, Trigger, "capture")
        assert not answer.success
        assert "No space left" in answer.message
        assert graph.send(1).answered
        assert call(graph, Trigger, "capture").success


def test_frames_are_answered_while_a_bundle_is_written(tmp_path, monkeypatch):
    slow_disk, write = threading.Event(), bundle._write

    def write_slowly(path: Path, data: bytes) -> None:
        assert slow_disk.wait(20)
        write(path, data)

    monkeypatch.setattr(bundle, "_write", write_slowly)
    with Graph(**{"capture.directory": str(tmp_path)}) as graph:
        future = start(graph.cameras, Trigger, "capture")
        wait_for(lambda: bool(list(tmp_path.glob(".*.part"))))
        for index in range(3):
            assert graph.send(index).answered
        assert not future.done()
        slow_disk.set()
        wait_for(future.done)
        assert future.result().success


def test_paused_frames_are_counted_and_not_inferred():
    with Graph() as graph:
        assert graph.send(0).answered
        enable(graph, False)
        for index in (1, 2):
            status = graph.send(index)
            assert (status.outcome, status.reason) == ("dropped", DropReason.PAUSED.value)
        assert len(graph.engine.modes) == 1
        wait_for(
            lambda: any(
                "~/enable" in message.status[0].message
                and {v.key: v.value for v in message.status[0].values}.get("dropped_paused") == "2"
                for message in graph.diagnostics
            )
        )
        enable(graph, True)
        assert graph.send(3).mode == Mode.FUSED.value


def test_a_pause_holds_through_deactivation():
    with Graph() as graph:
        enable(graph, False)
        graph.change("deactivate")
        graph.wait_until_gone(outputs=False)
        graph.change("activate")
        graph.wait_for_cameras()
        assert graph.send(0).reason == DropReason.PAUSED.value


def test_verdicts_of_before_a_pause_do_not_hold_after_it():
    with Graph(**{"policy.hold": 10}) as graph:
        assert graph.send(0).mode == Mode.FUSED.value
        enable(graph, False)
        enable(graph, True)
        # Night fell meanwhile; ten dark frames would be needed to overrule the verdict of the day.
        graph.publish_rgb(1, optical_image(20) // 20)
        graph.publish_thermal(1)
        assert graph.status_at(1).reason == Reason.OPTICAL_DARK.value
