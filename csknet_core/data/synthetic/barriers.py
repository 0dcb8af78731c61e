"""The rare classes: kerbs, speed bumps, cones, car stops and guardrails."""

from __future__ import annotations

import numpy as np

from csknet_core.data.synthetic.canvas import Mesh
from csknet_core.data.synthetic.climate import Color, Material
from csknet_core.data.synthetic.shapes import MeshBuilder, Point, pick_color, shaded

_STONE: tuple[Color, ...] = ((168, 166, 160), (140, 138, 134), (190, 186, 176), (120, 118, 116))
_CONES: tuple[Color, ...] = ((214, 60, 34), (226, 92, 30), (36, 60, 170), (40, 130, 70), (204, 40, 56))
_RAILS: tuple[Color, ...] = ((224, 226, 224), (160, 166, 170), (196, 198, 196), (110, 84, 60))
_WARNING: tuple[Color, ...] = ((222, 180, 40), (232, 200, 60), (206, 150, 40))


def kerb_mesh(rng: np.random.Generator, length: float, inward: int) -> Mesh:
    """Build kerb stones along z; `inward` (+1 or -1) is the side of x the road lies on."""
    builder = MeshBuilder()
    stone = Material(pick_color(rng, _STONE), absorb=rng.uniform(0.2, 0.4))
    height, depth = rng.uniform(0.12, 0.24), rng.uniform(0.16, 0.34)
    x = -inward * depth / 2
    builder.box((x, 0.0, length / 2), (depth, height, length), stone)
    joint = shaded(stone, 0.6)
    gaps = np.arange(0.6, length, 0.6)
    face, back = 0.005 * inward, -inward * depth
    strips: list[list[Point]] = [
        [(face, 0.0, z), (face, height, z), (face, height, z + 0.02), (face, 0.0, z + 0.02)]
        for z in gaps
    ]
    tops: list[list[Point]] = [
        [(back, height, z), (back, height, z + 0.02), (0.0, height, z + 0.02), (0.0, height, z)]
        for z in gaps
    ]
    builder.polygons(strips, joint, cull=False)
    builder.polygons(tops, joint, cull=False)
    return builder.build()


def bump_mesh(rng: np.random.Generator, width: float) -> Mesh:
    """Build a speed bump across the road: striped rubber, painted asphalt or paving."""
    builder = MeshBuilder()
    kind = str(rng.choice(["striped", "painted", "paved"], p=[0.45, 0.25, 0.3]))
    half = rng.uniform(0.18, 0.35) if kind != "paved" else rng.uniform(0.4, 1.2)
    height = rng.uniform(0.05, 0.1)
    base = {
        "striped": (40, 40, 42),
        "painted": pick_color(rng, _WARNING),
        "paved": pick_color(rng, ((128, 96, 84), (110, 108, 106), (150, 144, 130), (84, 82, 80))),
    }[kind]
    body = Material(base, absorb=rng.uniform(0.5, 1.0), warm=rng.uniform(-0.8, 0.8))
    ramp = min(0.2, half * 0.6)
    profile = [(-half, 0.0), (-half + ramp, height), (half - ramp, height), (half, 0.0)]
    builder.prism(profile, width / 2, body)
    if kind == "striped":
        bright = body._replace(rgb=pick_color(rng, _WARNING))
        edges = np.arange(-width / 2, width / 2 - 0.2, 0.8)
        low, top = -half + ramp, half - ramp
        for y0, z0, y1, z1 in ((0.005, -half, height + 0.005, low), (height + 0.005, low, height + 0.005, top)):
            builder.polygons(
                [[(x, y0, z0), (x, y1, z1), (x + 0.4, y1, z1), (x + 0.4, y0, z0)] for x in edges],
                bright,
            )
    elif kind == "paved":
        line = shaded(body, 0.75)
        joints = np.arange(-width / 2, width / 2, 0.5)
        builder.polygons(
            [
                [(x, height, -half + ramp), (x, height, half - ramp), (x + 0.04, height, half - ramp), (x + 0.04, height, -half + ramp)]
                for x in joints
            ],
            line,
        )
    return builder.build()


def cone_mesh(rng: np.random.Generator) -> Mesh:
    """Build a traffic cone."""
    builder = MeshBuilder()
    height, base = rng.uniform(0.45, 0.95), rng.uniform(0.3, 0.42)
    plastic = Material(pick_color(rng, _CONES), absorb=rng.uniform(0.1, 0.4), warm=rng.uniform(-1.5, 0.2))
    foot = plastic if rng.random() < 0.7 else plastic._replace(rgb=(34, 34, 36))
    builder.box((0.0, 0.0, 0.0), (base, 0.05, base), foot)
    r0, r1 = base * 0.4, base * 0.09
    stripes = int(rng.integers(0, 3))
    white = plastic._replace(rgb=(226, 226, 222))
    bands = [(0.0, 1.0, plastic)]
    bands += [(0.34 + 0.26 * k, 0.48 + 0.26 * k, white) for k in range(stripes)]
    for low, high, material in bands:
        _add_cone_band(builder, material, height, (r0, r1), (low, high))
    return builder.build()


def _add_cone_band(
    builder: MeshBuilder,
    material: Material,
    height: float,
    radii: tuple[float, float],
    band: tuple[float, float],
) -> None:
    sides = 8
    (y0, y1), (r0, r1) = (
        tuple(0.05 + height * share for share in band),
        tuple(radii[0] + (radii[1] - radii[0]) * share for share in band),
    )
    for k in range(sides):
        a, b = 2 * np.pi * k / sides, 2 * np.pi * (k + 1) / sides
        # The light comes from the upper right.
        shade = shaded(material, 0.82 + 0.2 * float(np.cos((a + b) / 2 - 0.6)))
        sin_a, cos_a, sin_b, cos_b = (float(f(t)) for t in (a, b) for f in (np.sin, np.cos))
        corners: list[Point] = [
            (r0 * cos_a, y0, r0 * sin_a), (r0 * cos_b, y0, r0 * sin_b),
            (r1 * cos_b, y1, r1 * sin_b), (r1 * cos_a, y1, r1 * sin_a),
        ]  # fmt: skip
        builder.polygon(corners[::-1], shade)


def car_stop_mesh(rng: np.random.Generator) -> Mesh:
    """Build a wheel stop, a bollard, a stone or a barricade, as MFNet's car_stop has them."""
    builder = MeshBuilder()
    kind = str(rng.choice(["block", "bollard", "stone", "barricade", "arch"]))
    stone = Material(pick_color(rng, _STONE), absorb=rng.uniform(0.2, 0.5), warm=rng.uniform(-0.5, 0.5))
    if kind == "block":
        builder.box((0.0, 0.0, 0.0), (rng.uniform(0.5, 1.8), rng.uniform(0.12, 0.22), 0.2), stone)
        if rng.random() < 0.4:
            builder.box((0.0, 0.04, 0.0), (0.4, 0.06, 0.21), stone._replace(rgb=(214, 180, 50)))
    elif kind == "stone":
        width, height = rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.5)
        builder.box((0.0, 0.0, 0.0), (width, height, width), stone)
        top = stone._replace(rgb=pick_color(rng, ((206, 92, 40), (170, 166, 160))))
        builder.box((0.0, height, 0.0), (width * 1.15, 0.12, width * 1.15), top)
    elif kind == "bollard":
        paint = stone._replace(rgb=pick_color(rng, ((210, 170, 40), (90, 92, 96), (220, 220, 216))))
        height = rng.uniform(0.6, 0.9)
        builder.box((0.0, 0.0, 0.0), (0.14, height, 0.14), paint)
        builder.box((0.0, height * 0.75, 0.0), (0.145, 0.1, 0.145), stone._replace(rgb=(200, 60, 40)))
    else:
        _add_barricade(builder, rng, stone, arch=kind == "arch")
    return builder.build()


def _add_barricade(
    builder: MeshBuilder, rng: np.random.Generator, stone: Material, arch: bool
) -> None:
    half, height = rng.uniform(0.45, 1.0), rng.uniform(0.6, 0.95)
    paint = stone._replace(rgb=pick_color(rng, (*_RAILS, *_WARNING)))
    builder.polygon(
        [(-half, 0.0, 0.0), (-half, height, 0.0), (half, height, 0.0), (half, 0.0, 0.0)], None, False
    )
    for x in (-half, half):
        builder.bar((x, 0.0, 0.0), (x, height, 0.0), 0.07, paint)
    rails = (1.0,) if arch else tuple(np.linspace(0.3, 1.0, int(rng.integers(2, 4))))
    for share in rails:
        thickness = 0.07 if arch else 0.12
        builder.bar((-half, height * share, 0.0), (half, height * share, 0.0), thickness, paint)
    if not arch:
        for x in np.arange(-half, half - 0.1, 0.22):
            builder.bar((x, 0.3 * height, 0.0), (x, height, 0.0), 0.03, paint)


def guardrail_mesh(rng: np.random.Generator, length: float) -> Mesh:
    """Build a piece of guardrail along z: a steel beam, white pipes or a close fence.

    As in MFNet, everything from the ground to the top rail belongs to it.
    """
    builder = MeshBuilder()
    kind = str(rng.choice(["beam", "pipes", "fence"], p=[0.45, 0.4, 0.15]))
    paint = Material(pick_color(rng, _RAILS), absorb=0.3, sky=0.06, warm=rng.uniform(-0.5, 0.5))
    height = rng.uniform(0.72, 1.0)
    whole: list[Point] = [
        (0.0, 0.0, 0.0), (0.0, height, 0.0), (0.0, height, length), (0.0, 0.0, length),
    ]  # fmt: skip
    builder.polygon(whole, None, cull=False)
    posts = shaded(paint, 0.8)
    spacing = 0.18 if kind == "fence" else 2.0
    for z in np.arange(0.02, length, spacing):
        builder.bar((0.0, 0.0, z), (0.0, height, z), 0.03 if kind == "fence" else 0.1, posts)
    if kind == "beam":
        for low, high, tone in ((0.0, 0.11, 0.95), (0.11, 0.2, 0.7), (0.2, 0.31, 1.05)):
            y0, y1 = height - 0.31 + low, height - 0.31 + high
            strip: list[Point] = [(0.0, y0, 0.0), (0.0, y1, 0.0), (0.0, y1, length), (0.0, y0, length)]
            builder.polygon(strip, shaded(paint, tone), cull=False)
    else:
        for share in (0.97,) if kind == "fence" else (0.4, 0.7, 0.97):
            builder.bar((0.0, height * share, 0.0), (0.0, height * share, length), 0.08, paint)
    return builder.build()
