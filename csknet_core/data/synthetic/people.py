"""People, bicycles and riders."""

from __future__ import annotations

import math

import numpy as np

from csknet_core.data.synthetic.canvas import Mesh
from csknet_core.data.synthetic.climate import Color, Material
from csknet_core.data.synthetic.shapes import MeshBuilder, pick_color, shaded

_CLOTHES: tuple[Color, ...] = (
    (30, 32, 40), (60, 62, 70), (120, 34, 34), (34, 58, 110), (200, 198, 190), (84, 96, 60),
    (150, 120, 84), (210, 170, 60), (70, 120, 130), (230, 228, 226), (110, 60, 110),
)  # fmt: skip
_SKIN: tuple[Color, ...] = ((224, 186, 160), (188, 142, 112), (128, 88, 64), (84, 58, 44))
_HAIR: tuple[Color, ...] = ((24, 20, 18), (70, 48, 30), (150, 140, 130), (180, 150, 90))


class Person:
    """One person: measures and clothes, drawn as a figure that faces the camera plane.

    Args:
        rng: source of the looks.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.height = float(np.clip(rng.normal(1.7, 0.12), 1.1, 1.98))
        self.girth = rng.uniform(0.85, 1.2)
        cover = rng.uniform(0.25, 0.65)
        self.top = Material(pick_color(rng, _CLOTHES), absorb=0.3, body=cover)
        self.legs = Material(pick_color(rng, _CLOTHES), absorb=0.3, body=cover * 0.9)
        self.skin = Material(pick_color(rng, _SKIN, 10), body=0.92)
        self.hair = Material(pick_color(rng, _HAIR, 8), absorb=0.3, body=0.6)
        self.bag = rng.random() < 0.3
        self.stride = rng.uniform(0.6, 1.0)
        self.phase = rng.uniform(0, 2 * math.pi)

    def mesh(self, time_s: float, sideways: float) -> Mesh:
        """Build the figure, feet at the origin, in the plane z = 0.

        Args:
            time_s: drives the gait.
            sideways: 1 when walking across the view, 0 when walking along it.
        """
        h, g = self.height, self.girth
        swing = math.sin(self.phase + 2 * math.pi * 0.9 * time_s)
        step = swing * (0.04 + 0.2 * sideways) * h * self.stride
        builder = MeshBuilder()
        self._add_legs(builder, h, g, step, abs(swing) * (1 - sideways) * 0.03)
        self._add_arms(builder, h, g, -step * 0.8)
        narrow = 1 - 0.25 * sideways
        shoulder, waist = 0.125 * h * g * narrow, 0.095 * h * g * narrow
        torso = [
            (-waist, 0.46 * h, 0.0), (-shoulder, 0.72 * h, 0.0), (-shoulder * 0.8, 0.82 * h, 0.0),
            (shoulder * 0.8, 0.82 * h, 0.0), (shoulder, 0.72 * h, 0.0), (waist, 0.46 * h, 0.0),
        ]  # fmt: skip
        builder.polygon(torso, self.top, cull=False)
        if self.bag:
            bag = shaded(self.legs._replace(body=0.05), 0.8)
            side = shoulder * (1.1 if sideways > 0.5 else 0.6)
            box = [
                (-side, 0.5 * h),
                (-side, 0.74 * h),
                (side * 0.2, 0.74 * h),
                (side * 0.2, 0.5 * h),
            ]
            builder.polygon([(x, y, 0.0) for x, y in box], bag, cull=False)
        _add_oval(builder, (0.0, 0.865 * h), (0.03 * h, 0.05 * h), self.skin)
        _add_oval(builder, (0.0, 0.93 * h), (0.052 * h, 0.07 * h), self.skin)
        _add_oval(builder, (0.0, 0.965 * h), (0.055 * h, 0.04 * h), self.hair)
        return builder.build()

    def _add_legs(self, builder: MeshBuilder, h: float, g: float, step: float, lift: float) -> None:
        wide = 0.042 * h * g
        for side, reach, raised in ((-1.0, step, lift), (1.0, -step, 0.0)):
            hip = side * 0.045 * h * g
            foot = hip + reach
            leg = [
                (hip - wide * 1.15, 0.5 * h), (hip + wide * 1.15, 0.5 * h),
                (foot + wide * 0.75, 0.03 * h + raised), (foot - wide * 0.75, 0.03 * h + raised),
            ]  # fmt: skip
            builder.polygon([(x, y, 0.0) for x, y in leg], self.legs, cull=False)
            shoe = Material((34, 32, 32), absorb=0.3, body=0.2)
            sole = [(foot - wide, raised), (foot - wide, 0.045 * h + raised)]
            sole += [(foot + wide * 1.5, 0.03 * h + raised), (foot + wide * 1.5, raised)]
            builder.polygon([(x, y, 0.0) for x, y in sole], shoe, cull=False)

    def _add_arms(self, builder: MeshBuilder, h: float, g: float, step: float) -> None:
        sleeve = shaded(self.top, 0.88)
        for side, reach in ((-1.0, step), (1.0, -step)):
            shoulder = side * 0.115 * h * g
            hand = shoulder + side * 0.03 * h + reach
            thick = 0.026 * h
            arm = [
                (shoulder - thick, 0.8 * h), (shoulder + thick, 0.8 * h),
                (hand + thick * 0.8, 0.45 * h), (hand - thick * 0.8, 0.45 * h),
            ]  # fmt: skip
            builder.polygon([(x, y, 0.0) for x, y in arm], sleeve, cull=False)
            _add_oval(builder, (hand, 0.43 * h), (0.022 * h, 0.03 * h), self.skin)


def _add_oval(
    builder: MeshBuilder,
    center: tuple[float, float],
    radii: tuple[float, float],
    material: Material,
) -> None:
    turn = [2 * math.pi * k / 10 for k in range(10)]
    (cx, cy), (rx, ry) = center, radii
    points = [(cx + rx * math.cos(a), cy + ry * math.sin(a), 0.0) for a in turn]
    builder.polygon(points, material, cull=False)


def bike_mesh(rng: np.random.Generator) -> Mesh:
    """Build a bicycle or scooter heading along +z, its middle at the origin.

    Wheels belong to the bicycle as whole discs, as annotators label them.
    """
    builder = MeshBuilder()
    radius, base = rng.uniform(0.27, 0.36), rng.uniform(0.46, 0.54)
    frame = Material(pick_color(rng, _CLOTHES, 30), absorb=0.5, sky=0.05)
    tyre = Material((24, 24, 26), absorb=0.5)
    for z in (-base, base):
        builder.disc((0.0, radius, z), radius, None)
        builder.disc((0.0, radius, z), radius, tyre, hole=radius * 0.84)
        builder.disc((0.0, radius, z), radius * 0.14, frame)
        for angle in (0.3, 1.35, 2.4):
            dy, dz = radius * math.sin(angle), radius * math.cos(angle)
            builder.bar((0.0, radius - dy, z - dz), (0.0, radius + dy, z + dz), 0.012, tyre)
    pedal, seat = (0.0, radius * 0.95, -0.08), (0.0, 0.86, -0.2)
    head, hub, rear = (0.0, 0.84, base - 0.14), (0.0, radius, base), (0.0, radius, -base)
    triangle = [rear, seat, head, pedal]
    builder.polygon(triangle, None, cull=False)
    for start, end in (
        (rear, pedal), (rear, seat), (pedal, seat), (pedal, head), (seat, head), (head, hub),
    ):  # fmt: skip
        builder.bar(start, end, 0.05, frame)
    dark = Material((26, 24, 24), absorb=0.4)
    builder.box((0.0, 0.88, -0.22), (0.14, 0.07, 0.26), dark)
    builder.box((0.0, 0.95, base - 0.2), (0.5, 0.05, 0.05), dark)
    builder.bar(head, (0.0, 0.98, base - 0.2), 0.04, frame)
    if rng.random() < 0.5:
        builder.box((0.0, 0.7, base - 0.02), (0.3, 0.22, 0.26), shaded(frame, 0.6))
    return builder.build()
