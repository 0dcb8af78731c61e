"""Background: buildings, walls, trees, poles, lamps and things that only look like objects."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.data.synthetic.canvas import Mesh
from csknet_core.data.synthetic.climate import Color, Material
from csknet_core.data.synthetic.shapes import MeshBuilder, Point, pick_color, scaled, shaded

_WALLS: tuple[Color, ...] = (
    (172, 162, 148), (140, 96, 76), (196, 190, 180), (120, 122, 128), (156, 132, 104), (96, 92, 90),
)  # fmt: skip
_SIGNS: tuple[Color, ...] = ((40, 80, 170), (200, 40, 40), (230, 230, 226), (220, 180, 40), (40, 120, 70))
_LEAVES: tuple[Color, ...] = ((52, 84, 34), (74, 100, 44), (40, 66, 34), (110, 104, 44), (120, 72, 40))


def building_mesh(rng: np.random.Generator, length: float, facing: int) -> Mesh:
    """Build a block of length `length` along z whose front (x = 0) faces `facing` (+1 or -1)."""
    builder = MeshBuilder()
    height, floor = rng.uniform(5.0, 24.0), rng.uniform(2.9, 3.8)
    wall = Material(pick_color(rng, _WALLS), absorb=rng.uniform(0.2, 0.75), warm=rng.uniform(0, 2.5))
    depth = rng.uniform(6.0, 12.0)
    builder.box((-facing * depth / 2, 0.0, length / 2), (depth, height, length), wall)
    glass = Material(scaled((70, 80, 92), rng.uniform(0.5, 1.3)), absorb=0.1, sky=0.25, warm=1.0)
    lit = Material((250, 228, 170), absorb=0.1, sky=0.1, warm=3.0, emission=230)
    curtain = Material((180, 176, 164), absorb=0.2, sky=0.1, warm=2.0)
    share_lit = rng.uniform(0.0, 0.4)
    groups: dict[Material, list[list[Point]]] = {glass: [], lit: [], curtain: []}
    width, step = rng.uniform(0.9, 1.8), rng.uniform(2.2, 3.4)
    for y in np.arange(floor * 0.3, height - floor * 0.7, floor):
        for z in np.arange(0.6, length - width, step):
            chance = rng.random()
            kind = lit if chance < share_lit else curtain if chance > 0.88 else glass
            groups[kind].append(_pane(facing, float(y), float(z), floor * 0.5, width))
    for material, panes in groups.items():
        builder.polygons(panes, material)
    if rng.random() < 0.35:
        shop = Material((244, 232, 200), absorb=0.1, sky=0.05, warm=4.0, emission=200)
        builder.polygon(_pane(facing, 0.3, 1.0, 2.3, min(6.0, length - 2.0)), shop)
    for z in rng.uniform(1, length - 1, int(rng.integers(0, 3))):
        vent = Material((170, 170, 168), warm=rng.uniform(4, 12))
        builder.polygon(_pane(facing, rng.uniform(1.5, 4), float(z), 0.5, 0.6), vent)
    return builder.build()


def _pane(facing: int, y: float, z: float, height: float, width: float) -> list[Point]:
    x = 0.02 * facing
    points: list[Point] = [(x, y, z), (x, y + height, z), (x, y + height, z + width), (x, y, z + width)]
    return points if facing > 0 else points[::-1]


def wall_mesh(rng: np.random.Generator, length: float, facing: int) -> Mesh:
    """Build a garden wall or a hedge without leaves along z."""
    builder = MeshBuilder()
    wall = Material(pick_color(rng, _WALLS), absorb=rng.uniform(0.3, 0.7))
    height = rng.uniform(0.8, 2.2)
    builder.box((-facing * 0.15, 0.0, length / 2), (0.3, height, length), wall)
    builder.box((-facing * 0.15, height, length / 2), (0.38, 0.1, length), shaded(wall, 1.1))
    return builder.build()


def lamp_mesh(rng: np.random.Generator, toward: int) -> Mesh:
    """Build a street lamp whose arm reaches to x = `toward` (+1 or -1)."""
    builder = MeshBuilder()
    pole = Material(scaled((120, 124, 126), rng.uniform(0.4, 1.3)), absorb=0.4)
    height = rng.uniform(3.6, 6.5)
    builder.bar((0.0, 0.0, 0.0), (0.0, height, 0.0), 0.14, pole)
    builder.bar((0.0, height, 0.0), (toward * 1.1, height + 0.15, 0.0), 0.09, pole)
    head = Material((250, 236, 200), warm=rng.uniform(6.0, 20.0), emission=255)
    builder.box((toward * 1.2, height + 0.05, 0.0), (0.6, 0.16, 0.3), head)
    return builder.build()


def pole_mesh(rng: np.random.Generator) -> Mesh:
    """Build a utility pole."""
    builder = MeshBuilder()
    wood = Material(pick_color(rng, ((104, 92, 78), (140, 138, 132))), absorb=0.5)
    height = rng.uniform(6.0, 9.0)
    builder.bar((0.0, 0.0, 0.0), (0.0, height, 0.0), rng.uniform(0.2, 0.34), wood)
    builder.bar((-0.8, height - 0.5, 0.0), (0.8, height - 0.5, 0.0), 0.1, wood)
    builder.box((0.3, height * 0.75, 0.0), (0.4, 0.6, 0.4), wood._replace(warm=5.0))
    return builder.build()


def sign_mesh(rng: np.random.Generator) -> Mesh:
    """Build a traffic sign on a post."""
    builder = MeshBuilder()
    post = Material((150, 152, 150), absorb=0.3)
    height = rng.uniform(1.9, 2.6)
    builder.bar((0.0, 0.0, 0.0), (0.0, height, 0.0), 0.07, post)
    color = pick_color(rng, _SIGNS)
    plate = Material(color, absorb=0.3, sky=0.08)
    radius, corners = rng.uniform(0.25, 0.4), int(rng.choice([3, 4, 8, 12]))
    turn = [2 * np.pi * (k + 0.5) / corners for k in range(corners)]
    for scale, material in ((1.0, plate), (0.7, shaded(plate, 0.5 if color[0] > 210 else 1.5))):
        builder.polygon(
            [(scale * radius * float(np.sin(a)), height + scale * radius * float(np.cos(a)), -0.05) for a in turn],
            material,
            cull=False,
        )
    return builder.build()


def box_mesh(rng: np.random.Generator) -> Mesh:
    """Build a bin, a cabinet, a planter, a bench or a vending machine."""
    builder = MeshBuilder()
    kind = str(rng.choice(["bin", "cabinet", "planter", "vending", "bench"]))
    paint = Material(pick_color(rng, (*_SIGNS, (110, 112, 112), (70, 80, 70))), absorb=0.4)
    if kind == "bin":
        builder.box((0.0, 0.0, 0.0), (0.5, 0.85, 0.5), paint)
        builder.box((0.0, 0.85, 0.0), (0.54, 0.1, 0.54), shaded(paint, 0.6))
    elif kind == "cabinet":
        builder.box((0.0, 0.0, 0.0), (0.8, 1.2, 0.4), paint._replace(warm=rng.uniform(0, 8)))
    elif kind == "planter":
        builder.box((0.0, 0.0, 0.0), (1.1, 0.45, 0.5), Material((120, 100, 84)))
        builder.box((0.0, 0.45, 0.0), (1.0, 0.3, 0.4), Material((60, 90, 40), absorb=0.1))
    elif kind == "vending":
        builder.box((0.0, 0.0, 0.0), (1.0, 1.85, 0.7), paint._replace(warm=3.0))
        glow = Material((240, 244, 250), warm=5.0, emission=210)
        builder.polygon([(-0.42, 0.8, -0.36), (-0.42, 1.7, -0.36), (0.42, 1.7, -0.36), (0.42, 0.8, -0.36)], glow)
    else:
        builder.box((0.0, 0.4, 0.0), (1.5, 0.08, 0.45), Material((130, 96, 60), absorb=0.5))
        for x in (-0.6, 0.6):
            builder.box((x, 0.0, 0.0), (0.08, 0.4, 0.4), Material((60, 60, 62)))
    return builder.build()


@lru_cache(maxsize=1)
def foliage() -> list[NDArray[np.uint8]]:
    """Crowns and bushes (80, 80, 4) uint8: RGB and coverage, the same for every scene."""
    rng = np.random.default_rng(77)
    side, sprites = 80, []
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    for index in range(12):
        shape = 1.05 - np.sqrt(columns**2 + (rows * rng.uniform(0.85, 1.1)) ** 2)
        lumps = cv2.resize(rng.normal(0, 1, (9, 9)), (side, side), interpolation=cv2.INTER_CUBIC)
        leaves = cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 1.0) * 2.2
        covered = shape + 0.22 * lumps + 0.09 * leaves > 0.18
        light = 0.9 - 0.28 * rows + 0.2 * lumps + 0.26 * leaves
        color = np.array(_LEAVES[index % len(_LEAVES)]) * np.clip(light, 0.25, 1.9)[..., None]
        sprite = np.dstack([np.clip(color, 0, 255), covered * 255]).astype(np.uint8)
        sprites.append(sprite)
    return sprites
