"""A debug bundle: the last frames and decisions, parameters and versions. Imports no ROS."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.errors import ConfigError, CsknetError, DataError
from csknet_core.image_file import encode_image
from csknet_core.runtime.machine import describe_machine
from csknet_core.runtime.overlay import draw_overlay
from csknet_core.runtime.segmenter import Segmentation
from csknet_ros.decoding import Decoded
from csknet_ros.frame_status import FrameStatus
from csknet_ros.stamps import SECOND_NS

DECISIONS = 300
"""Frame statuses remembered."""
LEAST_FREE_BYTES = 128 << 20
"""Left free on the disk: a bundle must not be what stops the robot's log."""


class BundleError(CsknetError):
    """A debug bundle cannot be written."""


@dataclass(frozen=True)
class BundleSettings:
    """Where bundles go and what they hold.

    Attributes:
        directory: absolute, or below the home directory as "~/...".
        frames: frames remembered; 0 keeps no images.

    Raises:
        ConfigError: the directory is relative or climbs with "..".
    """

    directory: str = "~/.ros/csknet"
    frames: int = 5

    def __post_init__(self) -> None:
        path = Path(self.directory)
        rooted = path.is_absolute() or self.directory.startswith("~/")
        if not rooted or ".." in path.parts or "\0" in self.directory:
            raise ConfigError(
                f"parameter capture.directory: {self.directory!r} must be absolute or start with "
                "~/, and must not contain '..'"
            )


@dataclass
class Shot:
    """The images of one frame; the answer is None if there was none (yet)."""

    stamp_ns: int
    images: Decoded
    answer: Segmentation | None = None


@dataclass
class Recorder:
    """Remembers the last frames and decisions. Any thread may call any method.

    Only references are kept, so remembering costs no copy.

    Args:
        frames: frames to remember.
    """

    frames: int = BundleSettings.frames
    _shots: deque[Shot] = field(init=False)
    _decisions: deque[tuple[int, FrameStatus]] = field(init=False)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._shots = deque(maxlen=self.frames)
        self._decisions = deque(maxlen=DECISIONS)

    def decoded(self, stamp_ns: int, images: Decoded) -> Shot:
        """Remember the images of a frame; returns where its answer goes."""
        shot = Shot(stamp_ns, images)
        with self._lock:
            self._shots.append(shot)
        return shot

    def decided(self, stamp_ns: int, status: FrameStatus) -> None:
        """Remember what became of a frame."""
        with self._lock:
            self._decisions.append((stamp_ns, status))

    def last(self) -> tuple[list[Shot], list[tuple[int, FrameStatus]]]:
        """Return the frames and decisions remembered, oldest first."""
        with self._lock:
            return list(self._shots), list(self._decisions)


def write_bundle(
    settings: BundleSettings,
    recorder: Recorder,
    parameters: Mapping[str, Any],
    state: Mapping[str, Any],
    classes: ClassTable | None,
) -> Path:
    """Write a debug bundle into a new directory, whole or not at all.

    Args:
        settings: where to.
        recorder: gives frames and decisions.
        parameters: by dotted name; `parameters.yaml` can be given to the node again.
        state: what else describes the node; goes into `versions.json`.
        classes: colours of the overlays; None while there is no model.

    Returns:
        The directory.

    Raises:
        BundleError: it cannot be written; nothing is left behind.
    """
    root = Path(os.path.expanduser(settings.directory))
    name = (
        time.strftime("csknet-%Y%m%dT%H%M%S", time.gmtime()) + f"-{time.time_ns() % SECOND_NS:09d}"
    )
    part = root / f".{name}.part"
    try:
        root.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(root).free < LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        # Frames show people: for the node's user only. Fails where something is there already.
        part.mkdir(mode=0o700)
        _fill(part, recorder, parameters, state, classes)
        part.rename(root / name)
    except (OSError, ValueError, DataError, cv2.error) as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise BundleError(
            f"no debug bundle in {root}: {reason}; free space there or set capture.directory"
        ) from error
    return root / name


def _fill(
    folder: Path,
    recorder: Recorder,
    parameters: Mapping[str, Any],
    state: Mapping[str, Any],
    classes: ClassTable | None,
) -> None:
    shots, decisions = recorder.last()
    content = {"/**": {"ros__parameters": _nest(parameters)}}
    _write(folder / "parameters.yaml", yaml.safe_dump(content, sort_keys=False).encode())
    versions = {**describe_machine(), **state}
    _write(folder / "versions.json", json.dumps(versions, indent=1).encode())
    listed = [{"stamp_ns": stamp, **asdict(status)} for stamp, status in decisions]
    _write(folder / "decisions.json", json.dumps(listed, indent=1).encode())
    for index, shot in enumerate(shots):
        _write_shot(folder, index, shot, classes)


def _write_shot(folder: Path, index: int, shot: Shot, classes: ClassTable | None) -> None:
    """Write the images of a frame; its stamp, a number, is all of a message in a file's name.

    Two frames may have one stamp: RGB answered alone and the thermal frame that ends the silence.
    """
    optical, thermal, answer = shot.images.optical, shot.images.thermal, shot.answer
    name = f"{index:03d}_{shot.stamp_ns:020d}"
    if optical is not None:
        _write_png(folder / f"{name}_rgb.png", optical)
    if thermal is not None and thermal.dtype in (np.uint8, np.uint16):
        _write_png(folder / f"{name}_thermal.png", thermal)
    elif thermal is not None:
        data = io.BytesIO()
        np.save(data, thermal, allow_pickle=False)
        _write(folder / f"{name}_thermal.npy", data.getvalue())
    if answer is None:
        return
    _write_png(folder / f"{name}_labels.png", answer.labels)
    _write_png(folder / f"{name}_confidence.png", answer.confidence)
    background = optical if thermal is None else thermal
    if classes is not None and background is not None:
        banner = f"{answer.mode.value}: {answer.reason.value}"
        picture = draw_overlay(background, answer.labels, classes, banner=banner)
        _write_png(folder / f"{name}_overlay.png", picture)


def _write_png(path: Path, image: NDArray[Any]) -> None:
    _write(path, encode_image(image, path.suffix))


def _write(path: Path, data: bytes) -> None:
    # A full disk is at times only noticed when the data must really be there.
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _nest(parameters: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in parameters.items():
        *heads, leaf = name.split(".")
        inner = nested
        for head in heads:
            inner = inner.setdefault(head, {})
        inner[leaf] = value
    return nested
