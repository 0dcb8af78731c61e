"""Which faults there are, and when each of them happens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from csknet_core.errors import ConfigError


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: as in reports.
        text: what happens.
        bound_s: longest time from its end until frames are answered fused again.
        only: shortest length that makes sense, seconds; 0 leaves it to the schedule.
    """

    name: str
    text: str
    bound_s: float = 1.0
    only: float = 0.0


_OPEN_S = 3.0
"""Opening an engine on a busy machine."""
_START_S = 10.0
"""Starting the process and opening its engine."""
STUCK_AFTER_S = 3.0
"""`engine.stuck_after` of the node under test; the watchdog looks once a second."""

FAULTS = (
    Fault("rgb_lost", "no RGB"),
    Fault("thermal_lost", "no thermal", only=1.6),
    Fault("burst_loss", "a third of all images is lost"),
    Fault("darken", "RGB goes dark"),
    Fault("overexpose", "RGB is overexposed"),
    Fault("rgb_frozen", "RGB repeats one image"),
    Fault("thermal_frozen", "thermal repeats one image"),
    Fault("thermal_nan", "thermal is float, all NaN"),
    Fault("jitter", "RGB stamps are off by up to 30 ms"),
    Fault("skew", "RGB stamps are 60 ms late"),
    Fault("reorder", "of two images of a camera the later comes first"),
    Fault("duplicate", "every image comes twice"),
    Fault("zero_stamp", "stamps are not set"),
    Fault("clock_back", "both clocks go back by 5 s, then forward again"),
    Fault("clock_forward", "both clocks go forward by 5 s, then back again"),
    Fault("clock_nudge", "both clocks go back by 0.5 s, then forward again"),
    Fault("size", "images come in other sizes"),
    Fault("encoding", "RGB comes as bgr8, thermal as mono8"),
    Fault("rgb_garbage", "RGB messages are truncated, misdeclared or of no known encoding"),
    Fault("thermal_garbage", "thermal messages are"),
    Fault("restart", "the cameras' publishers go and come back"),
    Fault("qos", "the cameras publish reliable and latched instead of best effort"),
    Fault("two_publishers", "a second RGB publisher repeats every image 3 ms later"),
    Fault("starvation", "busy processes take all cores"),
    Fault("listener_stall", "a listener of the label maps stops reading"),
    Fault("slow_engine", "inference takes 0.25 s longer"),
    Fault("engine_raises", "inference raises once", bound_s=_OPEN_S),
    Fault("engine_nan", "inference gives NaN once", bound_s=_OPEN_S),
    Fault("engine_stuck", "inference hangs", STUCK_AFTER_S + 1.0 + _OPEN_S, only=0.2),
    Fault("disk_full", "a debug bundle is asked for and cannot be written"),
    Fault("sigstop", "the process is stopped (SIGSTOP), then goes on (SIGCONT)"),
    Fault("engine_breaks", "inference raises twice, so that the next backend takes over", _OPEN_S),
    Fault("sigkill", "the process is killed (SIGKILL) and started again", _START_S, only=0.1),
)
BY_NAME = {fault.name: fault for fault in FAULTS}
LAST = ("engine_breaks", "sigkill")
"""End the first round and the campaign: what comes between is one process on one backend."""
_ENGINE = ("engine_raises", "engine_nan")
"""Half a round apart: two failures within 100 frames hand over to the next backend."""


@dataclass(frozen=True)
class Episode:
    """One fault, from `start_s` to `end_s` of the campaign, then `gap_s` without any."""

    fault: Fault
    start_s: float
    end_s: float
    gap_s: float


def make_schedule(
    seconds: float, seed: int, fault_s: tuple[float, float] = (1.5, 4.0), gap_s: float = 3.0
) -> list[Episode]:
    """Draw rounds of all faults in random order until the time is used up.

    Args:
        seconds: length of the campaign; a round that has begun is finished.
        seed: of the order and the lengths.
        fault_s: shortest and longest fault, seconds.
        gap_s: seconds without faults after each; at least the fault's bound.

    Raises:
        ConfigError: a length that is not positive.
    """
    if not (seconds > 0 and 0 < fault_s[0] <= fault_s[1] and gap_s > 0):
        raise ConfigError("the campaign needs seconds > 0, 0 < shortest <= longest fault, gap > 0")
    rng = np.random.default_rng(seed)
    episodes: list[Episode] = []
    now, first = gap_s, True
    while now < seconds or first:
        for name in _round(rng) + (list(LAST) if first else []):
            now = _append(episodes, name, now, rng, fault_s, gap_s)
        first = False
    if now > 2 * episodes[len(BY_NAME) - 1].end_s:
        for name in LAST:
            now = _append(episodes, name, now, rng, fault_s, gap_s)
    return episodes


def _round(rng: np.random.Generator) -> list[str]:
    others = [name for name in BY_NAME if name not in LAST + _ENGINE]
    order = [others[i] for i in rng.permutation(len(others))]
    for place, name in zip((0.25, 0.75), _ENGINE, strict=True):
        order.insert(round(place * len(order)), name)
    return order


def _append(
    episodes: list[Episode],
    name: str,
    now: float,
    rng: np.random.Generator,
    fault_s: tuple[float, float],
    gap_s: float,
) -> float:
    fault = BY_NAME[name]
    length = float(rng.uniform(*fault_s))
    if fault.only:
        # Longer than needed shows nothing new, shorter does not show the fault.
        length = fault.only if fault.only < 1 else max(fault.only, length)
    gap = gap_s if fault.bound_s <= 1 else gap_s + fault.bound_s
    episodes.append(Episode(fault, now, now + length, gap))
    return now + length + gap
