"""What sizes of images the network can take."""

from __future__ import annotations

from csknet_core.errors import ConfigError

STRIDE = 32
"""Network inputs must have sides that this divides."""


def check_size(size: tuple[int, int], name: str = "input size") -> None:
    """Check height and width of the network's input.

    Args:
        size: height and width.
        name: of the setting, for the message.

    Raises:
        ConfigError: a side is not a positive multiple of `STRIDE`.
    """
    if any(side < STRIDE or side % STRIDE for side in size):
        raise ConfigError(
            f"{name} {size[0]}x{size[1]}: both sides must be multiples of {STRIDE} (height, width)"
        )
