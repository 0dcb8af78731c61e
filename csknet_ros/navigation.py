"""Outputs for a costmap: where obstacles stand, what is clear, ground points, a grid of costs."""

from __future__ import annotations

import sys
from array import array
from typing import NamedTuple

import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import Header

from csknet_core.classes import ClassTable
from csknet_core.errors import ConfigError, CsknetError, ImageError
from csknet_core.runtime.cost_grid import CostGridSettings, class_costs
from csknet_core.runtime.costmap import CostmapFrame, GroundProjection, Pixels, Roles
from csknet_core.runtime.depth import DepthFrame, depth_points
from csknet_core.runtime.ground import Intrinsics, NavigationSettings
from csknet_ros.depth_input import DepthInput
from csknet_ros.mount import open_mount
from csknet_ros.parameters import NodeSettings
from csknet_ros.publishing import send

_CLOUDS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_POINT_STEP = 12
"""As many as OpenCV takes; it raises at any other number."""


class GridCamera(NamedTuple):
    """The camera whose pixels a label map is on: where its intrinsics come from, and they."""

    topic: str
    info: CameraInfo | None


class NavigationOutputs:
    """Publishers of three clouds and a grid; each is made when subscribed to.

    | topic         | on flat ground                              | with depth images            |
    |---------------|---------------------------------------------|------------------------------|
    | `~/obstacles` | points where obstacles stand, to mark cells | all measured obstacle pixels |
    | `~/clear`     | end of the clear ground in every image column, to clear cells by ray       |
    | `~/points`    | organised cloud on the label map's grid: where a pixel's ray meets the     |
    |               | ground                                      | what was measured            |
    | `~/cost_grid` | nav_msgs/OccupancyGrid around the robot with a cost for every class        |

    The first three are sensor_msgs/PointCloud2 of x, y, z. All are in `settings.frame` with the
    frame's stamp. In `~/points` pixels without a point are NaN: on flat ground also the body of an
    obstacle, which is above it; the pixels it stands on are not.

    Args:
        node: publishes in its name.
        classes: class table of the label maps.
        settings: what to publish.
        grid: the grid of costs.

    Raises:
        ConfigError: a class name is not in the table, or tf2 is asked for and not installed.
    """

    def __init__(
        self,
        node: Node,
        classes: ClassTable,
        settings: NavigationSettings,
        grid: CostGridSettings,
    ) -> None:
        self._node = node
        self._settings = settings
        self._grid_settings = grid
        obstacles = tuple(classes.id_of(name) for name in settings.obstacles or classes.names[1:])
        clear = tuple(classes.id_of(name) for name in settings.clear)
        costs = class_costs(classes.names, grid.costs or {}, obstacles, clear)
        self._roles = Roles(obstacles, clear, costs)
        self._intrinsics: Intrinsics | None = None
        self._rays: NDArray[np.float64] = np.empty((0, 0, 3))
        self._ground = GroundProjection(settings.max_range, grid)
        self._depth: DepthInput | None = None
        self._mount = open_mount(node, settings)
        self._publishers = {
            name: node.create_publisher(PointCloud2, f"~/{name}", _CLOUDS)
            for name in ("obstacles", "clear", "points")
        }
        self._publishers["cost_grid"] = node.create_publisher(OccupancyGrid, "~/cost_grid", _CLOUDS)

    def start(self, settings: NodeSettings) -> None:
        """Subscribe to depth images, if they are used."""
        if self._settings.depth == "depth_image":
            self._depth = DepthInput(self._node, settings)

    def apply(self, settings: NodeSettings) -> None:
        """Put live settings in force."""
        if self._depth is not None:
            self._depth.settings = settings

    def stop(self) -> None:
        """Unsubscribe."""
        depth, self._depth = self._depth, None
        if depth is not None:
            depth.close()

    def publish(
        self,
        camera: Header,
        depth_stamp_ns: int,
        labels: NDArray[np.uint8],
        confidence: NDArray[np.uint8],
        grid: GridCamera,
    ) -> str:
        """Publish what somebody subscribes to.

        Args:
            camera: header of the label map: stamp and optical frame.
            depth_stamp_ns: stamp that the depth image must be near to.
            labels: (H, W) class ids.
            confidence: (H, W), 255 is certain.
            grid: the camera whose pixels the label map is on.

        Returns:
            Why nothing could be published, "" if it could.
        """
        wanted = [n for n, p in self._publishers.items() if p.get_subscription_count()]
        if not wanted:
            return ""
        sure = confidence >= 255 * self._settings.least_confidence
        try:
            intrinsics = self._look_through(labels, grid)
            frame = self._frame(
                Pixels(labels, sure, self._roles), intrinsics, camera, depth_stamp_ns
            )
        except CsknetError as error:
            return str(error)
        header = Header(stamp=camera.stamp, frame_id=self._settings.frame)
        if "obstacles" in wanted:
            self._send("obstacles", cloud_message(header, frame.obstacles()[None]))
        if "clear" in wanted:
            self._send("clear", cloud_message(header, frame.clear()[None]))
        if "points" in wanted:
            self._send("points", cloud_message(header, frame.points()))
        if "cost_grid" in wanted:
            self._send("cost_grid", grid_message(header, frame.cells(), self._grid_settings))
        return ""

    def close(self) -> None:
        """Destroy the publishers and forget the camera."""
        self.stop()
        self._mount.close()
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def _send(self, name: str, message: PointCloud2 | OccupancyGrid) -> None:
        send(self._node, self._publishers[name], message)

    def _look_through(self, labels: NDArray[np.uint8], grid: GridCamera) -> Intrinsics:
        """Return the camera of a label map; its rays are made once.

        Raises:
            ConfigError: it is unknown, not calibrated or of another size.
        """
        info, topic = grid.info, self._node.resolve_topic_name(grid.topic)
        if info is None:
            raise ConfigError(f"no camera_info came: publish {topic} to get points on the ground")
        if (info.height, info.width) != labels.shape:
            raise ConfigError(
                f"{topic} is of {info.width}x{info.height} pixels, the label map of "
                f"{labels.shape[1]}x{labels.shape[0]}; they must be one grid"
            )
        try:
            intrinsics = intrinsics_from(info)
        except ConfigError as error:
            raise ConfigError(f"{topic}: {error}") from error
        if intrinsics != self._intrinsics:
            self._intrinsics, self._rays = intrinsics, intrinsics.rays()
        return intrinsics

    def _frame(
        self, pixels: Pixels, intrinsics: Intrinsics, camera: Header, depth_stamp_ns: int
    ) -> CostmapFrame:
        """Return where the pixels of an answer are.

        Raises:
            PoseError, ImageError: that cannot be known for this frame.
        """
        settings, depth = self._settings, self._depth
        if settings.depth == "ground":
            pose = self._mount.pose(camera.frame_id, camera.stamp)
            return self._ground.frame(pixels, intrinsics, self._rays, pose)
        if depth is None:
            raise ImageError("the node is being deactivated")
        image = depth.nearest(depth_stamp_ns)
        # Depth first: while it is waited for, transforms come in, too.
        pose = self._mount.pose(camera.frame_id, camera.stamp)
        points = depth_points(self._rays, pose, image, settings.max_range)
        return DepthFrame(
            pixels, points, self._grid_settings, settings.clear_height, settings.stride
        )


def intrinsics_from(info: CameraInfo) -> Intrinsics:
    """Read a sensor_msgs/CameraInfo of a raw (not rectified) image.

    Raises:
        ConfigError: the camera is not calibrated, or has a distortion model other than plumb_bob
            and rational_polynomial, or coefficients of neither.
    """
    size = info.height, info.width
    return Intrinsics.from_calibration(info.k, info.d, info.distortion_model, size)


def grid_message(
    header: Header, cells: NDArray[np.int8], settings: CostGridSettings
) -> OccupancyGrid:
    """Return cells (rows, columns) int8 as a grid with the frame of the header in its middle."""
    message = OccupancyGrid(header=header)
    message.info.map_load_time = header.stamp
    message.info.resolution = settings.resolution
    message.info.height, message.info.width = cells.shape
    message.info.origin.position.x = message.info.origin.position.y = -settings.size / 2
    message.info.origin.orientation.w = 1.0
    data = array("b")
    data.frombytes(np.ascontiguousarray(cells).tobytes())
    message.data = data
    return message


def cloud_message(header: Header, points: NDArray[np.float32]) -> PointCloud2:
    """Return points (H, W, 3) float32 as a cloud of that height and width."""
    height, width = points.shape[:2]
    data = array("B")
    data.frombytes(np.ascontiguousarray(points).view(np.uint8).data if points.size else b"")
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=[
            PointField(name=axis, offset=4 * index, datatype=PointField.FLOAT32, count=1)
            for index, axis in enumerate("xyz")
        ],
        is_bigendian=sys.byteorder == "big",
        point_step=_POINT_STEP,
        row_step=_POINT_STEP * width,
        data=data,
        is_dense=bool(np.isfinite(points).all()),
    )
