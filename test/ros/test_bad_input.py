"""Bad input on the real node: a counted, logged drop or a fallback, never a wrong answer."""

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import Image
from support.engines import PERSON, SIZE
from support.graph import Graph, optical_image, thermal_image, wait_for

from csknet_core.modality import Reason
from csknet_core.runtime.registration import Homography
from csknet_ros.frames import DropReason
from csknet_ros.images import fill_message, labels_from_message
from csknet_ros.segmentation_node import SegmentationNode


@pytest.fixture(scope="module")
def graph():
    with Graph() as graph:
        yield graph


@pytest.fixture
def index(graph) -> int:
    """A fresh place in time, so that tests share one node but no frame."""
    graph.place = getattr(graph, "place", 0) + 20
    assert graph.send(graph.place - 1).answered
    return graph.place


BAD_IMAGES = {
    "unknown encoding": {"encoding": "unheard_of"},
    "truncated data": {"data": b"\1\2\3"},
    "zero size": {"width": 0, "height": 0},
    "step too small": {"step": 3},
}


@pytest.mark.parametrize("changes", BAD_IMAGES.values(), ids=list(BAD_IMAGES))
def test_a_bad_rgb_image_leaves_the_thermal_answer(graph, index, changes):
    graph.publish_rgb(index, **changes)
    graph.publish_thermal(index)
    status, message = graph.answer_at(index)
    assert (status.mode, status.reason) == ("thermal_only", Reason.OPTICAL_INVALID.value)
    assert (labels_from_message(message)[16:32, 16:48] == PERSON).all()
    assert graph.send(index + 1).mode == "fused"


@pytest.mark.parametrize("changes", BAD_IMAGES.values(), ids=list(BAD_IMAGES))
def test_a_bad_thermal_image_leaves_the_rgb_answer(graph, index, changes):
    graph.publish_rgb(index)
    graph.publish_thermal(index, **changes)
    status = graph.status_at(index)
    assert (status.mode, status.reason) == ("optical_only", Reason.THERMAL_INVALID.value)


@pytest.mark.parametrize("camera", ["rgb", "thermal"])
def test_a_registered_camera_that_changes_its_aspect_leaves_the_others_answer(tmp_path, camera):
    """As a driver that comes back in another format does."""
    path = tmp_path / "cameras.yaml"
    Homography(np.eye(3), SIZE, SIZE).save(path)
    with Graph(**{"registration.file": str(path)}) as graph:
        assert graph.send(0).mode == "fused"
        rows = 3 * SIZE[0] // 4
        graph.publish_rgb(1, optical_image()[: rows if camera == "rgb" else None])
        graph.publish_thermal(1, thermal_image()[: rows if camera == "thermal" else None])
        status, message = graph.answer_at(1)
        expected = {
            "rgb": ("thermal_only", Reason.OPTICAL_INVALID.value),
            "thermal": ("optical_only", Reason.THERMAL_INVALID.value),
        }
        assert (status.mode, status.reason) == expected[camera]
        assert labels_from_message(message).shape == SIZE
        assert graph.send(2).mode == "fused"


def test_a_thermal_image_of_telemetry_alone_leaves_the_rgb_answer():
    with Graph(**{"thermal.telemetry_rows": 2}) as graph:
        graph.publish_rgb(0)
        graph.publish_thermal(0, thermal_image()[:2])
        status = graph.status_at(0)
        assert (status.mode, status.reason) == ("optical_only", Reason.THERMAL_INVALID.value)


def test_a_bad_thermal_image_alone_is_dropped(graph, index):
    graph.publish_thermal(index, data=b"\1")
    assert graph.status_at(index).reason == DropReason.BAD_IMAGE.value
    assert graph.stamp(index) not in graph.label_maps


def test_both_images_bad_is_dropped(graph, index):
    graph.publish_rgb(index, data=b"\1")
    graph.publish_thermal(index, data=b"\1")
    assert graph.status_at(index).reason == DropReason.BAD_IMAGE.value


def test_row_padding_does_not_shift_the_answer(graph, index):
    message = Image()
    fill_message(message, thermal_image(), "mono16")
    rows = np.frombuffer(message.data, np.uint8).reshape(SIZE[0], -1)
    padded = np.concatenate([rows, np.full((SIZE[0], 10), 255, np.uint8)], 1)
    graph.publish_rgb(index)
    graph.publish_thermal(index, step=padded.shape[1], data=padded.tobytes())
    _, answer = graph.answer_at(index)
    labels = labels_from_message(answer)
    assert (labels[16:32, 16:48] == PERSON).all()
    assert (labels == PERSON).sum() == 16 * 32


def test_nan_pixels_are_left_out_and_the_frame_is_answered(graph, index):
    image = thermal_image().astype(np.float32) / 100
    image[::3, ::3] = np.nan
    graph.publish_rgb(index)
    graph.publish_thermal(index, image, "32FC1")
    status, answer = graph.answer_at(index)
    labels = labels_from_message(answer)
    assert status.mode == "fused"
    assert (labels[17, 17:47][np.isfinite(image[17, 17:47])] == PERSON).all()
    assert not labels[:16].any()


def test_an_all_nan_thermal_image_leaves_rgb_or_nothing(graph, index):
    blank = np.full(SIZE, np.nan, np.float32)
    for offset, rgb in ((0, True), (1, True), (2, True), (3, False)):
        if rgb:
            graph.publish_rgb(index + offset)
        graph.publish_thermal(index + offset, blank, "32FC1")
        status = graph.status_at(index + offset)
    assert graph.status_at(index + 2).mode == "optical_only"
    assert graph.status_at(index + 2).reason == Reason.THERMAL_BLANK.value
    assert status.reason == DropReason.NO_USABLE_MODALITY.value
    # Two good frames bring thermal back, see PolicySettings.hold.
    graph.send(index + 4)
    assert graph.send(index + 5).mode == "fused"


def test_a_thermal_message_of_the_wrong_type_names_the_cure(graph, index):
    graph.publish_rgb(index)
    graph.publish_thermal(index, optical_image(), "rgb8")
    assert graph.status_at(index).reason == Reason.THERMAL_INVALID.value


def test_images_may_change_size_mid_stream(graph, index):
    bigger = np.kron(thermal_image(), np.ones((2, 2), np.uint16))
    graph.publish_rgb(index)
    graph.publish_thermal(index, bigger)
    _, answer = graph.answer_at(index)
    assert (answer.height, answer.width) == bigger.shape
    assert (labels_from_message(answer)[34:62, 34:94] == PERSON).all()
    graph.send(index + 1)
    _, answer = graph.answer_at(index + 1)
    assert (answer.height, answer.width) == SIZE


def count_of(graph: Graph, index: int) -> int:
    return sum(stamp == graph.stamp(index) for stamp, _ in graph.statuses)


def test_duplicate_and_late_stamps_are_dropped_and_counted(graph, index):
    assert graph.send(index).answered
    graph.publish_thermal(index)
    wait_for(lambda: count_of(graph, index) == 2)
    assert graph.statuses[-1][1].reason == DropReason.DUPLICATE_STAMP.value
    graph.publish_thermal(index - 0.5)
    assert graph.status_at(index - 0.5).reason == DropReason.OUT_OF_ORDER.value
    assert graph.send(index + 1).mode == "fused"


def test_zero_stamps_are_dropped_and_counted(graph, index):
    zero = -graph.stamp(0) / 100_000_000
    graph.publish_thermal(zero)
    assert graph.status_at(zero).reason == DropReason.ZERO_STAMP.value
    assert graph.send(index).mode == "fused"


def test_a_backward_clock_jump_goes_on_in_the_new_time(graph, index):
    back = index - 5000
    assert graph.send(back).mode == "fused"
    assert graph.send(back + 1).mode == "fused"
    graph.send(index)


def configure(context, **parameters) -> tuple[TransitionCallbackReturn, SegmentationNode]:
    from rclpy.parameter import Parameter

    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = SegmentationNode(context=context, parameter_overrides=overrides)
    return node.trigger_configure(), node


@pytest.mark.parametrize("content", [None, b"", b"not weights at all", b"\xff" * 4096])
def test_missing_or_corrupt_weights_fail_configure_with_path_and_cure(
    graph, tmp_path, capfd, content
):
    path = tmp_path / "field.safetensors"
    if content is not None:
        path.write_bytes(content)
    result, node = configure(graph.context, weights=str(path))
    assert result == TransitionCallbackReturn.FAILURE
    log = capfd.readouterr().err
    assert "configure failed" in log
    assert str(path) in log
    assert "csknet train" in log
    node.destroy_node()


def test_a_class_table_that_does_not_fit_fails_configure(graph, capfd, default_weights):
    result, node = configure(graph.context, weights=str(default_weights), class_table="fmb")
    assert result == TransitionCallbackReturn.FAILURE
    log = capfd.readouterr().err
    assert "color_cone" in log
    assert "vegetation" in log
    node.destroy_node()


def test_an_input_size_the_network_cannot_take_fails_configure(graph, capfd, default_weights):
    result, node = configure(graph.context, weights=str(default_weights), input_height=500)
    assert result == TransitionCallbackReturn.FAILURE
    assert "multiples of 32" in capfd.readouterr().err
    node.destroy_node()


def test_images_beyond_the_limit_are_refused_and_counted():
    rows, columns = SIZE
    with Graph(max_image_pixels=rows * columns) as graph:
        assert graph.send(0).mode == "fused"
        graph.publish_rgb(1, np.zeros((rows + 1, columns, 3), np.uint8))
        graph.publish_thermal(1)
        status = graph.status_at(1)
        assert (status.mode, status.reason) == ("thermal_only", Reason.OPTICAL_INVALID.value)
        graph.publish_thermal(2, np.zeros((rows + 1, columns), np.uint16))
        assert graph.status_at(2).reason == DropReason.BAD_IMAGE.value
        assert graph.send(3).mode == "fused"
