import numpy as np
import pytest

from csknet_core.errors import ConfigError
from csknet_core.runtime.cost_grid import CostGrid, CostGridSettings, class_costs
from csknet_core.runtime.ground import Intrinsics, Mount, ground_points

CAMERA = Intrinsics(200.0, 200.0, 160.0, 120.0, 320, 240)
MOUNT = Mount(x=0.3, y=0.1, height=1.0, pitch=0.4)
NAMES = ("background", "person", "bump")
SETTINGS = CostGridSettings(size=12.0, resolution=0.1)
POINTS = ground_points(CAMERA, MOUNT, 8.0)


def fill(labels, sure=None, costs=None, settings=SETTINGS):
    sure = np.ones(labels.shape, bool) if sure is None else sure
    table = class_costs(NAMES, costs or {}, [1], [0])
    return CostGrid(CAMERA, MOUNT, 8.0, settings).fill(labels, sure, POINTS, table, [1])


def cell(x, y, settings=SETTINGS):
    half = settings.size / 2
    return int((y + half) / settings.resolution), int((x + half) / settings.resolution)


def test_clear_ground_is_free_without_holes_and_the_rest_unknown():
    grid = fill(np.zeros((240, 320), np.uint8))
    assert grid.shape == (120, 120)
    assert grid.dtype == np.int8
    assert set(np.unique(grid)) == {-1, 0}
    # On the camera's axis, from where the image's lower edge meets the ground to the range.
    nearest = POINTS[239, 160, 0]
    ahead = [grid[cell(x, 0.1)] for x in np.arange(nearest + 0.15, 5.9, 0.05)]
    assert set(ahead) == {0}
    assert grid[cell(nearest - 0.2, 0.1)] == -1
    assert grid[cell(-1.0, 0.1)] == -1  # behind
    assert grid[cell(5.0, 5.9)] == -1  # beside
    assert grid[cell(5.9, 5.7)] == -1


def test_an_obstacle_costs_where_it_stands_and_hides_what_is_behind():
    labels = np.zeros((240, 320), np.uint8)
    labels[60:131, 150:171] = 1
    grid = fill(labels)
    foot = POINTS[130, 160]
    assert grid[cell(foot[0], foot[1])] == 100
    assert (grid == 100).sum() <= 12  # a row of cells about as wide as the person
    hidden = POINTS[110, 160]
    assert hidden[0] > foot[0] + 0.3
    assert grid[cell(hidden[0], hidden[1])] == -1
    before = POINTS[140, 160]
    assert grid[cell(before[0], before[1])] == 0


def test_costs_of_classes_are_taken_by_name():
    labels = np.zeros((240, 320), np.uint8)
    labels[150:170] = 2
    there = cell(*POINTS[160, 160, :2])
    assert fill(labels)[there] == -1
    assert fill(labels, costs={"bump": 60})[there] == 60
    assert fill(labels, costs={"bump": 0, "background": -1})[there] == 0
    with pytest.raises(ConfigError, match="'hole': the classes are background, person, bump"):
        fill(labels, costs={"hole": 3})


def test_what_is_not_sure_is_unknown():
    labels = np.zeros((240, 320), np.uint8)
    labels[60:131, 150:171] = 1
    sure = np.ones(labels.shape, bool)
    sure[:200] = False
    grid = fill(labels, sure)
    assert grid[cell(*POINTS[150, 160, :2])] == -1
    assert grid[cell(*POINTS[220, 160, :2])] == 0
    assert not (grid == 100).any()


def test_what_is_off_the_grid_is_left_out():
    labels = np.ones((240, 320), np.uint8)
    small = CostGridSettings(size=1.0, resolution=0.1)
    assert fill(labels, settings=small).shape == (10, 10)


@pytest.mark.parametrize(
    ("settings", "text"),
    [({"resolution": 0.0}, "positive"), ({"size": 0.05}, "no larger"),
     ({"size": 100.0, "resolution": 0.01}, "10000 cells"), ({"costs": {"person": 101}}, "101")],
)  # fmt: skip
def test_settings_that_make_no_grid_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        CostGridSettings(**settings)
