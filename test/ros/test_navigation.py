"""Clouds for a costmap from the real node over real DDS."""

import importlib.util

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header
from support.engines import SIZE, ThresholdEngine, threshold_segmenter
from support.graph import Graph, header_at, next_domain, stamp_of, wait_for

from csknet_core.errors import ConfigError
from csknet_core.modality import Modality, Reason
from csknet_core.runtime.ground import Intrinsics, Mount, ground_points
from csknet_core.runtime.registration import Homography
from csknet_ros.navigation import cloud_message, intrinsics_from
from csknet_ros.segmentation_node import SegmentationNode

MOUNT = {"height": 1.2, "pitch": 0.5, "x": 0.3}
PARAMETERS = {
    "navigation.frame": "base_link",
    "navigation.max_range": 50.0,
    **{f"navigation.{name}": value for name, value in MOUNT.items()},
}
FOCAL = 60.0
POINTS = ground_points(
    Intrinsics(FOCAL, FOCAL, SIZE[1] / 2, SIZE[0] / 2, SIZE[1], SIZE[0]), Mount(**MOUNT), 50.0
)


def camera_info(stamp_ns: int, size=SIZE) -> CameraInfo:
    info = CameraInfo(header=header_at(stamp_ns, "thermal_optical"), height=size[0], width=size[1])
    info.k = [FOCAL, 0.0, size[1] / 2, 0.0, FOCAL, size[0] / 2, 0.0, 0.0, 1.0]
    return info


def points_of(cloud: PointCloud2) -> np.ndarray:
    assert [(f.name, f.offset, f.datatype) for f in cloud.fields] == [
        ("x", 0, 7), ("y", 4, 7), ("z", 8, 7)
    ]  # fmt: skip
    assert cloud.row_step == cloud.point_step * cloud.width
    assert len(cloud.data) == cloud.row_step * cloud.height
    flat = np.frombuffer(cloud.data, np.float32).reshape(cloud.height, cloud.width, -1)
    return flat[..., :3]


class Clouds:
    """Subscriptions to the three clouds of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.got: dict[str, list[PointCloud2]] = {"obstacles": [], "clear": [], "points": []}
        for name, messages in self.got.items():
            graph.cameras.create_subscription(
                PointCloud2, f"csknet/{name}", messages.append, QoSProfile(depth=10)
            )
        publishers = graph.node._navigation._publishers
        wait_for(lambda: all(publishers[name].get_subscription_count() for name in self.got))

    def wait(self) -> dict[str, PointCloud2]:
        wait_for(lambda: all(self.got.values()))
        return {name: messages[-1] for name, messages in self.got.items()}


def test_obstacles_stand_where_their_lowest_pixels_meet_the_ground():
    with Graph(**PARAMETERS) as graph:
        clouds = Clouds(graph)
        graph.give_intrinsics(camera_info(graph.stamp(0)))
        graph.publish_pair(0)
        got = clouds.wait()
        for cloud in got.values():
            assert stamp_of(cloud.header) == graph.stamp(0)
            assert cloud.header.frame_id == "base_link"
        # The person of the test image fills rows 16 to 31 of columns 16 to 47.
        expected = POINTS[31, 16:48]
        assert np.allclose(points_of(got["obstacles"])[0], expected[np.isfinite(expected[:, 0])])
        assert got["obstacles"].is_dense
        clear = points_of(got["clear"])[0]
        under_the_person = POINTS[32, 16:48]
        for point in under_the_person[np.isfinite(under_the_person[:, 0])]:
            assert np.abs(clear - point).max(1).min() < 1e-5
        organised = points_of(got["points"])
        assert organised.shape == (*SIZE, 3)
        # The person's body is above the ground; it stands on row 31.
        on_the_ground = POINTS.copy()
        on_the_ground[16:31, 16:48] = np.nan
        assert np.allclose(organised, on_the_ground, equal_nan=True)
        assert not got["points"].is_dense


def test_the_cost_grid_is_around_the_robot_and_marks_the_person():
    parameters = {
        **PARAMETERS,
        "navigation.grid_size": 20.0,
        "navigation.grid_resolution": 0.25,
        "navigation.class_costs": "person:90",
    }
    with Graph(**parameters) as graph:
        grids = graph.cost_grids(camera_info(graph.stamp(0)))
        graph.publish_pair(0)
        wait_for(lambda: bool(grids))
        (grid,) = grids
        assert grid.header.frame_id == "base_link"
        assert stamp_of(grid.header) == graph.stamp(0)
        assert (grid.info.width, grid.info.height) == (80, 80)
        assert (grid.info.origin.position.x, grid.info.origin.position.y) == (-10.0, -10.0)
        assert grid.info.origin.orientation.w == 1.0
        cells = np.array(grid.data, np.int8).reshape(80, 80)
        feet = POINTS[31, 16:48]
        columns, rows = ((feet[:, :2] + 10) / grid.info.resolution).astype(int).T
        assert (cells[rows, columns] == 90).all()
        assert set(np.unique(cells)) == {-1, 0, 90}
        assert np.count_nonzero(cells == 90) == len(set(zip(rows, columns, strict=True)))


def test_without_camera_info_there_are_answers_but_no_points():
    with Graph(**PARAMETERS) as graph:
        clouds = Clouds(graph)
        graph.send(0)
        graph.give_intrinsics(camera_info(graph.stamp(0), (32, 48)))
        graph.send(1)
        wait_for(lambda: len(graph.label_maps) == 2)
        assert not any(clouds.got.values())


def test_an_answer_on_rgbs_grid_is_projected_with_rgbs_intrinsics():
    """Aligned cameras whose thermal image is damaged; RGB has twice the focal length in x."""
    silhouette = np.zeros((*SIZE, 3), np.uint8)
    silhouette[16:32, 16:48] = 255
    with Graph(**PARAMETERS) as graph:
        clouds = Clouds(graph)
        graph.give_intrinsics(camera_info(graph.stamp(0)))
        graph.publish_rgb(0, silhouette)
        graph.publish_thermal(0, data=[])
        assert graph.status_at(0).reason == Reason.THERMAL_INVALID.value
        longer = camera_info(graph.stamp(1))
        longer.k[0] = 2 * FOCAL
        graph.give_intrinsics(longer, Modality.OPTICAL)
        graph.publish_rgb(1, silhouette)
        graph.publish_thermal(1, data=[])
        obstacles = clouds.wait()["obstacles"]
        # Nothing of the frame before: of RGB's intrinsics nothing was known then.
        assert {stamp_of(m.header) for got in clouds.got.values() for m in got} == {graph.stamp(1)}
        camera = Intrinsics(2 * FOCAL, FOCAL, SIZE[1] / 2, SIZE[0] / 2, SIZE[1], SIZE[0])
        feet = ground_points(camera, Mount(**MOUNT), 50.0)[31, 16:48]
        assert np.allclose(points_of(obstacles)[0], feet[np.isfinite(feet[:, 0])])


def test_a_fallback_lowers_confidence_as_asked():
    with Graph(**{"fallback_confidence_scale": 0.5}) as graph:
        graph.send(0)
        graph.send(1, rgb=False)
        wait_for(lambda: len(graph.confidences) == 2)
        values = [np.unique(np.frombuffer(graph.confidences[graph.stamp(i)].data, np.uint8))
                  for i in (0, 1)]  # fmt: skip
        assert [v.tolist() for v in values] == [[200], [100]]


def test_an_unknown_class_name_fails_configure_and_leaves_nothing_behind():
    parameters = {**PARAMETERS, "navigation.obstacle_classes": "person, unicorn"}
    with Graph(activate=False, **parameters) as graph:
        assert graph.change("configure") == TransitionCallbackReturn.FAILURE
        assert graph.node._segmenter is None
        assert graph.node._outputs is None
        assert graph.engine.closed


def test_a_camera_that_is_not_calibrated_says_so():
    info = camera_info(0)
    info.k = [0.0] * 9
    with pytest.raises(ConfigError, match="calibrate"):
        intrinsics_from(info)
    fisheye = camera_info(0)
    fisheye.distortion_model, fisheye.d = "equidistant", [0.1, 0.0, 0.0, 0.0]
    with pytest.raises(ConfigError, match="equidistant"):
        intrinsics_from(fisheye)


@pytest.mark.parametrize("d", [[0.1], [0.1, 0.0, 0.0], [0.1] * 13, [0.1, 0.0, float("nan"), 0.0]])
def test_distortion_that_opencv_cannot_take_is_refused(d):
    info = camera_info(0)
    info.distortion_model, info.d = "plumb_bob", d
    with pytest.raises(ConfigError, match="4, 5, 8, 12 or 14 numbers"):
        intrinsics_from(info)


def test_zeros_are_no_distortion_however_many_there_are():
    info = camera_info(0)
    info.d = [0.0] * 3
    assert intrinsics_from(info).distortion == ()


def test_intrinsics_that_cannot_be_used_cost_the_points_and_name_their_topic(capfd):
    with Graph(**PARAMETERS) as graph:
        grids = graph.cost_grids(camera_info(graph.stamp(0)))
        info = camera_info(graph.stamp(0))
        info.distortion_model, info.d = "plumb_bob", [0.1, 0.2]
        graph.give_intrinsics(info)
        assert graph.send(0).answered
        graph.give_intrinsics(camera_info(graph.stamp(1)))
        assert graph.send(1).answered
        wait_for(lambda: bool(grids))
        assert [stamp_of(grid.header) for grid in grids] == [graph.stamp(1)]
        assert [stamp for stamp, _ in graph.statuses] == [graph.stamp(0), graph.stamp(1)]
    assert "no points for the costmap: /thermal/camera_info: " in capfd.readouterr().err


def test_an_output_that_fails_is_logged_and_the_frame_keeps_its_one_status(capfd, monkeypatch):
    def fail(*_):
        raise cv2.error("matrix is singular")

    with Graph(**PARAMETERS) as graph:
        monkeypatch.setattr(graph.node._navigation, "publish", fail)
        assert graph.send(0).answered
        assert graph.send(1).answered
        wait_for(lambda: len(graph.label_maps) == 2)
        assert [stamp for stamp, _ in graph.statuses] == [graph.stamp(0), graph.stamp(1)]
        assert graph.node._statistics._drops == {}
    log = capfd.readouterr().err
    assert "frame answered, but not all its outputs: error: matrix is singular" in log


def test_the_missing_intrinsics_are_those_of_the_grids_camera(tmp_path, capfd):
    path = tmp_path / "cameras.yaml"
    Homography(np.eye(3), SIZE, SIZE).save(path)
    grid = {"registration.file": str(path), "registration.grid": "optical"}
    with Graph(**PARAMETERS, **grid) as graph:
        Clouds(graph)
        assert graph.send(0).answered
    assert "no camera_info came: publish /rgb/camera_info" in capfd.readouterr().err


def test_points_made_while_the_process_is_interrupted_are_not_an_error():
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    overrides = [Parameter(name, value=value) for name, value in PARAMETERS.items()]
    node = SegmentationNode(
        threshold_segmenter(ThresholdEngine()), context=context, parameter_overrides=overrides
    )
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    navigation = node._navigation
    rclpy.try_shutdown(context=context)
    navigation._send("points", PointCloud2())
    node.destroy_node()


def test_an_empty_cloud_is_a_valid_message():
    cloud = cloud_message(Header(), np.empty((1, 0, 3), np.float32))
    assert (cloud.height, cloud.width, len(cloud.data)) == (1, 0, 0)


@pytest.mark.parametrize("name", ["nav2_example.yaml", "nav2_semantic_layer.yaml"])
def test_the_nav2_examples_set_parameters_that_exist(repository, name):
    example = yaml.safe_load((repository / "config" / name).read_text())
    ours = example["/**"]["csknet"]["ros__parameters"]
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    arguments = ["--ros-args", "--params-file", str(repository / "config" / name)]
    node = SegmentationNode(context=context, namespace="robot1", cli_args=arguments)
    for name, value in ours["navigation"].items():
        assert node.get_parameter(f"navigation.{name}").value == value
    scale = node.get_parameter("fallback_confidence_scale").value
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    assert scale == ours["fallback_confidence_scale"]


def test_the_nav2_examples_name_topics_the_node_publishes(repository):
    def layer(name: str) -> dict:
        example = yaml.safe_load((repository / "config" / name).read_text())
        return example["local_costmap"]["local_costmap"]["ros__parameters"]["csknet_layer"]

    obstacles, semantic = layer("nav2_example.yaml"), layer("nav2_semantic_layer.yaml")["csknet"]
    with Graph(**PARAMETERS) as graph:
        published = dict(graph.cameras.get_topic_names_and_types())
        names = graph.node._segmenter.classes.names
    for source in obstacles["observation_sources"].split():
        (kind,) = published[obstacles[source]["topic"]]
        assert kind.endswith(obstacles[source]["data_type"])
    topics = {"segmentation": "Image", "confidence": "Image", "pointcloud": "PointCloud2"}
    if importlib.util.find_spec("vision_msgs"):
        topics["labels"] = "LabelInfo"
    for topic, kind in topics.items():
        assert published[semantic[f"{topic}_topic"]] == [
            f"{'vision' if kind == 'LabelInfo' else 'sensor'}_msgs/msg/{kind}"
        ]
    used = [name for kind in semantic["class_types"] for name in semantic[kind]["classes"]]
    assert sorted(used) == sorted(names)
