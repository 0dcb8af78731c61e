"""The ground plane: road, pavement, grass and markings as one periodic texture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.data.synthetic.canvas import Canvas
from csknet_core.data.synthetic.climate import Color, Material
from csknet_core.data.synthetic.shapes import pick_color

Bytes = NDArray[Any]

PERIOD_M = 36.0
"""The texture repeats after this length of street."""
_HALF_WIDTH_M = 13.0
_PIXELS_PER_M = 18
_PERIODS = 3
_SHRINK = (1, 4, 16)
"""How much each copy of the texture is shrunk along the street, against aliasing far away."""
_REACH_M = (7.0, 19.0)
"""Distances at which the next copy takes over."""

_ROADS: tuple[Color, ...] = ((92, 92, 96), (70, 72, 78), (120, 118, 114), (136, 126, 112))
_PAVEMENTS: tuple[Color, ...] = ((150, 142, 132), (168, 160, 148), (128, 112, 104), (104, 106, 108))
_OUTSIDE: tuple[Color, ...] = ((70, 92, 44), (88, 98, 52), (112, 104, 84), (126, 122, 118))
_PAINT: tuple[Color, ...] = ((214, 214, 210), (196, 198, 196), (206, 176, 70))


@dataclass(frozen=True)
class Layout:
    """Where the parts of a street are (metres from its middle).

    Attributes:
        road: half width of the road.
        pavement: width of each pavement.
        marked: whether the road has lane markings.
        tiled_road: whether the road is a paved walkway.
    """

    road: float
    pavement: float
    marked: bool
    tiled_road: bool

    @property
    def edge(self) -> float:
        """Outer edge of the pavements."""
        return self.road + self.pavement


class Ground:
    """Draws the ground into a canvas.

    Args:
        rng: source of colours and marks.
        layout: the street.
    """

    def __init__(self, rng: np.random.Generator, layout: Layout) -> None:
        self.layout = layout
        self.road = pick_color(rng, _PAVEMENTS if layout.tiled_road else _ROADS, 10)
        self.pavement = pick_color(rng, _PAVEMENTS, 10)
        self.outside = pick_color(rng, _OUTSIDE, 12)
        texture = self._paint(rng)
        self._mips = [self._shrunk(texture, factor) for factor in _SHRINK]

    def _paint(self, rng: np.random.Generator) -> Bytes:
        width, length = int(2 * _HALF_WIDTH_M * _PIXELS_PER_M), int(PERIOD_M * _PIXELS_PER_M)
        texture = np.empty((length, width, 4), np.uint8)
        texture[:] = (*self.outside, 70)
        edge, road = self._column(self.layout.edge), self._column(self.layout.road)
        texture[:, width - edge : edge] = (*self.pavement, 120)
        texture[:, width - road : road] = (*self.road, 170)
        self._lay_tiles(rng, texture, edge, road)
        texture = _with_grain(rng, texture)
        if self.layout.marked:
            self._mark(rng, texture)
        self._stain(rng, texture)
        return texture

    @staticmethod
    def _column(x: float) -> int:
        return int((x + _HALF_WIDTH_M) * _PIXELS_PER_M)

    def _lay_tiles(self, rng: np.random.Generator, texture: Bytes, edge: int, road: int) -> None:
        step = int(rng.integers(6, 16))
        width = texture.shape[1]
        zones = [slice(width - edge, width - road), slice(road, edge)]
        if self.layout.tiled_road:
            zones.append(slice(width - road, road))
        dark = rng.uniform(0.75, 0.95)
        for zone in zones:
            for lines in (texture[::step, zone, :3], texture[:, zone, :3][:, ::step]):
                lines[:] = (lines * dark).astype(np.uint8)

    def _mark(self, rng: np.random.Generator, texture: Bytes) -> None:
        paint = pick_color(rng, _PAINT, 10)
        road, length = self.layout.road, texture.shape[0]
        color = (*paint, 130)
        for x in (-road + 0.35, road - 0.35):
            texture[:, self._column(x) : self._column(x + 0.14)] = color
        dash = int(rng.uniform(2, 4) * _PIXELS_PER_M)
        middle = slice(self._column(-0.07), self._column(0.07))
        if rng.random() < 0.25:
            texture[:, middle] = color
        else:
            for start in range(0, length, 2 * dash):
                texture[start : start + dash, middle] = color
        if rng.random() < 0.5:
            self._cross_walk(rng, texture, color)
        if rng.random() < 0.5:
            self._glyph(rng, texture, color)

    def _cross_walk(self, rng: np.random.Generator, texture: Bytes, color: tuple[int, ...]) -> None:
        start = int(rng.uniform(6, 28) * _PIXELS_PER_M)
        stop = start + int(rng.uniform(2.5, 4) * _PIXELS_PER_M)
        x = -self.layout.road + 0.5
        while x < self.layout.road - 0.5:
            texture[start:stop, self._column(x) : self._column(x + 0.5)] = color
            x += 1.0

    def _glyph(self, rng: np.random.Generator, texture: Bytes, color: tuple[int, ...]) -> None:
        side = 34
        glyph: Bytes = np.zeros((side, side), np.uint8)
        text = ("30", "P", "X", "20", "A", "S")[int(rng.integers(6))]
        cv2.putText(glyph, text, (0, side - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.85, 255, 4)
        # A camera looking along +z sees growing rows farther away, so the text goes in upside down.
        glyph = cv2.resize(glyph[::-1], (side, side * 2))
        row = int(rng.uniform(2, 30) * _PIXELS_PER_M)
        column = self._column(rng.uniform(0.5, max(0.6, self.layout.road - 2.2)))
        texture[row : row + glyph.shape[0], column : column + side][glyph > 100] = color

    def _stain(self, rng: np.random.Generator, texture: Bytes) -> None:
        for _ in range(int(rng.integers(4, 10))):
            x = rng.uniform(-self.layout.road, self.layout.road)
            center = (self._column(x), int(rng.integers(20, texture.shape[0] - 20)))
            radii = (int(rng.integers(4, 16)), int(rng.integers(4, 24)))
            shade = rng.uniform(0.6, 0.9)
            color = (*(int(c * shade) for c in self.road), int(rng.integers(140, 190)))
            if rng.random() < 0.5:
                cv2.ellipse(texture, center, radii, 0, 0, 360, color, -1)
            else:
                far = (center[0] + radii[0], center[1] + radii[1])
                cv2.rectangle(texture, center, far, color, -1)

    @staticmethod
    def _shrunk(texture: Bytes, factor: int) -> Bytes:
        if factor > 1:
            size = (texture.shape[1], texture.shape[0] // factor)
            texture = cv2.resize(texture, size, interpolation=cv2.INTER_AREA)
        return np.concatenate([texture] * _PERIODS)

    def draw(self, canvas: Canvas) -> None:
        """Fill everything below the horizon."""
        camera, heat = canvas.camera, canvas.heat
        top = max(0, math.ceil(camera.horizon))
        if top >= camera.height:
            return
        canvas.reflectance[top:] = (*self.outside, 0)
        canvas.temperature[top:] = heat.centikelvin(Material(self.outside, 70 / 255))
        self._draw_far_strips(canvas, top)
        rows = [camera.height, *(camera.row_at(d) for d in _REACH_M), camera.row_at(60.0)]
        for mip, factor, low, high in zip(self._mips, _SHRINK, rows[1:], rows[:-1], strict=True):
            start, stop = max(top, int(low)), min(camera.height, int(high))
            if stop > start:
                self._warp(canvas, mip, factor, start, stop)

    def _draw_far_strips(self, canvas: Canvas, top: int) -> None:
        far = canvas.camera.position[2] + 400.0
        near = canvas.camera.position[2] + 15.0
        to_pixels = canvas.camera.ground_homography()
        for half, color, absorb in (
            (self.layout.edge, self.pavement, 120 / 255),
            (self.layout.road, self.road, 170 / 255),
        ):
            corners = np.array([(-half, near, 1), (-half, far, 1), (half, far, 1), (half, near, 1)])
            image = corners @ to_pixels.T
            if image[:, 2].min() <= 0.1:
                continue
            pixels = np.clip(image[:, :2] / image[:, 2:], -9000, 9000)
            pixels[:, 1] = np.maximum(pixels[:, 1], top)
            polygon = [np.rint(pixels).astype(np.int32)]
            cv2.fillPoly(canvas.reflectance, polygon, (*color, 0))
            kelvin = canvas.heat.centikelvin(Material(color, absorb))
            cv2.fillPoly(canvas.temperature, polygon, kelvin)

    def _warp(self, canvas: Canvas, mip: Bytes, factor: int, start: int, stop: int) -> None:
        camera, heat = canvas.camera, canvas.heat
        origin = math.floor((camera.position[2] - 10.0) / PERIOD_M) * PERIOD_M
        step = 1.0 / _PIXELS_PER_M
        to_ground = np.array([(step, 0, -_HALF_WIDTH_M), (0, step * factor, origin), (0, 0, 1)])
        to_band = np.array([(1, 0, 0), (0, 1, -start), (0, 0, 1.0)])
        matrix = to_band @ camera.ground_homography() @ to_ground
        size = (camera.width, stop - start)
        warped = cv2.warpPerspective(mip, matrix, size, borderMode=cv2.BORDER_CONSTANT)
        mask = (warped[..., 3] > 0).view(np.uint8)
        cold = heat.centikelvin(Material((0, 0, 0), 0.0))
        warm = heat.centikelvin(Material((0, 0, 0), 1.0))
        table = np.linspace(cold, warm, 256).astype(np.uint16)
        cv2.copyTo(table[warped[..., 3]], mask, canvas.temperature[start:stop])
        warped[..., 3] = 0
        cv2.copyTo(warped, mask, canvas.reflectance[start:stop])


def _with_grain(rng: np.random.Generator, texture: Bytes) -> Bytes:
    length, width = texture.shape[:2]
    fine = rng.integers(0, 256, (length, width), np.uint8)
    coarse = rng.integers(0, 256, (length // 24, width // 24), np.uint8)
    coarse = cv2.resize(coarse, (width, length), interpolation=cv2.INTER_CUBIC)
    strength = rng.uniform(0.08, 0.3)
    grain = cv2.addWeighted(fine, strength, coarse, 0.16, 128 - 128 * (strength + 0.16))
    grain = cv2.blur(grain, (2, 2))
    return cv2.multiply(texture, cv2.merge([grain, grain, grain, grain]), scale=1 / 128)
