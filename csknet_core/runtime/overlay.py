"""Pictures of label maps for people: colours over the camera image, legends."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import ClassTable

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def colorize(labels: NDArray[np.uint8], classes: ClassTable) -> NDArray[np.uint8]:
    """Return a label map (H, W) in the table's colours, (H, W, 3) uint8 RGB."""
    # Ten times faster than indexing the palette.
    table = classes.palette.reshape(256, 1, 3)
    return cv2.applyColorMap(labels, table).astype(np.uint8, copy=False)


def thermal_to_rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a thermal image (H, W), raw or in 0..1, as grey (H, W, 3) uint8 RGB.

    The darkest and brightest percent saturate; values that are not finite become black.
    """
    if image.dtype == np.uint8:
        grey = image
    else:
        values = image.astype(np.float32)
        live = values[np.isfinite(values)]
        low, high = np.percentile(live, (1, 99)) if live.size else (0.0, 1.0)
        scale = 255.0 / max(float(high - low), 1e-6)
        scaled = np.nan_to_num((values - np.float32(low)) * np.float32(scale), posinf=0, neginf=0)
        grey = np.clip(scaled, 0, 255).astype(np.uint8)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def draw_overlay(
    background: NDArray[Any],
    labels: NDArray[np.uint8],
    classes: ClassTable,
    alpha: float = 0.55,
    banner: str | None = None,
) -> NDArray[np.uint8]:
    """Draw a label map over a camera image.

    Args:
        background: (H, W, 3) uint8 RGB, or a thermal image (H, W); resized to the label map.
        labels: (H, W) uint8; class 0 and ids outside the table stay uncoloured.
        classes: gives the colours.
        alpha: opacity of the colours.
        banner: one line written at the top, such as the mode.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = background if background.ndim == 3 else thermal_to_rgb(background)
    size = (labels.shape[1], labels.shape[0])
    if picture.shape[:2] != labels.shape:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    colors = colorize(labels, classes)
    blended = cv2.addWeighted(picture, 1 - alpha, colors, alpha, 0)
    shown = ((labels > 0) & (labels < len(classes))).astype(np.uint8)
    overlay = np.where(shown[..., None], blended, picture).astype(np.uint8, copy=False)
    if banner:
        _write_banner(overlay, banner)
    return overlay


def draw_legend(classes: ClassTable, width: int = 160) -> NDArray[np.uint8]:
    """Return a legend of all classes but the first, (22 * n, width, 3) uint8 RGB."""
    legend = np.full((22 * (len(classes) - 1), width, 3), 24, np.uint8)
    for row, class_id in enumerate(range(1, len(classes))):
        top = 22 * row
        legend[top + 4 : top + 18, 6:26] = classes.palette[class_id]
        name = classes.names[class_id]
        cv2.putText(legend, name, (34, top + 16), _FONT, 0.45, (235,) * 3, 1, cv2.LINE_AA)
    return legend


def _write_banner(picture: NDArray[np.uint8], text: str) -> None:
    scale = max(0.35, picture.shape[1] / 1100)
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    picture[: height + 12, : width + 16] //= 3
    cv2.putText(picture, text, (8, height + 6), _FONT, scale, (255,) * 3, 1, cv2.LINE_AA)
