"""The real node over real DDS, with a cheap engine."""

import json
import threading
import time

import cv2
import numpy as np
import pytest
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from support.engines import PERSON, SIZE, ThresholdEngine, threshold_segmenter
from support.graph import Graph, header_at, optical_image, stamp_of, thermal_image, wait_for

from csknet_core.errors import EngineError
from csknet_core.modality import Modality, Mode, Reason
from csknet_core.runtime.registration import Homography
from csknet_ros import segmentation_node
from csknet_ros.frames import DropReason
from csknet_ros.images import labels_from_message
from csknet_ros.publishing import _ANSWERS


def test_a_pair_is_answered_fused_with_the_thermal_frames_stamp_and_frame():
    with Graph() as graph:
        graph.publish_pair(0)
        status, message = graph.answer_at(0)
        assert (status.mode, status.reason) == (Mode.FUSED.value, Reason.OK.value)
        assert status.hardware_id == "threshold-cpu"
        assert stamp_of(message.header) == graph.stamp(0)
        assert message.header.frame_id == "thermal_optical"
        assert (message.encoding, message.step) == ("mono8", SIZE[1])
        labels = labels_from_message(message)
        assert (labels[16:32, 16:48] == PERSON).all()
        assert (labels == PERSON).sum() == 16 * 32
        wait_for(lambda: graph.stamp(0) in graph.confidences)
        assert (labels_from_message(graph.confidences[graph.stamp(0)]) == 200).all()


def test_losing_and_regaining_rgb_accounts_for_every_thermal_frame():
    with Graph(**{"sync.dropout_after": 3, "sync.recover_after": 3}) as graph:
        for index in range(5):
            assert graph.send(index).mode == Mode.FUSED.value
        lost = [graph.send(index, rgb=False) for index in range(5, 15)]
        back = []
        for index in range(15, 23):
            graph.publish_thermal(index)
            graph.publish_rgb(index)
            back.append(graph.status_at(index))
        assert {status.mode for status in lost} == {Mode.THERMAL_ONLY.value}
        assert [s.reason for s in lost[:3]] == [Reason.OPTICAL_UNPAIRED.value] * 3
        assert [s.reason for s in lost[3:]] == [Reason.OPTICAL_LOST.value] * 7
        # How long at most, and that a lost camera is not waited for at all, is for the
        # synchroniser's own test, whose clock does not depend on how busy the machine is.
        assert min(status.waited_ms for status in lost[:3]) >= 59
        fused = [status.mode == Mode.FUSED.value for status in back]
        # DDS does not order the two topics: while lost, a frame may find its partner by luck.
        assert all(fused[3:])
        stamps = [stamp for stamp, _ in graph.statuses]
        assert stamps == [graph.stamp(index) for index in range(23)]
        wait_for(lambda: len(graph.label_maps) == 23)
        assert sorted(graph.label_maps) == stamps


def test_dark_rgb_is_left_out_and_taken_back():
    dark = np.random.default_rng(0).integers(0, 3, (*SIZE, 3), np.uint8)
    with Graph(**{"policy.hold": 1}) as graph:
        for index, image in enumerate([None, dark, None]):
            graph.publish_rgb(index, image)
            graph.publish_thermal(index)
            graph.status_at(index)
        modes = [(status.mode, status.reason) for _, status in graph.statuses]
        assert modes == [
            ("fused", "ok"),
            ("thermal_only", Reason.OPTICAL_DARK.value),
            ("fused", "ok"),
        ]
        assert 0 <= graph.statuses[1][1].optical_luminance < 0.02


def test_on_the_grid_of_rgb_answers_keep_its_frame_and_size_when_it_is_lost(tmp_path):
    """The optical image is twice as large and shows the same."""
    path = tmp_path / "cameras.yaml"
    large = (2 * SIZE[0], 2 * SIZE[1])
    double = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]], np.float64)
    Homography(double, SIZE, large).save(path)
    parameters = {"registration.file": str(path), "registration.grid": "optical"}
    with Graph(**parameters) as graph:
        graph.publish_rgb(0, np.kron(optical_image(), np.ones((2, 2, 1), np.uint8)))
        graph.publish_thermal(0)
        fused, first = graph.answer_at(0)
        graph.publish_thermal(1)
        alone, second = graph.answer_at(1)
        assert (fused.mode, alone.mode) == ("fused", "thermal_only")
        for message in (first, second):
            assert message.header.frame_id == "rgb_optical"
            labels = labels_from_message(message)
            assert labels.shape == large
            person = labels[2:-2, 2:-2] == PERSON
            assert abs(person.sum() - 4 * 16 * 32) < 200


def test_registered_cameras_are_answered_on_the_thermal_grid_and_frame(tmp_path):
    """RGB sees the left three quarters of the thermal image; 255 marks the rest without thermal."""
    seen = 3 * SIZE[1] // 4
    shift = np.array([[1, 0, SIZE[1] - seen], [0, 1, 0], [0, 0, 1]], np.float64)
    path = tmp_path / "cameras.yaml"
    Homography(shift, SIZE, SIZE).save(path)
    parameters = {
        "registration.file": str(path),
        "sync.thermal_timeout": 1.0,
    }
    with Graph(**parameters) as graph:
        graph.publish_pair(0)
        status, message = graph.answer_at(0)
        assert status.mode == Mode.FUSED.value
        assert (labels_from_message(message) == PERSON).sum() == 16 * 32
        refused = graph.node.set_parameters([Parameter("registration.outside", value="guess")])
        assert not refused[0].successful
        changed = graph.node.set_parameters([Parameter("registration.outside", value="unknown")])
        assert changed[0].successful
        graph.publish_pair(1)
        _, message = graph.answer_at(1)
        labels = labels_from_message(message)
        assert (labels[:, seen:] == 255).all()
        assert (labels[16:32, 16:48] == PERSON).all()
        time.sleep(1.1)
        graph.publish_rgb(12)
        wait_for(lambda: len(graph.label_maps) == 3)
        message = graph.label_maps[graph.stamp(12)]
        assert message.header.frame_id == "thermal_optical"
        labels = labels_from_message(message)
        assert (labels[:, seen:] == 255).all()
        assert (labels[:, :seen] != 255).all()


def test_compressed_cameras_are_answered_like_raw_ones():
    parameters = {"rgb_transport": "compressed", "thermal_transport": "compressed"}
    with Graph(activate=False, **parameters) as graph:
        qos = QoSProfile(depth=20)
        cameras = {
            name: graph.cameras.create_publisher(CompressedImage, f"{name}/image/compressed", qos)
            for name in ("rgb", "thermal")
        }
        graph.node.autostart()
        wait_for(lambda: all(camera.get_subscription_count() for camera in cameras.values()))
        images = {"rgb": np.full((*SIZE, 3), 120, np.uint8), "thermal": thermal_image()}
        images["rgb"][::2] = 90
        for name, camera in cameras.items():
            header = header_at(graph.stamp(0), f"{name}_optical")
            data = cv2.imencode(".png", images[name])[1].tobytes()
            camera.publish(CompressedImage(header=header, format="png", data=data))
        status, message = graph.answer_at(0)
        assert status.mode == Mode.FUSED.value
        assert (labels_from_message(message) == PERSON).sum() == 16 * 32


def test_rgb_frames_are_answered_while_thermal_is_silent():
    with Graph(**{"sync.thermal_timeout": 1.0}) as graph:
        assert graph.send(0).mode == Mode.FUSED.value
        time.sleep(1.1)
        for index in range(1, 6):
            graph.publish_rgb(index)
            status, message = graph.answer_at(index)
            assert (status.mode, status.primary) == (Mode.OPTICAL_ONLY.value, "optical")
            assert status.reason == Reason.THERMAL_LOST.value
            assert message.header.frame_id == "rgb_optical"
        graph.publish_thermal(6)
        assert graph.status_at(6).mode == Mode.THERMAL_ONLY.value
        assert graph.send(7).mode == Mode.FUSED.value


def test_frames_faster_than_inference_are_superseded_and_counted():
    with Graph(ThresholdEngine(delay_s=0.15)) as graph:
        for index in range(10):
            graph.publish_pair(index)
        statuses = graph.wait_for_status(10)
        answered = [s for s in statuses if s.answered]
        dropped = [s for s in statuses if not s.answered]
        assert len(statuses) == 10
        assert {s.reason for s in dropped} == {DropReason.SUPERSEDED.value}
        assert 1 <= len(answered) <= 4
        # The newest frame is the one that gets answered.
        assert graph.status_at(9).answered


def test_a_failing_engine_costs_one_frame_and_not_the_node():
    with Graph() as graph:
        graph.send(0)
        graph.engine.fail_next = 1
        status = graph.send(1)
        assert (status.outcome, status.reason) == ("dropped", DropReason.ENGINE_ERROR.value)
        assert graph.send(2).answered


class StickingEngine(ThresholdEngine):
    """Its next frame does not return before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.stick = False
        self.letting_go = threading.Event()

    def run(self, mode, optical, thermal):
        if self.stick:
            self.stick = False
            assert self.letting_go.wait(60)
        return super().run(mode, optical, thermal)


def test_stuck_inference_costs_one_frame_and_its_late_answer_is_not_published():
    engine = StickingEngine()
    with Graph(engine, **{"engine.stuck_after": 0.3}) as graph:
        assert graph.send(0).answered
        engine.stick = True
        status = graph.send(1)
        assert (status.outcome, status.reason) == ("dropped", DropReason.ENGINE_STUCK.value)
        assert graph.send(2).answered
        wait_for(
            lambda: any(
                entry.message.startswith("engine_stuck") and entry.level == b"\x02"
                for message in graph.diagnostics
                for entry in message.status
            )
        )
        assert not engine.closed
        engine.letting_go.set()
        wait_for(lambda: engine.closed)
        assert graph.send(3).answered
        wait_for(lambda: graph.stamp(3) in graph.label_maps)
        assert sorted(graph.label_maps) == [graph.stamp(index) for index in (0, 2, 3)]
        assert [stamp for stamp, _ in graph.statuses] == [graph.stamp(i) for i in range(4)]


def test_an_engine_that_never_opens_is_replaced_by_one_on_the_cpu():
    engine, late = StickingEngine(), ThresholdEngine()
    let_go = threading.Event()
    devices = []

    def open_segmenter(settings):
        devices.append(settings.device)
        if settings.device == "cpu":
            return threshold_segmenter(ThresholdEngine())(settings)
        assert let_go.wait(60)
        return threshold_segmenter(late)(settings)

    with Graph(engine, device="onnx-cpu", **{"engine.stuck_after": 0.3}) as graph:
        graph.node._open_segmenter = open_segmenter
        engine.stick = True
        assert graph.send(0).reason == DropReason.ENGINE_STUCK.value
        wait_for(lambda: devices == ["onnx-cpu", "cpu"])
        wait_for(lambda: graph.node._segmenter is not None)
        assert graph.send(1).answered
        let_go.set()
        wait_for(lambda: late.closed)
        assert graph.send(2).answered
        engine.letting_go.set()


def test_parameters_set_while_an_engine_is_opened_anew_hold_for_it_as_for_any_other():
    engine, let_go, opening = StickingEngine(), threading.Event(), threading.Event()

    def open_segmenter(settings):
        opening.set()
        assert let_go.wait(60)
        return threshold_segmenter(ThresholdEngine())(settings)

    with Graph(engine, **{"engine.stuck_after": 0.3}) as graph:
        graph.node._open_segmenter = open_segmenter
        engine.stick = True
        assert graph.send(0).reason == DropReason.ENGINE_STUCK.value
        assert opening.wait(20)
        # However long this test takes, this engine is the one that is adopted.
        assert set_parameter(graph, "engine.stuck_after", 600.0).successful
        refused = set_parameter(graph, "weights", "other.safetensors")
        assert not refused.successful
        assert "read at configure" in refused.reason
        assert set_parameter(graph, "policy.force_mode", "thermal_only").successful
        let_go.set()
        wait_for(lambda: graph.node._segmenter is not None)
        status = graph.send(1)
        assert (status.mode, status.reason) == ("thermal_only", Reason.FORCED.value)
        engine.letting_go.set()


def test_a_node_that_has_lost_its_engine_opens_one_when_it_is_activated_again(capfd):
    engine, tried = StickingEngine(), threading.Event()

    def open_segmenter(settings):
        tried.set()
        raise EngineError("the GPU has fallen off the bus")

    with Graph(engine, **{"engine.stuck_after": 0.3}) as graph:
        working = graph.node._open_segmenter
        graph.node._open_segmenter = open_segmenter
        engine.stick = True
        assert graph.send(0).reason == DropReason.ENGINE_STUCK.value
        assert tried.wait(20)
        assert graph.change("deactivate") == TransitionCallbackReturn.SUCCESS
        assert graph.node._segmenter is None
        graph.wait_until_gone(outputs=False)
        graph.node._open_segmenter = working
        assert graph.change("activate") == TransitionCallbackReturn.SUCCESS
        graph.wait_for_cameras()
        assert graph.send(1).answered
        engine.letting_go.set()
    assert "deactivate and activate the node to try again" in capfd.readouterr().err


@pytest.mark.parametrize("transition", ["configure", "activate", "deactivate", "cleanup"])
def test_what_a_transition_raises_is_logged_and_the_node_can_be_configured_again(
    monkeypatch, capfd, transition
):
    """rclpy itself says nothing of it."""
    broken = {
        "configure": (segmentation_node, "Outputs"),
        "activate": (segmentation_node, "Inputs"),
        "deactivate": (segmentation_node.SegmentationNode, "_stop"),
        "cleanup": (segmentation_node.SegmentationNode, "_release"),
    }[transition]

    def fail(*_):
        patch.undo()
        raise RuntimeError("out of file descriptors")

    steps = ["configure", "activate", "deactivate", "cleanup"]
    with Graph(activate=False) as graph, monkeypatch.context() as patch:
        for step in steps[: steps.index(transition)]:
            assert graph.change(step) == TransitionCallbackReturn.SUCCESS
        patch.setattr(*broken, fail)
        failed = graph.change(transition)
        assert failed == TransitionCallbackReturn.ERROR
        graph.wait_until_gone()
        assert graph.change("configure") == TransitionCallbackReturn.SUCCESS
        assert graph.change("activate") == TransitionCallbackReturn.SUCCESS
        graph.wait_for_cameras()
        assert graph.send(0).answered
    log = capfd.readouterr().err
    assert f"on_{transition} failed unexpectedly (RuntimeError: out of file descriptors)" in log
    assert "configure it again" in log


def test_a_late_subscriber_gets_the_class_table():
    with Graph() as graph:
        info = json.loads(graph.latched_label_info())
        assert info["classes"][PERSON]["name"] == "person"
        assert info["ignore_id"] == 255


def test_the_overlay_is_only_made_when_somebody_looks():
    with Graph() as graph:
        got = []
        publisher = graph.node._outputs._overlay
        graph.send(0)
        assert publisher.get_subscription_count() == 0
        graph.cameras.create_subscription(Image, "csknet/overlay", got.append, _ANSWERS)
        wait_for(lambda: publisher.get_subscription_count() == 1)
        graph.send(1)
        wait_for(lambda: bool(got))
        assert [stamp_of(message.header) for message in got] == [graph.stamp(1)]
        assert (got[0].encoding, got[0].height, got[0].width) == ("rgb8", *SIZE)


def test_camera_info_follows_the_label_map():
    with Graph() as graph:
        info = CameraInfo(header=header_at(1, "thermal_optical"), height=SIZE[0], width=SIZE[1])
        info.k[0] = 123.0
        graph.give_intrinsics(info)
        graph.send(3)
        wait_for(lambda: bool(graph.camera_infos))
        assert stamp_of(graph.camera_infos[0].header) == graph.stamp(3)
        assert graph.camera_infos[0].k[0] == 123.0


LARGE = (2 * SIZE[0], 2 * SIZE[1])


def give_both_intrinsics(graph: Graph) -> None:
    """Thermal ones with focal length 100, and those of an RGB camera twice as large with 200."""
    for modality, focal, (height, width) in (
        (Modality.THERMAL, 100.0, SIZE),
        (Modality.OPTICAL, 200.0, LARGE),
    ):
        info = CameraInfo(header=header_at(1, "driver"), height=height, width=width)
        info.k[0] = focal
        graph.give_intrinsics(info, modality)


def check_grid(graph: Graph, index: float, frame_id: str, focal: float) -> None:
    """The label map of a frame and its intrinsics are of one camera."""
    _, answer = graph.answer_at(index)
    stamp = graph.stamp(index)
    wait_for(lambda: any(stamp_of(i.header) == stamp for i in graph.camera_infos))
    (info,) = [i for i in graph.camera_infos if stamp_of(i.header) == stamp]
    assert (info.k[0], info.header.frame_id) == (focal, frame_id)
    assert answer.header.frame_id == frame_id
    assert (info.height, info.width) == (answer.height, answer.width)


def test_an_answer_from_rgb_has_the_size_frame_and_intrinsics_of_rgb():
    with Graph(**{"sync.thermal_timeout": 1.0}) as graph:
        give_both_intrinsics(graph)
        large = np.kron(optical_image(), np.ones((2, 2, 1), np.uint8))
        graph.publish_rgb(0, large)
        graph.publish_thermal(0)
        check_grid(graph, 0, "thermal_optical", 100.0)
        graph.publish_rgb(1, large)
        graph.publish_thermal(1, data=[])
        assert graph.status_at(1).reason == Reason.THERMAL_INVALID.value
        check_grid(graph, 1, "rgb_optical", 200.0)
        time.sleep(1.1)
        graph.publish_rgb(12, large)
        assert graph.status_at(12).reason == Reason.THERMAL_LOST.value
        check_grid(graph, 12, "rgb_optical", 200.0)


def test_on_the_registered_grid_the_intrinsics_stay_those_of_its_camera(tmp_path):
    path = tmp_path / "cameras.yaml"
    Homography(np.diag([2.0, 2.0, 1.0]), SIZE, LARGE).save(path)
    with Graph(**{"registration.file": str(path)}) as graph:
        give_both_intrinsics(graph)
        large = np.kron(optical_image(), np.ones((2, 2, 1), np.uint8))
        graph.publish_rgb(0, large)
        graph.publish_thermal(0, data=[])
        assert graph.status_at(0).reason == Reason.THERMAL_INVALID.value
        check_grid(graph, 0, "thermal_optical", 100.0)


def test_without_the_intrinsics_of_the_grids_camera_none_are_published():
    with Graph() as graph:
        info = CameraInfo(height=SIZE[0], width=SIZE[1])
        graph.give_intrinsics(info)
        graph.publish_rgb(0)
        graph.publish_thermal(0, data=[])
        assert graph.status_at(0).reason == Reason.THERMAL_INVALID.value
        graph.send(1)
        wait_for(lambda: bool(graph.camera_infos))
        assert [stamp_of(info.header) for info in graph.camera_infos] == [graph.stamp(1)]


def test_diagnostics_name_the_state_and_count_frames():
    with Graph() as graph:
        graph.send(0)
        graph.send(1, rgb=False)

        def latest() -> dict[str, str]:
            status = graph.diagnostics[-1].status[0] if graph.diagnostics else None
            return {pair.key: pair.value for pair in status.values} if status else {}

        wait_for(lambda: latest().get("answered_thermal_only") == "1")
        values = latest()
        assert values["answered_fused"] == "1"
        assert values["device"] == "threshold-cpu"
        assert float(values["latency_p95_ms"]) > 0
        assert values["received_thermal"] == "2"


def test_the_node_can_be_cycled_and_answers_again():
    with Graph() as graph:
        for cycle in range(3):
            assert graph.send(cycle).answered
            graph.change("deactivate")
            graph.change("cleanup")
            assert graph.engine.closed
            graph.wait_until_gone()
            graph.change("configure")
            graph.change("activate")
            graph.wait_for_cameras()
        assert graph.send(9).answered


def test_frames_waiting_at_deactivation_are_dropped_with_a_status():
    with Graph(**{"sync.max_wait": 5.0}) as graph:
        graph.publish_thermal(0)
        wait_for(lambda: graph.node._sync.health.waiting == 1)
        graph.change("deactivate")
        assert graph.status_at(0).reason == DropReason.INACTIVE.value


def set_parameter(graph: Graph, name: str, value) -> SetParametersResult:
    return graph.node.set_parameters([Parameter(name, value=value)])[0]


def test_live_parameters_act_at_once_and_bad_ones_are_refused_with_the_reason():
    with Graph() as graph:
        assert graph.send(0).mode == Mode.FUSED.value
        assert set_parameter(graph, "policy.force_mode", "thermal_only").successful
        assert graph.send(1).mode == Mode.THERMAL_ONLY.value
        for name, value, words in (
            ("policy.force_mode", "both", "not one of"),
            ("policy.dark_enter", 0.9, "optical_dark_enter"),
            ("weights", "other.safetensors", "read at configure"),
            ("sync.slop", 7.0, ""),
        ):
            result = set_parameter(graph, name, value)
            assert not result.successful
            assert words in result.reason
        unchanged = graph.node.get_parameter("weights").value
        assert set_parameter(graph, "weights", unchanged).successful
        assert set_parameter(graph, "policy.force_mode", "").successful
        assert graph.send(2).mode == Mode.FUSED.value


def test_free_memory_goes_back_to_the_system_while_the_node_runs(monkeypatch):
    trimmed = threading.Event()
    monkeypatch.setattr(segmentation_node, "_TRIM_NS", 10_000_000)
    monkeypatch.setattr(segmentation_node, "trim_heap", trimmed.set)
    with Graph() as graph:
        wait_for(trimmed.is_set)
        assert graph.send(0).mode == Mode.FUSED.value
