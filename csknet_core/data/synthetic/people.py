"""People: flat figures with jointed limbs that turn to the camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from csknet_core.data.synthetic.camera import Floats
from csknet_core.data.synthetic.canvas import Face, Mesh
from csknet_core.data.synthetic.climate import Color, Material
from csknet_core.data.synthetic.shapes import Flat, pick_color, shaded

_SKIN: tuple[Color, ...] = ((224, 184, 158), (196, 148, 116), (140, 98, 72), (96, 66, 48))
_HAIR: tuple[Color, ...] = ((26, 22, 20), (60, 42, 28), (120, 90, 50), (130, 130, 130))
_TOPS: tuple[Color, ...] = (
    (30, 32, 40), (210, 210, 208), (60, 80, 140), (150, 40, 44), (90, 96, 86), (36, 36, 36),
    (190, 160, 110), (70, 110, 80), (120, 120, 128), (220, 140, 60),
)  # fmt: skip
_TROUSERS: tuple[Color, ...] = ((28, 30, 36), (48, 58, 84), (96, 86, 72), (70, 70, 74), (16, 16, 18))
_BAGS: tuple[Color, ...] = ((30, 30, 34), (120, 40, 40), (60, 70, 50), (170, 150, 120))
_STRIDE = math.radians(27)


@dataclass(frozen=True)
class Pose:
    """How a figure stands at one moment.

    Attributes:
        phase: place in the walking cycle, radians.
        swing: size of the steps, 0 = standing, 1 = walking.
        side: 1 walking to the image's right, -1 to its left, 0 along the line of sight.
        facing: whether the face is turned to the camera.
        riding: whether the figure sits on a bicycle.
    """

    phase: float
    swing: float
    side: float
    facing: bool
    riding: bool = False


class Person:
    """One person's looks.

    Args:
        rng: source of the looks.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.height = float(np.clip(rng.normal(1.69, 0.09), 1.15, 1.95))
        self.girth = float(rng.uniform(0.88, 1.25))
        insulation = rng.uniform(0.38, 0.68)
        self.skin = Material(pick_color(rng, _SKIN, 8), absorb=0.2, body=rng.uniform(0.82, 0.97))
        self.hair = Material(pick_color(rng, _HAIR, 8), absorb=0.5, body=rng.uniform(0.45, 0.7))
        self.top = Material(pick_color(rng, _TOPS), absorb=0.4, body=insulation)
        legs = pick_color(rng, _TROUSERS)
        self.legs = Material(legs, absorb=0.4, body=min(0.72, insulation + 0.06))
        self.shoes = Material(pick_color(rng, _TROUSERS, 8), absorb=0.3, body=0.22)
        self.bag = Material(pick_color(rng, _BAGS), absorb=0.5, body=0.1)
        self.sleeves = bool(rng.random() < 0.7)
        self.bare_legs = bool(rng.random() < 0.15)
        self.coat = float(rng.choice([0.0, 0.0, 0.12, 0.2]))
        self.has_pack = bool(rng.random() < 0.25)
        self.has_hand_bag = bool(rng.random() < 0.2)
        self.hat = bool(rng.random() < 0.2)
        self.texture = int(rng.integers(24))

    def figure(self, pose: Pose) -> _Figure:
        """Return the figure in metres: u to the image's right, v up, feet at the origin."""
        figure = _Figure(self.height)
        if pose.riding:
            self._draw_riding(figure, pose)
            return figure
        self._draw_limbs(figure, pose, near=False)
        self._draw_torso(figure, pose)
        self._draw_limbs(figure, pose, near=True)
        self._draw_head(figure, 0.02 * pose.side, 0.0, pose)
        return figure

    def _draw_limbs(self, figure: _Figure, pose: Pose, near: bool) -> None:
        """One leg and one arm; the near ones are drawn over the torso when seen from the side."""
        sign = 1.0 if near else -1.0
        across = (1.0 - abs(pose.side)) * sign
        angle = sign * _STRIDE * pose.swing * math.sin(pose.phase)
        bend = pose.swing * 0.7 * max(0.0, sign * math.cos(pose.phase))
        self._draw_leg(figure, pose, across, angle, bend, near)
        shoulder = (0.125 * across * self.girth, 0.81)
        lean = -angle * 0.9 * pose.side
        spread = 0.1 * across
        elbow = (shoulder[0] + 0.17 * math.sin(lean + spread), 0.81 - 0.17 * math.cos(lean))
        fore = lean + 0.3 * pose.side * pose.swing
        hand = (elbow[0] + 0.15 * math.sin(fore + spread * 0.4), elbow[1] - 0.15 * math.cos(fore))
        sleeve = shaded(self.top, 0.86 if near else 0.68)
        figure.limb(shoulder, elbow, 0.033 * self.girth, 0.027, sleeve)
        figure.limb(elbow, hand, 0.026, 0.019, sleeve if self.sleeves else self.skin)
        figure.limb(hand, (hand[0], hand[1] - 0.03), 0.02, 0.016, self.skin)
        if near and self.has_hand_bag:
            x, y = hand[0], hand[1] - 0.03
            figure.polygon([(x - 0.05, y), (x + 0.05, y), (x + 0.06, y - 0.14), (x - 0.06, y - 0.14)], self.bag)

    def _draw_leg(
        self, figure: _Figure, pose: Pose, across: float, angle: float, bend: float, near: bool
    ) -> None:
        hip = (0.052 * across * self.girth, 0.5)
        swing = angle * pose.side
        lift = (1.0 - abs(pose.side)) * 0.06 * bend
        knee = (hip[0] + 0.24 * math.sin(swing), 0.5 - 0.235 * math.cos(angle) + lift)
        shin = swing - bend * pose.side
        ankle = (knee[0] + 0.23 * math.sin(shin), max(0.03, knee[1] - 0.235 * math.cos(shin) + lift))
        cloth = shaded(self.legs, 1.0 if near else 0.8)
        figure.limb(hip, knee, 0.056 * self.girth, 0.04, cloth)
        lower = self.skin if self.bare_legs else cloth
        figure.limb(knee, ankle, 0.039, 0.027, lower)
        toe = (ankle[0] + 0.06 * pose.side + 0.012 * across, ankle[1] - 0.018)
        figure.limb(ankle, toe, 0.024, 0.02, self.shoes)

    def _draw_torso(self, figure: _Figure, pose: Pose) -> None:
        broad = self.girth * (0.075 + 0.055 * (1.0 - abs(pose.side)))
        hem = 0.47 - self.coat
        if self.has_pack and (not pose.facing or abs(pose.side) > 0.4):
            back = -0.1 * pose.side
            pack = [(back - 0.08, 0.82), (back + 0.08, 0.82), (back + 0.09, 0.58), (back - 0.09, 0.58)]
            if abs(pose.side) > 0.4:
                figure.polygon(pack, self.bag)
        outline = [
            (-0.35 * broad, 0.86), (0.35 * broad, 0.86), (broad, 0.83), (0.95 * broad, 0.68),
            (0.86 * broad, 0.56), (1.02 * broad, hem), (-1.02 * broad, hem), (-0.86 * broad, 0.56),
            (-0.95 * broad, 0.68), (-broad, 0.83),
        ]  # fmt: skip
        figure.polygon(outline, self.top)
        shade = [(0.3 * broad, 0.85), (broad, 0.83), (0.95 * broad, 0.68), (1.0 * broad, hem), (0.4 * broad, hem)]
        figure.polygon(shade, shaded(self.top, 0.84))
        if self.has_pack and not pose.facing and abs(pose.side) <= 0.4:
            figure.polygon(pack, self.bag)

    def _draw_head(self, figure: _Figure, x: float, drop: float, pose: Pose) -> None:
        y = 0.925 - drop
        figure.limb((x * 0.5, y - 0.08), (x, y - 0.03), 0.026, 0.026, self.skin)
        figure.oval((x, y), 0.05, 0.068, self.skin)
        if pose.facing or abs(pose.side) > 0.5:
            turn = math.copysign(0.012, pose.side) if abs(pose.side) > 0.5 else 0.0
            figure.polygon(
                [
                    (x - 0.054 - turn, y + 0.012), (x - 0.044 - turn, y + 0.062), (x - turn, y + 0.078),
                    (x + 0.044 - turn, y + 0.062), (x + 0.054 - turn, y + 0.012), (x + 0.03 - turn, y + 0.036),
                ],
                self.bag if self.hat else self.hair,
            )  # fmt: skip
        else:
            figure.oval((x, y + 0.008), 0.053, 0.068, self.bag if self.hat else self.hair)

    def _draw_riding(self, figure: _Figure, pose: Pose) -> None:
        side = pose.side
        flat = 1.0 - abs(side)
        hip, shoulder = (-0.14 * side, 0.57), (0.03 * side, 0.83)
        for sign in (-1.0, 1.0):
            turn = pose.phase + (0.0 if sign > 0 else math.pi)
            foot = (0.02 * side + 0.09 * math.cos(turn) * side + 0.06 * sign * flat, 0.17 + 0.09 * math.sin(turn))
            knee = ((hip[0] + foot[0]) / 2 + 0.1 * side + 0.02 * sign * flat, (hip[1] + foot[1]) / 2 + 0.07)
            cloth = shaded(self.legs, 1.0 if sign > 0 else 0.8)
            figure.limb((hip[0] + 0.04 * sign * flat, hip[1]), knee, 0.055, 0.042, cloth)
            figure.limb(knee, foot, 0.04, 0.028, cloth)
            figure.limb(foot, (foot[0] + 0.06 * side, foot[1] - 0.01), 0.024, 0.02, self.shoes)
        broad = self.girth * (0.07 + 0.05 * flat)
        figure.limb(hip, shoulder, broad * 0.95, broad * 0.9, self.top)
        for sign in (-1.0, 1.0):
            hand = (0.25 * side + 0.14 * sign * flat, 0.6)
            elbow = ((shoulder[0] + hand[0]) / 2 + 0.05 * sign * flat, 0.68)
            sleeve = shaded(self.top, 0.8)
            figure.limb((shoulder[0] + 0.1 * sign * flat, 0.8), elbow, 0.03, 0.026, sleeve)
            figure.limb(elbow, hand, 0.025, 0.018, sleeve if self.sleeves else self.skin)
        self._draw_head(figure, 0.08 * side, 0.0, pose)


class _Figure:
    """Polygons in units of the body height, in drawing order."""

    def __init__(self, height: float) -> None:
        self._height = height
        self._points: list[Flat] = []
        self._faces: list[Face] = []

    def polygon(self, points: list[Flat], material: Material) -> None:
        """Add a polygon."""
        self._faces.append(Face(len(self._points), len(points), 1, material, False))
        self._points.extend(points)

    def limb(self, start: Flat, end: Flat, r0: float, r1: float, material: Material) -> None:
        """Add a tapered stick with blunt ends."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = math.hypot(dx, dy) or 1.0
        dx, dy = dx / length, dy / length
        (ax, ay), (bx, by) = start, end
        self.polygon(
            [
                (ax - dy * r0, ay + dx * r0), (ax - dx * r0 * 0.8, ay - dy * r0 * 0.8),
                (ax + dy * r0, ay - dx * r0), (bx + dy * r1, by - dx * r1),
                (bx + dx * r1 * 0.8, by + dy * r1 * 0.8), (bx - dy * r1, by + dx * r1),
            ],
            material,
        )  # fmt: skip

    def oval(self, center: Flat, half_x: float, half_y: float, material: Material) -> None:
        """Add an ellipse."""
        self.polygon([(center[0] + half_x * c, center[1] + half_y * s) for c, s in _CIRCLE], material)

    def standing_at(self, x: float, y: float, z: float, right: Floats) -> Mesh:
        """Return the figure as a mesh upright at a point, facing along `right`'s normal."""
        flat = np.array(self._points) * self._height
        vertices = flat[:, :1] * right
        vertices[:, 1] += flat[:, 1]
        vertices += (x, y, z)
        return Mesh(vertices, self._faces)


_CIRCLE = [(math.cos(k * math.pi / 5), math.sin(k * math.pi / 5)) for k in range(10)]
