"""The camera's pose from tf2: a stand-in of its buffer, the real node over real DDS."""

import math
import sys

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, PointCloud2
from support.engines import SIZE
from support.graph import START_NS, Graph, header_at, stamp_of, wait_for
from support.tf_double import (
    Buffer,
    TransformException,
    TransformListener,
    module,
    transform,
)

from csknet_core.errors import PoseError
from csknet_core.runtime.ground import Intrinsics, Mount, ground_points
from csknet_ros.mount import TfMount, pose_from_transform

FOCAL = 60.0
CAMERA = Intrinsics(FOCAL, FOCAL, SIZE[1] / 2, SIZE[0] / 2, SIZE[1], SIZE[0])
PARAMETERS = {
    "navigation.frame": "base_footprint",
    "navigation.mount": "tf",
    "navigation.max_range": 50.0,
}
MS = 1_000_000


def looking_down(pitch: float) -> tuple[float, ...]:
    """Quaternion of an optical frame whose body looks forward and down: a turn about y, then the
    axes of an optical frame (-0.5, 0.5, -0.5, 0.5).
    """
    s, c = math.sin(pitch / 2), math.cos(pitch / 2)
    return (-0.5 * (c + s), 0.5 * (c + s), 0.5 * (s - c), 0.5 * (c - s))


def camera_at(
    x: float, height: float, pitch: float, stamp_ns: int = 0, child: str = "thermal_optical"
):
    return transform("base_footprint", child, (x, 0.0, height), looking_down(pitch), stamp_ns)


def time_at(stamp_ns: int):
    return Time(nanoseconds=stamp_ns).to_msg()


@pytest.fixture
def buffer() -> Buffer:
    return Buffer()


@pytest.fixture
def mount(buffer) -> TfMount:
    return TfMount("base_footprint", buffer, TransformException)


def test_a_transform_is_the_pose_of_the_optical_frame():
    pose = pose_from_transform(camera_at(0.3, 1.2, 0.5))
    assert (pose.x, pose.y, pose.height) == (0.3, 0.0, 1.2)
    assert np.allclose(pose.rotation(), Mount(pitch=0.5).rotation())


def test_a_moving_camera_is_followed_by_the_images_stamp(buffer, mount):
    buffer.moving = [camera_at(0, 1, pitch, START_NS + i * 100 * MS)
                     for i, pitch in enumerate((0.1, 0.2, 0.3))]  # fmt: skip
    for i, pitch in ((2, 0.3), (0, 0.1), (1, 0.2)):
        pose = mount.pose("thermal_optical", time_at(START_NS + i * 100 * MS))
        assert np.allclose(pose.rotation(), Mount(pitch=pitch).rotation())
    assert not buffer.waits


def test_a_transform_on_its_way_is_waited_for(buffer, mount):
    buffer.moving = [camera_at(0, 1, 0.1, START_NS)]
    buffer.upcoming = [camera_at(0, 1, 0.4, START_NS + 30 * MS)]
    pose = mount.pose("thermal_optical", time_at(START_NS + 30 * MS))
    assert np.allclose(pose.rotation(), Mount(pitch=0.4).rotation())
    assert buffer.waits == [50 * MS]


@pytest.mark.parametrize("offset_ms", [-200, 2000])
def test_a_transform_of_another_time_is_no_pose_and_not_waited_for(buffer, mount, offset_ms):
    buffer.moving = [camera_at(0, 1, 0.1, START_NS)]
    with pytest.raises(PoseError, match=r"from base_footprint to thermal_optical .*extrapolation"):
        mount.pose("thermal_optical", time_at(START_NS + offset_ms * MS))
    assert not buffer.waits


def test_a_missing_transform_names_both_frames_and_the_cure(buffer, mount):
    with pytest.raises(PoseError, match=r"from base_footprint to thermal_optical .*publish it"):
        mount.pose("thermal_optical", time_at(START_NS))
    assert not buffer.waits


def test_an_image_without_a_frame_names_the_cure(mount):
    with pytest.raises(PoseError, match=r"no frame_id.*driver"):
        mount.pose("", time_at(START_NS))


def test_a_transform_without_a_rotation_is_refused_by_name(buffer, mount):
    nothing = transform("base_footprint", "thermal_optical", (0.0, 0.0, 1.0), (0.0,) * 4)
    buffer.static["thermal_optical"] = nothing
    with pytest.raises(PoseError, match=r"to thermal_optical cannot be used.*quaternion"):
        mount.pose("thermal_optical", time_at(START_NS))


# The node


@pytest.fixture
def tf2_ros(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2_ros", module())


class Points:
    """A subscription to ~/points, by stamp."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.got: dict[int, np.ndarray] = {}
        graph.cameras.create_subscription(
            PointCloud2, "csknet/points", self._on_cloud, QoSProfile(depth=10)
        )
        publisher = graph.node._navigation._publishers["points"]
        wait_for(publisher.get_subscription_count)
        info = CameraInfo(header=header_at(START_NS, "thermal_optical"))
        info.height, info.width = SIZE
        info.k = [FOCAL, 0.0, SIZE[1] / 2, 0.0, FOCAL, SIZE[0] / 2, 0.0, 0.0, 1.0]
        graph.give_intrinsics(info)

    def _on_cloud(self, cloud: PointCloud2) -> None:
        assert cloud.header.frame_id == "base_footprint"
        points = np.frombuffer(cloud.data, np.float32).reshape(cloud.height, cloud.width, 3)
        self.got[stamp_of(cloud.header)] = points

    def of(self, index: int) -> np.ndarray:
        self.graph.send(index)
        wait_for(lambda: self.graph.stamp(index) in self.got)
        return self.got[self.graph.stamp(index)]


def buffer_of(graph: Graph) -> Buffer:
    return graph.node._navigation._mount._buffer


def on_the_ground(**mount: float) -> np.ndarray:
    """What ~/points must hold; the body of the test images' person is not on the ground."""
    points = ground_points(CAMERA, Mount(**mount), 50.0)
    points[16:31, 16:48] = np.nan
    return points


@pytest.mark.usefixtures("tf2_ros")
def test_points_follow_a_camera_that_tilts_and_are_left_out_while_its_pose_is_unknown(capfd):
    with Graph(**PARAMETERS) as graph:
        points = Points(graph)
        graph.send(0)
        buffer = buffer_of(graph)
        for index, pitch in ((1, 0.5), (2, 0.7)):
            buffer.moving.append(camera_at(0.3, 1.2, pitch, graph.stamp(index)))
            want = on_the_ground(x=0.3, height=1.2, pitch=pitch)
            assert np.allclose(points.of(index), want, atol=1e-3, equal_nan=True)
        assert sorted(points.got) == [graph.stamp(1), graph.stamp(2)]
        assert len(graph.label_maps) == 3
    log = capfd.readouterr().err
    assert log.count("no transform from base_footprint to thermal_optical") == 1


@pytest.mark.usefixtures("tf2_ros")
def test_a_camera_below_the_ground_costs_the_points_and_not_the_answers(capfd):
    with Graph(**PARAMETERS) as graph:
        points = Points(graph)
        buffer_of(graph).static["thermal_optical"] = camera_at(0.0, -0.5, 0.2)
        graph.send(0)
        buffer_of(graph).static["thermal_optical"] = camera_at(0.0, 0.5, 0.2)
        points.of(1)
        assert list(points.got) == [graph.stamp(1)]
    assert "z = -0.5 m: it must be above the ground" in capfd.readouterr().err


@pytest.mark.usefixtures("tf2_ros")
def test_an_empty_frame_id_costs_the_points_and_not_the_answers(capfd):
    with Graph(**PARAMETERS) as graph:
        points = Points(graph)
        graph.publish_rgb(0)
        graph.publish_thermal(0, header=header_at(graph.stamp(0), ""))
        _, label_map = graph.answer_at(0)
        assert label_map.header.frame_id == ""
        assert not points.got
    assert "the image has no frame_id" in capfd.readouterr().err


@pytest.mark.usefixtures("tf2_ros")
def test_a_clock_that_jumps_back_forgets_the_transforms_of_before():
    with Graph(use_sim_time=True, **PARAMETERS) as graph:
        clock = graph.cameras.create_publisher(Clock, "/clock", 10)
        wait_for(clock.get_subscription_count)
        now = graph.node.get_clock().now

        def go_to(stamp_ns: int) -> None:
            clock.publish(Clock(clock=time_at(stamp_ns)))
            wait_for(lambda: now().nanoseconds == stamp_ns)

        go_to(graph.stamp(50))
        buffer = buffer_of(graph)
        buffer.moving.append(camera_at(0.3, 1.2, 0.5, graph.stamp(50)))
        go_to(graph.stamp(51))
        assert buffer.moving
        go_to(graph.stamp(0))
        wait_for(lambda: not buffer.moving)


@pytest.mark.usefixtures("tf2_ros")
def test_cleanup_stops_listening_to_transforms():
    with Graph(**PARAMETERS) as graph:
        listening = [s for s in graph.node.subscriptions if s.topic_name in ("/tf", "/tf_static")]
        assert len(listening) == 2
        graph.change("deactivate")
        graph.change("cleanup")
        assert not [s for s in graph.node.subscriptions if s in listening]


@pytest.mark.usefixtures("tf2_ros")
def test_a_name_that_is_no_class_leaves_no_listener_behind():
    parameters = {**PARAMETERS, "navigation.obstacle_classes": "unicorn"}
    with Graph(activate=False, **parameters) as graph:
        assert graph.change("configure") == TransitionCallbackReturn.FAILURE
        assert not [s for s in graph.node.subscriptions if s.topic_name == "/tf"]


def test_without_tf2_configure_fails_and_names_parameter_and_cure(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)  # as if it were not installed
    with Graph(activate=False, **PARAMETERS) as graph:
        assert graph.change("configure") == TransitionCallbackReturn.FAILURE
        assert graph.node._segmenter is None
    log = capfd.readouterr().err
    assert "parameter navigation.mount is tf, and tf2_ros cannot be imported" in log
    assert "set navigation.mount to parameters" in log


def test_the_stand_in_is_used_as_the_real_tf2_is():
    tf2_ros = pytest.importorskip("tf2_ros", reason="tf2_ros comes with a ROS installation")
    assert issubclass(tf2_ros.TransformException, Exception)
    for kind, double in ((tf2_ros.Buffer, Buffer), (tf2_ros.TransformListener, TransformListener)):
        for name in set(vars(double)) & {"lookup_transform", "clear", "unregister"}:
            assert callable(getattr(kind, name))
