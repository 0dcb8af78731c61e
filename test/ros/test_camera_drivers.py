"""What drivers really send: telemetry, other units, no frame, stamps of arrival, unequal rates."""

import numpy as np
import pytest
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo
from support.engines import PERSON, SIZE
from support.graph import Graph, header_at, optical_image, thermal_image, wait_for

from csknet_core.modality import Mode, Reason
from csknet_core.runtime.registration import Homography
from csknet_ros.images import labels_from_message

MS = 1_000_000


def publish_unframed(graph: Graph, index: float, *, rgb: bool = True) -> None:
    if rgb:
        graph.publish_rgb(index, header=header_at(graph.stamp(index), ""))
    graph.publish_thermal(index, header=header_at(graph.stamp(index), ""))


# frame_id


def test_frames_without_a_frame_id_are_answered_without_one():
    with Graph() as graph:
        publish_unframed(graph, 0)
        status, label_map = graph.answer_at(0)
        assert status.mode == Mode.FUSED.value
        assert label_map.header.frame_id == ""


def test_frames_without_a_frame_id_still_fill_a_costmap_by_the_mount_parameters():
    parameters = {"navigation.frame": "base_link", "navigation.pitch": 0.5}
    with Graph(**parameters) as graph:
        info = CameraInfo(height=SIZE[0], width=SIZE[1])
        info.k = [60.0, 0.0, SIZE[1] / 2, 0.0, 60.0, SIZE[0] / 2, 0.0, 0.0, 1.0]
        grids = graph.cost_grids(info)
        publish_unframed(graph, 0)
        wait_for(lambda: bool(grids))
        assert grids[0].header.frame_id == "base_link"
        assert {-1, 0, 100} == set(grids[0].data)


@pytest.mark.parametrize("seen", [True, False])
def test_answers_on_the_grid_of_rgb_never_claim_the_thermal_frame(tmp_path, seen):
    """Neither when RGB has no frame_id, nor when no RGB image has come that could tell it."""
    path = tmp_path / "cameras.yaml"
    Homography(np.eye(3), SIZE, SIZE).save(path)
    with Graph(**{"registration.file": str(path), "registration.grid": "optical"}) as graph:
        if seen:
            graph.publish_rgb(0, header=header_at(graph.stamp(0), ""))
        graph.publish_thermal(0)
        _, label_map = graph.answer_at(0)
        assert label_map.header.frame_id == ""


# Stamps and rates. Longer than any test takes, the wait never decides.
PATIENT = {"sync.max_wait": 5.0}


def test_stamps_of_arrival_that_jitter_cost_no_frame():
    """Thermal arrives 40 ms late, give or take 8 ms, and is stamped then."""
    jitter = np.random.default_rng(0).uniform(-0.08, 0.08, 12)
    with Graph(**PATIENT) as graph:
        graph.publish_rgb(0)
        for index, late in enumerate(jitter):
            graph.publish_thermal(index + 0.4 + late)
            graph.publish_rgb(index + 1)
            status = graph.status_at(index + 0.4 + late)
            assert (status.mode, status.reason) == (Mode.FUSED.value, Reason.OK.value)
            assert status.optical_stamp_ns == graph.stamp(index)
        assert len(graph.statuses) == len(jitter)


def test_the_delay_of_stamps_of_arrival_can_be_taken_out():
    """Thermal is stamped 70 ms late: without the offset the next RGB frame would be nearer."""
    for offset, partner in ((0.0, 1), (-0.07, 0)):
        with Graph(**{**PATIENT, "sync.thermal_offset": offset}) as graph:
            graph.publish_rgb(0)
            for index in range(4):
                graph.publish_thermal(index + 0.7)
                graph.publish_rgb(index + 1)
                status = graph.status_at(index + 0.7)
                assert status.mode == Mode.FUSED.value
                assert status.optical_stamp_ns == graph.stamp(index + partner)
            assert len(graph.statuses) == 4


def test_nine_hertz_thermal_and_thirty_hertz_rgb_give_nine_fused_answers_a_second():
    rgb = [i / 3 for i in range(101)]  # in periods of 100 ms
    thermal = [0.05 + j * 10 / 9 for j in range(29)]
    with Graph(**PATIENT) as graph:
        sent = 0
        for index in thermal:
            graph.publish_thermal(index)
            # One that is newer than the thermal frame decides it.
            while rgb[sent] <= index:
                graph.publish_rgb(rgb[sent])
                sent += 1
            graph.publish_rgb(rgb[sent])
            sent += 1
            status, label_map = graph.answer_at(index)
            assert (status.primary, status.mode) == ("thermal", Mode.FUSED.value)
            nearest = min(rgb, key=lambda other: abs(graph.stamp(other) - graph.stamp(index)))
            assert status.optical_stamp_ns == graph.stamp(nearest)
            assert (labels_from_message(label_map) == PERSON).sum() == 16 * 32
        assert len(graph.statuses) == len(graph.label_maps) == len(thermal)
        health = graph.node._sync.health
        assert health.matched == len(thermal)
        assert not sum(health.alone.values())
        assert not sum(health.dropped.values())


# What the images hold


@pytest.mark.parametrize("location", ["footer", "header"])
def test_telemetry_neither_shows_nor_hides_that_the_camera_is_frozen(location):
    parameters = {"thermal.telemetry_rows": 2, "thermal.telemetry_location": location}
    frozen = thermal_image()
    rows = slice(0, 2) if location == "header" else slice(-2, None)
    with Graph(**parameters) as graph:
        modes = []
        for index in range(6):
            image = frozen.copy()
            image[rows] = 65000 + index  # a frame counter, hotter than everything
            graph.publish_rgb(index)
            graph.publish_thermal(index, image)
            status, label_map = graph.answer_at(index)
            modes.append((status.mode, status.reason))
            if status.mode == Mode.FUSED.value:
                labels = labels_from_message(label_map)
                assert (labels == PERSON).sum() == 16 * 32
        assert modes[0] == (Mode.FUSED.value, Reason.OK.value)
        assert modes[-1] == (Mode.OPTICAL_ONLY.value, Reason.THERMAL_FROZEN.value)


def test_a_preset_can_be_set_while_running_and_does_not_change_what_was_given():
    with Graph(**{"thermal.minimum_span": 77.0}) as graph:

        def settings():
            return graph.node._segmenter.thermal.settings

        assert graph.send(0).answered
        (result,) = graph.node.set_parameters([Parameter("thermal.preset", value="optris")])
        assert result.successful
        assert (settings().minimum, settings().minimum_span) == (1000.0, 77.0)
        counts = (1200 + (thermal_image() > 29500) * 60).astype(np.uint16)
        counts += np.random.default_rng(0).integers(0, 2, SIZE).astype(np.uint16)
        graph.publish_rgb(1, optical_image())
        graph.publish_thermal(1, counts, "16UC1")
        _, label_map = graph.answer_at(1)
        assert (labels_from_message(label_map) == PERSON).sum() == 16 * 32
        (refused,) = graph.node.set_parameters([Parameter("thermal.preset", value="toaster")])
        assert not refused.successful
        assert "'optris'" in refused.reason
