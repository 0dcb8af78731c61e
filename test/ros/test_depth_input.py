"""Clouds from depth images: the real node over real DDS."""

import numpy as np
import pytest
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from support.engines import SIZE
from support.graph import START_NS, Graph, header_at, optical_image, stamp_of, wait_for

from csknet_core.modality import Modality, Reason
from csknet_core.runtime.depth import depth_points, to_metres
from csknet_core.runtime.ground import Intrinsics, Mount, ground_points
from csknet_ros.depth_input import depth_stamp_ns
from csknet_ros.frames import FrameSet, Stamped
from csknet_ros.images import fill_message

FOCAL = 60.0
CAMERA = Intrinsics(FOCAL, FOCAL, SIZE[1] / 2, SIZE[0] / 2, SIZE[1], SIZE[0])
MOUNT = Mount(height=1.2, pitch=0.5)
PARAMETERS = {
    "navigation.frame": "base_link",
    "navigation.height": MOUNT.height,
    "navigation.pitch": MOUNT.pitch,
    "navigation.depth": "depth_image",
    "navigation.max_range": 20.0,
}
MS = 1_000_000


def floor_and_person() -> np.ndarray:
    """Depth in metres: flat ground, and where the test images' person is, a wall 2 m ahead."""
    rays = CAMERA.rays()
    ground = ground_points(CAMERA, MOUNT, 20.0) - (0.0, 0.0, MOUNT.height)
    depth = (ground @ MOUNT.rotation())[..., 2]
    wall = 2.0 / (rays @ MOUNT.rotation().T)[..., 0]
    depth[16:32, 16:48] = wall[16:32, 16:48]
    return np.nan_to_num(depth).astype(np.float32)


DEPTH = floor_and_person()
POINTS = depth_points(CAMERA.rays(), MOUNT, to_metres(DEPTH), 20.0)


class Rig:
    """A graph with a depth camera, and what comes out for a costmap."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.depth = graph.cameras.create_publisher(Image, "depth/image", QoSProfile(depth=50))
        self.got: dict[str, dict[int, object]] = {
            name: {} for name in ("obstacles", "clear", "points", "cost_grid")
        }
        for name, messages in self.got.items():
            graph.cameras.create_subscription(
                OccupancyGrid if name == "cost_grid" else PointCloud2,
                f"csknet/{name}",
                lambda m, messages=messages: messages.__setitem__(stamp_of(m.header), m),
                QoSProfile(depth=10),
            )
        publishers = graph.node._navigation._publishers
        wait_for(lambda: all(publishers[name].get_subscription_count() for name in self.got))
        wait_for(self.depth.get_subscription_count)
        info = CameraInfo(header=header_at(START_NS, "thermal_optical"))
        info.height, info.width = SIZE
        info.k = [FOCAL, 0.0, SIZE[1] / 2, 0.0, FOCAL, SIZE[0] / 2, 0.0, 0.0, 1.0]
        graph.give_intrinsics(info)

    @property
    def kept(self):
        return self.graph.node._navigation._depth._images

    def send_depth(self, index: float, image=DEPTH, encoding="32FC1", **changes) -> None:
        """Publish a depth image and wait until the node has it."""
        message = Image(header=header_at(self.graph.stamp(index), "thermal_optical"))
        fill_message(message, image, encoding)
        for name, value in changes.items():
            setattr(message, name, value)
        self.depth.publish(message)
        wait_for(lambda: any(i.stamp_ns == self.graph.stamp(index) for i in self.kept))

    def wait(self, index: float) -> dict[str, object]:
        """Return what was published for a frame, once all of it has come."""
        stamp = self.graph.stamp(index)
        wait_for(lambda: all(stamp in messages for messages in self.got.values()))
        return {name: messages[stamp] for name, messages in self.got.items()}

    def stamps(self) -> set[int]:
        return {stamp for messages in self.got.values() for stamp in messages}


def points_of(cloud: PointCloud2) -> np.ndarray:
    return np.frombuffer(cloud.data, np.float32).reshape(cloud.height, cloud.width, 3)


@pytest.mark.parametrize(("encoding", "tolerance"), [("32FC1", 1e-4), ("16UC1", 0.005)])
def test_outputs_are_at_the_measured_points(encoding, tolerance):
    with Graph(**PARAMETERS) as graph:
        rig = Rig(graph)
        image = DEPTH if encoding == "32FC1" else np.rint(DEPTH * 1000).astype(np.uint16)
        rig.send_depth(0, image, encoding)
        graph.send(0)
        got = rig.wait(0)
        assert all(message.header.frame_id == "base_link" for message in got.values())
        assert np.allclose(points_of(got["points"]), POINTS, atol=tolerance, equal_nan=True)
        obstacles = points_of(got["obstacles"])[0]
        assert obstacles.shape == (16 * 32, 3)  # all of the person, not only its feet
        assert np.allclose(obstacles[:, 0], 2.0, atol=tolerance)
        assert np.ptp(obstacles[:, 2]) > 0.3
        clear = points_of(got["clear"])[0]
        assert np.abs(clear[:, 2]).max() < 0.01
        assert clear[:, 0].max() > 3.0
        cells = np.array(got["cost_grid"].data, np.int8).reshape(80, 80)
        assert cells[40, 60] == 100  # 2 m ahead
        assert 0 in cells


def test_obstacles_are_thinned_as_asked():
    with Graph(**{**PARAMETERS, "navigation.obstacle_stride": 4}) as graph:
        rig = Rig(graph)
        rig.send_depth(0)
        graph.send(0)
        assert points_of(rig.wait(0)["obstacles"]).shape == (1, 4 * 8, 3)


def test_the_nearest_depth_image_within_the_slop_is_taken():
    with Graph(**{**PARAMETERS, "sync.slop": 0.03}) as graph:
        rig = Rig(graph)
        for offset, scale in ((-0.25, 0.25), (0.1, 1.0), (0.28, 0.5)):
            rig.send_depth(offset, DEPTH * np.float32(scale))
        graph.send(0)
        points = points_of(rig.wait(0)["points"])
        assert np.allclose(points, POINTS, atol=1e-4, equal_nan=True)


def test_a_depth_image_that_comes_after_the_answer_is_waited_for():
    with Graph(**{**PARAMETERS, "sync.max_wait": 5.0}) as graph:
        rig = Rig(graph)
        graph.publish_pair(0)
        graph.publish_rgb(1)  # no nearer partner can come: the frame is decided at once
        wait_for(lambda: graph.stamp(0) in graph.label_maps)
        rig.send_depth(0)
        rig.wait(0)


def test_without_depth_for_a_frame_it_is_answered_and_nothing_is_made_up(capfd):
    with Graph(**{**PARAMETERS, "sync.slop": 0.03, "sync.max_wait": 0.0}) as graph:
        rig = Rig(graph)
        graph.send(0)
        rig.send_depth(1)
        graph.send(3)
        rig.send_depth(4)
        graph.send(4)
        rig.wait(4)
        assert rig.stamps() == {graph.stamp(4)}
        wait_for(lambda: len(graph.label_maps) == 3)
        wait_for(lambda: any("frames_without_points" in values(d) for d in graph.diagnostics))
        last = values(graph.diagnostics[-1])
        assert last["frames_without_points"] == "2"
        assert "the nearest is -200 ms off" in last["points_problem"]
    log = capfd.readouterr().err
    # Said once in five seconds, not for every frame.
    assert log.count("no points for the costmap") == 1
    assert "no depth image came on /depth/image" in log


def values(message) -> dict[str, str]:
    (status,) = message.status
    return {entry.key: entry.value for entry in status.values}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image": DEPTH[::2, ::2]}, "the depth image is of 48x32 pixels, the label map of 96x64"),
        ({"image": np.zeros(SIZE, np.uint8), "encoding": "mono8"}, "'mono8' is no depth image"),
        ({"encoding": "32FC1", "height": 6400}, "cut short"),
        ({"encoding": "32FC1", "height": 0}, "empty"),
        ({"encoding": "32FC1", "height": 4_000_000}, "more than"),
    ],
)
def test_a_depth_image_that_cannot_be_used_costs_one_frame_its_points(change, text):
    with Graph(**PARAMETERS) as graph:
        rig = Rig(graph)
        rig.send_depth(0, **change)
        status = graph.send(0)
        assert status.answered
        wait_for(lambda: any("points_problem" in values(d) for d in graph.diagnostics))
        assert text in values(graph.diagnostics[-1])["points_problem"]
        rig.send_depth(1)
        graph.send(1)
        rig.wait(1)
        assert rig.stamps() == {graph.stamp(1)}


def test_pixels_without_a_measurement_have_no_point():
    holes = DEPTH.copy()
    holes[40, :4] = (np.nan, np.inf, -1.0, 0.0)
    with Graph(**PARAMETERS) as graph:
        rig = Rig(graph)
        rig.send_depth(0, holes)
        graph.send(0)
        points = points_of(rig.wait(0)["points"])
        assert np.isnan(points[40, :4]).all()
        assert np.isfinite(points[40, 5]).all()


def test_an_image_of_holes_only_gives_empty_clouds():
    with Graph(**PARAMETERS) as graph:
        rig = Rig(graph)
        rig.send_depth(0, np.zeros(SIZE, np.float32))
        graph.send(0)
        got = rig.wait(0)
        assert np.isnan(points_of(got["points"])).all()
        assert points_of(got["obstacles"]).size == points_of(got["clear"]).size == 0
        assert set(got["cost_grid"].data) == {-1}


def test_depth_images_kept_are_bounded_and_let_go_of_when_inactive():
    with Graph(**{**PARAMETERS, "sync.queue_size": 4}) as graph:
        rig = Rig(graph)
        for index in range(10):
            rig.send_depth(index)
        assert [image.stamp_ns for image in rig.kept] == [graph.stamp(i) for i in range(6, 10)]
        graph.change("deactivate")
        assert graph.node._navigation._depth is None
        assert not [s for s in graph.node.subscriptions if s.topic_name == "/depth/image"]
        graph.change("activate")
        graph.wait_for_cameras()
        assert not rig.kept


def test_a_bag_that_loops_is_followed():
    with Graph(**PARAMETERS) as graph:
        rig = Rig(graph)
        for index in (100, 0):
            rig.send_depth(index)
            graph.publish_rgb(index, optical_image())
            graph.send(index, rgb=False)
            rig.wait(index)


# The stamp that counts


def frame_set(thermal_ns: int | None, optical_ns: int | None) -> FrameSet:
    thermal = None if thermal_ns is None else Stamped(thermal_ns, 0, None)
    optical = None if optical_ns is None else Stamped(optical_ns, 0, None)
    primary = Modality.OPTICAL if thermal is None else Modality.THERMAL
    return FrameSet(primary, thermal, optical, Reason.OK, 0)


@pytest.mark.parametrize(
    ("thermal", "optical", "grid", "expected"),
    [(100, 120, "thermal", 100), (100, None, "thermal", 100), (None, 120, "thermal", 120),
     (100, 120, "optical", 120), (100, None, "optical", 100)],
)  # fmt: skip
def test_the_stamp_of_the_grids_camera_counts(thermal, optical, grid, expected):
    frame, camera, of_thermal = frame_set(thermal, optical), Modality(grid), expected == 100
    assert depth_stamp_ns(frame, camera, 0) == expected
    assert depth_stamp_ns(frame, camera, 10 * MS) == expected + 10 * MS * of_thermal
