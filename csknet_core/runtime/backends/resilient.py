"""An engine that survives its backend: rebuilt once, then replaced by the next one in line."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.errors import EngineError
from csknet_core.modality import Mode
from csknet_core.runtime.backends import open_engine
from csknet_core.runtime.backends.base import Engine, LabelsAndConfidence

NEXT = {
    "onnx-tensorrt": "torch-cuda",
    "torch-cuda": "onnx-cpu",
    "onnx-cuda": "onnx-cpu",
    "onnx-int8": "onnx-cpu",
    "onnx-cpu": "torch-cpu",
}
"""Which backend takes over from which; after torch on the CPU there is none."""

_HEALED_AFTER = 100
_NAMES = {"onnxruntime": "onnx", "torch": "torch"}
_log = logging.getLogger(__name__)

Open = Callable[[Path, tuple[int, int], str, int], Engine]


class ResilientEngine:
    """Runs the network on a backend and changes it when it fails.

    A frame whose inference fails is lost (`run` raises); the backend is then built anew, and if it
    fails again within 100 frames, the next one of `NEXT` takes over. The last one in line is built
    anew every time.

    Attributes:
        trouble: what became of a backend that failed; "" if none did, or if it has run since.

    Args:
        weights: the weights file.
        size: height and width of the network input.
        device: one of `backends.DEVICES`.
        threads: CPU threads per frame; 0 lets the backend choose.
        opener: opens a backend, as `open_engine` does.

    Raises:
        ConfigError, EngineError, WeightsError: as `open_engine`.
    """

    def __init__(
        self,
        weights: Path,
        size: tuple[int, int],
        device: str = "auto",
        threads: int = 0,
        opener: Open = open_engine,
    ) -> None:
        self._build = lambda device: opener(weights, size, device, threads)
        self._engine = self._build(device)
        self._classes, self._size = self._engine.classes, self._engine.size
        self._rebuilt = False
        self._good = 0
        self.trouble = ""

    @property
    def name(self) -> str:
        """Backend and device in use now."""
        return self._engine.name

    @property
    def classes(self) -> ClassTable:
        """Classes of the ids in the label maps."""
        return self._classes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network input in pixels."""
        return self._size

    def run(
        self,
        mode: Mode,
        optical: NDArray[np.uint8] | None,
        thermal: NDArray[np.float32] | None,
    ) -> LabelsAndConfidence:
        """Segment one frame, see `Engine.run`."""
        try:
            labels, confidence = self._engine.run(mode, optical, thermal)
            # The largest of C probabilities is at least 1 / C, so 0 can only come of NaN.
            if not confidence.all():
                raise EngineError(f"{self.name} gave values that are not finite")
        except Exception as error:
            self._recover(error)
            raise
        self._good += 1
        if self._good == _HEALED_AFTER and self._rebuilt:
            self._rebuilt = False
            self.trouble = ""
        return labels, confidence

    def close(self) -> None:
        """Free the backend."""
        self._engine.close()

    def _recover(self, error: Exception) -> None:
        failed = self._engine.name
        device = _device_of(failed)
        if self._rebuilt and device in NEXT:
            device = NEXT[device]
        self._good = 0
        _let_go(error)
        self._engine.close()
        while True:
            try:
                self._engine = self._build(device)
                break
            except Exception as reason:  # a device without memory raises what its library likes
                _let_go(reason)
                _log.error("%s cannot take over: %s", device, reason)
                if device not in NEXT:
                    self._engine = _Broken(self._classes, self._size, failed, str(reason))
                    break
                device = NEXT[device]
        moved = self._engine.name != failed
        self._rebuilt = not moved
        what = f"{self._engine.name} took over" if moved else "it was built anew"
        self.trouble = f"{failed} failed ({error}); {what}"
        _log.error("%s", self.trouble)


class _Broken:
    """Stands where no backend could be opened; every frame fails and tries to open one again."""

    def __init__(self, classes: ClassTable, size: tuple[int, int], name: str, reason: str) -> None:
        self.name, self.classes, self.size = name, classes, size
        self._reason = reason

    def run(self, *_: object) -> LabelsAndConfidence:
        """Fail.

        Raises:
            EngineError: always.
        """
        raise EngineError(f"no backend can be opened: {self._reason}")

    def close(self) -> None:
        """Do nothing."""


def _let_go(error: BaseException) -> None:
    """Free the tensors in the frames of an error, which a device out of memory needs for others."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__


def _device_of(name: str) -> str:
    """Return the device setting of an engine's name: `onnxruntime-cpu` is `onnx-cpu`."""
    library, _, target = name.partition("-")
    return f"{_NAMES.get(library, library)}-{target}"
