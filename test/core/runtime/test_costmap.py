"""An answer on flat ground, as a costmap takes it."""

import numpy as np

from csknet_core.runtime.cost_grid import CostGridSettings
from csknet_core.runtime.costmap import GroundFrame, GroundProjection, Pixels, Roles
from csknet_core.runtime.ground import Intrinsics, Mount, ground_points

SIZE = (48, 64)
INTRINSICS = Intrinsics(58.0, 58.0, 32.0, 24.0, 64, 48)
MOUNT = Mount(x=0.25, height=0.9, pitch=0.15)
MAX_RANGE = 8.0
PERSON = 2
GROUND = ground_points(INTRINSICS, MOUNT, MAX_RANGE)


def frame(labels: np.ndarray) -> GroundFrame:
    roles = Roles((PERSON,), (0,), np.zeros(256, np.int8))
    pixels = Pixels(labels, np.ones(SIZE, bool), roles)
    projection = GroundProjection(MAX_RANGE, CostGridSettings())
    return projection.frame(pixels, INTRINSICS, INTRINSICS.rays(), MOUNT)


def test_ground_that_is_clear_up_to_the_horizon_ends_where_it_is_last_seen():
    clear = frame(np.zeros(SIZE, np.uint8)).clear()
    assert len(clear) == SIZE[1]
    for column in range(SIZE[1]):
        last = np.isfinite(GROUND[:, column, 0]).argmax()
        assert np.abs(clear - GROUND[last, column]).max(1).min() == 0


def test_clear_ground_ends_below_an_obstacle_and_goes_on_beside_it():
    labels = np.zeros(SIZE, np.uint8)
    labels[10:40, 20:30] = PERSON
    clear = frame(labels).clear()
    assert len(clear) == SIZE[1]
    for column in range(20, 30):
        assert np.abs(clear - GROUND[40, column]).max(1).min() == 0
    assert (clear[:, 0] > 1.05 * GROUND[40, 20, 0]).sum() == SIZE[1] - 10


def test_columns_that_begin_with_an_obstacle_have_no_clear_ground():
    labels = np.zeros(SIZE, np.uint8)
    labels[20:, :5] = PERSON
    assert len(frame(labels).clear()) == SIZE[1] - 5
