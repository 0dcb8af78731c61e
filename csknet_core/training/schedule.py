"""Learning rate over a run, as a pure function of the step so that a resumed run agrees."""

from __future__ import annotations

import math

SCHEDULES = ("poly", "one_cycle")

_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = 1e-4
_POLY_POWER = 0.9


def rate_at(schedule: str, step: int, warmup: int, steps: int) -> float:
    """Return the learning rate of one step, relative to the peak.

    "poly" rises linearly and then falls as `(1 - progress) ** 0.9` (DeepLab, Chen et al. 2017).
    "one_cycle" rises from 1/25 and falls to 1/10,000, both along a half cosine (Smith 2018).

    Args:
        schedule: a name in `SCHEDULES`.
        step: 0 to steps - 1.
        warmup: steps until the peak.
        steps: in the whole run.
    """
    rise = (step + 1) / warmup if step < warmup else 1.0
    progress = max(0.0, (step - warmup) / max(1, steps - warmup))
    if schedule == "poly":
        return rise * (1 - progress) ** _POLY_POWER
    if step < warmup:
        return _cosine(_ONE_CYCLE_START, 1.0, rise)
    return _cosine(1.0, _ONE_CYCLE_END, progress)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
