"""Camera messages out of a bag: rosbag2 (sqlite3, MCAP, zstd, split) and ROS 1, without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection

from csknet_core.errors import DataError
from csknet_ros.replay.messages import (
    LABELS,
    PHASE,
    RGB,
    THERMAL,
    BagMessage,
    Skipped,
    Topics,
)
from csknet_ros.replay.storage import OpenBag, short
from csknet_ros.stamps import SECOND_NS, to_ns

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
TEXT_TYPE = "std_msgs/msg/String"

_THERMAL_WORDS = ("thermal", "lwir", "infra", "/ir", "_ir", "lepton", "boson", "flir", "seek")
_LABEL_WORDS = ("truth", "label", "annotation", "segmentation")
_RGB_WORDS = ("rgb", "color", "colour", "visible", "optical")
_NO_CAMERA_WORDS = ("overlay", "depth", "confidence", "csknet/")


class BagReader:
    """Reads the messages of the topics that matter, in the order the bag received them.

    Args:
        path: folder of a rosbag2 bag, one .mcap file, or a ROS 1 .bag.
        topics: which topic is what.

    Raises:
        DataError: the bag cannot be opened, or a topic is missing or ambiguous; the message lists
            the candidates.
    """

    def __init__(self, path: Path, topics: Topics) -> None:
        self.path = path
        self.skipped = Skipped()
        self.received: Counter[str] = Counter()
        self._bag = OpenBag(path)
        try:
            self.topics = find_topics(path, self._bag.connections, topics)
            self.start_ns = self._bag.start_ns
            self.seconds = max(0.0, (self._bag.end_ns - self.start_ns) / SECOND_NS)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> BagReader:
        """Return the reader."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bag."""
        self.close()

    def close(self) -> None:
        """Close the bag; may be called again."""
        self._bag.close()

    @property
    def primaries(self) -> int:
        """How many thermal messages there are."""
        return sum(c.msgcount for c in self._connections() if c.topic == self.topics.thermal)

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages; those that cannot be decoded are counted in `skipped`.

        Raises:
            DataError: the bag ends in the middle of its data.
        """
        kinds = {getattr(self.topics, kind): kind for kind in (PHASE, LABELS, THERMAL, RGB)}
        for connection, time_ns, raw in self._bag.messages(self._connections()):
            kind = kinds[connection.topic]
            self.received[kind] += 1
            try:
                message = self._bag.decode(raw, connection.msgtype)
                stamp = _stamp(message, time_ns)
                yield BagMessage(kind, time_ns, stamp, message, stamp)
            except Exception as error:  # rosbags raises whatever the damage leads to
                seconds = (time_ns - self.start_ns) / SECOND_NS
                self.skipped.add(f"{kind} message damaged", seconds, short(error))

    def _connections(self) -> list[Connection]:
        wanted = {self.topics.rgb, self.topics.thermal, self.topics.labels, self.topics.phase}
        return [c for c in self._bag.connections if c.topic in wanted - {""}]


def find_topics(path: Path, connections: list[Connection], wanted: Topics) -> Topics:
    """Find out which topic is what by type and name.

    Args:
        path: of the bag, for messages.
        connections: what the bag has.
        wanted: topics that are given.

    Raises:
        DataError: a topic that is given is not there or of another type, or RGB or thermal is not
            given and cannot be told.
    """
    images = sorted({c.topic for c in connections if c.msgtype in IMAGE_TYPES})
    texts = sorted({c.topic for c in connections if c.msgtype == TEXT_TYPE})
    for kind, known in ((RGB, images), (THERMAL, images), (LABELS, images), (PHASE, texts)):
        topic = getattr(wanted, kind)
        if topic and topic not in known:
            raise DataError(
                f"bag {path}: no topic {topic} for {kind}; it has {', '.join(known) or 'none'}"
            )
    given = {wanted.rgb, wanted.thermal, wanted.labels}
    free = [t for t in images if t not in given and not _has(t, _NO_CAMERA_WORDS)]
    labels = [t for t in free if _has(t, _LABEL_WORDS)]
    thermal = [t for t in free if t not in labels and _has(t, _THERMAL_WORDS)]
    colour = [t for t in free if t not in labels and t not in thermal]
    named = [t for t in colour if _has(t, _RGB_WORDS)]
    phases = [t for t in texts if t.rstrip("/").endswith("phase")]
    return Topics(
        rgb=wanted.rgb or _only(path, RGB, named or colour, images),
        thermal=wanted.thermal or _only(path, THERMAL, thermal, images),
        labels=wanted.labels or (labels[0] if len(labels) == 1 else ""),
        phase=wanted.phase or (phases[0] if len(phases) == 1 else ""),
    )


def _has(topic: str, words: tuple[str, ...]) -> bool:
    return any(word in topic.lower() for word in words)


def _only(path: Path, kind: str, candidates: list[str], images: list[str]) -> str:
    # A camera often has its raw and its compressed topic in one bag.
    raw = [t for t in candidates if not t.endswith("/compressed")]
    for choice in (candidates, raw):
        if len(choice) == 1:
            return choice[0]
    found = ", ".join(images) or "none"
    raise DataError(f"bag {path}: cannot tell the {kind} topic; name it with --{kind}: {found}")


def _stamp(message: Any, time_ns: int) -> int:
    header = getattr(message, "header", None)
    return time_ns if header is None else to_ns(header.stamp)
