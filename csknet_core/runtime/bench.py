"""How fast the network runs here, backend by backend, side by side in one run."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csknet_core.errors import EngineError
from csknet_core.input_size import check_size
from csknet_core.modality import Mode
from csknet_core.runtime.backends import open_engine
from csknet_core.runtime.backends.base import Engine, LabelsAndConfidence
from csknet_core.runtime.machine import describe_machine

EAGER = "torch-eager"
"""The network as it is trained: batch norm not folded, default memory layout."""

ALL_DEVICES = ("onnx-cpu", "onnx-int8", "torch-cpu", "onnx-cuda", "torch-cuda")
_SIDE = 1024
Run = Callable[[Mode], LabelsAndConfidence]


@dataclass(frozen=True)
class Timing:
    """One backend in one mode.

    Attributes:
        backend: its device name, or `EAGER`.
        mode: the mode.
        rounds: milliseconds of every round.
        agreement: share of pixels with the same label as `EAGER`; None where that was not run.
    """

    backend: str
    mode: Mode
    rounds: list[float] = field(default_factory=list)
    agreement: float | None = None

    @property
    def median(self) -> float:
        """Median milliseconds."""
        return float(np.median(self.rounds))

    @property
    def p95(self) -> float:
        """95th percentile, milliseconds."""
        return float(np.percentile(self.rounds, 95))


@dataclass(frozen=True)
class Bench:
    """The figures of one run.

    Attributes:
        timings: of every backend and mode.
        multiply_adds: of each mode, for one frame.
        ceiling: multiply-adds per second of a float32 matrix product on this machine's CPU.
        absent: backends that do not run here, and why.
        about: machine, versions, weights and input.
        profile: ms of every kind of operator of ONNX Runtime in a frame, largest first, where
            asked for.
        cuda_ceiling: multiply-adds per second of a half precision matrix product on the GPU, the
            ceiling of backends there; 0 without one.
    """

    timings: list[Timing]
    multiply_adds: dict[Mode, int]
    ceiling: float
    absent: dict[str, str]
    about: dict[str, Any]
    profile: dict[Mode, dict[str, float]] = field(default_factory=dict)
    cuda_ceiling: float = 0.0

    def timing(self, backend: str, mode: Mode) -> Timing:
        """Return one timing.

        Raises:
            KeyError: it was not measured.
        """
        for timing in self.timings:
            if (timing.backend, timing.mode) == (backend, mode):
                return timing
        raise KeyError(backend, mode)

    @property
    def backends(self) -> list[str]:
        """The backends measured, in order."""
        return list(dict.fromkeys(timing.backend for timing in self.timings))

    def gigaflops(self, timing: Timing) -> float:
        """Return 1e9 operations a second, a multiply-add being two."""
        return 2e-6 * self.multiply_adds[timing.mode] / timing.median

    @property
    def ceiling_gigaflops(self) -> float:
        """1e9 operations a second of the matrix product."""
        return 2e-9 * self.ceiling

    def share_of_ceiling(self, timing: Timing) -> float:
        """Return operations a second over those of a matrix product on the same device."""
        on_cuda = timing.backend.endswith("cuda") and self.cuda_ceiling
        ceiling = self.cuda_ceiling if on_cuda else self.ceiling
        return self.gigaflops(timing) / (2e-9 * ceiling)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain data; ratios are to the slowest form, `EAGER`."""
        rows = []
        for timing in self.timings:
            row = {
                "backend": timing.backend,
                "mode": timing.mode.value,
                "median_ms": round(timing.median, 3),
                "p95_ms": round(timing.p95, 3),
                "gflops": round(self.gigaflops(timing), 2),
                "share_of_ceiling": round(self.share_of_ceiling(timing), 4),
                "rounds_ms": [round(value, 3) for value in timing.rounds],
            }
            if timing.agreement is not None:
                row["agreement"] = round(timing.agreement, 5)
            if EAGER in self.backends:
                row["speed_up"] = round(self.timing(EAGER, timing.mode).median / timing.median, 3)
            rows.append(row)
        return {
            "about": self.about,
            "ceiling_gflops": round(self.ceiling_gigaflops, 2),
            "cuda_ceiling_gflops": round(2e-9 * self.cuda_ceiling, 2),
            "multiply_adds": {mode.value: count for mode, count in self.multiply_adds.items()},
            "absent": self.absent,
            "timings": rows,
            "profile": {mode.value: costs for mode, costs in self.profile.items()},
        }


def run_bench(
    weights: Path,
    size: tuple[int, int],
    devices: Sequence[str] = ALL_DEVICES,
    rounds: int = 20,
    eager: bool = True,
    threads: int = 0,
    profile: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bench:
    """Measure every backend that runs here.

    Backends and modes take turns in every round, so that a machine that gets slower or faster
    meanwhile does so for all.

    Args:
        weights: the weights file.
        size: height and width of the network's input.
        devices: backends to try.
        rounds: measurements of each.
        eager: measure the network as it is trained, too.
        threads: CPU threads; 0 lets the backends choose.
        profile: then let ONNX Runtime say what its operators take.
        progress: called with rounds done and in all.

    Raises:
        ConfigError: the network cannot take images of that size, or a device is unknown.
        EngineError: no backend runs here.
        WeightsError: the weights cannot be used.
    """
    check_size(size)
    optical, thermal = example_input(size)
    engines, absent = _open_engines(weights, size, devices, threads)
    runs: dict[str, Run] = {
        device: partial(engine.run, optical=optical, thermal=thermal)
        for device, engine in engines.items()
    }
    if eager:
        runs[EAGER] = _eager(weights, optical, thermal)
    timings = [
        Timing(name, mode, agreement=agreement)
        for mode in Mode
        for name, agreement in _warm_up(runs, mode).items()
    ]
    ceiling = _take_turns(runs, timings, rounds, progress)
    about = {
        **describe_machine(),
        "weights": weights.stem,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()[:16],
        "input_sha256": hashlib.sha256(optical.tobytes() + thermal.tobytes()).hexdigest()[:16],
        "size": list(size),
        "rounds": rounds,
        "threads": threads,
    }
    costs = profile_modes(weights, size, rounds, threads) if profile else {}
    cuda_ceiling = measure_torch_ceiling() if "torch-cuda" in runs else 0.0
    counts = count_multiply_adds(weights, size)
    return Bench(timings, counts, ceiling, absent, about, costs, cuda_ceiling)


def _open_engines(
    weights: Path, size: tuple[int, int], devices: Sequence[str], threads: int
) -> tuple[dict[str, Engine], dict[str, str]]:
    """Return the backends that run here by device, and why the others do not."""
    engines: dict[str, Engine] = {}
    absent: dict[str, str] = {}
    for device in devices:
        try:
            engines[device] = open_engine(weights, size, device, threads)
        except EngineError as error:
            absent[device] = str(error)
    if not engines:
        raise EngineError("; ".join(f"{device}: {why}" for device, why in absent.items()))
    return engines, absent


def _take_turns(
    runs: dict[str, Run],
    timings: list[Timing],
    rounds: int,
    progress: Callable[[int, int], None],
) -> float:
    """Append every round's time to the timings; return the best ceiling of all rounds."""
    ceiling = 0.0
    for done in range(rounds):
        ceiling = max(ceiling, measure_ceiling())
        for timing in timings:
            start = time.perf_counter()
            runs[timing.backend](timing.mode)
            timing.rounds.append(1e3 * (time.perf_counter() - start))
        progress(done + 1, rounds)
    return ceiling


def _warm_up(runs: dict[str, Run], mode: Mode) -> dict[str, float | None]:
    """Run every backend twice, as the first runs allocate; return their agreement with `EAGER`."""
    labels = {name: [run(mode)[0] for _ in range(2)][1] for name, run in runs.items()}
    if EAGER not in labels:
        return dict.fromkeys(labels)
    return {name: float(np.mean(found == labels[EAGER])) for name, found in labels.items()}


def example_input(size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return a rendered pair of this size, prepared for the network."""
    from csknet_core.data.synthetic import random_frame
    from csknet_core.runtime.preprocess import normalize_still

    frame = random_frame(7, size)
    return frame.optical, normalize_still(frame.thermal)


def count_multiply_adds(weights: Path, size: tuple[int, int]) -> dict[Mode, int]:
    """Return the multiply-adds of convolutions and matrix products of one frame, by mode."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from csknet_core.model.zoo import load_network

    network, _ = load_network(str(weights))
    optical, thermal = torch.zeros(1, 3, *size), torch.zeros(1, 1, *size)
    counts = {}
    for mode in Mode:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network.predict(mode, optical, thermal)
        counts[mode] = counter.get_total_flops() // 2
    return counts


def profile_modes(
    weights: Path, size: tuple[int, int], rounds: int, threads: int = 0
) -> dict[Mode, dict[str, float]]:
    """Return what the operators of ONNX Runtime take in every mode, ms a frame."""
    from csknet_core.runtime.profile import profile_onnx

    optical, thermal = example_input(size)
    return {mode: profile_onnx(weights, mode, optical, thermal, rounds, threads) for mode in Mode}


def measure_ceiling(tries: int = 3) -> float:
    """Return the multiply-adds per second of a float32 matrix product, the best of some tries.

    It is what this machine's cores can do at most with this kind of arithmetic. NumPy obeys
    OMP_NUM_THREADS; set to less than all cores it lowers the ceiling.
    """
    rng = np.random.default_rng(0)
    left, right = rng.random((2, _SIDE, _SIDE), np.float32)
    best = math.inf
    for _ in range(tries):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return float(_SIDE**3 / best)


def measure_torch_ceiling(
    device: str = "cuda", half: bool = True, side: int = 8192, tries: int = 8
) -> float:
    """Return the multiply-adds per second of a matrix product in torch, the best of some tries.

    Args:
        device: "cuda" or "cpu".
        half: half precision instead of float32.
        side: rows and columns of the matrices; small ones do not fill a large GPU.
        tries: products, of which the fastest counts.
    """
    import torch

    dtype = torch.float16 if half else torch.float32
    left = torch.rand(side, side, dtype=dtype, device=device)
    best = math.inf
    for _ in range(tries):
        start = time.perf_counter()
        product = left @ left
        product[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return float(side**3 / best)


def _eager(weights: Path, optical: NDArray[np.uint8], thermal: NDArray[np.float32]) -> Run:
    import torch

    from csknet_core.model.inference import maps_from_logits
    from csknet_core.model.zoo import load_network

    network, _ = load_network(str(weights))
    size = thermal.shape[0], thermal.shape[1]

    def run(mode: Mode) -> LabelsAndConfidence:
        with torch.inference_mode():
            first = torch.from_numpy(optical).permute(2, 0, 1)[None].float() / 255
            # A view in the camera's order would make every convolution channels-last.
            logits = network.predict(
                mode, first.contiguous(), torch.from_numpy(thermal)[None, None]
            )
            labels, confidence = maps_from_logits(logits, size)
            return labels.numpy(), confidence.numpy()

    return run


def draw_bench(bench: Bench, path: Path) -> None:
    """Draw the medians as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.9 * len(bench.backends)), layout="constrained")
    axis = figure.subplots()
    for offset, mode in enumerate(Mode):
        own = [timing for timing in bench.timings if timing.mode is mode]
        places = [index + 0.27 * (offset - 1) for index in range(len(own))]
        bars = axis.barh(
            places, [t.median for t in own], 0.25, label=mode.value.replace("_", " "),
            xerr=[[0] * len(own), [max(0.0, t.p95 - t.median) for t in own]],
        )  # fmt: skip
        axis.bar_label(bars, fmt="%.0f", padding=4, fontsize=8)
    axis.set_yticks(range(len(bench.backends)), bench.backends)
    axis.invert_yaxis()
    height, width = bench.about["size"]
    axis.set_xlabel(f"ms for one {width}x{height} frame, median; whisker to p95")
    axis.legend()
    figure.savefig(path, dpi=110)
