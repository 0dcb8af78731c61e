"""What stands on a street: kerbs, barriers, cones, bumps, wheel stops; buildings and clutter."""

from __future__ import annotations

import itertools
import math

import numpy as np

from csknet_core.data.synthetic.canvas import Mesh
from csknet_core.data.synthetic.climate import Color, Material
from csknet_core.data.synthetic.shapes import MeshBuilder, Point, pick_color, shaded

_CONCRETE: tuple[Color, ...] = ((168, 166, 160), (140, 138, 134), (190, 186, 176))
_WALLS: tuple[Color, ...] = (
    (150, 120, 100), (190, 180, 164), (120, 116, 112), (140, 80, 64), (206, 202, 196),
    (96, 100, 110), (170, 150, 120),
)  # fmt: skip
_LEAVES: tuple[Color, ...] = ((58, 84, 36), (78, 104, 44), (96, 96, 40), (44, 66, 38))
_SIGNS: tuple[Color, ...] = ((30, 70, 170), (200, 30, 30), (240, 240, 236), (230, 190, 40))


def kerb_mesh(rng: np.random.Generator, length: float) -> Mesh:
    """Build a row of kerb stones along +z, 0.18 m wide and up to 0.2 m high."""
    builder = MeshBuilder()
    stone = Material(pick_color(rng, _CONCRETE), absorb=0.75)
    height, step = rng.uniform(0.12, 0.2), rng.uniform(0.8, 2.0)
    z = -length / 2
    while z < length / 2:
        piece = min(step, length / 2 - z)
        shade = rng.uniform(0.86, 1.05)
        builder.box((0.0, 0.0, z + piece / 2), (0.2, height, piece * 0.97), shaded(stone, shade))
        z += step
    return builder.build()


def wheel_stop_mesh(rng: np.random.Generator) -> Mesh:
    """Build a wheel stop or low block across +z."""
    builder = MeshBuilder()
    block = Material(pick_color(rng, _CONCRETE), absorb=0.85)
    if rng.random() < 0.3:
        side = rng.uniform(0.35, 0.7)
        builder.box((0.0, 0.0, 0.0), (side, rng.uniform(0.3, 0.55), side), block)
        return builder.build()
    width = rng.uniform(0.5, 1.8)
    builder.box((0.0, 0.0, 0.0), (width, rng.uniform(0.12, 0.2), 0.2), block)
    if rng.random() < 0.5:
        paint = Material((214, 180, 40), absorb=0.6)
        for x in (-width * 0.38, width * 0.38):
            builder.box((x, 0.01, -0.005), (width * 0.14, 0.15, 0.2), paint)
    return builder.build()


def barrier_mesh(rng: np.random.Generator) -> Mesh:
    """Build a guardrail along +z: a beam on posts, or a fence whose gaps count as barrier."""
    builder = MeshBuilder()
    length, height = rng.uniform(2.5, 6.0), rng.uniform(0.7, 1.05)
    metal = Material(
        pick_color(rng, ((200, 202, 204), (150, 152, 156), (226, 224, 218), (120, 96, 60))),
        absorb=0.35,
        sky=0.15,
    )
    half = length / 2
    hull = [(0.0, 0.05, -half), (0.0, height, -half), (0.0, height, half), (0.0, 0.05, half)]
    builder.polygon(hull, None, cull=False)
    posts = max(2, round(length / rng.uniform(1.0, 1.8)))
    for z in np.linspace(-half, half, posts):
        builder.box((0.0, 0.0, float(z)), (0.09, height, 0.09), shaded(metal, 0.85))
    if rng.random() < 0.5:
        for level in rng.uniform(0.25, 0.95, int(rng.integers(1, 3))):
            builder.box((0.0, level * height - 0.12, 0.0), (0.06, 0.26, length), metal)
        builder.box((0.0, height - 0.2, 0.0), (0.07, 0.2, length), metal)
    else:
        for level in (0.15, 0.95):
            builder.box((0.0, level * height - 0.04, 0.0), (0.05, 0.07, length), metal)
        for z in np.arange(-half, half, 0.16):
            top, low = (0.0, 0.92 * height, float(z)), (0.0, 0.16 * height, float(z))
            builder.bar(low, top, 0.03, metal)
    return builder.build()


def cone_mesh(rng: np.random.Generator) -> Mesh:
    """Build a traffic cone as a figure facing the camera, on a base."""
    builder = MeshBuilder()
    height = rng.uniform(0.45, 0.9)
    color = pick_color(rng, ((236, 84, 24), (226, 60, 30), (64, 170, 90), (240, 150, 30)), 12)
    body, band = Material(color, absorb=0.45), Material((232, 232, 228), absorb=0.3)
    low, top = 0.2 * height + 0.06, 0.03
    builder.box((0.0, 0.0, 0.0), (2.3 * low, 0.05, 2.3 * low), shaded(body, 0.8))
    levels = [0.0, 0.3, 0.5, 0.68, 0.82, 1.0]
    for index, (start, end) in enumerate(itertools.pairwise(levels)):
        wide0, wide1 = low + (top - low) * start, low + (top - low) * end
        y0, y1 = 0.04 + height * start, 0.04 + height * end
        piece: list[Point] = [(-wide0, y0, 0), (-wide1, y1, 0), (wide1, y1, 0), (wide0, y0, 0)]
        builder.polygon(piece, band if index in (1, 3) else body, cull=False)
    return builder.build()


def bump_mesh(rng: np.random.Generator, half_width: float) -> Mesh:
    """Build a speed bump across the road, striped yellow and black or of one colour."""
    builder = MeshBuilder()
    depth, height = rng.uniform(0.35, 0.7), rng.uniform(0.04, 0.08)
    stripe = rng.uniform(0.35, 0.7)
    paints = (
        ((206, 168, 30), (30, 30, 32)) if rng.random() < 0.7 else ((160, 60, 50), (150, 54, 46))
    )
    x, index = -half_width, 0
    while x < half_width:
        wide = min(stripe, half_width - x)
        material = Material(paints[index % 2], absorb=0.95, warm=0.5)
        builder.box((x + wide / 2, 0.0, 0.0), (wide, height, depth), material)
        x += stripe
        index += 1
    return builder.build()


def building_mesh(rng: np.random.Generator, lamps: float) -> Mesh:
    """Build a house along +z with rows of windows on the side of -x, lit by chance."""
    builder = MeshBuilder()
    length, height, deep = rng.uniform(7, 16), rng.uniform(4, 14), rng.uniform(5, 9)
    wall = Material(pick_color(rng, _WALLS), absorb=rng.uniform(0.3, 0.7), warm=rng.uniform(0, 1.5))
    builder.box((deep / 2, 0.0, 0.0), (deep, height, length), wall)
    glass = Material((52, 60, 72), absorb=0.1, sky=0.3)
    for y in np.arange(1.0, height - 1.4, 2.9):
        for z in np.arange(-length / 2 + 1.0, length / 2 - 1.2, 2.3):
            lit = rng.random() < 0.4 * lamps
            pane = glass._replace(rgb=(250, 226, 170), emission=int(170 * lamps)) if lit else glass
            y0, z0 = float(y), float(z)
            corners = [(-0.02, y0, z0 + 1.2), (-0.02, y0 + 1.5, z0 + 1.2)]
            corners += [(-0.02, y0 + 1.5, z0), (-0.02, y0, z0)]
            builder.polygon([(x, yy, zz) for x, yy, zz in corners], pane, cull=False)
    return builder.build()


def tree_mesh(rng: np.random.Generator) -> Mesh:
    """Build a tree or bush as leaf clusters facing the camera."""
    builder = MeshBuilder()
    bush = rng.random() < 0.35
    leaves = Material(pick_color(rng, _LEAVES), absorb=0.15, warm=rng.uniform(-0.5, 0.8))
    crown = rng.uniform(0.4, 0.7) if bush else rng.uniform(2.6, 4.5)
    spread = rng.uniform(0.5, 1.2) if bush else rng.uniform(1.2, 2.4)
    if not bush:
        trunk = Material((84, 68, 54), absorb=0.3)
        builder.box((0.0, 0.0, 0.0), (0.28, crown, 0.28), trunk)
    for _ in range(7 if bush else 12):
        cx, cy = rng.normal(0, spread * 0.5), crown + rng.normal(0, spread * 0.35)
        radius = rng.uniform(0.3, 0.6) * spread
        turn = np.linspace(0, 2 * math.pi, 9, endpoint=False)
        ripple = radius * rng.uniform(0.75, 1.15, 9)
        points: list[Point] = [
            (float(cx + r * math.cos(a)), max(0.0, float(cy + r * math.sin(a))), 0.0)
            for a, r in zip(turn, ripple, strict=True)
        ]
        builder.polygon(points, shaded(leaves, rng.uniform(0.7, 1.2)), cull=False)
    return builder.build()


def clutter_mesh(rng: np.random.Generator, lamps: float) -> Mesh:
    """Build something that is no class: a lamp post, sign, bin, box or warm machine."""
    builder = MeshBuilder()
    kind = int(rng.integers(5))
    grey = Material(pick_color(rng, ((96, 98, 100), (60, 62, 64), (150, 150, 148))), absorb=0.4)
    if kind == 0:
        tall = rng.uniform(4.0, 7.0)
        builder.box((0.0, 0.0, 0.0), (0.14, tall, 0.14), grey)
        lamp = Material((250, 240, 210), warm=12 * lamps, emission=int(255 * lamps))
        builder.box((0.3, tall, 0.0), (0.7, 0.14, 0.2), lamp)
    elif kind == 1:
        builder.box((0.0, 0.0, 0.0), (0.07, 2.4, 0.07), grey)
        plate = Material(pick_color(rng, _SIGNS), absorb=0.4, sky=0.1)
        side = rng.uniform(0.25, 0.5)
        sign: list[Point] = [
            (-side, 2.0, 0.0), (0.0, 2.0 + side, 0.0), (side, 2.0, 0.0), (0.0, 2.0 - side, 0.0)
        ]  # fmt: skip
        builder.polygon(sign, plate, cull=False)
    elif kind == 2:
        builder.box((0.0, 0.0, 0.0), (0.5, rng.uniform(0.7, 1.1), 0.5), shaded(grey, 0.8))
    elif kind == 3:
        size = (rng.uniform(0.5, 1.2), rng.uniform(0.5, 1.5), rng.uniform(0.4, 0.9))
        builder.box((0.0, 0.0, 0.0), size, Material(pick_color(rng, _WALLS), absorb=0.5))
    else:
        warm = Material((180, 182, 184), warm=rng.uniform(2, 12))
        builder.box((0.0, 0.0, 0.0), (0.9, 0.8, 0.4), warm)
    return builder.build()
