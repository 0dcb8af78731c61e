"""Errors a user of csknet can cause or meet; every one derives from `CsknetError`.

A message names the file, topic or parameter at fault and says what to do about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from csknet_core.runtime.policy import Decision


class CsknetError(Exception):
    """Base of all errors raised on purpose by csknet."""


class ConfigError(CsknetError):
    """A parameter, recipe or class table has a value that cannot be used."""


class DataError(CsknetError):
    """A dataset, image or label file is missing, damaged, inconsistent or cannot be written."""


class PoseError(CsknetError):
    """It is not known where a camera is on the robot, at the time of an image."""


class ImageError(CsknetError):
    """An image array or message has a shape, encoding or content that cannot be used."""


class WeightsError(CsknetError):
    """A weights file is missing, damaged or does not fit the network or the class table."""


class EngineError(CsknetError):
    """An inference backend is unavailable or failed while running."""


class NoUsableModalityError(CsknetError):
    """Neither the optical nor the thermal image of a frame can be trusted.

    Attributes:
        decision: the policy's `Decision`, with the statistics behind it.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"no usable camera image ({decision.reason.value})")
        self.decision = decision
