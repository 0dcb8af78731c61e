import math

import cv2
import numpy as np
import pytest

from csknet_core.data.synthetic.camera import Camera
from csknet_core.errors import ConfigError
from csknet_core.runtime.ground import (
    Intrinsics,
    Mount,
    class_mask,
    clear_mask,
    contact_mask,
    ground_points,
)


def known(pitch=0.12, yaw=0.0, height=1.3, size=(480, 640), focal=520.0):
    """A camera of the renderer, and the same one as a robot's."""
    rendered = Camera((0.0, height, 0.0), yaw, pitch, focal, size[1], size[0])
    # The renderer's principal point is the corner between the middle pixels.
    intrinsics = Intrinsics(focal, focal, size[1] / 2, size[0] / 2, size[1], size[0])
    return rendered, intrinsics, Mount(height=height, pitch=pitch, yaw=-yaw)


@pytest.mark.parametrize("yaw", [0.0, 0.3])
@pytest.mark.parametrize("pitch", [0.05, 0.2])
def test_points_agree_with_the_renderers_camera(pitch, yaw):
    rendered, intrinsics, mount = known(pitch, yaw)
    points = ground_points(intrinsics, mount)
    for forward, left in ((4.0, 0.0), (5.0, 1.0), (12.0, -3.0), (20.0, 2.0)):
        # Robot (forward, left, up) is the renderer's (-left, 0, forward), turned by yaw with it.
        world = np.array([[-left, 0.0, forward]])
        turned = rendered.to_camera(world)
        (pixel,) = rendered.to_pixels(turned)
        x, y = pixel
        if not (0 <= x < 639 and 0 <= y < 479):
            continue
        column, row = math.floor(x), math.floor(y)
        block = points[row : row + 2, column : column + 2, :2].astype(float)
        weights = np.array(
            [
                [(1 - (x - column)) * (1 - (y - row)), (x - column) * (1 - (y - row))],
                [(1 - (x - column)) * (y - row), (x - column) * (y - row)],
            ]
        )
        got = (block * weights[..., None]).sum((0, 1))
        tolerance = 0.05 if forward <= 5 else 0.02 * forward
        assert got == pytest.approx((forward, left), abs=tolerance)


def test_pixels_above_the_horizon_and_out_of_range_have_no_point():
    rendered, intrinsics, mount = known(pitch=0.1)
    points = ground_points(intrinsics, mount, max_range=8.0)
    horizon = math.floor(rendered.horizon)
    assert np.isnan(points[: horizon + 1]).all()
    seen = np.isfinite(points[..., 0])
    assert np.hypot(points[seen][:, 0], points[seen][:, 1]).max() <= 8.0
    assert seen[-1].any()
    assert (points[seen][:, 2] == 0).all()


def test_roll_tilts_the_ground_line_and_the_mount_shifts_the_points():
    _, intrinsics, _ = known()
    level = ground_points(intrinsics, Mount(height=1.0, pitch=0.2))
    shifted = ground_points(intrinsics, Mount(x=0.5, y=-0.2, height=1.0, pitch=0.2))
    seen = np.isfinite(level[..., 0])
    assert np.allclose(shifted[seen] - level[seen], (0.5, -0.2, 0), atol=1e-4)
    rolled = ground_points(intrinsics, Mount(height=1.0, pitch=0.2, roll=0.1))
    # A camera rolled to its right has the ground nearer on the image's left... or farther:
    # the row of a fixed distance differs between the left and the right edge.
    rows = [np.nanargmin(np.abs(rolled[:, column, 0] - 4.0)) for column in (20, 620)]
    assert abs(rows[0] - rows[1]) > 20


def test_distortion_is_undone():
    bent = Intrinsics(520, 520, 320, 240, 640, 480, (-0.25, 0.08, 0.001, -0.002, 0.0))
    mount = Mount(height=1.0, pitch=0.2)
    points = ground_points(bent, mount)
    matrix = np.array([[520, 0, 320], [0, 520, 240], [0, 0, 1.0]])
    pixels = [(20, 470), (600, 400), (320, 300)]
    seen = np.array([points[row, column] for column, row in pixels], np.float64)
    optical = (seen - (0, 0, 1.0)) @ mount.rotation()
    again, _ = cv2.projectPoints(
        optical, np.zeros(3), np.zeros(3), matrix, np.array(bent.distortion)
    )
    assert np.allclose(again.reshape(-1, 2), pixels, atol=0.2)


@pytest.mark.parametrize("bad", [{"fx": 0.0}, {"fy": -1.0}, {"width": 0}])
def test_an_uncalibrated_camera_is_an_error(bad):
    values = {"fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, "width": 4, "height": 4, **bad}
    with pytest.raises(ConfigError, match="calibrate"):
        Intrinsics(**values)


def test_a_camera_below_the_ground_is_an_error():
    with pytest.raises(ConfigError, match="above the ground"):
        Mount(height=0.0)


def column(text: str) -> np.ndarray:
    """One column from top to bottom, # is set, as a (H, 1) mask."""
    return np.array([[c == "#"] for c in text])


def test_contacts_are_the_lowest_pixels_of_tall_enough_runs():
    got = contact_mask(column("..###..##...####"), least_height=3)
    assert np.flatnonzero(got).tolist() == [4, 15]
    assert np.flatnonzero(contact_mask(column("#..#"), least_height=1)).tolist() == [0, 3]
    assert not contact_mask(column("##.."), least_height=3).any()


def test_clear_ground_ends_at_the_first_obstacle_from_below():
    assert np.flatnonzero(clear_mask(column("###.####"))).tolist() == [4]
    assert not clear_mask(column("#######.")).any()
    assert np.flatnonzero(clear_mask(column("####"))).tolist() == [0]


def test_classes_are_picked_by_id():
    labels = np.array([[0, 1, 2, 255]], np.uint8)
    assert class_mask(labels, [1, 2]).tolist() == [[False, True, True, False]]
    assert not class_mask(labels, []).any()


def test_an_obstacle_is_placed_within_5_cm_at_5_m_and_2_percent_beyond():
    rendered, intrinsics, mount = known(pitch=0.1)
    points = ground_points(intrinsics, mount)
    for distance in (3.0, 5.0, 9.0, 15.0):
        base = rendered.to_pixels(rendered.to_camera(np.array([[0.0, 0.0, distance]])))[0]
        top = rendered.to_pixels(rendered.to_camera(np.array([[0.0, 1.7, distance]])))[0]
        labels = np.zeros((480, 640), np.uint8)
        bottom = min(479, round(base[1]))
        labels[max(0, round(top[1])) : bottom + 1, 315:326] = 2
        if base[1] > 479:
            continue
        found = points[contact_mask(class_mask(labels, [2]))]
        tolerance = 0.05 if distance <= 5 else 0.02 * distance
        assert found[:, 0].mean() == pytest.approx(distance, abs=tolerance)
        assert np.ptp(found[:, 0]) < 1e-3
