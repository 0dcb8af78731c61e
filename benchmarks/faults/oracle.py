"""Says of every frame the node got whether what came out is what had to come out.

It knows what the cameras sent, when the node got it and what it said; nothing of how the node
decides. An answer is judged by what is true of its images, a reason by whether it is true.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.faults.cameras import BLANK, GARBAGE, OK, Sent
from benchmarks.faults.campaign import Campaign, Happened
from benchmarks.faults.record import LabelMap, Received, Status
from csknet_core.modality import Modality, Mode, Reason
from csknet_core.runtime.policy import PolicySettings
from csknet_ros.frames import DropReason
from csknet_ros.synchronizer import MS, SyncSettings

_SYNC, _POLICY = SyncSettings(), PolicySettings()
_TOLERANCE_NS = 50 * MS
_DEATH_NS = 1000 * MS
"""A frame that came so shortly before the process was killed died with it."""
_CLASSES = 9
_REFUSED = {
    DropReason.ZERO_STAMP.value, DropReason.DUPLICATE_STAMP.value, DropReason.OUT_OF_ORDER.value,
}  # fmt: skip
_ENGINE_FAULTS = ("engine_raises", "engine_nan", "engine_stuck", "engine_breaks")
_LOOKS = {
    Reason.OPTICAL_DARK.value, Reason.OPTICAL_OVEREXPOSED.value, Reason.OPTICAL_FROZEN.value,
    Reason.OPTICAL_BLANK.value,
}  # fmt: skip


@dataclass(frozen=True)
class Violation:
    """Something that must not happen; `at_ns` is monotonic."""

    at_ns: int
    text: str


@dataclass
class Verdict:
    """Of a whole campaign.

    Attributes:
        unaccounted: thermal frames the node got and never spoke of again.
        wrong: answers and drops that are not what had to come out.
        died: frames that died with a killed process.
    """

    unaccounted: list[Violation] = field(default_factory=list)
    wrong: list[Violation] = field(default_factory=list)
    died: list[Received] = field(default_factory=list)


class _History:
    """The images of one camera that the node has looked at, in its order."""

    def __init__(self) -> None:
        self._last: Sent | None = None
        self._repeats = 0
        self._bad: list[bool] = []
        self._certain = False

    def look(self, sent: Sent) -> None:
        """Take the next image; the same message again is no new image."""
        if self._last is not None and self._last.stamp_ns == sent.stamp_ns:
            return
        same = self._last is not None and self._last.picture == sent.picture
        self._repeats = self._repeats + 1 if same else 0
        self._last = sent
        frozen = self._repeats >= _POLICY.frozen_after
        self._bad.append(frozen or sent.quality != OK)
        self._certain = frozen or (sent.quality == BLANK and sent.modality is Modality.THERMAL)

    def may_be_used(self) -> bool:
        """Whether the last image may still be used: it is good, or bad for the first time."""
        if self._certain:
            return False
        return not all(self._bad[-_POLICY.hold :])

    def may_be_refused(self) -> bool:
        """Whether the last image may be left aside: it is bad, or was a moment ago."""
        return any(self._bad[-_POLICY.hold - 1 :])


class Oracle:
    """Judges a campaign.

    Args:
        campaign: has been run.
    """

    def __init__(self, campaign: Campaign) -> None:
        record = campaign.record
        self._record = record
        self._happened = campaign.happened
        self._sent: dict[tuple[Modality, int], Sent] = {}
        for sent in record.sent:
            self._sent.setdefault((sent.modality, sent.stamp_ns), sent)
        self._thermal = [r for r in record.received if r.modality is Modality.THERMAL]
        self._optical = [r for r in record.received if r.modality is Modality.OPTICAL]
        self._by_stamp = sorted(self._optical, key=lambda r: r.stamp_ns)
        self._stamps = [r.stamp_ns for r in self._by_stamp]
        self._thermal_at = [r.at_ns for r in self._thermal]
        self._thermal_alive_at = [r.at_ns for r in self._accepted()]
        self._arrival = {r.stamp_ns: r for r in reversed(self._thermal)}
        self._kills = [h.began_ns for h in campaign.happened if h.fault == "sigkill"]

    def judge(self) -> Verdict:
        """Return the verdict."""
        verdict = Verdict()
        self._account(verdict)
        verdict.wrong += self._judge_silence()
        verdict.wrong += self._judge_label_maps()
        histories = {modality: _History() for modality in Modality}
        for status in self._record.statuses:
            for text in self._judge(status, histories):
                about = f"{status.status.primary} {status.status.mode}/{status.status.reason}"
                verdict.wrong.append(Violation(status.at_ns, f"{about}: {text}"))
        return verdict

    # Every frame has one end

    def _account(self, verdict: Verdict) -> None:
        said = Counter(s.stamp_ns for s in self._record.statuses if s.status.primary == "thermal")
        seen: dict[int, list[Received]] = defaultdict(list)
        for received in self._thermal:
            seen[received.stamp_ns].append(received)
        for stamp, group in seen.items():
            for received in group[said[stamp] :]:
                if any(0 <= kill - received.at_ns < _DEATH_NS for kill in self._kills):
                    verdict.died.append(received)
                else:
                    verdict.unaccounted.append(Violation(received.at_ns, "no status came"))
        for status in self._record.statuses:
            if status.status.primary == "thermal" and said[status.stamp_ns] > len(
                seen[status.stamp_ns]
            ):
                said[status.stamp_ns] -= 1
                verdict.wrong.append(Violation(status.at_ns, "a status too many"))

    def _judge_silence(self) -> Iterator[Violation]:
        """While thermal is silent every RGB frame has to be answered."""
        said = Counter(s.stamp_ns for s in self._record.statuses if s.status.primary == "optical")
        for received in self._optical:
            if received.stamp_ns <= 0:
                continue
            silence = self._thermal_silence(received)
            if silence is None or silence < _SYNC.thermal_timeout_ns + _TOLERANCE_NS:
                continue
            if any(0 <= kill - received.at_ns < _DEATH_NS for kill in self._kills):
                continue
            if said[received.stamp_ns] != 1:
                yield Violation(received.at_ns, "an RGB frame was not answered in thermal silence")

    def _judge_label_maps(self) -> Iterator[Violation]:
        # An RGB frame answered alone and the thermal frame that ends the silence may share a stamp.
        answered: dict[int, list[Status]] = defaultdict(list)
        for status in self._record.statuses:
            if status.status.answered:
                answered[status.stamp_ns].append(status)
        maps = Counter(m.stamp_ns for m in self._record.label_maps)
        for label_map in self._record.label_maps:
            if label_map.stamp_ns in answered:
                yield from self._judge_label_map(label_map, answered[label_map.stamp_ns])
            elif not any(abs(kill - label_map.at_ns) < _DEATH_NS for kill in self._kills):
                yield Violation(label_map.at_ns, "a label map without a status")
        for stamp, group in answered.items():
            if maps[stamp] != len(group):
                text = f"{maps[stamp]} label maps for {len(group)} answers"
                yield Violation(group[0].at_ns, text)

    def _judge_label_map(self, label_map: LabelMap, answers: list[Status]) -> Iterator[Violation]:
        size = label_map.height, label_map.width
        sizes = [self._grid(status) for status in answers]
        if size not in sizes or label_map.encoding != "mono8":
            yield Violation(label_map.at_ns, f"a label map of {size} {label_map.encoding}")
        if _CLASSES <= label_map.largest < 255:
            yield Violation(label_map.at_ns, f"a label map with class {label_map.largest}")

    def _grid(self, entry: Status) -> tuple[int, int] | None:
        """Return the size an answer's label map has to have."""
        lead = self._sent.get((Modality.THERMAL, entry.stamp_ns))
        if entry.status.primary == "optical" or (lead and lead.quality == GARBAGE):
            lead = self._sent.get((Modality.OPTICAL, entry.status.optical_stamp_ns))
        return lead.size if lead else None

    # What each frame's end has to be

    def _judge(self, entry: Status, histories: dict[Modality, _History]) -> Iterator[str]:
        status = entry.status
        optical = self._sent.get((Modality.OPTICAL, status.optical_stamp_ns))
        thermal = None
        if status.primary == "thermal":
            thermal = self._sent.get((Modality.THERMAL, entry.stamp_ns))
            if thermal is None:
                yield "nothing with this stamp was sent"
                return
            if entry.stamp_ns not in self._arrival:
                yield "the node never got this frame"
                return
        if not status.answered:
            yield from self._judge_drop(entry, thermal)
            return
        for sent in (optical, thermal):
            if sent is not None and sent.quality != GARBAGE:
                histories[sent.modality].look(sent)
        if status.mode == Mode.FUSED.value:
            yield from self._judge_fused(entry, optical, thermal, histories)
        elif status.mode == Mode.THERMAL_ONLY.value:
            yield from self._judge_thermal_only(entry, optical, thermal, histories)
        else:
            yield from self._judge_optical_only(entry, thermal, histories)

    def _judge_fused(
        self,
        entry: Status,
        optical: Sent | None,
        thermal: Sent | None,
        histories: dict[Modality, _History],
    ) -> Iterator[str]:
        if optical is None or thermal is None:
            yield "fused without both images"
            return
        if GARBAGE in (optical.quality, thermal.quality):
            yield "fused with an image that cannot be decoded"
        for modality, history in histories.items():
            if not history.may_be_used():
                yield f"fused with a bad {modality.value} image"
        distance = abs(optical.stamp_ns - thermal.stamp_ns)
        if distance > _SYNC.slop_ns:
            yield f"pair is {distance / MS:.0f} ms apart"
        arrived = self._arrival[thermal.stamp_ns].at_ns
        for other in self._partners(thermal.stamp_ns, distance - 1):
            if 0 <= arrived - other.at_ns < _SYNC.thermal_timeout_ns:
                yield "a nearer RGB image was there already"
                return

    def _judge_thermal_only(
        self,
        entry: Status,
        optical: Sent | None,
        thermal: Sent | None,
        histories: dict[Modality, _History],
    ) -> Iterator[str]:
        reason = entry.status.reason
        if thermal is None or thermal.quality == GARBAGE:
            yield "answered from a thermal image that cannot be decoded"
        elif not histories[Modality.THERMAL].may_be_used():
            yield "answered from a bad thermal image"
        if reason == Reason.OPTICAL_INVALID.value:
            if optical is None or optical.quality != GARBAGE:
                yield "the RGB message was good"
        elif reason in _LOOKS:
            if not histories[Modality.OPTICAL].may_be_refused():
                yield "the RGB image was good"
        elif reason in (Reason.OPTICAL_UNPAIRED.value, Reason.OPTICAL_LOST.value):
            yield from self._judge_alone(entry)
        else:
            yield "no reason for this mode"

    def _judge_alone(self, entry: Status) -> Iterator[str]:
        received = self._arrival[entry.stamp_ns]
        decided = received.at_ns + entry.status.waited_ms * MS
        for partner in self._partners(entry.stamp_ns, _SYNC.slop_ns - 1):
            early = partner.at_ns < decided - _TOLERANCE_NS
            if early and decided - partner.at_ns < _SYNC.thermal_timeout_ns:
                yield "a partner was there"
                return
        if entry.status.reason == Reason.OPTICAL_LOST.value and self._rgb_is_back(received):
            yield "RGB was back"

    def _rgb_is_back(self, received: Received) -> bool:
        """Whether as many frames in a row as recovery takes, and one more, had a partner."""
        index = bisect_left(self._thermal_at, received.at_ns)
        before = self._thermal[max(0, index - _SYNC.recover_after - 1) : index]
        return len(before) > _SYNC.recover_after and all(
            any(
                partner.at_ns <= frame.at_ns + _SYNC.max_wait_ns
                for partner in self._partners(frame.stamp_ns, _SYNC.slop_ns)
            )
            for frame in before
        )

    def _judge_optical_only(
        self, entry: Status, thermal: Sent | None, histories: dict[Modality, _History]
    ) -> Iterator[str]:
        if not histories[Modality.OPTICAL].may_be_used():
            yield "answered from a bad RGB image"
        if thermal is None:
            arrival = [r for r in self._partners(entry.stamp_ns, 0) if r.at_ns <= entry.at_ns]
            silence = self._thermal_silence(arrival[-1], stopped=True) if arrival else None
            if not arrival or (
                silence is not None and silence < _SYNC.thermal_timeout_ns - _TOLERANCE_NS
            ):
                yield "thermal was there"
        elif thermal.quality != GARBAGE and not histories[Modality.THERMAL].may_be_refused():
            yield "the thermal image was good"

    def _judge_drop(self, entry: Status, thermal: Sent | None) -> Iterator[str]:
        reason, stamp = entry.status.reason, entry.stamp_ns
        stream, sent = self._thermal, thermal
        if entry.status.primary == Modality.OPTICAL.value:
            stream, sent = self._optical, self._sent.get((Modality.OPTICAL, stamp))
        places = [i for i, received in enumerate(stream) if received.stamp_ns == stamp]
        true = {
            DropReason.ZERO_STAMP.value: stamp == 0,
            DropReason.DUPLICATE_STAMP.value: len(places) > 1,
            DropReason.OUT_OF_ORDER.value: any(
                before.stamp_ns > stamp
                for place in places
                for before in stream[max(0, place - 50) : place]
            ),
            DropReason.SUPERSEDED.value: True,
            DropReason.ENGINE_ERROR.value: self._within(entry.at_ns, _ENGINE_FAULTS),
            DropReason.ENGINE_STUCK.value: self._within(entry.at_ns, _ENGINE_FAULTS),
            DropReason.BAD_IMAGE.value: sent is not None and sent.quality == GARBAGE,
        }
        if not true.get(reason, False):
            yield "not true"

    # What is known of the streams

    def _partners(self, stamp_ns: int, distance_ns: int) -> list[Received]:
        low = bisect_left(self._stamps, stamp_ns - distance_ns)
        return self._by_stamp[low : bisect_right(self._stamps, stamp_ns + distance_ns)]

    def _accepted(self) -> list[Received]:
        """Return the thermal messages that were not refused for their stamp.

        The node says which were; whether that is true is judged apart. Of messages with one stamp
        the later ones are refused.
        """
        left = Counter(r.stamp_ns for r in self._thermal)
        left.subtract(
            s.stamp_ns
            for s in self._record.statuses
            if s.status.primary == "thermal" and s.status.reason in _REFUSED
        )
        accepted = []
        for received in self._thermal:
            if left[received.stamp_ns] > 0:
                left[received.stamp_ns] -= 1
                accepted.append(received)
        return accepted

    def _thermal_silence(self, received: Received, stopped: bool = False) -> int | None:
        """Return how long no thermal frame had been accepted in this life of the process.

        Args:
            received: the message before which it was silent.
            stopped: also count the time for which the process was stopped on getting the message,
                which it noticed before or after that.
        """
        alive_at = self._thermal_alive_at
        index = bisect_left(alive_at, received.at_ns)
        start = max((s for s in self._record.starts if s <= received.at_ns), default=0)
        if not index or alive_at[index - 1] < start:
            return None
        stop = self._stopped_on(received) if stopped else 0
        return received.at_ns - alive_at[index - 1] + stop

    def _stopped_on(self, received: Received) -> int:
        return sum(
            h.ended_ns - h.began_ns
            for h in self._happened
            if h.fault == "sigstop" and abs(h.began_ns - received.at_ns) < _TOLERANCE_NS
        )

    def _within(self, at_ns: int, faults: tuple[str, ...]) -> bool:
        return any(h.fault in faults and h.began_ns <= at_ns <= h.until_ns for h in self._happened)


def episode_at(happened: list[Happened], at_ns: int) -> Happened | None:
    """Return the episode, with the time after its fault, that a moment belongs to."""
    index = bisect_right([h.began_ns for h in happened], at_ns) - 1
    return happened[index] if index >= 0 else None
