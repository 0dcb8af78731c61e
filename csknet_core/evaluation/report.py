"""One page about an evaluation: tables, confusion, calibration, best and worst frames."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.data.datasets import PairDataset
from csknet_core.errors import ConfigError
from csknet_core.evaluation.evaluator import Evaluation, ModeScores, answers
from csknet_core.image_file import encode_image
from csknet_core.modality import Mode
from csknet_core.runtime.backends.base import Engine
from csknet_core.runtime.overlay import draw_legend, draw_overlay, thermal_to_rgb

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_PANELS = ("RGB", "thermal", "ground truth", *(mode.value.replace("_", " ") for mode in Mode))
_PANEL_WIDTH = 300
_DARK = 40  # mean level of an RGB image too dark to show anything under the colours


def write_page(
    path: Path, evaluation: Evaluation, engine: Engine, folder: PairDataset, title: str
) -> None:
    """Write a self-contained HTML page.

    Args:
        path: the file.
        evaluation: what `evaluate` returned for this engine and folder.
        engine: answers the frames shown once more.
        folder: the pairs.
        title: heading of the page.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
    """
    check_packages()
    import jinja2

    template = jinja2.Template(_TEMPLATE.read_text(encoding="utf-8"), autoescape=True)
    best, worst = _extremes(evaluation)
    page = template.render(
        title=title,
        frames=len(evaluation.modes[Mode.FUSED].frames),
        scores=evaluation.to_json(),
        confusion=_figure(_draw_confusion, evaluation, 4.6),
        reliability=_figure(_draw_reliability, evaluation, 3.6),
        panels=_PANELS,
        legend=_picture(draw_legend(evaluation.classes), "png"),
        groups=[
            (heading, [(name, miou, _strip(engine, folder, name)) for name, miou in frames])
            for heading, frames in (("Worst frames", worst), ("Best frames", best))
            if frames
        ],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def check_packages() -> None:
    """Refuse early what would fail after all the scoring.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"the page needs a package: pip install jinja2 matplotlib ({error})"
        ) from error


def _extremes(
    evaluation: Evaluation, count: int = 4
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Return the best and the worst frames by fused mIoU; no frame is in both."""
    frames = [f for f in evaluation.modes[Mode.FUSED].frames.items() if not math.isnan(f[1])]
    frames.sort(key=lambda frame: frame[1])
    worst = frames[: min(count, (len(frames) + 1) // 2)]
    best = frames[len(worst) :][-count:]
    return best[::-1], worst


def _strip(engine: Engine, folder: PairDataset, name: str) -> str:
    pair = folder[folder.names.index(name)]
    assert pair.labels is not None
    maps = [pair.labels, *(labels for labels, _ in answers(engine, pair).values())]
    # Normalised as for the network, then stretched: raw thermal of a cold night is one even grey.
    thermal = thermal_to_rgb(pair.normalized_thermal())
    background = thermal if pair.optical.mean() < _DARK else pair.optical
    pictures = [pair.optical, thermal]
    pictures += [draw_overlay(background, labels, engine.classes) for labels in maps]
    return _picture(np.hstack([_shrink(picture) for picture in pictures]), "jpeg")


def _shrink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height = round(picture.shape[0] * _PANEL_WIDTH / picture.shape[1])
    small = cv2.resize(picture, (_PANEL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


def _figure(draw: Any, evaluation: Evaluation, height: float) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, height), layout="constrained")
    axes = figure.subplots(1, len(evaluation.modes))
    for axis, (mode, scores) in zip(axes, evaluation.modes.items(), strict=True):
        draw(axis, scores, evaluation.classes.names)
        axis.set_title(mode.value.replace("_", " "))
    file = io.BytesIO()
    figure.savefig(file, dpi=100)
    return _data_uri(file.getvalue(), "png")


def _draw_confusion(axis: Any, scores: ModeScores, names: tuple[str, ...]) -> None:
    shares = scores.parts["all"].shares()
    axis.set_facecolor("#e6e6e6")  # shows through where a class is absent from the ground truth
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(shares >= 0.005):
        share = shares[row, column]
        color = "white" if share > 0.5 else "black"
        axis.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=color, size=8)
    axis.set_xticks(range(len(names)), names, rotation=90, size=7)
    axis.set_yticks(range(len(names)), names, size=7)
    axis.set_xlabel("predicted (% of the true class)", size=8)
    axis.set_ylabel("true", size=8)


def _draw_reliability(axis: Any, scores: ModeScores, _: tuple[str, ...]) -> None:
    share, confidence, accuracy = scores.calibration.curve()
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    filled = share > 0
    axis.plot(confidence[filled], accuracy[filled], marker="o", label="accuracy")
    axis.bar(
        np.arange(len(share)) / len(share), share, 1 / len(share), align="edge", alpha=0.25,
        label="share of pixels",
    )  # fmt: skip
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    error = scores.calibration.error()
    ece = "" if math.isnan(error) else f" (ECE {100 * error:.1f} %)"
    axis.set_xlabel(f"confidence{ece}", size=8)
    axis.legend(fontsize=7, loc="upper left")


def _picture(picture: NDArray[np.uint8], kind: str) -> str:
    return _data_uri(encode_image(picture, f".{kind}"), kind)


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
