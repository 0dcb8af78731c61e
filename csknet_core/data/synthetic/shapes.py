"""Building meshes from boxes, prisms, strips and rings.

Local axes of an object: x to its right, y up, z ahead; the origin is on the ground.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from csknet_core.data.synthetic.canvas import Face, Mesh
from csknet_core.data.synthetic.climate import Color, Material

Point = tuple[float, float, float]
Flat = tuple[float, float]


class MeshBuilder:
    """Collects faces; `build` gives the mesh."""

    def __init__(self) -> None:
        self._vertices: list[Point] = []
        self._faces: list[Face] = []

    def polygon(
        self, points: Sequence[Point], material: Material | None, cull: bool = True
    ) -> None:
        """Add a polygon; clockwise when seen from its front if `cull`."""
        self._faces.append(Face(len(self._vertices), len(points), 1, material, cull))
        self._vertices.extend(points)

    def polygons(
        self, group: Sequence[Sequence[Point]], material: Material | None, cull: bool = True
    ) -> None:
        """Add polygons of equal corner count and material, drawn in one go."""
        if not group:
            return
        start = len(self._vertices)
        self._faces.append(Face(start, len(group[0]), len(group), material, cull))
        for points in group:
            self._vertices.extend(points)

    def prism(
        self, profile: Sequence[Flat], half_width: float, material: Material, taper: float = 0.0
    ) -> None:
        """Add a convex (z, y) profile extruded to x = +-half_width.

        The profile runs clockwise with z to the right and y up. `taper` pulls the upper edge
        inwards by that share of its height, metres.
        """
        low = min(y for _, y in profile)

        def at(side: float, z: float, y: float) -> Point:
            return (side * (half_width - taper * (y - low)), y, z)

        bright, side_shade = material, shaded(material, 0.78)
        for (z0, y0), (z1, y1) in zip(profile, [*profile[1:], profile[0]], strict=True):
            slope = math.hypot(z1 - z0, y1 - y0)
            upward = (z1 - z0) / slope if slope else 0.0
            face = shaded(bright, 0.84 + 0.22 * upward)
            corners = [at(-1, z0, y0), at(-1, z1, y1), at(1, z1, y1), at(1, z0, y0)]
            self.polygon(corners, face)
        self.polygon([at(-1, z, y) for z, y in reversed(profile)], side_shade)
        self.polygon([at(1, z, y) for z, y in profile], side_shade)

    def box(self, center: Point, size: Point, material: Material) -> None:
        """Add a box; `center` is that of its footprint, `size` is (x, y, z) in metres."""
        cx, y0, cz = center
        half_x, y1, half_z = size[0] / 2, y0 + size[1], size[2] / 2
        x0, x1, z0, z1 = cx - half_x, cx + half_x, cz - half_z, cz + half_z
        front, side = shaded(material, 0.92), shaded(material, 0.75)
        self.polygon([(x0, y0, z0), (x0, y1, z0), (x1, y1, z0), (x1, y0, z0)], front)
        self.polygon([(x1, y0, z1), (x1, y1, z1), (x0, y1, z1), (x0, y0, z1)], front)
        self.polygon([(x0, y0, z1), (x0, y1, z1), (x0, y1, z0), (x0, y0, z0)], side)
        self.polygon([(x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)], side)
        self.polygon([(x0, y1, z0), (x0, y1, z1), (x1, y1, z1), (x1, y1, z0)], material)

    def bar(self, start: Point, end: Point, thickness: float, material: Material) -> None:
        """Add a bar visible from every side: two crossed strips."""
        ax, ay, az = start
        bx, by, bz = end
        half = thickness / 2
        if abs(by - ay) > max(abs(bx - ax), abs(bz - az)):
            offsets = [(half, 0.0, 0.0), (0.0, 0.0, half)]
        else:
            offsets = [(0.0, half, 0.0)]
        for dx, dy, dz in offsets:
            strip = [
                (ax - dx, ay - dy, az - dz),
                (bx - dx, by - dy, bz - dz),
                (bx + dx, by + dy, bz + dz),
                (ax + dx, ay + dy, az + dz),
            ]
            self.polygon(strip, material, cull=False)

    def disc(
        self,
        center: Point,
        radius: float,
        material: Material | None,
        hole: float = 0.0,
        steps: int = 14,
        cull: bool = False,
    ) -> None:
        """Add a disc in the plane x = constant; with a `hole` (radius) it is a ring."""
        cx, cy, cz = center
        turn = [2 * math.pi * k / steps for k in range(steps)]
        points = [(cx, cy + radius * math.sin(a), cz + radius * math.cos(a)) for a in turn]
        if hole:
            inner = [(cx, cy + hole * math.sin(a), cz + hole * math.cos(a)) for a in turn]
            points = [*points, points[0], inner[0], *reversed(inner)]
        self.polygon(points, material, cull)

    def build(self) -> Mesh:
        """Return the mesh."""
        return Mesh(np.array(self._vertices, float).reshape(-1, 3), tuple(self._faces))


def shaded(material: Material, factor: float) -> Material:
    """Return the material with its reflectance scaled."""
    return material._replace(rgb=scaled(material.rgb, factor))


def scaled(rgb: Color, factor: float) -> Color:
    """Return a colour scaled and kept within 0..255."""
    red, green, blue = (max(0, min(255, int(c * factor))) for c in rgb)
    return (red, green, blue)


def placed(mesh: Mesh, x: float, z: float, heading: float, y: float = 0.0) -> Mesh:
    """Turn a mesh by `heading` (radians, clockwise from +z seen from above) and move it."""
    sin, cos = math.sin(heading), math.cos(heading)
    rotation = np.array([(cos, 0.0, -sin), (0.0, 1.0, 0.0), (sin, 0.0, cos)])
    return Mesh(mesh.vertices @ rotation + np.array([x, y, z]), mesh.faces)


def pick_color(rng: np.random.Generator, palette: Sequence[Color], spread: int = 14) -> Color:
    """Draw a colour near one of a palette."""
    base = palette[int(rng.integers(len(palette)))]
    red, green, blue = (int(np.clip(c + rng.integers(-spread, spread + 1), 0, 255)) for c in base)
    return (red, green, blue)
