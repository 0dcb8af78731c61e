"""Which topics of a bag are played, and whose subscribers are waited for. Imports no ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rosbags.interfaces import Connection

from csknet_core.errors import DataError
from csknet_ros.replay.messages import Topics
from csknet_ros.replay.reader import IMAGE_TYPES, find_topics

CLOCK = "/clock"
# Every graph has its own; recorded ones would speak of nodes that are not there.
_OF_THE_GRAPH = frozenset({"/rosout", "/parameter_events", "/diagnostics", "/diagnostics_agg"})


def played(
    path: Path, connections: Sequence[Connection], named: Sequence[str], node: str, clock: bool
) -> list[Connection]:
    """Return what of a bag is played.

    Without names that is all but what the graph it is played into says itself: the outputs of its
    segmentation node would be scored along with the recorded ones, and be thought its answers.

    Args:
        path: of the bag, for messages.
        connections: what it has.
        named: topics that are wanted, and no others; none takes all that can do no harm.
        node: name of the segmentation node.
        clock: whether the time of the bag is published already.

    Raises:
        DataError: a topic that is named is not in the bag.
    """
    if named:
        missing = absent(connections, named)
        if missing:
            there = ", ".join(sorted({c.topic for c in connections})) or "none"
            raise DataError(f"bag {path}: no topic {', '.join(missing)}; it has {there}")
        return [c for c in connections if c.topic in named]
    return [
        c
        for c in connections
        if c.topic not in _OF_THE_GRAPH
        and f"/{node.strip('/')}/" not in c.topic
        and not (clock and c.topic == CLOCK)
    ]


def awaited(path: Path, connections: list[Connection], named: Sequence[str]) -> set[str]:
    """Return the topics that somebody must listen to before playing begins.

    Args:
        path: of the bag.
        connections: what of it is played.
        named: topics that are waited for; none takes the cameras and the truth, or, where they
            cannot be told, all images.
    """
    if named:
        return set(named) - set(absent(connections, named))
    try:
        found = find_topics(path, connections, Topics())
    except DataError:
        return {c.topic for c in connections if c.msgtype in IMAGE_TYPES}
    return {found.rgb, found.thermal, found.labels} - {""}


def absent(connections: Sequence[Connection], named: Sequence[str]) -> list[str]:
    """Return the named topics that are not there."""
    return sorted(set(named) - {c.topic for c in connections})
