"""Bicycles."""

from __future__ import annotations

import numpy as np

from csknet_core.data.synthetic.canvas import Mesh
from csknet_core.data.synthetic.climate import Color, Material
from csknet_core.data.synthetic.shapes import MeshBuilder, pick_color

_FRAMES: tuple[Color, ...] = (
    (180, 184, 188), (30, 32, 36), (150, 30, 34), (40, 70, 140), (220, 220, 216), (60, 120, 80),
)  # fmt: skip


def bike_mesh(rng: np.random.Generator) -> Mesh:
    """Build a bicycle heading along +z.

    As in MFNet, the whole wheel and the inside of the frame belong to the bicycle, though the
    background shows through between the spokes.
    """
    builder = MeshBuilder()
    size = rng.uniform(0.9, 1.06)
    radius, reach = 0.34 * size, 0.53 * size
    frame = Material(pick_color(rng, _FRAMES), absorb=0.35, sky=0.04)
    tyre = Material((24, 24, 26), absorb=0.5, warm=rng.uniform(-0.3, 1.2))
    metal = Material((150, 152, 156), absorb=0.3, sky=0.05)
    rear, front = (0.0, radius, -reach), (0.0, radius, reach)
    crank, seat = (0.0, radius * 0.9, -0.08 * size), (0.0, 0.84 * size, -0.22 * size)
    head = (0.0, 0.82 * size, 0.34 * size)
    for hub in (rear, front):
        builder.disc(hub, radius, None, steps=12)
    builder.polygon([rear, seat, head, front, crank], None, cull=False)
    for hub in (rear, front):
        builder.disc(hub, radius, tyre, hole=radius * 0.88)
        builder.disc(hub, radius * 0.88, metal, hole=radius * 0.83)
        _add_spokes(builder, hub, radius * 0.84, metal)
        builder.bar((-0.025, 0.02, hub[2]), (0.025, 0.02, hub[2]), 0.05, tyre)
    tubes = [(rear, crank), (rear, seat), (crank, seat), (crank, head), (seat, head), (front, head)]
    for start, end in tubes:
        builder.bar(start, end, 0.04 * size, frame)
    _add_fittings(builder, rng, size, seat, head)
    return builder.build()


def _add_spokes(
    builder: MeshBuilder, hub: tuple[float, float, float], radius: float, metal: Material
) -> None:
    x, y, z = hub
    for angle in (0.3, 1.35, 2.4):
        dy, dz = radius * float(np.sin(angle)), radius * float(np.cos(angle))
        builder.bar((x, y - dy, z - dz), (x, y + dy, z + dz), 0.008, metal)


def _add_fittings(
    builder: MeshBuilder,
    rng: np.random.Generator,
    size: float,
    seat: tuple[float, float, float],
    head: tuple[float, float, float],
) -> None:
    dark = Material((28, 26, 26), absorb=0.6)
    top = head[1] + 0.17 * size
    builder.bar(head, (0.0, top, head[2] - 0.02), 0.03, dark)
    builder.bar((-0.27, top, head[2] - 0.06), (0.27, top, head[2] - 0.06), 0.035, dark)
    builder.box((0.0, seat[1] + 0.06, seat[2]), (0.14, 0.06, 0.25), dark)
    # The tyres' width: all that shows of a wheel seen from the front.
    for z in (-0.87 * size, 0.87 * size):
        builder.box((0.0, 0.06, z), (0.045, 0.56 * size, 0.02), dark)
    if rng.random() < 0.55:
        basket = Material(pick_color(rng, _FRAMES), absorb=0.4)
        builder.box((0.0, 0.72 * size, head[2] + 0.22), (0.34, 0.24, 0.26), basket)
    if rng.random() < 0.3:
        builder.box((0.0, 0.7 * size, -0.5 * size), (0.3, 0.05, 0.36), dark)
