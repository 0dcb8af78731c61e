"""Rendered drives: RGB-thermal frames with exact labels, a pure function of seed and index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csknet_core.data.synthetic.imaging import Sensors
from csknet_core.data.synthetic.scene import Scene
from csknet_core.errors import ConfigError

Daylight = float | Callable[[float], float] | Sequence[tuple[float, float]]


@dataclass(frozen=True)
class RenderedFrame:
    """One frame of a drive; both images and the labels share one pixel grid.

    Attributes:
        index: its place in the drive.
        time_s: seconds since the start.
        optical: (H, W, 3) uint8 RGB.
        thermal: (H, W) uint16, centikelvin (29315 = 293.15 K).
        labels: (H, W) uint8, MFNet class ids.
        daylight: 1 = noon, 0 = night.
    """

    index: int
    time_s: float
    optical: NDArray[np.uint8]
    thermal: NDArray[np.uint16]
    labels: NDArray[np.uint8]
    daylight: float


class Drive:
    """A drive down one street.

    Args:
        seed: of everything drawn.
        size: height and width in pixels.
        duration_s: length in seconds.
        fps: frames per second.
        daylight: constant, function of the time in seconds, or (time_s, daylight) key frames
            between which it changes linearly; 1 = noon, 0 = night.

    Raises:
        ConfigError: a size below 32 pixels, a length or rate that is not positive, or key frames
            that are not in order.
    """

    def __init__(
        self,
        seed: int = 0,
        size: tuple[int, int] = (480, 640),
        duration_s: float = 10.0,
        fps: float = 10.0,
        daylight: Daylight = 1.0,
    ) -> None:
        if min(size) < 32:
            raise ConfigError(f"rendered size {size[0]}x{size[1]}: use at least 32 pixels a side")
        if not duration_s > 0 or not fps > 0:
            raise ConfigError(f"drive of {duration_s} s at {fps} Hz: both must be positive")
        self.seed = seed
        self.size = size
        self.duration_s = duration_s
        self.fps = fps
        self._daylight = _daylight_function(daylight)
        self._scene = Scene(seed, duration_s)
        self._sensors = Sensors(np.random.default_rng((seed, 11)))

    def __len__(self) -> int:
        return max(1, round(self.duration_s * self.fps))

    def __iter__(self) -> Iterator[RenderedFrame]:
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int) -> RenderedFrame:
        """Render one frame.

        Raises:
            IndexError: the drive has no such frame.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a drive of {len(self)} frames")
        time_s = index / self.fps
        daylight = float(np.clip(self._daylight(time_s), 0, 1))
        rng = np.random.default_rng((self.seed, 13, index))
        canvas = self._scene.draw(time_s, daylight, self.size)
        return RenderedFrame(
            index,
            time_s,
            self._sensors.optical(canvas, daylight, rng),
            self._sensors.thermal(canvas, time_s, rng),
            canvas.labels(),
            daylight,
        )


def random_frame(seed: int, size: tuple[int, int] = (240, 320)) -> RenderedFrame:
    """Render one still of a street, weather and daylight of its own, for training."""
    rng = np.random.default_rng((seed, 17))
    low, high = ((0.35, 1.0), (0.1, 0.35), (0.0, 0.1))[int(rng.choice(3, p=[0.5, 0.25, 0.25]))]
    return Drive(seed, size, 0.5, 2.0, float(rng.uniform(low, high))).frame(0)


def _daylight_function(daylight: Daylight) -> Callable[[float], float]:
    if callable(daylight):
        return daylight
    if isinstance(daylight, (int, float)):
        constant = float(daylight)
        return lambda _: constant
    times = [float(time_s) for time_s, _ in daylight]
    values = [float(value) for _, value in daylight]
    if not times or sorted(times) != times:
        raise ConfigError("daylight key frames must be (time_s, daylight) in order of time")
    return lambda time_s: float(np.interp(time_s, times, values))
