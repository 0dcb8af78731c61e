"""Cars, vans and trucks."""

from __future__ import annotations

import numpy as np

from csknet_core.data.synthetic.canvas import Mesh
from csknet_core.data.synthetic.climate import Color, Material
from csknet_core.data.synthetic.shapes import MeshBuilder, pick_color, shaded

_PAINTS: tuple[Color, ...] = (
    (208, 210, 212), (150, 154, 160), (24, 26, 30), (60, 66, 76), (160, 26, 30),
    (34, 60, 128), (236, 236, 232), (96, 84, 72), (40, 92, 66), (212, 176, 40),
)  # fmt: skip
_GLASS = Material((34, 40, 48), absorb=0.1, sky=0.22)
_TYRE = (22, 22, 24)


class _Body:
    """Measures of one car, metres, and what it is made of."""

    def __init__(self, rng: np.random.Generator, running: bool) -> None:
        self.kind = str(rng.choice(["sedan", "hatch", "van", "truck"], p=[0.42, 0.28, 0.2, 0.1]))
        size = rng.uniform(0.93, 1.08)
        length, width, height = {
            "sedan": (4.5, 1.75, 1.45),
            "hatch": (3.8, 1.65, 1.5),
            "van": (4.4, 1.75, 1.95),
            "truck": (5.6, 2.0, 2.6),
        }[self.kind]
        self.length, self.half_width = length * size, width * size / 2
        self.height = height * size
        self.running = running
        self.paint = Material(
            pick_color(rng, _PAINTS), absorb=rng.uniform(0.25, 0.6), sky=rng.uniform(0.02, 0.1)
        )
        if running:
            self.paint = self.paint._replace(warm=rng.uniform(0.5, 3.0))
        self.engine = rng.uniform(6.0, 18.0) if running else rng.choice([0.0, 0.0, 4.0])
        self.wheel_heat = rng.uniform(5.0, 16.0) if running else rng.uniform(-0.5, 1.0)
        self.lights_on = running


def car_mesh(rng: np.random.Generator, running: bool) -> Mesh:
    """Build a car heading along +z, its middle at the origin."""
    body = _Body(rng, running)
    builder = MeshBuilder()
    _add_underside(builder, body)
    _add_lower(builder, body)
    _add_cabin(builder, body)
    _add_ends(builder, body)
    _add_wheels(builder, body)
    return builder.build()


def _add_underside(builder: MeshBuilder, body: _Body) -> None:
    half, wide = body.length / 2 * 0.92, body.half_width * 0.92
    dark = Material((12, 12, 14), absorb=0.2, warm=body.engine * 0.5)
    builder.prism([(-half, 0.12), (-half, 0.4), (half, 0.4), (half, 0.12)], wide, dark)


def _add_lower(builder: MeshBuilder, body: _Body) -> None:
    half = body.length / 2
    belt = 0.52 * body.height if body.kind in ("van", "truck") else 0.62 * body.height
    nose = belt * (0.86 if body.kind in ("sedan", "hatch") else 0.98)
    tail = belt * (0.97 if body.kind == "sedan" else 1.0)
    profile = [
        (-half, 0.3), (-half, tail * 0.9), (-half + 0.12, tail), (0.0, belt),
        (half - 0.25, nose), (half, nose * 0.82), (half, 0.3),
    ]  # fmt: skip
    builder.prism(profile, body.half_width, body.paint, taper=0.04)
    hot = body.paint._replace(warm=body.paint.warm + body.engine)
    wide = body.half_width * 0.8
    hood = [
        (-wide, nose + 0.02, half - 0.3), (-wide, belt * 0.99, half * 0.5),
        (wide, belt * 0.99, half * 0.5), (wide, nose + 0.02, half - 0.3),
    ]  # fmt: skip
    builder.polygon(hood[::-1], hot, cull=False)


def _cabin_profile(body: _Body) -> list[tuple[float, float]]:
    half, roof = body.length / 2, body.height
    base = (0.5 if body.kind in ("van", "truck") else 0.6) * body.height
    if body.kind == "sedan":
        return [(-half * 0.72, base), (-half * 0.42, roof), (half * 0.12, roof), (half * 0.5, base)]
    if body.kind == "hatch":
        return [(-half * 0.96, base), (-half * 0.82, roof), (half * 0.1, roof), (half * 0.52, base)]
    if body.kind == "van":
        return [(-half, base), (-half * 0.97, roof), (half * 0.5, roof), (half * 0.82, base)]
    return [(half * 0.4, base), (half * 0.42, roof * 0.92), (half * 0.85, roof * 0.9), (half, base)]


def _add_cabin(builder: MeshBuilder, body: _Body) -> None:
    profile = _cabin_profile(body)
    wide, taper = body.half_width * 0.96, 0.16 if body.kind in ("sedan", "hatch") else 0.06
    builder.prism(profile, wide, body.paint, taper=taper)
    if body.kind == "truck":
        half = body.length / 2
        load = shaded(body.paint._replace(rgb=(196, 196, 190), warm=0.0), 1.0)
        top = body.height * 1.04
        box = [(-half, 0.7), (-half, top), (half * 0.36, top), (half * 0.36, 0.7)]
        builder.prism(box, body.half_width * 1.02, load)
    _add_glass(builder, profile, wide, taper)


def _add_glass(
    builder: MeshBuilder, profile: list[tuple[float, float]], wide: float, taper: float
) -> None:
    (z0, y0), (z1, y1), (z2, y2), (z3, y3) = profile
    rise = y1 - y0
    low, top = y0 + 0.1 * rise, y1 - 0.16 * rise

    def z_at(y: float, rear: bool) -> float:
        share = (y - y0) / rise
        return z0 + (z1 - z0) * share if rear else z3 + (z2 - z3) * share

    for side in (-1.0, 1.0):

        def at(z: float, y: float, side: float = side) -> tuple[float, float, float]:
            return (side * (wide - taper * (y - y0) + 0.01), y, z)

        rear_low, rear_top = z_at(low, True) + 0.14, z_at(top, True) + 0.1
        front_low, front_top = z_at(low, False) - 0.16, z_at(top, False) - 0.1
        middle = (rear_low + front_low) / 2
        panes = [
            [(rear_low, low), (rear_top, top), (middle - 0.05, top), (middle - 0.05, low)],
            [(middle + 0.05, low), (middle + 0.05, top), (front_top, top), (front_low, low)],
        ]
        group = [[at(z, y) for z, y in (pane if side > 0 else pane[::-1])] for pane in panes]
        builder.polygons(group, _GLASS)
    for z_low, z_top, flip in ((z0, z1, False), (z3, z2, True)):
        narrow = wide - taper * rise
        push = 0.01 if flip else -0.01
        pane = [
            (-wide * 0.86, low, z_low + (z_top - z_low) * 0.1 + push),
            (-narrow * 0.88, top, z_low + (z_top - z_low) * 0.84 + push),
            (narrow * 0.88, top, z_low + (z_top - z_low) * 0.84 + push),
            (wide * 0.86, low, z_low + (z_top - z_low) * 0.1 + push),
        ]
        builder.polygon(pane[::-1] if flip else pane, shaded(_GLASS, 1.3))
    del y2, y3


def _add_ends(builder: MeshBuilder, body: _Body) -> None:
    half, wide = body.length / 2, body.half_width
    lamp_y = 0.42 * body.height if body.kind == "van" else 0.44 * body.height
    glow = 255 if body.lights_on else 0
    front = Material((236, 236, 224), warm=body.engine * 0.5, emission=glow)
    rear = Material((176, 24, 22), warm=1.0 if body.lights_on else 0.0, emission=glow // 3)
    grille = Material((30, 30, 32), warm=body.engine)
    plate = Material((230, 230, 220), warm=body.engine * 0.2)

    def quad(x0: float, x1: float, y0: float, y1: float, ahead: bool) -> list:
        z = (half + 0.01) if ahead else -(half + 0.01)
        points = [(x0, y0, z), (x0, y1, z), (x1, y1, z), (x1, y0, z)]
        return points[::-1] if ahead else points

    for ahead, lamp in ((True, front), (False, rear)):
        lamps = [
            quad(-wide * 0.92, -wide * 0.58, lamp_y, lamp_y + 0.15, ahead),
            quad(wide * 0.58, wide * 0.92, lamp_y, lamp_y + 0.15, ahead),
        ]
        builder.polygons(lamps, lamp)
        builder.polygon(quad(-0.2, 0.2, 0.42, 0.55, ahead), plate)
        if ahead:
            grilled = quad(-wide * 0.5, wide * 0.5, lamp_y - 0.06, lamp_y + 0.1, True)
            builder.polygon(grilled, grille)
        else:
            exhaust = Material((16, 16, 18), warm=body.engine * 2.2)
            builder.polygon(quad(wide * 0.4, wide * 0.62, 0.2, 0.3, False), exhaust)


def _add_wheels(builder: MeshBuilder, body: _Body) -> None:
    radius = 0.31 if body.kind != "truck" else 0.4
    tyre = Material(_TYRE, absorb=0.3, warm=body.wheel_heat * 0.7)
    hub = Material((140, 142, 146), absorb=0.2, warm=body.wheel_heat)
    for z in (-body.length * 0.31, body.length * 0.32):
        for side in (-1.0, 1.0):
            # Discs run anticlockwise seen from +x; only the wheels on the near side show.
            x = side * (body.half_width + 0.01)
            turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)[:: -int(side)]
            for scale, material in ((1.0, tyre), (0.58, hub)):
                points = [
                    (
                        x,
                        radius + scale * radius * float(np.sin(a)),
                        z + scale * radius * float(np.cos(a)),
                    )
                    for a in turn
                ]
                builder.polygon(points, material)
