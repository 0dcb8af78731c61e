"""Keeps what a campaign recorded, so that it can be judged again."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.faults.cameras import Sent
from benchmarks.faults.campaign import Campaign, Happened
from benchmarks.faults.record import LabelMap, Received, Record, Sample, Status
from csknet_core.modality import Modality
from csknet_ros.frame_status import FrameStatus


def save(campaign: Campaign, path: Path) -> None:
    """Write a campaign that has been run as compressed JSON."""
    # asdict cannot copy a defaultdict.
    record = replace(campaign.record, notes=dict(campaign.record.notes))
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump(asdict(replace(campaign, record=record)), file)


def load(path: Path) -> Campaign:
    """Read what `save` wrote."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        kept: dict[str, Any] = json.load(file)
    record = kept["record"]
    return Campaign(
        kept["rate_hz"],
        [Happened(**happened) for happened in kept["happened"]],
        Record(
            [Sent(**{**_typed(sent), "size": tuple(sent["size"])}) for sent in record["sent"]],
            [Received(**_typed(received)) for received in record["received"]],
            [Status(**{**s, "status": FrameStatus(**s["status"])}) for s in record["statuses"]],
            [LabelMap(**label_map) for label_map in record["label_maps"]],
            [Sample(**sample) for sample in record["samples"]],
            record["starts"],
            defaultdict(list, record["notes"]),
        ),
        kept["deaths"],
        kept["about"],
    )


def _typed(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "modality": Modality(entry["modality"])}
