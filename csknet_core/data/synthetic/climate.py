"""Light and heat of a scene: how bright it is, how warm its surfaces are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

BODY_K = 306.0
"""Temperature of bare skin, kelvin."""

Color = tuple[int, int, int]


class Material(NamedTuple):
    """What a surface looks like to both cameras.

    Attributes:
        rgb: reflectance, 0..255 each.
        absorb: share of the sun's heating it shows, 0..1.
        warm: heat of its own above the air's temperature, kelvin.
        sky: share of the cold sky it mirrors, 0..1.
        body: share of body heat that shows through, 0..1.
        emission: light of its own, 0..255.
    """

    rgb: Color
    absorb: float = 0.4
    warm: float = 0.0
    sky: float = 0.0
    body: float = 0.0
    emission: int = 0


@dataclass(frozen=True)
class Heat:
    """Temperatures at one moment, kelvin.

    Attributes:
        air: the air's.
        sun: how much a fully absorbing surface is above the air.
        sky: the apparent sky overhead.
    """

    air: float
    sun: float
    sky: float

    def centikelvin(self, material: Material) -> int:
        """Apparent temperature of a surface in hundredths of a kelvin."""
        base = self.air + self.sun * material.absorb + material.warm
        base += material.sky * (self.sky - self.air)
        base += material.body * (BODY_K - base)
        return int(base * 100)


@dataclass(frozen=True)
class Climate:
    """Weather of a scene.

    Attributes:
        air_day: air temperature at noon, kelvin.
        air_night: air temperature in deep night, kelvin.
        sun: heating of a fully absorbing surface at noon, kelvin.
        stored: heat such a surface still holds at night, kelvin.
        sky: how much colder than the air the sky looks, kelvin.
        overcast: 0 = clear, 1 = grey.
    """

    air_day: float
    air_night: float
    sun: float
    stored: float
    sky: float
    overcast: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Climate:
        """Draw a weather."""
        overcast = float(rng.random() < 0.4) * rng.uniform(0.6, 1.0)
        air_day = rng.uniform(279.0, 302.0)
        return cls(
            air_day=air_day,
            air_night=max(273.0, air_day - rng.uniform(4.0, 12.0)),
            sun=rng.uniform(7.0, 15.0) * (1.0 - 0.75 * overcast),
            stored=rng.uniform(0.8, 4.0),
            sky=rng.uniform(18.0, 45.0) * (1.0 - 0.7 * overcast),
            overcast=overcast,
        )

    def at(self, daylight: float) -> Heat:
        """Temperatures at a daylight of 0 (night) to 1 (noon)."""
        air = self.air_night + (self.air_day - self.air_night) * daylight
        return Heat(air, self.stored + (self.sun - self.stored) * daylight, air - self.sky)


_DAYLIGHT = (0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
_BRIGHTNESS = (0.006, 0.026, 0.065, 0.19, 0.34, 0.58, 0.78, 0.93, 1.0)


def brightness_at(daylight: float) -> float:
    """Brightness of the optical image relative to noon, after the camera's gain has run out."""
    return float(np.interp(daylight, _DAYLIGHT, _BRIGHTNESS))


def lamps_at(daylight: float) -> float:
    """How far street lamps and windows are switched on in a street that goes dark at deep night."""
    return float(np.interp(daylight, (0.04, 0.12, 0.35, 0.55), (0.0, 1.0, 1.0, 0.0)))
