"""Outputs for a costmap: where obstacles stand, what is clear, ground points, a grid of costs."""

from __future__ import annotations

import sys
from array import array

import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import Header

from csknet_core.classes import ClassTable
from csknet_core.errors import ConfigError, CsknetError
from csknet_core.runtime.camera_pose import CameraPose
from csknet_core.runtime.cost_grid import CostGrid, CostGridSettings, class_costs
from csknet_core.runtime.ground import (
    Intrinsics,
    NavigationSettings,
    class_mask,
    clear_mask,
    contact_mask,
    meet_ground,
)
from csknet_ros.mount import open_mount

_CLOUDS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_POINT_STEP = 12


class NavigationOutputs:
    """Publishers of three clouds and a grid; each is made when subscribed to.

    | topic         | content                                                                    |
    |---------------|----------------------------------------------------------------------------|
    | `~/obstacles` | points where obstacles stand on the ground, to mark cells                  |
    | `~/clear`     | end of the clear ground in every image column, to clear cells by ray       |
    | `~/points`    | organised cloud on the label map's grid; NaN where a pixel sees no ground  |
    | `~/cost_grid` | nav_msgs/OccupancyGrid around the robot with a cost for every class        |

    The first three are sensor_msgs/PointCloud2 of x, y, z. All are in `settings.frame` with the
    frame's stamp. In `~/points` the body of an obstacle, which is above the ground, is NaN, too;
    the pixels it stands on are not.

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
        names = settings.obstacles or classes.names[1:]
        self._obstacle_ids = [classes.id_of(name) for name in names]
        self._clear_ids = [classes.id_of(name) for name in settings.clear]
        self._costs = class_costs(
            classes.names, grid.costs or {}, self._obstacle_ids, self._clear_ids
        )
        self._intrinsics: Intrinsics | None = None
        self._rays: NDArray[np.float64] = np.empty((0, 0, 3))
        self._pose: CameraPose | None = None
        self._points: NDArray[np.float32] = np.empty((0, 0, 3), np.float32)
        self._grid: CostGrid | None = None
        self._mount = open_mount(node, settings)
        self._publishers = {
            name: node.create_publisher(PointCloud2, f"~/{name}", _CLOUDS)
            for name in ("obstacles", "clear", "points")
        }
        self._publishers["cost_grid"] = node.create_publisher(OccupancyGrid, "~/cost_grid", _CLOUDS)

    def publish(
        self,
        camera: Header,
        labels: NDArray[np.uint8],
        confidence: NDArray[np.uint8],
        camera_info: CameraInfo | None,
    ) -> str:
        """Publish what somebody subscribes to.

        Args:
            camera: header of the label map: stamp and optical frame.
            labels: (H, W) class ids.
            confidence: (H, W), 255 is certain.
            camera_info: of the label map's grid, if known.

        Returns:
            Why nothing could be published, "" if it could.
        """
        wanted = [n for n, p in self._publishers.items() if p.get_subscription_count()]
        if not wanted:
            return ""
        try:
            intrinsics = self._look_through(labels, camera_info)
            self._place(self._mount.pose(camera.frame_id, camera.stamp))
        except CsknetError as error:
            return str(error)
        sure = confidence >= 255 * self._settings.least_confidence
        header = Header(stamp=camera.stamp, frame_id=self._settings.frame)
        obstacle = class_mask(labels, self._obstacle_ids)
        if "obstacles" in wanted:
            self._send("obstacles", header, contact_mask(obstacle & sure))
        if "clear" in wanted:
            self._send("clear", header, clear_mask(class_mask(labels, self._clear_ids) & sure))
        if "points" in wanted:
            body = obstacle & ~contact_mask(obstacle)
            points = np.where(body[..., None], np.float32(np.nan), self._points)
            self._publishers["points"].publish(cloud_message(header, points))
        if "cost_grid" in wanted:
            cells = self._cost_grid(intrinsics).fill(
                labels, sure, self._points, self._costs, self._obstacle_ids
            )
            message = grid_message(header, cells, self._grid_settings)
            self._publishers["cost_grid"].publish(message)
        return ""

    def close(self) -> None:
        """Destroy the publishers and forget the camera."""
        self._mount.close()
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def _send(self, name: str, header: Header, mask: NDArray[np.bool_]) -> None:
        points = self._points[mask]
        points = points[np.isfinite(points[:, 0])]
        self._publishers[name].publish(cloud_message(header, points[None]))

    def _look_through(self, labels: NDArray[np.uint8], info: CameraInfo | None) -> Intrinsics:
        """Return the camera of a label map; its rays are made once.

        Raises:
            ConfigError: it is unknown, not calibrated or of another size.
        """
        if info is None:
            raise ConfigError(
                "no camera_info came: publish thermal/camera_info to get points on the ground"
            )
        if (info.height, info.width) != labels.shape:
            raise ConfigError(
                f"camera_info is of {info.width}x{info.height} pixels, the label map of "
                f"{labels.shape[1]}x{labels.shape[0]}; they must be one grid"
            )
        intrinsics = intrinsics_from(info)
        if intrinsics != self._intrinsics:
            self._rays = intrinsics.rays()
            self._intrinsics, self._pose = intrinsics, None
        return intrinsics

    def _place(self, pose: CameraPose) -> None:
        """Make the ground points of a pose, once for as long as the camera does not move.

        Raises:
            PoseError: the camera is not above the ground.
        """
        if pose != self._pose:
            self._points = meet_ground(self._rays, pose, self._settings.max_range)
            self._pose, self._grid = pose, None

    def _cost_grid(self, intrinsics: Intrinsics) -> CostGrid:
        if self._grid is None:
            assert self._pose is not None
            self._grid = CostGrid(
                intrinsics, self._pose, self._settings.max_range, self._grid_settings
            )
        return self._grid


def intrinsics_from(info: CameraInfo) -> Intrinsics:
    """Read a sensor_msgs/CameraInfo of a raw (not rectified) image.

    Raises:
        ConfigError: the camera is not calibrated, or has a distortion model other than plumb_bob
            and rational_polynomial.
    """
    if any(info.d) and info.distortion_model not in ("plumb_bob", "rational_polynomial"):
        raise ConfigError(
            f"camera_info has distortion model '{info.distortion_model}'; use plumb_bob or "
            "rational_polynomial, or publish rectified images with no distortion"
        )
    fx, _, cx, _, fy, cy, *_ = (float(value) for value in info.k)
    return Intrinsics(fx, fy, cx, cy, info.width, info.height, tuple(float(v) for v in info.d))


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
