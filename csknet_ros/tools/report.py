"""Pictures of a recorded run: video, contact sheet, timeline and one page that shows them."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import jinja2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import MFNET
from csknet_core.errors import DataError
from csknet_core.image_file import write_image
from csknet_core.runtime.overlay import colorize, draw_legend, draw_overlay, thermal_to_rgb
from csknet_ros.mode_colors import MODE_COLORS, OUTCOME_COLORS
from csknet_ros.stamps import SECOND_NS
from csknet_ros.tools.recorder import Recording
from csknet_ros.tools.script import Script
from csknet_ros.tools.summary import PlayedFrame, outcome_of

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEMPLATE = Path(__file__).with_name("report.html.jinja")
VIDEO, SHEET, TIMELINE, PAGE, SUMMARY = (
    "overlay.webm",
    "contact_sheet.png",
    "timeline.png",
    "report.html",
    "summary.json",
)


def write_report(
    folder: Path,
    recording: Recording,
    played: list[PlayedFrame],
    script: Script,
    summary: dict[str, Any],
    rate_hz: float,
    title: str,
) -> None:
    """Write summary, video, contact sheet, timeline and page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    write_video(folder / VIDEO, recording, played, rate_hz)
    write_image(folder / SHEET, contact_sheet(recording, played, script))
    draw_timeline(folder / TIMELINE, recording, played, script)
    template = jinja2.Template(_TEMPLATE.read_text(encoding="utf-8"), autoescape=True)
    page = template.render(
        title=title,
        summary=summary,
        mode_colors=MODE_COLORS,
        video=_data_uri(folder / VIDEO, "video/webm"),
        sheet=_data_uri(folder / SHEET, "image/png"),
        timeline=_data_uri(folder / TIMELINE, "image/png"),
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def panels(recording: Recording, stamp_ns: int) -> list[NDArray[np.uint8]]:
    """Return RGB, thermal, answer and truth of one frame as 640x480 RGB pictures."""
    thermal = recording.thermal.get(stamp_ns)
    optical = recording.optical.get(stamp_ns)
    labels = recording.label_maps.get(stamp_ns)
    truth = recording.truth.get(stamp_ns)
    answer = recording.overlay.get(stamp_ns)
    if answer is None and labels is not None:
        background = thermal if optical is None else optical
        answer = draw_overlay(labels if background is None else background, labels, MFNET)
    pictures = [
        _blank("no RGB") if optical is None else optical,
        _blank("no thermal") if thermal is None else thermal_to_rgb(thermal),
        _blank("no answer") if answer is None else answer,
        _blank("no truth") if truth is None else colorize(truth, MFNET),
    ]
    return [
        cv2.resize(p, (640, 480), interpolation=cv2.INTER_AREA).astype(np.uint8) for p in pictures
    ]


def write_video(
    path: Path, recording: Recording, played: list[PlayedFrame], rate_hz: float
) -> None:
    """Write RGB, thermal and answer side by side, VP8 in WebM (browsers play it).

    Raises:
        DataError: the file cannot be written.
    """
    size = (1280, 320)
    with _without_native_stderr():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), rate_hz, size)
    if not writer.isOpened():
        raise DataError(
            f"video {path}: cannot be written; check the folder and the disk, and that OpenCV has "
            "VP8 (pip install opencv-python)"
        )
    for frame in played:
        pictures = panels(recording, frame.stamp_ns)[:3]
        widths = (427, 427, 426)
        strip = np.hstack([_shrink(p, w, 320) for p, w in zip(pictures, widths, strict=True)])
        cv2.putText(strip, frame.phase, (8, 308), _FONT, 0.6, (255,) * 3, 1, cv2.LINE_AA)
        writer.write(cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
    writer.release()


def contact_sheet(
    recording: Recording, played: list[PlayedFrame], script: Script
) -> NDArray[np.uint8]:
    """Return two rows of RGB, thermal, answer and truth for every phase, with a legend."""
    rows = [_sheet_head()]
    for phase in script.phases:
        frames = [f for f in played if f.phase == phase.name]
        # A dropped frame has no picture to show; the timeline shows that it was dropped.
        frames = [f for f in frames if outcome_of(recording, f.stamp_ns) == "out"] or frames
        for share in (0.4, 0.9):
            if frames:
                frame = frames[min(len(frames) - 1, int(share * len(frames)))]
                rows.append(_sheet_row(recording, frame))
    sheet = np.vstack(rows)
    legend = draw_legend(MFNET, 160)
    side = np.full((max(sheet.shape[0], legend.shape[0]), 160, 3), 24, np.uint8)
    side[: legend.shape[0]] = legend
    if sheet.shape[0] < side.shape[0]:
        gap = side.shape[0] - sheet.shape[0]
        sheet = np.pad(sheet, ((0, gap), (0, 0), (0, 0)), constant_values=24)
    return np.hstack([sheet, side])


def draw_timeline(
    path: Path, recording: Recording, played: list[PlayedFrame], script: Script
) -> None:
    """Plot mode, luminance and latency over time, with the phases behind them."""
    start = played[0].stamp_ns if played else 0
    times = [(frame.stamp_ns - start) / SECOND_NS for frame in played]
    out = [outcome_of(recording, frame.stamp_ns) == "out" for frame in played]
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(11, 5.8), sharex=True, height_ratios=[1, 2, 2], layout="constrained"
    )
    _plot_modes(top, recording, played, times)
    # NaN breaks the line: without RGB there is no luminance, without an answer no latency.
    middle.plot(times, _luminance(recording, played), ".-", color="#b8860b")
    middle.set_ylabel("RGB luminance")
    latency = [
        (recording.received_ns[frame.stamp_ns] - frame.stamp_ns) / 1e6 if answered else math.nan
        for frame, answered in zip(played, out, strict=True)
    ]
    bottom.plot(times, latency, ".-", color="#444444")
    bottom.set_ylabel("latency, ms")
    for axis in (middle, bottom):
        axis.set_ylim(bottom=0)
    bottom.set_xlabel("time, s")
    _mark_phases((top, middle, bottom), played, script, start)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_modes(
    axis: Axes, recording: Recording, played: list[PlayedFrame], times: list[float]
) -> None:
    """Draw one tick for every frame, colored by the mode it was answered in."""
    for name, color in (*MODE_COLORS.items(), *OUTCOME_COLORS.items()):
        at = [
            time
            for time, frame in zip(times, played, strict=True)
            if _mode_or_outcome(recording, frame.stamp_ns) == name
        ]
        if at:
            axis.vlines(at, 0, 1, color=color, linewidth=2.5, label=name)
    axis.set_yticks([])
    axis.set_ylabel("mode")
    if played:
        axis.legend(
            ncols=6, loc="lower right", bbox_to_anchor=(1, 1.25), frameon=False, handlelength=1
        )


def _mode_or_outcome(recording: Recording, stamp_ns: int) -> str:
    outcome = outcome_of(recording, stamp_ns)
    return recording.statuses[stamp_ns][0].mode if outcome == "out" else outcome


def _luminance(recording: Recording, played: list[PlayedFrame]) -> list[float]:
    """Return the RGB luminance the node saw, NaN where it saw none."""
    values = []
    for frame in played:
        statuses = recording.statuses.get(frame.stamp_ns, [])
        seen = statuses and statuses[0].optical_luminance >= 0
        values.append(statuses[0].optical_luminance if seen else math.nan)
    return values


def _mark_phases(
    axes: tuple[Axes, ...], played: list[PlayedFrame], script: Script, start: int
) -> None:
    for index, phase in enumerate(script.phases):
        stamps = [f.stamp_ns for f in played if f.phase == phase.name]
        if not stamps:
            continue
        first, last = (min(stamps) - start) / SECOND_NS, (max(stamps) - start) / SECOND_NS
        for axis in axes:
            axis.axvspan(first, last, color="#000000", alpha=0.06 if index % 2 else 0.0)
        axes[0].text((first + last) / 2, 1.06, phase.name, ha="center", va="bottom", fontsize=9,
                     transform=axes[0].get_xaxis_transform())  # fmt: skip


def _sheet_head() -> NDArray[np.uint8]:
    head = np.full((26, 4 * 320, 3), 24, np.uint8)
    for column, name in enumerate(("RGB", "thermal", "answer", "truth")):
        at = (column * 320 + 8, 18)
        cv2.putText(head, name, at, _FONT, 0.5, (235,) * 3, 1, cv2.LINE_AA)
    return head


def _sheet_row(recording: Recording, frame: PlayedFrame) -> NDArray[np.uint8]:
    row = np.hstack([_shrink(p, 320, 240) for p in panels(recording, frame.stamp_ns)])
    statuses = recording.statuses.get(frame.stamp_ns)
    text = f"{frame.phase}: {statuses[0].mode or statuses[0].reason}" if statuses else "lost"
    row[214:] //= 3
    cv2.putText(row, text, (8, 232), _FONT, 0.55, (255,) * 3, 1, cv2.LINE_AA)
    return row


def _shrink(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _blank(text: str) -> NDArray[np.uint8]:
    picture = np.full((480, 640, 3), 40, np.uint8)
    cv2.putText(picture, text, (200, 250), _FONT, 1.4, (150,) * 3, 2, cv2.LINE_AA)
    return picture


@contextlib.contextmanager
def _without_native_stderr() -> Iterator[None]:
    """Keep OpenCV from printing that VP8 is not supported in WebM, which it is."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(null)
        os.close(saved)


def _data_uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
