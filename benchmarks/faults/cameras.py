"""Two cameras on which the faults of the schedule happen; what they sent is on record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from csknet_core.data.synthetic import Drive
from csknet_core.modality import Modality
from csknet_ros.images import fill_message

SIZE = (240, 320)
_PAIRS = 24
_BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
_TOPICS = {Modality.OPTICAL: "rgb/image", Modality.THERMAL: "thermal/image"}
_MS = 1_000_000
_CLOCKS = {"clock_back": -5000 * _MS, "clock_forward": 5000 * _MS, "clock_nudge": -500 * _MS}
_RESTART_S = 0.5

OK, DARK, OVEREXPOSED, BLANK, GARBAGE = "ok", "dark", "overexposed", "blank", "garbage"


@dataclass(frozen=True)
class Sent:
    """One message that went out.

    Attributes:
        modality: the camera.
        stamp_ns: its stamp.
        sent_ns: when, monotonic.
        quality: `OK`, or what is wrong with its image.
        picture: the same number is the same picture.
        size: its height and width.
    """

    modality: Modality
    stamp_ns: int
    sent_ns: int
    quality: str = OK
    picture: int = 0
    size: tuple[int, int] = SIZE


@dataclass(frozen=True)
class _Shot:
    """One message to send."""

    modality: Modality
    stamp_ns: int
    image: NDArray[Any]
    encoding: str
    quality: str = OK
    picture: int = 0
    spoil: int = -1


class FaultyCameras:
    """Publishes pairs, one tick after the other, with whatever fault is on.

    Args:
        node: publishes in its name.
        seed: of everything drawn.

    Attributes:
        sent: everything that went out, in order.
    """

    def __init__(self, node: Node, seed: int) -> None:
        self._node = node
        self._rng = np.random.default_rng(seed)
        self._pairs = render_pairs(_PAIRS)
        self._publishers: dict[Modality, Any] = {}
        self._second: Any = None
        self._qos = _BEST_EFFORT
        self._held: list[_Shot] = []
        self._frozen: dict[Modality, int] = {}
        self._tick = 0
        self._fault, self._fault_began_s = "", 0.0
        self.sent: list[Sent] = []
        self._open()

    def listeners(self) -> int:
        """Subscribers of the camera with fewer of them."""
        return min((p.get_subscription_count() for p in self._publishers.values()), default=0)

    def begin(self, fault: str) -> None:
        """A fault begins; "" is none."""
        self._fault, self._fault_began_s = fault, time.monotonic()
        self._frozen = {}
        qos = _LATCHED if fault == "qos" else _BEST_EFFORT
        if qos is not self._qos or fault == "restart":
            self.close()
            self._qos = qos
            if fault != "restart":
                self._open()
        if fault == "two_publishers":
            self._second = self._node.create_publisher(Image, _TOPICS[Modality.OPTICAL], self._qos)
        elif self._second is not None:
            self._node.destroy_publisher(self._second)
            self._second = None

    def tick(self) -> None:
        """Publish one pair as the faulty cameras do."""
        self._tick += 1
        if not self._publishers and (
            self._fault != "restart" or time.monotonic() - self._fault_began_s > _RESTART_S
        ):
            self._open()
        for shot in self._reordered(list(self._spoilt(self._pair()))):
            self._publish(shot)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

    def _open(self) -> None:
        self._publishers = {
            modality: self._node.create_publisher(Image, topic, self._qos)
            for modality, topic in _TOPICS.items()
        }

    def _pair(self) -> tuple[_Shot, _Shot]:
        stamp = time.time_ns() + _CLOCKS.get(self._fault, 0)
        optical, thermal = self._pairs[self._tick % _PAIRS]
        shift = 0
        if self._fault == "jitter":
            shift = round(float(self._rng.uniform(-30, 30)) * _MS)
        if self._fault == "skew":
            shift = 60 * _MS
        if self._fault == "zero_stamp":
            stamp = shift = 0
        return (
            _Shot(Modality.OPTICAL, stamp + shift, optical, "rgb8", picture=self._tick),
            _Shot(Modality.THERMAL, stamp, thermal, "mono16", picture=self._tick),
        )

    def _spoilt(self, pair: tuple[_Shot, _Shot]) -> Iterator[_Shot]:
        """Apply the fault to a pair's images; drop what it drops."""
        optical, thermal = pair
        fault, rng = self._fault, self._rng
        if fault == "darken":
            optical = replace(optical, image=optical.image // 100, quality=DARK)
        elif fault == "overexpose":
            white = np.maximum(optical.image, 252)
            optical = replace(optical, image=white, quality=OVEREXPOSED)
        elif fault == "thermal_nan":
            empty = np.full(SIZE, np.nan, np.float32)
            thermal = replace(thermal, image=empty, encoding="32FC1", quality=BLANK, picture=0)
        elif fault == "size":
            optical = replace(optical, image=np.ascontiguousarray(optical.image[::2, ::2]))
            thermal = replace(thermal, image=np.repeat(thermal.image, 2, 1))
        elif fault == "encoding":
            optical = replace(optical, image=optical.image[..., ::-1], encoding="bgr8")
            low = (thermal.image.astype(np.int32) - int(thermal.image.min())) // 16
            thermal = replace(thermal, image=low.clip(0, 255).astype(np.uint8), encoding="mono8")
        elif fault == "rgb_garbage":
            optical = replace(optical, quality=GARBAGE, spoil=int(rng.integers(5)))
        elif fault == "thermal_garbage":
            thermal = replace(thermal, quality=GARBAGE, spoil=int(rng.integers(5)))
        lost = {
            Modality.OPTICAL: fault == "rgb_lost"
            or (fault == "burst_loss" and rng.random() < 0.33),
            Modality.THERMAL: fault == "thermal_lost"
            or (fault == "burst_loss" and rng.random() < 0.33),
        }
        for shot in (optical, thermal):
            if lost[shot.modality]:
                continue
            yield self._freeze(shot)
            if fault == "duplicate":
                yield self._freeze(shot)

    def _freeze(self, shot: _Shot) -> _Shot:
        """Repeat the first picture of the fault in later messages of a frozen camera."""
        name = "rgb_frozen" if shot.modality is Modality.OPTICAL else "thermal_frozen"
        if self._fault != name:
            return shot
        first = self._frozen.setdefault(shot.modality, self._tick)
        pair = self._pairs[first % _PAIRS]
        image = pair[0 if shot.modality is Modality.OPTICAL else 1]
        return replace(shot, image=image, picture=first)

    def _reordered(self, shots: list[_Shot]) -> list[_Shot]:
        """Hold every second pair back until after the next one."""
        if self._fault != "reorder":
            shots, self._held = self._held + shots, []
            return shots
        if not self._held:
            self._held = shots
            return []
        shots, self._held = shots + self._held, []
        return shots

    def _publish(self, shot: _Shot) -> None:
        publisher = self._publishers.get(shot.modality)
        if publisher is None:
            return
        message = make_message(shot.image, shot.encoding, shot.stamp_ns, shot.modality.value)
        if shot.spoil >= 0:
            spoil(message, shot.spoil)
        self._send(publisher, message, shot)
        if self._second is not None and shot.modality is Modality.OPTICAL:
            later = replace(shot, stamp_ns=shot.stamp_ns + 3 * _MS)
            set_stamp(message.header, later.stamp_ns)
            self._send(self._second, message, later)

    def _send(self, publisher: Any, message: Any, shot: _Shot) -> None:
        # On record first: the receipt may come before `publish` returns.
        now = time.monotonic_ns()
        size = shot.image.shape[0], shot.image.shape[1]
        self.sent.append(Sent(shot.modality, shot.stamp_ns, now, shot.quality, shot.picture, size))
        publisher.publish(message)


def render_pairs(count: int) -> list[tuple[NDArray[np.uint8], NDArray[np.uint16]]]:
    """Render that many different pairs of a drive by day."""
    drive = Drive(0, SIZE, count / 5, 5.0, 1.0)
    frames = [drive.frame(index) for index in range(count)]
    return [(frame.optical, frame.thermal) for frame in frames]


def make_message(image: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str) -> Image:
    """Return an image message."""
    message = Image(header=Header(frame_id=frame_id))
    set_stamp(message.header, stamp_ns)
    fill_message(message, image, encoding)
    return message


def set_stamp(header: Header, stamp_ns: int) -> None:
    """Set a header's stamp."""
    header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)


def spoil(message: Image, how: int) -> None:
    """Make a message undecodable in one of five ways."""
    if how == 0:
        message.data = message.data[: len(message.data) // 3]
    elif how == 1:
        message.encoding = "yuv9000"
    elif how == 2:
        message.step = 1
    elif how == 3:
        message.height = message.width = 100_000
    else:
        message.height = 0
