"""Camera faults, applied to frames before they are published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import ConfigError

_MS_NS = 1_000_000


@dataclass(frozen=True)
class Faults:
    """What goes wrong; the defaults are no fault.

    Attributes:
        drop_rgb: RGB frames do not come.
        drop_thermal: thermal frames do not come.
        darken: RGB values are multiplied by this.
        freeze_thermal: the thermal image repeats, with new stamps.
        jitter_ms: RGB stamps are off by up to this, at random.
        offset_ms: RGB stamps are later by this.

    Raises:
        ConfigError: `darken` or `jitter_ms` is negative.
    """

    drop_rgb: bool = False
    drop_thermal: bool = False
    darken: float = 1.0
    freeze_thermal: bool = False
    jitter_ms: float = 0.0
    offset_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.darken < 0 or self.jitter_ms < 0:
            raise ConfigError("faults: darken and jitter_ms must not be negative")


@dataclass(frozen=True)
class FaultyFrame:
    """What the cameras deliver; None for a camera that does not."""

    optical: NDArray[np.uint8] | None
    thermal: NDArray[Any] | None
    optical_shift_ns: int


class FaultInjector:
    """Applies faults to a stream of frames; remembers the image a frozen camera shows.

    Args:
        seed: of the jitter.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._last_thermal: NDArray[Any] | None = None

    def apply(
        self, optical: NDArray[np.uint8], thermal: NDArray[Any], faults: Faults
    ) -> FaultyFrame:
        """Return one frame as the faulty cameras deliver it; inputs are not changed."""
        if not faults.freeze_thermal or self._last_thermal is None:
            self._last_thermal = thermal
        jitter = self._rng.uniform(-faults.jitter_ms, faults.jitter_ms)
        if faults.darken != 1:
            optical = np.clip(optical * np.float32(faults.darken), 0, 255).astype(np.uint8)
        return FaultyFrame(
            None if faults.drop_rgb else optical,
            None if faults.drop_thermal else self._last_thermal,
            round((faults.offset_ms + jitter) * _MS_NS),
        )
