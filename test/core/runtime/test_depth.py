"""Points from depth images, against a plane and a box drawn by the renderer's camera."""

import numpy as np
import pytest

from csknet_core.data.synthetic.camera import Camera
from csknet_core.errors import ImageError
from csknet_core.runtime.cost_grid import CostGridSettings, class_costs
from csknet_core.runtime.costmap import Pixels, Roles
from csknet_core.runtime.depth import DepthFrame, depth_points, to_metres
from csknet_core.runtime.ground import Intrinsics, Mount

SIZE, FOCAL, HEIGHT, PITCH = (240, 320), 260.0, 1.3, 0.25
RAYS = Intrinsics(FOCAL, FOCAL, SIZE[1] / 2, SIZE[0] / 2, SIZE[1], SIZE[0]).rays()
MOUNT = Mount(height=HEIGHT, pitch=PITCH)
BOX_AT, BOX_HALF, BOX_HEIGHT = 4.5, 0.5, 1.0
GRID = CostGridSettings(size=14.0, resolution=0.1)


def surfaces() -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) of ground and box, forward, left and up, and which are of the box."""
    x, y = np.meshgrid(np.arange(1.5, 9.0, 0.01), np.arange(-4.0, 4.0, 0.01))
    shadowed = (x > BOX_AT) & (np.abs(y) < BOX_HALF + 0.4)
    ground = np.stack([x, y, np.zeros_like(x)], -1)[~shadowed]
    y, z = np.meshgrid(
        np.arange(-BOX_HALF, BOX_HALF + 0.005, 0.01), np.arange(0, BOX_HEIGHT + 0.005, 0.01)
    )
    front = np.stack([np.full_like(y, BOX_AT), y, z], -1).reshape(-1, 3)
    points = np.concatenate([ground, front])
    return points, np.arange(len(points)) >= len(ground)


def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (metres, 0 where nothing is), true points and where the box is, by the renderer."""
    points, of_box = surfaces()
    camera = Camera((0.0, HEIGHT, 0.0), 0.0, PITCH, FOCAL, SIZE[1], SIZE[0])
    forward, left, up = points.T
    seen = camera.to_camera(np.stack([-left, up, forward], -1))
    columns, rows = np.rint(camera.to_pixels(seen)).astype(int).T
    inside = (columns >= 0) & (rows >= 0) & (columns < SIZE[1]) & (rows < SIZE[0])
    # Farthest first, so that the nearest stays.
    order = np.flatnonzero(inside)[np.argsort(-seen[inside][:, 2])]
    at = rows[order], columns[order]
    depth, truth = np.zeros(SIZE, np.float32), np.full((*SIZE, 3), np.nan)
    box = np.zeros(SIZE, bool)
    depth[at], truth[at], box[at] = seen[order][:, 2], points[order], of_box[order]
    return depth, truth, box


DEPTH, TRUTH, BOX = draw()


def measured(depth: np.ndarray = DEPTH, max_range: float = np.inf) -> np.ndarray:
    return depth_points(RAYS, MOUNT, to_metres(depth), max_range)


def frame(labels=None, points=None, sure=None, stride=1) -> DepthFrame:
    """Class 1 is an obstacle, 0 is clear; by default the box is labelled."""
    labels = BOX.astype(np.uint8) if labels is None else labels
    roles = Roles((1,), (0,), class_costs(("background", "person"), {}, [1], [0]))
    sure = np.ones(SIZE, bool) if sure is None else sure
    points = measured() if points is None else points
    return DepthFrame(Pixels(labels, sure, roles), points, GRID, 0.2, stride)


def cell(x: float, y: float) -> tuple[int, int]:
    half = GRID.size / 2
    return int((y + half) / GRID.resolution), int((x + half) / GRID.resolution)


def test_points_are_within_5_cm_at_5_m_and_2_percent_beyond():
    points, drawn = measured(), np.isfinite(TRUTH[..., 0])
    assert BOX.sum() > 2000
    assert (drawn & ~BOX).sum() > 20_000
    error = np.linalg.norm(points[drawn] - TRUTH[drawn], axis=1)
    distance = np.hypot(TRUTH[drawn][:, 0], TRUTH[drawn][:, 1])
    assert error[distance <= 5].max() < 0.05
    assert (error <= np.maximum(0.05, 0.02 * distance)).all()
    assert np.isnan(points[~drawn]).all()


def test_millimetres_are_the_same_points_within_their_rounding():
    millimetres = np.rint(DEPTH * 1000).astype(np.uint16)
    assert np.allclose(measured(millimetres), measured(), atol=0.002, equal_nan=True)


def test_a_turned_and_shifted_camera_turns_and_shifts_its_points():
    level = measured()
    known = np.isfinite(level[..., 0])
    turned = Mount(x=0.5, y=-0.2, height=HEIGHT, pitch=PITCH, yaw=np.pi / 2)
    points = depth_points(RAYS, turned, to_metres(DEPTH))
    x, y, z = level[known].T
    assert np.allclose(points[known], np.stack([0.5 - y, -0.2 + x, z], -1), atol=1e-4)


def test_what_was_not_measured_has_no_point():
    depth = DEPTH.copy()
    bad = (200, 100), (201, 101), (202, 102), (203, 103), (204, 104)
    for (row, column), value in zip(bad, (0, np.nan, np.inf, -np.inf, -1.5), strict=True):
        depth[row, column] = value
    points = measured(depth)
    for row, column in bad:
        assert np.isnan(points[row, column]).all()
    assert np.array_equal(np.isfinite(points[..., 0]).sum(), (DEPTH > 0).sum() - len(bad))


def test_points_out_of_range_are_left_out():
    points = measured(max_range=4.0)
    known = np.isfinite(points[..., 0])
    assert np.hypot(points[known][:, 0], points[known][:, 1]).max() <= 4.0
    assert known.any()
    assert np.isnan(points[BOX]).all()


def test_another_size_names_both():
    with pytest.raises(ImageError, match="of 160x120 pixels, the label map of 320x240"):
        measured(DEPTH[::2, ::2])


@pytest.mark.parametrize(
    "depth", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1), np.float32), np.zeros((4, 4), int)]
)
def test_an_array_that_is_no_depth_image_is_refused(depth):
    with pytest.raises(ImageError, match="uint16"):
        to_metres(depth)


def test_the_image_given_is_not_changed():
    depth = DEPTH.copy()
    depth.flags.writeable = False
    to_metres(depth)


def test_obstacles_are_all_their_measured_pixels_or_every_nth():
    obstacles = frame().obstacles()
    assert len(obstacles) == BOX.sum()
    assert np.abs(obstacles[:, 0] - BOX_AT).max() < 0.05
    assert np.abs(obstacles[:, 1]).max() < BOX_HALF + 0.05
    assert obstacles[:, 2].min() < 0.05
    assert obstacles[:, 2].max() == pytest.approx(BOX_HEIGHT, abs=0.05)
    thinned = frame(stride=3).obstacles()
    assert len(thinned) == BOX[::3, ::3].sum()
    unsure = np.ones(SIZE, bool)
    unsure[BOX] = False
    assert not len(frame(sure=unsure).obstacles())


def test_clear_ground_ends_before_the_box_and_beside_it_farther_away():
    clear = frame().clear()
    assert np.abs(clear[:, 2]).max() < 0.05
    ahead = np.abs(clear[:, 1]) < BOX_HALF - 0.1
    assert ahead.any()
    assert clear[ahead][:, 0] == pytest.approx(BOX_AT, abs=0.15)
    assert clear[np.abs(clear[:, 1]) > 1.5][:, 0].max() > 7.5


def test_a_box_of_a_clear_class_is_not_clear_ground():
    walls = frame(labels=np.zeros(SIZE, np.uint8))
    ahead = np.abs(walls.clear()[:, 1]) < BOX_HALF - 0.1
    # Up to the height that still counts as ground.
    assert walls.clear()[ahead][:, 0].max() < BOX_AT + 0.05
    above = np.isfinite(TRUTH[..., 2]) & (TRUTH[..., 2] > 0.3)
    points = measured()
    points[~above] = np.nan
    assert (frame(labels=np.zeros(SIZE, np.uint8), points=points).cells() == -1).all()


def test_holes_in_the_depth_image_do_not_end_the_clear_ground():
    holes = measured()
    holes[150:170] = np.nan
    holes[236:] = np.nan
    # No column's end is in a hole.
    assert np.array_equal(frame(points=holes).clear(), frame().clear())
    assert not len(frame(points=np.full((*SIZE, 3), np.nan, np.float32)).clear())


def test_cells_cost_what_was_measured_in_them():
    cells = frame().cells()
    assert cells.shape == (140, 140)
    assert set(np.unique(cells)) == {-1, 0, 100}
    assert cells[cell(BOX_AT + 0.02, 0.0)] == 100
    assert cells[cell(3.0, 0.0)] == 0
    assert cells[cell(6.0, 2.0)] == 0
    assert cells[cell(BOX_AT + 1.0, 0.0)] == -1  # behind the box
    assert cells[cell(-1.0, 0.0)] == -1
    rows, columns = np.nonzero(cells == 100)
    assert len(set(columns)) <= 2
    assert len(set(rows)) == pytest.approx(2 * BOX_HALF / GRID.resolution, abs=2)
