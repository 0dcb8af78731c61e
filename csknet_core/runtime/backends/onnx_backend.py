"""ONNX Runtime: the CPU backend, and CUDA where its provider is installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.errors import EngineError
from csknet_core.modality import Modality, Mode
from csknet_core.runtime.backends.base import LabelsAndConfidence
from csknet_core.runtime.export import ensure_onnx
from csknet_core.runtime.memory import release_memory
from csknet_core.weights.files import read_info

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "int8": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}

_SHRINK_AT, _SHRINK_EVERY = 100, 1000
"""Frames after which the arena's memory is returned: first, and between two times. The frame after
it takes a quarter longer. An engine that takes another's place may not live for a thousand frames.
"""


class OnnxEngine:
    """One session per mode, opened when the mode is first needed.

    Args:
        weights: the weights file.
        size: height and width of the network input.
        device: "cpu", "int8" (eight-bit convolutions on the CPU), "cuda" or "tensorrt".
        threads: threads per frame; 0 lets ONNX Runtime choose.

    Raises:
        EngineError: the provider is not installed or a graph cannot be built.
        WeightsError: the weights file cannot be used.
    """

    def __init__(
        self, weights: Path, size: tuple[int, int], device: str = "cpu", threads: int = 0
    ) -> None:
        self._provider = _PROVIDERS[device]
        # What TensorRT does not know runs on CUDA.
        self._providers = [self._provider] + [_PROVIDERS["cuda"]] * (device == "tensorrt")
        if self._provider not in onnxruntime.get_available_providers():
            raise EngineError(
                f"ONNX Runtime has no {self._provider} here; use device:=cpu or install "
                "onnxruntime-gpu"
            )
        self._weights = weights
        self._size = size
        self._device = device
        self._threads = threads
        self._classes = read_info(weights).classes
        self._sessions: dict[Mode, onnxruntime.InferenceSession] = {}
        self._frames = 0
        for mode in Mode:
            self._session(mode)

    @property
    def name(self) -> str:
        """Backend and device."""
        return f"onnxruntime-{self._device}"

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
        feed: dict[str, NDArray[np.uint8] | NDArray[np.float32] | None] = {}
        if Modality.OPTICAL in mode.modalities:
            feed["optical"] = optical
        if Modality.THERMAL in mode.modalities:
            feed["thermal"] = thermal
        try:
            labels, confidence = self._session(mode).run(None, feed, self._run_options())
        except Exception as error:  # ONNX Runtime raises its own, undocumented types
            raise EngineError(f"{self.name} failed on a {mode.value} frame: {error}") from error
        return labels, confidence

    def close(self) -> None:
        """Free the sessions."""
        self._sessions.clear()
        release_memory()

    def _run_options(self) -> onnxruntime.RunOptions | None:
        """Now and then let the arena return what only an engine beside this one needed.

        An engine that is stuck works in the same arena as the one that takes its place.
        """
        self._frames += 1
        if self._frames % _SHRINK_EVERY != _SHRINK_AT % _SHRINK_EVERY:
            return None
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options

    def _session(self, mode: Mode) -> onnxruntime.InferenceSession:
        if mode not in self._sessions:
            options = session_options(self._threads)
            path = ensure_onnx(self._weights, mode, self._size, self._device == "int8")
            try:
                self._sessions[mode] = onnxruntime.InferenceSession(
                    str(path), options, providers=self._providers
                )
            except Exception as error:
                raise EngineError(
                    f"ONNX graph {path} cannot be loaded ({error}); delete it to build it again"
                ) from error
        return self._sessions[mode]


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Return how every session of this library runs; `threads` as for `OnnxEngine`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the CPU from the cameras between frames.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # One after the other the modes work in the same memory: 240 MB instead of 570 at
    # 480x640, at the same speed.
    share_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Weights there would keep whole regions of it from being returned.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.enable_mem_pattern = False
    return options


@cache
def share_memory() -> None:
    """Let all sessions of this process take memory from one arena that grows by what is asked."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    settings = {
        "max_mem": 0,
        "arena_extend_strategy": 1,
        "initial_chunk_size_bytes": -1,
        "max_dead_bytes_per_chunk": -1,
    }
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg(settings))
