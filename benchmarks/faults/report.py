"""What a campaign comes to: figures per fault, whether it passed, and a Markdown table."""

from __future__ import annotations

from collections import Counter, defaultdict
from statistics import median
from typing import Any

from benchmarks.faults.campaign import Campaign, Happened
from benchmarks.faults.oracle import Oracle, Verdict, episode_at
from benchmarks.faults.record import Sample, Status
from benchmarks.faults.schedule import BY_NAME
from benchmarks.tables import table
from csknet_core.modality import Modality, Mode
from csknet_ros.frames import DropReason

_SECOND = 1_000_000_000
_LEAVE_NS = 250_000_000
"""The last frames before the next fault may already suffer from it."""
_GROWTH = 0.05
_LONG_S = 300.0
"""A process that lived shorter says nothing about memory."""


def summarise(campaign: Campaign) -> dict[str, Any]:
    """Return everything about a campaign as plain data.

    Keys: `faults` (a row of figures for each), `unaccounted`, `wrong` (texts), `memory`, `problems`
    (why the campaign has not passed; empty if it has), and totals.
    """
    verdict = Oracle(campaign).judge()
    record, happened = campaign.record, campaign.happened
    rows = _rows(campaign, verdict)
    began = min((s.sent_ns for s in record.sent), default=0)
    summary: dict[str, Any] = {
        "rate_hz": campaign.rate_hz,
        "seconds": round((happened[-1].until_ns - began) / _SECOND, 1) if happened else 0,
        "episodes": len(happened),
        "sent": sum(s.modality is Modality.THERMAL for s in record.sent),
        "received": sum(r.modality is Modality.THERMAL for r in record.received),
        "answered": sum(s.status.answered for s in record.statuses),
        "died": len(verdict.died),
        "deaths": campaign.deaths,
        "unaccounted": _texts(verdict.unaccounted, happened),
        "wrong": _texts(verdict.wrong, happened),
        "faults": rows,
        "memory": _memory(record.samples, began),
        "notes": dict(record.notes),
    }
    summary["problems"] = _problems(summary)
    return summary


def markdown(summary: dict[str, Any]) -> str:
    """Return the table of a campaign."""
    rows: list[list[object]] = [
        [
            BY_NAME[row["fault"]].text, row["times"], row["received"], row["fused"],
            row["thermal_only"], row["optical_only"],
            ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in row["dropped"].items()),
            row["unaccounted"], row["wrong"],
            f"{row['recovery_s']['median']:.2f} / {row['recovery_s']['longest']:.2f}",
            row["bound_s"],
        ]
        for row in summary["faults"]
    ]  # fmt: skip
    head = ["fault", "times", "thermal frames", "fused", "thermal only", "RGB only", "dropped",
            "unaccounted", "wrong", "recovery s, median / longest", "bound s"]  # fmt: skip
    return table(head, rows)


def _rows(campaign: Campaign, verdict: Verdict) -> list[dict[str, Any]]:
    happened, record = campaign.happened, campaign.record
    groups: dict[str, dict[str, Any]] = {}
    recoveries: dict[str, list[float]] = defaultdict(list)
    for episode in happened:
        row = groups.setdefault(
            episode.fault,
            {"fault": episode.fault, "times": 0, "sent": 0, "received": 0, "died": 0,
             "unaccounted": 0, "wrong": 0, "bound_s": episode.bound_s, "modes": Counter(),
             "drops": Counter()},
        )  # fmt: skip
        row["times"] += 1
        recoveries[episode.fault].append(_recovery_s(episode, campaign))

    def count(at_ns: int, key: str) -> None:
        episode = episode_at(happened, at_ns)
        if episode is not None:
            groups[episode.fault][key] += 1

    for sent in record.sent:
        if sent.modality is Modality.THERMAL:
            count(sent.sent_ns, "sent")
    for received in record.received:
        if received.modality is Modality.THERMAL:
            count(received.at_ns, "received")
    for received in verdict.died:
        count(received.at_ns, "died")
    for key, violations in (("unaccounted", verdict.unaccounted), ("wrong", verdict.wrong)):
        for violation in violations:
            count(violation.at_ns, key)
    for entry in record.statuses:
        found = episode_at(happened, entry.at_ns)
        if found is not None:
            status = entry.status
            kind = "modes" if status.answered else "drops"
            groups[found.fault][kind][status.mode if status.answered else status.reason] += 1
    return [_finish(groups[name], recoveries[name]) for name in BY_NAME if name in groups]


def _finish(row: dict[str, Any], recoveries: list[float]) -> dict[str, Any]:
    modes, drops = row.pop("modes"), row.pop("drops")
    row.update({mode.value: modes[mode.value] for mode in Mode})
    row["dropped"] = dict(drops.most_common())
    row["recovery_s"] = {
        "median": round(median(recoveries), 3),
        "longest": round(max(recoveries), 3),
    }
    return row


def _recovery_s(episode: Happened, campaign: Campaign) -> float:
    """Return seconds from a fault's end to the first fused answer that no relapse follows.

    A frame that gave way to a newer one is no relapse.
    """
    by_stamp: dict[int, list[Status]] = defaultdict(list)
    for entry in campaign.record.statuses:
        if entry.status.primary == "thermal":
            by_stamp[entry.stamp_ns].append(entry)
    recovered = None
    for sent in campaign.record.sent:
        if sent.modality is not Modality.THERMAL or not (
            episode.ended_ns <= sent.sent_ns < episode.until_ns - _LEAVE_NS
        ):
            continue
        for entry in by_stamp[sent.stamp_ns]:
            status = entry.status
            if status.mode == Mode.FUSED.value:
                recovered = recovered or entry.at_ns
            elif status.reason != DropReason.SUPERSEDED.value:
                recovered = None
    if recovered is None:
        return float("inf")
    return (recovered - episode.ended_ns) / _SECOND


def _memory(samples: list[Sample], began_ns: int) -> dict[str, Any]:
    """Return memory over time, and growth of its own memory in the process that lived longest.

    `own_mb` and `rss_mb` are pairs, early and late in its life.
    """
    lives: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        lives[sample.pid].append(sample)
    longest = max(lives.values(), key=len, default=[])
    tenth = len(longest) // 10
    early, late = longest[tenth : 3 * tenth], longest[-2 * tenth :]
    own_mb = [_median([s.own_mb for s in part]) for part in (early, late)]
    rss_mb = [_median([s.rss_mb for s in part]) for part in (early, late)]
    seconds = (longest[-1].at_ns - longest[0].at_ns) / _SECOND if longest else 0.0
    cpu = longest[-1].cpu_s - longest[0].cpu_s if longest else 0.0
    return {
        "lived_s": round(seconds, 1),
        "own_mb": own_mb,
        "rss_mb": rss_mb,
        "growth": round(own_mb[1] / own_mb[0] - 1, 4) if own_mb[0] and own_mb[1] else None,
        "cores": round(cpu / seconds, 3) if seconds else None,
        "series": [
            [
                round((s.at_ns - began_ns) / _SECOND, 1),
                s.pid,
                round(s.rss_mb, 1),
                round(s.own_mb, 1),
            ]
            for s in samples
        ],
    }


def _median(values: list[float]) -> float | None:
    return round(median(values), 1) if values else None


def _texts(violations: list[Any], happened: list[Happened]) -> list[str]:
    texts = []
    for violation in violations:
        episode = episode_at(happened, violation.at_ns)
        where = "before the first fault"
        if episode is not None:
            after = (violation.at_ns - episode.began_ns) / _SECOND
            where = f"{episode.fault}, {after:.2f} s after it began"
        texts.append(f"{where}: {violation.text}")
    return texts


def _problems(summary: dict[str, Any]) -> list[str]:
    problems = [f"unaccounted: {text}" for text in summary["unaccounted"]]
    problems += [f"wrong: {text}" for text in summary["wrong"]]
    for row in summary["faults"]:
        if row["recovery_s"]["longest"] > row["bound_s"]:
            problems.append(
                f"{row['fault']}: recovery took {row['recovery_s']['longest']:.2f} s, more than "
                f"{row['bound_s']:.1f} s"
            )
    kills = sum(row["times"] for row in summary["faults"] if row["fault"] == "sigkill")
    if summary["deaths"] != kills:
        problems.append(f"the process ended {summary['deaths']} times, it was killed {kills} times")
    memory = summary["memory"]
    if memory["lived_s"] > _LONG_S and memory["growth"] > _GROWTH:
        problems.append(f"memory grew by {100 * memory['growth']:.1f} %")
    if not all(text.startswith("refused") for text in summary["notes"].get("disk_full", [])):
        problems.append("a debug bundle was reported written on a full disk")
    return problems
