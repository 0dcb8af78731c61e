"""Three images drawn with the same polygons: reflectance, temperature and object number."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.data.synthetic.camera import NEAR_M, Camera, Floats, clip_near
from csknet_core.data.synthetic.climate import Heat, Material

_SHIFT = 3
"""Fractional bits of polygon corners."""
_LIMIT = 20000.0
"""Farthest corner passed to OpenCV, pixels; beyond it fixed-point corners would overflow."""


class Face(NamedTuple):
    """Polygons of one material within a mesh.

    Attributes:
        start: index of the first vertex.
        corners: vertices per polygon.
        polygons: number of polygons, stored one after the other.
        material: what they are made of; None marks pixels as the object's and shows nothing.
        cull: skip polygons seen from behind (corners run clockwise when seen from the front).
    """

    start: int
    corners: int
    polygons: int
    material: Material | None
    cull: bool = True


class Mesh(NamedTuple):
    """Vertices (N, 3) in metres and the faces that use them, in drawing order."""

    vertices: Floats
    faces: Sequence[Face]


class Canvas:
    """The images of one frame while it is drawn, back to front.

    Attributes:
        reflectance: (H, W, 4) uint8, RGB and light of its own.
        temperature: (H, W) uint16, centikelvin.
        numbers: (H, W) uint16, object number; 0 is the ground and all behind it.
        class_ids: class id of each object number.
        local_light: brightness lamps give to each object number.
    """

    def __init__(self, camera: Camera, heat: Heat) -> None:
        self.camera = camera
        self.heat = heat
        shape = (camera.height, camera.width)
        self.reflectance = np.zeros((*shape, 4), np.uint8)
        self.temperature = np.zeros(shape, np.uint16)
        self.numbers = np.zeros(shape, np.uint16)
        self.class_ids: list[int] = [0]
        self.local_light: list[float] = [0.0]

    def begin(self, class_id: int, light: float = 0.0) -> int:
        """Start an object of a class lit by lamps with `light`; return its number."""
        self.class_ids.append(class_id)
        self.local_light.append(light)
        return len(self.class_ids) - 1

    def labels(self) -> NDArray[np.uint8]:
        """The label map (H, W)."""
        return np.array(self.class_ids, np.uint8)[self.numbers]

    def draw(self, mesh: Mesh, number: int, texture: int = -1) -> None:
        """Draw a mesh in world coordinates; `texture` >= 0 roughens it with that tile."""
        points = self.camera.to_camera(mesh.vertices)
        if points[:, 2].min() >= NEAR_M:
            pixels = self.camera.to_pixels(points)
            low, high = pixels.min(axis=0), pixels.max(axis=0)
            if high[0] < 0 or high[1] < 0 or low[0] > self.camera.width:
                return
            if low[1] > self.camera.height:
                return
            corners = _fixed(pixels)
            for face in mesh.faces:
                block = corners[face.start : face.start + face.corners * face.polygons]
                self._fill(block.reshape(face.polygons, face.corners, 2), face, number)
        else:
            if points[:, 2].max() < NEAR_M:
                return
            low, high = self._draw_clipped(points, mesh.faces, number)
        if texture >= 0:
            self._roughen(low, high, number, texture)

    def _draw_clipped(
        self, points: Floats, faces: Sequence[Face], number: int
    ) -> tuple[Floats, Floats]:
        for face in faces:
            block = points[face.start : face.start + face.corners * face.polygons]
            for polygon in block.reshape(face.polygons, face.corners, 3):
                clipped = clip_near(polygon)
                if len(clipped) >= 3:
                    corners = _fixed(self.camera.to_pixels(clipped))
                    self._fill(corners[None], face, number)
        return np.zeros(2), np.array([self.camera.width, self.camera.height], float)

    def _fill(self, corners: NDArray[np.int32], face: Face, number: int) -> None:
        if face.cull and _is_back(corners[0]):
            return
        polygons = list(corners)
        material = face.material
        if material is None:
            cv2.fillPoly(self.numbers, polygons, number, shift=_SHIFT)
            return
        color = (*material.rgb, material.emission)
        cv2.fillPoly(self.reflectance, polygons, color, shift=_SHIFT)
        kelvin = self.heat.centikelvin(material)
        cv2.fillPoly(self.temperature, polygons, kelvin, shift=_SHIFT)
        cv2.fillPoly(self.numbers, polygons, number, shift=_SHIFT)

    def _roughen(self, low: Floats, high: Floats, number: int, texture: int) -> None:
        left, top = max(int(low[0]), 0), max(int(low[1]), 0)
        right = min(int(high[0]) + 2, self.camera.width)
        bottom = min(int(high[1]) + 2, self.camera.height)
        if right - left < 6 or bottom - top < 6:
            return
        region = (slice(top, bottom), slice(left, right))
        mask = (self.numbers[region] == number).view(np.uint8)
        light, warmth = texture_tiles()
        size = (right - left, bottom - top)
        tile = cv2.resize(light[texture % len(light)], size, interpolation=cv2.INTER_LINEAR)
        surface = self.reflectance[region]
        cv2.copyTo(cv2.multiply(surface, tile, scale=1 / 128), mask, surface)
        tile16 = cv2.resize(warmth[texture % len(warmth)], size, interpolation=cv2.INTER_LINEAR)
        kelvin = self.temperature[region]
        cv2.add(kelvin, tile16, dst=kelvin, mask=mask)


def _fixed(pixels: Floats) -> NDArray[np.int32]:
    return np.rint(np.clip(pixels, -_LIMIT, _LIMIT) * (1 << _SHIFT)).astype(np.int32)


def _is_back(corners: NDArray[np.int32]) -> bool:
    (ax, ay), (bx, by), (cx, cy) = corners[:3].tolist()
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) <= 0


@lru_cache(maxsize=1)
def texture_tiles(
    count: int = 24, side: int = 24
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint16]]]:
    """Tiles that make flat polygons uneven: reflectance factors (128 = 1) and added centikelvin."""
    rng = np.random.default_rng(20231204)
    light, warmth = [], []
    for _ in range(count):
        fine = rng.normal(0, 1, (side, side)).astype(np.float32)
        coarse = cv2.resize(rng.normal(0, 1, (4, 4)).astype(np.float32), (side, side))
        across = np.linspace(-1, 1, side, dtype=np.float32) * rng.uniform(-16, 16)
        down = np.linspace(1, -1, side, dtype=np.float32)[:, None] * rng.uniform(0, 14)
        factor = np.clip(128 + 7 * fine + 14 * coarse + across + down, 40, 200).astype(np.uint8)
        light.append(np.dstack([factor, factor, factor, np.full_like(factor, 128)]))
        heat = 60 + 20 * coarse + 12 * fine + across
        warmth.append(np.clip(heat, 0, 200).astype(np.uint16))
    return light, warmth
