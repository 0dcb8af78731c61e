"""How a topic of a bag is offered: as its publishers offered it when it was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection, QosDurability

_DEPTH = 10
_STATIC_DEPTH = 100
"""Of /tf_static, whose transforms may have come one by one; tf2's listeners keep as many."""
_MOST = 1000
"""A bag may claim any depth, and the middleware may reserve room for it."""
# Latched by convention; older recordings do not say so.
_STATIC = "/tf_static"


def recorded_qos(connection: Connection) -> QoSProfile:
    """Return the QoS to play a topic with.

    Durability is transient local if one of its publishers was latched, so that who subscribes late
    gets what was said before, and the depth is then what they kept together. Reliability is
    reliable whatever was recorded, at a depth of at least 10 where nothing is latched: that serves
    best-effort subscribers, too, and loses no image on the way to a node that subscribes reliably.
    """
    offered: Sequence[Any] = getattr(connection.ext, "offered_qos_profiles", ())
    static = connection.topic == _STATIC
    latched = static or any(p.durability is QosDurability.TRANSIENT_LOCAL for p in offered)
    # 0 where the recorder did not know it.
    depths = [p.depth for p in offered if isinstance(p.depth, int) and p.depth > 0]
    depth = sum(depths) if latched and depths else max(_DEPTH, *depths, 0)
    return QoSProfile(
        depth=min(max(depth, _STATIC_DEPTH * static), _MOST),
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
