"""What the page shows: newest images, the last frames' statuses, silent topics. Imports no ROS."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from csknet_core.classes import ClassTable
from csknet_core.errors import ImageError
from csknet_ros.frame_status import FrameStatus
from csknet_ros.view.pictures import Picture
from csknet_ros.view.words import mode_words, reason_words, silence_words

IMAGES = ("rgb", "thermal", "overlay")
FEEDS = (*IMAGES, "status")
HISTORY_S = 60.0
"""Length of the timeline."""
_MOST_RECORDS = 4096
_RATE_WINDOW_S = 5.0
_SILENCE_S = 2.0
_FRESH_S = 0.5
_WATCHED_S = 5.0
_STAGES = ("waited", "queue", "decode", "policy", "preprocess", "inference", "postprocess")


class Record(NamedTuple):
    """One frame on the timeline; `mode` is empty for a dropped one."""

    sequence: int
    time_s: float
    mode: str
    reason: str
    total_ms: float
    inference_ms: float


@dataclass
class Feed:
    """What is known of one topic.

    Attributes:
        topic: full name.
        publishers: how many there are.
        since_s: when the subscription began, None without one.
        seen_s: when the last message came.
    """

    topic: str = ""
    publishers: int = 0
    since_s: float | None = None
    seen_s: float | None = None


class ViewState:
    """Filled by the ROS thread, read by the server's threads; its memory is bounded.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._pictures = {name: Picture(thermal=name == "thermal") for name in IMAGES}
        self._feeds = {name: Feed() for name in FEEDS}
        self._problems = dict.fromkeys(IMAGES, "")
        self._records: deque[Record] = deque(maxlen=_MOST_RECORDS)
        self._sequence = 0
        self._changes = 0
        self._dropped: Counter[str] = Counter()
        self._answered = 0
        self._last: FrameStatus | None = None
        self._classes: ClassTable | None = None
        self._watched_s: float | None = None

    # ROS thread

    @property
    def watched(self) -> bool:
        """Whether a browser has asked for anything in the last seconds."""
        return self._watched_s is not None and self._clock() - self._watched_s < _WATCHED_S

    def set_feed(self, name: str, topic: str, publishers: int, subscribed: bool) -> None:
        """Keep what the ROS graph says about a topic."""
        with self._changed:
            feed = self._feeds[name]
            if topic != feed.topic or not subscribed:
                feed.since_s = feed.seen_s = None
            feed.topic, feed.publishers = topic, publishers
            if subscribed and feed.since_s is None:
                feed.since_s = self._clock()

    def add_image(self, name: str, message: Any) -> None:
        """Keep an image message of "rgb", "thermal" or "overlay"."""
        self._pictures[name].put(message)
        with self._changed:
            self._feeds[name].seen_s = self._clock()
            self._notify()

    def add_status(self, status: FrameStatus) -> None:
        """Count one frame and put it on the timeline."""
        with self._changed:
            now = self._feeds["status"].seen_s = self._clock()
            self._sequence += 1
            self._records.append(
                Record(
                    self._sequence, now, status.mode if status.answered else "", status.reason,
                    round(status.total_ms, 1), round(status.inference_ms, 1),
                )
            )  # fmt: skip
            if status.answered:
                self._answered += 1
                self._last = status
            else:
                self._dropped[status.reason] += 1
            self._notify()

    def set_classes(self, classes: ClassTable) -> None:
        """Keep the class table, for the legend."""
        with self._changed:
            self._classes = classes
            self._notify()

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    # Server threads

    def watch(self) -> None:
        """Note that somebody looks."""
        self._watched_s = self._clock()

    def wait(self, changes: int, timeout_s: float) -> None:
        """Wait until there were more than that many changes, at most that long."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes > changes, timeout_s)

    def jpeg(self, name: str) -> bytes:
        """Return the newest image as JPEG; empty when there is none or it cannot be shown."""
        try:
            data = self._pictures[name].jpeg()
            self._problems[name] = ""
        except ImageError as error:
            self._problems[name] = f"image on {self._feeds[name].topic} cannot be shown: {error}"
            return b""
        return data

    def update(self, since: int) -> dict[str, Any]:
        """Return everything the page shows, as plain data.

        Args:
            since: sequence of the last record the page has; 0 for all that are kept.
        """
        with self._changed:
            now = self._clock()
            newer = takewhile(lambda record: record.sequence > since, reversed(self._records))
            recent = [r for r in newer if now - r.time_s <= HISTORY_S][::-1]
            return {
                "now": round(now, 3),
                "history_s": HISTORY_S,
                "changes": self._changes,
                "sequence": self._sequence,
                "records": [[round(r.time_s, 3), *r[2:]] for r in recent],
                "images": {name: self._image(name, now) for name in IMAGES},
                "status": self._summary(now),
                "silence": self._silence("status", now),
                "classes": self._legend(),
            }

    def _image(self, name: str, now: float) -> dict[str, Any]:
        feed, sequence = self._feeds[name], self._pictures[name].sequence
        return {
            "topic": feed.topic,
            "sequence": sequence if feed.seen_s is not None else 0,
            "stale": feed.seen_s is not None and now - feed.seen_s > _SILENCE_S,
            "message": self._problems[name] or self._silence(name, now),
        }

    def _silence(self, name: str, now: float) -> str:
        feed = self._feeds[name]
        if feed.since_s is None:
            return ""
        quiet = now - (feed.since_s if feed.seen_s is None else feed.seen_s)
        if quiet < _SILENCE_S:
            return f"Waiting for {feed.topic}" if feed.seen_s is None else ""
        return silence_words(name, feed.topic, feed.publishers, quiet)

    def _summary(self, now: float) -> dict[str, Any]:
        newest = takewhile(lambda r: now - r.time_s <= _RATE_WINDOW_S, reversed(self._records))
        recent = [record for record in newest if record.mode]
        summary: dict[str, Any] = {
            "answered": self._answered,
            "dropped": [
                [reason.replace("_", " "), reason_words(reason), count]
                for reason, count in self._dropped.most_common()
            ],
            "rate_hz": round(len(recent) / _RATE_WINDOW_S, 1),
        }
        if recent:
            p50, p95 = np.percentile([record.total_ms for record in recent], (50, 95))
            summary |= {"p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1)}
        if recent and self._last is not None:
            last, seen_s = self._last, self._feeds["rgb"].seen_s
            rgb_comes = seen_s is not None and now - seen_s < _FRESH_S
            summary |= {
                "mode": last.mode,
                "mode_words": mode_words(last.mode),
                "reason": last.reason,
                "reason_words": reason_words(last.reason, rgb_comes),
                "engine": last.hardware_id,
                "stages": [[s, round(getattr(last, f"{s}_ms"), 1)] for s in _STAGES],
            }
        return summary

    def _legend(self) -> list[dict[str, Any]]:
        if self._classes is None:
            return []
        # The first class and unknown pixels stay uncoloured in the overlay.
        return [{"name": c.name, "color": list(c.color)} for c in self._classes.classes[1:]]
