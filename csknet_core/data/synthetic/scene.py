"""A street with everything on it, and where everything is at any time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from csknet_core.classes import MFNET
from csknet_core.data.synthetic.camera import Camera
from csknet_core.data.synthetic.canvas import Canvas, Mesh
from csknet_core.data.synthetic.cars import car_mesh
from csknet_core.data.synthetic.climate import Climate, lamps_at
from csknet_core.data.synthetic.furniture import (
    barrier_mesh,
    building_mesh,
    bump_mesh,
    clutter_mesh,
    cone_mesh,
    kerb_mesh,
    tree_mesh,
    wheel_stop_mesh,
)
from csknet_core.data.synthetic.ground import Ground, Layout
from csknet_core.data.synthetic.people import Person, bike_mesh
from csknet_core.data.synthetic.shapes import placed

_CAR, _PERSON, _BIKE, _KERB, _STOP, _RAIL, _CONE, _BUMP = range(1, len(MFNET))
_FAR_M = 65.0
_AHEAD_M = 62.0
_KERB_PIECE_M = 3.0


@dataclass
class Thing:
    """Something on the street.

    Attributes:
        class_id: MFNet class, 0 for background.
        x, z: position at time 0, metres.
        heading: radians; ignored for figures, which face the camera.
        mesh: its shape; None for people, whose shape follows their gait.
        person: who it is, for people.
        speed: (x, z) velocity, metres per second.
        faces_camera: whether it is a flat figure that turns with the camera.
        y: height of its origin above the ground, metres.
        light: share of the street lamps' light it gets.
        texture: which tile roughens it.
        backdrop: drawn before everything else.
    """

    class_id: int
    x: float
    z: float
    heading: float = 0.0
    mesh: Mesh | None = None
    person: Person | None = None
    speed: tuple[float, float] = (0.0, 0.0)
    faces_camera: bool = False
    y: float = 0.0
    light: float = 0.0
    texture: int = -1
    backdrop: bool = False

    def at(self, time_s: float) -> tuple[float, float]:
        """Position (x, z) at a time, metres."""
        return self.x + self.speed[0] * time_s, self.z + self.speed[1] * time_s


class Scene:
    """A populated street and the path of the camera through it.

    Args:
        seed: of everything drawn.
        duration_s: how long the camera drives; the street is populated all along.
        lamps: how far lamps and windows may be on, 0..1.
    """

    def __init__(self, seed: int, duration_s: float, lamps: float = 1.0) -> None:
        rng = np.random.default_rng((seed, 7))
        self.climate = Climate.draw(rng)
        walkway = bool(rng.random() < 0.25)
        self.layout = Layout(
            road=rng.uniform(2.6, 5.0),
            pavement=rng.uniform(1.6, 4.2),
            marked=not walkway and bool(rng.random() < 0.7),
            tiled_road=walkway,
        )
        self.ground = Ground(rng, self.layout)
        self.sky_rgb = rng.uniform((150, 170, 190), (215, 225, 245))
        self.speed = rng.uniform(0.8, 2.2)
        self.duration_s = duration_s
        self._draw_camera(rng)
        self._length = self.speed * duration_s + _AHEAD_M
        self._lamps = lamps
        self.things: list[Thing] = []
        self._populate(rng)

    def _draw_camera(self, rng: np.random.Generator) -> None:
        self._eye = (rng.uniform(-0.6, 0.6) * self.layout.road, rng.uniform(0.9, 1.8))
        self._yaw = rng.normal(0, 0.1)
        self._pitch = rng.uniform(-0.02, 0.16)
        self._zoom = rng.uniform(0.72, 1.15)
        self._sway = rng.uniform(0, 2 * math.pi, 3)

    def camera(self, time_s: float, size: tuple[int, int]) -> Camera:
        """The camera at a time; it drives on, swaying a little."""
        height, width = size
        first, second, third = self._sway
        return Camera(
            position=(
                self._eye[0] + 0.25 * math.sin(0.31 * time_s + first),
                self._eye[1],
                self.speed * time_s,
            ),
            yaw=self._yaw + 0.03 * math.sin(0.43 * time_s + second),
            pitch=self._pitch + 0.006 * math.sin(1.7 * time_s + third),
            focal=self._zoom * width,
            width=width,
            height=height,
        )

    def draw(self, time_s: float, daylight: float, size: tuple[int, int]) -> Canvas:
        """Draw everything at a time."""
        canvas = Canvas(self.camera(time_s, size), self.climate.at(daylight))
        self._draw_sky(canvas)
        self.ground.draw(canvas)
        camera = canvas.camera
        depths = [(camera.depth_of(*thing.at(time_s)), thing) for thing in self.things]
        seen = [(d, thing) for d, thing in depths if (-9 if thing.backdrop else 0.3) < d < _FAR_M]
        seen.sort(key=lambda item: (not item[1].backdrop, -item[0]))
        lamps = lamps_at(daylight) * self._lamps
        for depth, thing in seen:
            self._draw_thing(canvas, thing, time_s, depth, lamps)
        return canvas

    def _draw_thing(
        self, canvas: Canvas, thing: Thing, time_s: float, depth: float, lamps: float
    ) -> None:
        x, z = thing.at(time_s)
        mesh = thing.mesh
        if thing.person is not None:
            across = abs(thing.speed[0]) >= abs(thing.speed[1])
            mesh = thing.person.mesh(time_s, 1.0 if across else 0.25)
        assert mesh is not None
        heading = canvas.camera.yaw if thing.faces_camera else thing.heading
        number = canvas.begin(thing.class_id, thing.light * lamps)
        texture = thing.texture if depth < 25 else -1
        canvas.draw(placed(mesh, x, z, heading, thing.y), number, texture)

    def _draw_sky(self, canvas: Canvas) -> None:
        camera, heat = canvas.camera, canvas.heat
        rows = min(camera.height, max(1, math.ceil(camera.horizon)))
        share = np.linspace(0, 1, rows)[:, None]
        grey = 205 * self.climate.overcast
        rgb = self.sky_rgb * (1 - self.climate.overcast) + grey
        canvas.reflectance[:rows, :, :3] = (rgb * (0.85 + 0.15 * share))[:, None].astype(np.uint8)
        kelvin = heat.sky + (heat.air - heat.sky) * share**3 * 0.9
        canvas.temperature[:rows] = (100 * kelvin).astype(np.uint16)

    def _populate(self, rng: np.random.Generator) -> None:
        self._add_backdrop(rng)
        self._add_kerbs(rng)
        for add, gap in (
            (self._add_parked_car, 11.0),
            (self._add_moving_car, 22.0),
            (self._add_person, 4.5),
            (self._add_bike, 10.0),
            (self._add_cones, 16.0),
            (self._add_barrier, 15.0),
            (self._add_wheel_stop, 10.0),
            (self._add_clutter, 7.0),
        ):
            density = rng.uniform(0.5, 1.6)
            z = rng.uniform(2.0, gap)
            while z < self._length:
                add(rng, z)
                z += rng.exponential(gap / density) + 0.3
        if rng.random() < 0.8:
            z = rng.uniform(4.0, 14.0)
            while z < self._length:
                bump = bump_mesh(rng, self.layout.road)
                self.things.append(self._thing(rng, _BUMP, 0.0, z, mesh=bump))
                z += rng.uniform(14.0, 34.0)

    def _thing(
        self, rng: np.random.Generator, class_id: int, x: float, z: float, **more: Any
    ) -> Thing:
        return Thing(
            class_id,
            x,
            z,
            light=rng.uniform(0.0, 0.3),
            texture=int(rng.integers(24)),
            **more,
        )

    def _side(self, rng: np.random.Generator) -> float:
        return -1.0 if rng.random() < 0.5 else 1.0

    def _add_backdrop(self, rng: np.random.Generator) -> None:
        for side in (-1.0, 1.0):
            built = rng.random() < 0.65
            z = -10.0
            while z < self._length + 30:
                x = side * (self.layout.edge + rng.uniform(1.5, 6.0))
                if built and rng.random() < 0.7:
                    house = building_mesh(rng, self._lamps)
                    heading = 0.0 if side > 0 else math.pi
                    thing = self._thing(rng, 0, x, z, mesh=house, heading=heading, backdrop=True)
                    z += rng.uniform(9, 18)
                else:
                    tree = tree_mesh(rng)
                    thing = self._thing(rng, 0, x, z, mesh=tree, faces_camera=True, backdrop=True)
                    z += rng.uniform(1.5, 5)
                self.things.append(thing)

    def _add_kerbs(self, rng: np.random.Generator) -> None:
        for side in (-1.0, 1.0):
            if rng.random() < 0.4:
                continue
            x = side * self.layout.road
            pieces = [kerb_mesh(rng, _KERB_PIECE_M) for _ in range(3)]
            count = int((self._length + 10) / _KERB_PIECE_M)
            for index in range(count):
                if rng.random() < 0.08:
                    continue
                z = -4 + index * _KERB_PIECE_M
                mesh = pieces[index % len(pieces)]
                self.things.append(self._thing(rng, _KERB, x, z, mesh=mesh))

    def _add_parked_car(self, rng: np.random.Generator, z: float) -> None:
        side = self._side(rng)
        x = side * (self.layout.road - rng.uniform(0.6, 1.2) + rng.choice([0.0, 2.2]))
        heading = rng.choice([0.0, math.pi]) + rng.normal(0, 0.08)
        if rng.random() < 0.2:
            heading += math.pi / 2 * self._side(rng)
            x = side * (self.layout.road + 1.2)
        mesh = car_mesh(rng, running=bool(rng.random() < 0.25))
        self.things.append(self._thing(rng, _CAR, x, z, mesh=mesh, heading=heading))

    def _add_moving_car(self, rng: np.random.Generator, _: float) -> None:
        meeting_s = rng.uniform(0, max(self.duration_s, 0.1))
        if rng.random() < 0.6:
            speed, heading, x = -rng.uniform(3, 8), math.pi, -self.layout.road * 0.45
        else:
            speed, heading, x = self.speed + rng.uniform(-0.6, 3), 0.0, self.layout.road * 0.45
        ahead = self.speed * meeting_s + rng.uniform(6, 30)
        if abs(x - self._eye[0]) < 1.6:
            x = math.copysign(self.layout.road * 0.8, x)
        mesh = car_mesh(rng, running=True)
        start = ahead - speed * meeting_s
        self.things.append(
            self._thing(rng, _CAR, x, start, mesh=mesh, heading=heading, speed=(0.0, speed))
        )

    def _add_person(self, rng: np.random.Generator, z: float) -> None:
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            if rng.random() < 0.6:
                x = self._side(rng) * rng.uniform(self.layout.road * 0.7, self.layout.edge)
                speed = (0.0, rng.choice([0.0, -1.2, 0.9]) * rng.uniform(0.6, 1.2))
            else:
                x = rng.uniform(-self.layout.edge, self.layout.edge)
                pace = rng.choice([0.0, 0.5]) * self._side(rng)
                speed = (pace * 8 / max(8.0, self.duration_s), 0.01)
            self.things.append(
                self._thing(
                    rng,
                    _PERSON,
                    x,
                    z + rng.normal(0, 0.8),
                    person=Person(rng),
                    speed=speed,
                    faces_camera=True,
                )
            )

    def _add_bike(self, rng: np.random.Generator, z: float) -> None:
        ridden = rng.random() < 0.3
        count = 1 if ridden else int(rng.integers(1, 6))
        x = self._side(rng) * rng.uniform(self.layout.road * 0.8, self.layout.edge)
        heading = rng.uniform(0, 2 * math.pi) if not ridden else rng.choice([0.4, -0.4, 2.7])
        row = rng.uniform(0.45, 0.7)
        for index in range(count):
            at = (x + index * row * math.cos(heading), z - index * row * math.sin(heading))
            turn = heading + rng.normal(0, 0.08)
            mesh = bike_mesh(rng)
            self.things.append(self._thing(rng, _BIKE, *at, mesh=mesh, heading=turn))
        if ridden:
            rider = self._thing(
                rng, _PERSON, x, z - 0.02, person=Person(rng), faces_camera=True, y=0.32
            )
            rider.speed = (0.01, 0.0)
            self.things.append(rider)

    def _add_cones(self, rng: np.random.Generator, z: float) -> None:
        x = rng.uniform(-self.layout.edge, self.layout.edge)
        step = (rng.normal(0, 0.5), rng.uniform(0.8, 2.5))
        mesh = cone_mesh(rng)
        for index in range(int(rng.integers(1, 6))):
            at = (x + index * step[0], z + index * step[1])
            self.things.append(self._thing(rng, _CONE, *at, mesh=mesh, faces_camera=True))

    def _add_barrier(self, rng: np.random.Generator, z: float) -> None:
        x = self._side(rng) * (self.layout.road + rng.uniform(-0.3, self.layout.pavement))
        heading = rng.normal(0, 0.15) + (math.pi / 2 if rng.random() < 0.35 else 0.0)
        mesh = barrier_mesh(rng)
        self.things.append(self._thing(rng, _RAIL, x, z, mesh=mesh, heading=heading))

    def _add_wheel_stop(self, rng: np.random.Generator, z: float) -> None:
        x = self._side(rng) * rng.uniform(self.layout.road * 0.75, self.layout.edge)
        heading = rng.normal(0, 0.3) + rng.choice([0.0, math.pi / 2])
        for index in range(int(rng.integers(1, 4))):
            mesh = wheel_stop_mesh(rng)
            at = z + 2.3 * index
            self.things.append(self._thing(rng, _STOP, x, at, mesh=mesh, heading=heading))

    def _add_clutter(self, rng: np.random.Generator, z: float) -> None:
        x = self._side(rng) * (self.layout.edge + rng.uniform(-1.2, 0.8))
        mesh = clutter_mesh(rng, self._lamps)
        flat = rng.random() < 0.3
        self.things.append(self._thing(rng, 0, x, z, mesh=mesh, faces_camera=bool(flat)))
