"""Replays one bag through the live node's synchroniser, policy and segmenter, in bag time."""

from __future__ import annotations

import bisect
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import DataError, EngineError, ImageError
from csknet_core.image_header import MAX_PIXELS
from csknet_core.modality import Modality, Mode, Reason
from csknet_core.runtime.segmenter import Segmentation, Segmenter, SegmenterSettings
from csknet_ros.answer_frame import AnswerFrame
from csknet_ros.answering import drop_reason, segment_frame
from csknet_ros.decoding import Decoded, decode_frame
from csknet_ros.frame_status import DROPPED, FrameStatus, answered
from csknet_ros.frames import Dropped, DropReason, FrameSet, Stamped
from csknet_ros.replay.faults import Fault, FaultyMessages
from csknet_ros.replay.messages import LABELS, PHASE, RGB, BagMessage, Topics
from csknet_ros.replay.pictures import Gallery
from csknet_ros.replay.reader import BagReader
from csknet_ros.replay.result import BagResult, Frame
from csknet_ros.replay.truth import Truth
from csknet_ros.stamps import SECOND_NS
from csknet_ros.synchronizer import PairOrAlone, SyncHealth, SyncSettings

_MS = 1e-6
_MODALITIES = {RGB: Modality.OPTICAL}


@dataclass(frozen=True)
class Run:
    """One way to answer bags.

    Attributes:
        name: shown in the report.
        segmenter: weights, engine, thermal range, policy.
        sync: bounds of the synchroniser.
        faults: what goes wrong that did not when the bag was recorded.
        fallback_confidence_scale: of answers from one camera alone.
        max_image_pixels: larger images are refused.
    """

    name: str
    segmenter: SegmenterSettings
    sync: SyncSettings
    faults: tuple[Fault, ...] = ()
    fallback_confidence_scale: float = 1.0
    max_image_pixels: int = MAX_PIXELS


At = tuple[int, int, str]
"""When a frame arrived, and the stamp and frame_id of its answer; times in nanoseconds."""


@dataclass(frozen=True)
class Job:
    """One bag in one run.

    Attributes:
        run: how to answer.
        bag: what to answer.
        topics: which topic is what.
        labels: folder of label maps; None takes the label topic.
        write_bag: where to write the bag with the answers; None does not.
        compare_every: of frames without truth, every so many fused ones are answered by thermal
            alone too, to compare; 0 none.
    """

    run: Run
    bag: Path
    topics: Topics = field(default_factory=Topics)
    labels: Path | None = None
    write_bag: Path | None = None
    compare_every: int = 5


class Sink(Protocol):
    """Takes the ends of frames one by one, such as into another bag."""

    def answered(self, at: At, answer: Segmentation, status: FrameStatus, image: Any) -> None:
        """Take the answer to a frame; `image` is its background."""
        ...

    def dropped(self, at: At, status: FrameStatus) -> None:
        """Take why a frame has no answer."""
        ...


def replay(
    job: Job,
    segmenter: Segmenter,
    sink: Sink | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BagResult:
    """Answer every frame of a bag.

    A bag that is damaged half way, an interrupt and a full disk end it early; the result then
    holds what was answered before and says why it is not complete.

    Args:
        job: what to do.
        segmenter: opened from the run's settings; its state is reset.
        sink: takes the answers.
        progress: called with thermal messages done and in all.

    Raises:
        DataError: the bag cannot be opened, or its topics are missing.
    """
    with BagReader(job.bag, job.topics) as reader:
        replayer = _Replayer(job, segmenter, reader, sink)
        return replayer.run(progress)


class _Replayer:
    """The state of one replay."""

    def __init__(
        self, job: Job, segmenter: Segmenter, reader: BagReader, sink: Sink | None
    ) -> None:
        self._job = job
        self._segmenter = segmenter
        self._reader = reader
        self._sink = sink
        self._answer_frame = AnswerFrame(job.run.segmenter.registration)
        self._sync: PairOrAlone[BagMessage] = PairOrAlone(
            job.run.sync, self._on_frame, self._on_dropped, clock=lambda: self._now
        )
        self._now = reader.start_ns
        self._frames: list[Frame] = []
        self._scenes: dict[int, Decoded] = {}
        self._phases: tuple[list[int], list[str]] = ([], [])
        self._before: tuple[int, NDArray[np.uint8]] | None = None
        self._fused = 0
        self._clock_difference_ns: int | None = None
        self._gallery = Gallery(segmenter.classes)
        self._truth = Truth(segmenter.classes, job.labels, self._on_truth, self._on_bad_truth)
        self._has_truth = job.labels is not None or bool(reader.topics.labels)
        self._stages: defaultdict[str, list[float]] = defaultdict(list)
        segmenter.reset()

    def run(self, progress: Callable[[int, int], None]) -> BagResult:
        """Go through the bag."""
        problem, started = "", time.perf_counter()
        total = self._reader.primaries
        try:
            for message in self._stream():
                self._advance(message.time_ns)
                self._take(message)
                progress(self._reader.received["thermal"], total)
            self._advance(self._now + self._job.run.sync.max_wait_ns)
            self._sync.flush(self._now)
        except (DataError, OSError) as error:
            problem = str(error)
        except KeyboardInterrupt:
            problem = "interrupted"
        return self._result(problem, time.perf_counter() - started)

    def _stream(self) -> Iterator[BagMessage]:
        messages: Iterable[BagMessage] = self._reader.messages()
        faults = self._job.run.faults
        return iter(FaultyMessages(faults, self._reader.start_ns)(messages) if faults else messages)

    def _advance(self, time_ns: int) -> None:
        """Decide frames whose wait ends before the next message, at the time it ends."""
        while True:
            deadline = self._sync.poll(self._now)
            if deadline is None or deadline > time_ns:
                break
            self._now = max(deadline, self._now)
        self._now = max(self._now, time_ns)

    def _take(self, message: BagMessage) -> None:
        if message.kind == PHASE:
            self._phases[0].append(message.time_ns)
            self._phases[1].append(str(message.data.data))
        elif message.kind == LABELS:
            self._truth.add_label(message.stamp_ns, message.data)
        else:
            modality = _MODALITIES.get(message.kind, Modality.THERMAL)
            self._sync.add(modality, message.stamp_ns, message, self._now)

    def _on_dropped(self, dropped: Dropped[BagMessage]) -> None:
        if dropped.modality is Modality.OPTICAL:
            # As in the node: only thermal frames are promised an answer.
            self._skip(f"rgb {dropped.reason.value}", f"stamp {dropped.stamp_ns}")
            return
        self._finish_dropped(dropped.modality, dropped.frame, dropped.reason)

    def _on_frame(self, frame: FrameSet[BagMessage]) -> None:
        if frame.absence is Reason.OPTICAL_LOST:
            difference = self._sync.health.clock_difference_ns
            self._clock_difference_ns = difference or self._clock_difference_ns
        try:
            images = decode_frame(
                _unwrap(frame),
                self._on_problem,
                self._job.run.max_image_pixels,
                self._segmenter.check,
            )
            scale = self._job.run.fallback_confidence_scale
            answer = segment_frame(self._segmenter, frame, images, scale)
        except Exception as error:  # as in the node: it ends this frame, not the stream
            reason = drop_reason(error)
            if reason is DropReason.ENGINE_ERROR:
                kind = "" if isinstance(error, EngineError) else f"{type(error).__name__}: "
                self._skip("inference failed", f"{kind}{error}")
            self._drop(frame, reason)
        else:
            self._keep(frame, images, answer)

    def _keep(self, frame: FrameSet[BagMessage], images: Decoded, answer: Segmentation) -> None:
        status = answered(frame, answer, self._segmenter.name)
        record = self._frame(frame.lead, status)
        record.flips = self._flips(frame.stamp_ns, answer.labels)
        key = len(self._frames)
        self._frames.append(record)
        for stage, value in answer.stages_ms.items():
            self._stages[stage].append(value)
        if self._has_truth:
            self._scenes[key] = images
            for old in [k for k in self._scenes if k < key - 64]:
                del self._scenes[old]
            self._truth.add_answer(key, _stamps(frame), answer.labels)
        else:
            self._compare(record, images, answer)
        if self._sink is not None:
            background = self._segmenter.background(images.optical, images.thermal, answer)
            frame_id = self._answer_frame.of(_unwrap(frame), images)
            at = frame.lead.arrival_ns, frame.stamp_ns, frame_id
            self._sink.answered(at, answer, status, background)

    def _compare(self, record: Frame, images: Decoded, answer: Segmentation) -> None:
        """See what thermal alone would have answered, where there is no truth to score against."""
        every = self._job.compare_every
        if answer.mode is not Mode.FUSED or not every:
            return
        self._fused += 1
        if (self._fused - 1) % every:
            return
        alone = self._segmenter.segment_again(Mode.THERMAL_ONLY)
        record.agreement = float((alone == answer.labels).mean())
        self._gallery.offer(record, record.agreement, images, answer.labels, alone)

    def _on_truth(self, key: int, labels: NDArray[np.uint8], true: NDArray[np.uint8]) -> None:
        record = self._frames[key]
        record.score(labels, true, len(self._segmenter.classes))
        images = self._scenes.pop(key, None)
        if record.miou is not None and images is not None:
            self._gallery.offer(record, record.miou, images, labels, true)

    def _on_bad_truth(self, reason: str, detail: str) -> None:
        self._skip(reason, detail)

    def _on_problem(self, modality: Modality, error: ImageError) -> None:
        kind = RGB if modality is Modality.OPTICAL else "thermal"
        self._skip(f"{kind} image not used", str(error))

    def _drop(self, frame: FrameSet[BagMessage], reason: DropReason) -> None:
        self._finish_dropped(frame.primary, frame.lead, reason, frame.waited_ns)

    def _finish_dropped(
        self, primary: Modality, lead: Stamped[BagMessage], reason: DropReason, waited_ns: int = 0
    ) -> None:
        status = FrameStatus(primary.value, DROPPED, "", reason.value, waited_ms=waited_ns * _MS)
        self._frames.append(self._frame(lead, status))
        if self._sink is not None:
            at = lead.arrival_ns, lead.stamp_ns, str(lead.data.data.header.frame_id)
            self._sink.dropped(at, status)

    def _skip(self, reason: str, detail: str) -> None:
        self._reader.skipped.add(reason, self._seconds(self._now), detail)

    def _frame(self, lead: Stamped[BagMessage], status: FrameStatus) -> Frame:
        index = bisect.bisect_right(self._phases[0], lead.arrival_ns) - 1
        phase = self._phases[1][index] if index >= 0 else ""
        return Frame.from_status(self._seconds(lead.arrival_ns), lead.stamp_ns, status, phase)

    def _flips(self, stamp_ns: int, labels: NDArray[np.uint8]) -> float | None:
        before, self._before = self._before, (stamp_ns, labels)
        if before is None or before[1].shape != labels.shape or stamp_ns <= before[0]:
            return None
        seconds = (stamp_ns - before[0]) / SECOND_NS
        return float((labels != before[1]).mean()) / seconds

    def _seconds(self, time_ns: int) -> float:
        return (time_ns - self._reader.start_ns) / SECOND_NS

    def _result(self, problem: str, wall_s: float) -> BagResult:
        reader, skipped = self._reader, self._reader.skipped
        return BagResult(
            run=self._job.run.name,
            bag=self._job.bag.name,
            classes=self._segmenter.classes,
            topics=vars(reader.topics),
            seconds=reader.seconds,
            received=dict(sorted(reader.received.items())),
            skipped=dict(sorted(skipped.counts.items())),
            notes=skipped.notes,
            sync=self._sync_counts(),
            frames=self._frames,
            pictures=self._gallery.pictures(),
            complete=not problem,
            problem=problem,
            timing=self._timing(wall_s),
        )

    def _sync_counts(self) -> dict[str, Any]:
        counts = _counts(self._sync.health)
        if self._clock_difference_ns is not None:
            counts["clock_difference_ms"] = round(self._clock_difference_ns * _MS, 3)
        return counts

    def _timing(self, wall_s: float) -> dict[str, Any]:
        def middle(values: list[float]) -> dict[str, float]:
            return {f"p{q}": round(float(np.percentile(values, q)), 3) for q in (50, 95, 99)}

        done = sum(bool(frame.mode) for frame in self._frames)
        return {
            "engine": self._segmenter.name,
            "wall_s": round(wall_s, 3),
            "frames_per_s": round(done / wall_s, 2) if wall_s > 0 else None,
            "inference_share": round(
                sum(self._stages.get("inference", ())) / 1e3 / max(wall_s, 1e-9), 4
            ),
            "stages_ms": {stage: middle(values) for stage, values in self._stages.items()},
        }


def _unwrap(frame: FrameSet[BagMessage]) -> FrameSet[Any]:
    def bare(one: Stamped[BagMessage] | None) -> Stamped[Any] | None:
        return one and Stamped(one.stamp_ns, one.arrival_ns, one.data.data)

    return replace(frame, optical=bare(frame.optical), thermal=bare(frame.thermal))


def _stamps(frame: FrameSet[BagMessage]) -> tuple[int, ...]:
    images = (frame.thermal, frame.optical)
    return tuple(image.data.recorded_stamp_ns for image in images if image is not None)


def _counts(health: SyncHealth) -> dict[str, Any]:
    def plain(counts: dict[Any, int]) -> dict[str, int]:
        return dict(sorted(Counter({key.value: n for key, n in counts.items()}).items()))

    return {
        "matched": health.matched,
        "alone": plain(health.alone),
        "dropped": plain(health.dropped),
        "rgb_unused": health.optical_unused,
        "clock_jumps": health.clock_jumps,
    }
