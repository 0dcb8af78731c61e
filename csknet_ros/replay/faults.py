"""What-if faults on the messages of a bag: "what would have happened, had the camera ...?"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from csknet_core.errors import ConfigError, ImageError
from csknet_ros.images import optical_from_message
from csknet_ros.replay.messages import RGB, THERMAL, BagMessage
from csknet_ros.stamps import SECOND_NS

_MS_NS = 1_000_000
_NEEDS_VALUE = {
    "drop-rgb": False,
    "drop-thermal": False,
    "freeze-rgb": False,
    "freeze-thermal": False,
    "darken": True,
    "offset": True,
    "jitter": True,
    "duplicate": False,
    "reorder": False,
    "clock-jump": True,
}
FAULTS = ", ".join(name + ":VALUE" * value for name, value in _NEEDS_VALUE.items())


@dataclass(frozen=True)
class Fault:
    """One fault in a stretch of the bag.

    | name          | value                   | what happens                                     |
    |---------------|-------------------------|--------------------------------------------------|
    | drop-rgb      |                         | no RGB                                           |
    | drop-thermal  |                         | no thermal                                       |
    | freeze-rgb    |                         | RGB repeats its first image, with new stamps     |
    | freeze-thermal|                         | thermal does                                     |
    | darken        | factor                  | RGB values are multiplied                        |
    | offset        | ms                      | RGB stamps are later                             |
    | jitter        | ms                      | RGB stamps are off at random, up to this         |
    | duplicate     |                         | every image comes twice                          |
    | reorder       |                         | of two images of a camera the later comes first  |
    | clock-jump    | seconds                 | all stamps are earlier                           |

    Attributes:
        name: see above.
        value: see above; 0 for faults without one.
        start_s, end_s: seconds from the start of the bag.
    """

    name: str
    value: float = 0.0
    start_s: float = 0.0
    end_s: float = float("inf")

    def covers(self, seconds: float) -> bool:
        """Whether the fault is there at this time."""
        return self.start_s <= seconds < self.end_s


def parse_fault(text: str) -> Fault:
    """Read `NAME[:VALUE][:START-END]`, such as `drop-rgb:10-20` or `darken:0.1:30-40`.

    Raises:
        ConfigError: another form, or an unknown name.
    """
    name, *parts = text.split(":")
    if name not in _NEEDS_VALUE:
        raise ConfigError(f"fault '{text}': '{name}' is unknown; use {FAULTS}")
    try:
        value = float(parts.pop(0)) if _NEEDS_VALUE[name] else 0.0
        start, end = 0.0, float("inf")
        if parts:
            first, last = parts.pop(0).split("-")
            start, end = float(first), float(last)
        if parts or not start < end or not np.isfinite(value):
            raise ValueError
    except (ValueError, IndexError) as error:
        form = name + ":VALUE" * _NEEDS_VALUE[name] + "[:START-END]"
        raise ConfigError(f"fault '{text}': expected {form}, seconds from the start") from error
    if value < 0 and name in ("darken", "jitter"):
        raise ConfigError(f"fault '{text}': the value must not be negative")
    return Fault(name, value, start, end)


@dataclass
class FaultyMessages:
    """Applies faults to messages; labels and phases pass untouched.

    Attributes:
        faults: what goes wrong, applied in order.
        start_ns: receive time of the bag's start.
        seed: of the jitter.
    """

    faults: tuple[Fault, ...]
    start_ns: int
    seed: int = 0
    _frozen: dict[tuple[int, str], Any] = field(default_factory=dict)
    _held: dict[str, BagMessage] = field(default_factory=dict)

    def __call__(self, messages: Iterable[BagMessage]) -> Iterator[BagMessage]:
        """Yield the messages as a faulty system would have sent them."""
        rng = np.random.default_rng(self.seed)
        for message in messages:
            if message.kind not in (RGB, THERMAL):
                yield message
                continue
            faulty: BagMessage | None = message
            seconds = (message.time_ns - self.start_ns) / SECOND_NS
            active = [entry for entry in enumerate(self.faults) if entry[1].covers(seconds)]
            for index, fault in active:
                if faulty is not None:
                    faulty = self._apply(index, fault, faulty, rng)
            names = {fault.name for _, fault in active}
            if faulty is not None:
                yield from self._deliver(faulty, names)
        yield from self._held.values()

    def _apply(
        self, index: int, fault: Fault, message: BagMessage, rng: np.random.Generator
    ) -> BagMessage | None:
        name, rgb = fault.name, message.kind == RGB
        if name in (f"drop-{message.kind}",):
            return None
        if name == f"freeze-{message.kind}":
            return replace(message, data=self._frozen.setdefault((index, name), message.data))
        if name == "darken" and rgb:
            return replace(message, data=_darken(message.data, fault.value))
        if name == "offset" and rgb:
            return _shift(message, fault.value * _MS_NS)
        if name == "jitter" and rgb:
            return _shift(message, rng.uniform(-fault.value, fault.value) * _MS_NS)
        if name == "clock-jump":
            return _shift(message, -fault.value * SECOND_NS)
        return message

    def _deliver(self, message: BagMessage, active: set[str]) -> Iterator[BagMessage]:
        held = self._held.pop(message.kind, None)
        if "reorder" in active and held is None:
            self._held[message.kind] = message
            return
        # What was held back arrives now, right after the one that overtook it.
        late = None if held is None else replace(held, time_ns=message.time_ns)
        for one in (message, late):
            if one is not None:
                yield one
                if "duplicate" in active:
                    yield one


def _shift(message: BagMessage, nanoseconds: float) -> BagMessage:
    return replace(message, stamp_ns=message.stamp_ns + round(nanoseconds))


def _darken(message: Any, factor: float) -> Any:
    """Return the message with its values multiplied; one that cannot be decoded stays as it is."""
    try:
        image = optical_from_message(message)
    except ImageError:
        return message
    dark = np.clip(image * np.float32(factor), 0, 255).astype(np.uint8)
    return SimpleNamespace(
        height=dark.shape[0], width=dark.shape[1], encoding="rgb8", is_bigendian=0,
        step=3 * dark.shape[1], data=dark.ravel(), header=message.header,
    )  # fmt: skip
