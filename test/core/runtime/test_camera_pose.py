import math

import numpy as np
import pytest

from csknet_core.errors import ConfigError, PoseError
from csknet_core.runtime.camera_pose import OpticalPose
from csknet_core.runtime.cost_grid import CostGrid, CostGridSettings
from csknet_core.runtime.ground import Intrinsics, Mount, ground_points

CAMERA = Intrinsics(100.0, 100.0, 80.0, 60.0, 160, 120)
# As static_transform_publisher is given for an optical frame below a camera's body.
BODY_TO_OPTICAL = (-0.5, 0.5, -0.5, 0.5)


def product(a, b):
    """Hamilton product of quaternions x, y, z, w."""
    (ax, ay, az, aw), (bx, by, bz, bw) = a, b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def about(axis, angle):
    """Quaternion of a turn about x (0), y (1) or z (2)."""
    turn = [0.0, 0.0, 0.0, math.cos(angle / 2)]
    turn[axis] = math.sin(angle / 2)
    return tuple(turn)


def optical_pose(mount: Mount) -> OpticalPose:
    """The same pose as a tree of frames tells it: base, body (REP-103 rpy), optical frame."""
    body = product(product(about(2, mount.yaw), about(1, mount.pitch)), about(0, mount.roll))
    return OpticalPose(mount.x, mount.y, mount.height, product(body, BODY_TO_OPTICAL))


MOUNTS = [
    Mount(height=1.2),
    Mount(height=1.2, pitch=0.4),
    Mount(x=0.3, y=-0.2, height=0.9, pitch=0.3, yaw=0.7),
    Mount(height=1.0, pitch=0.2, roll=0.35),
    Mount(x=-0.1, y=0.4, height=1.5, roll=math.pi, pitch=-0.2, yaw=-2.4),
    Mount(height=2.0, roll=-math.pi / 2, pitch=0.3),
]


@pytest.mark.parametrize("mount", MOUNTS)
def test_a_transform_to_the_optical_frame_is_the_same_pose_as_the_parameters(mount):
    pose = optical_pose(mount)
    assert np.allclose(pose.rotation(), mount.rotation(), atol=1e-12)
    ours, theirs = ground_points(CAMERA, pose, 20.0), ground_points(CAMERA, mount, 20.0)
    assert np.allclose(ours, theirs, atol=1e-4, equal_nan=True)
    settings = CostGridSettings(size=12.0, resolution=0.25)
    grids = [CostGrid(CAMERA, where, 20.0, settings) for where in (pose, mount)]
    assert np.array_equal(grids[0]._index, grids[1]._index)


def test_the_optical_axes_of_a_level_camera_are_right_down_and_forward():
    rotation = OpticalPose(0, 0, 1, BODY_TO_OPTICAL).rotation()
    assert np.allclose(rotation @ (0, 0, 1), (1, 0, 0))  # forward
    assert np.allclose(rotation @ (1, 0, 0), (0, -1, 0))  # right
    assert np.allclose(rotation @ (0, 1, 0), (0, 0, -1))  # down


def test_a_camera_rolled_by_a_quarter_turn_has_its_right_side_down():
    rotation = Mount(roll=math.pi / 2).rotation()
    assert np.allclose(optical_pose(Mount(roll=math.pi / 2)).rotation(), rotation)
    assert np.allclose(rotation @ (1, 0, 0), (0, 0, -1))


def test_a_quaternion_of_rounded_numbers_still_makes_a_rotation():
    rotation = OpticalPose(0, 0, 1, (-0.501, 0.5, -0.5, 0.499)).rotation()
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("place", "orientation"),
    [
        ((0, 0, 1), (0.0, 0.0, 0.0, 0.0)),
        ((0, 0, 1), (0.0, 0.0, 0.0, 2.0)),
        ((0, 0, 1), (math.nan, 0.0, 0.0, 1.0)),
        ((math.inf, 0, 1), (0.0, 0.0, 0.0, 1.0)),
    ],
)
def test_numbers_that_make_no_pose_are_refused(place, orientation):
    with pytest.raises(ConfigError, match="quaternion"):
        OpticalPose(*place, orientation)


def test_a_camera_on_or_below_the_ground_has_no_ground_points():
    with pytest.raises(PoseError, match=r"z = -0\.1 m: it must be above the ground"):
        ground_points(CAMERA, OpticalPose(0, 0, -0.1, BODY_TO_OPTICAL))
