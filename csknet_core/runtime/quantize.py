"""Eight-bit ONNX graphs, calibrated on rendered pairs, so that no data set is needed.

Convolutions become integer ones but for the first two stages, which carry most of the error and
little of the gain: quantising everything costs 7 points of mIoU, leaving these out less than one.
"""

from __future__ import annotations

import platform
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from csknet_core.errors import EngineError
from csknet_core.modality import Modality, Mode

MAX_DISAGREEMENT = 0.05
"""Largest share of pixels of rendered frames whose label may differ from the float graph."""

_CALIBRATION, _CHECK = range(16), range(100, 103)
_KEPT = re.compile(r"/stages\.[01]/")

Feed = dict[str, np.ndarray]


def quantize_onnx(source: Path, target: Path, mode: Mode, size: tuple[int, int]) -> float:
    """Write the eight-bit form of a graph.

    Args:
        source: the float graph.
        target: the file to write.
        mode: of the graph.
        size: height and width of its input.

    Returns:
        The share of pixels of rendered frames whose label differs.

    Raises:
        EngineError: onnx is not installed, or more labels than `MAX_DISAGREEMENT` differ.
    """
    _quantize(source, target, mode, size)
    disagreement = _disagreement(source, target, rendered_feeds(mode, size, _CHECK))
    if disagreement > MAX_DISAGREEMENT:
        raise EngineError(
            f"{target}: {100 * disagreement:.1f} % of labels differ from the float graph; use "
            "device onnx-cpu"
        )
    return disagreement


def _quantize(source: Path, target: Path, mode: Mode, size: tuple[int, int]) -> None:
    try:
        import onnx
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quantize_static,
        )
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise EngineError(f"eight-bit graphs need onnx: pip install onnx ({error})") from error

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = rendered_feeds(mode, size, _CALIBRATION)

        def get_next(self) -> Feed | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load(str(prepared)).graph.node
        quantize_static(
            str(prepared),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Without its dot-product instructions an x86 processor would overflow 16 bits.
            reduce_range=not _has_dot_product(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[n.name for n in nodes if _KEPT.search(n.name)],
        )


def rendered_feeds(mode: Mode, size: tuple[int, int], seeds: range) -> Iterator[Feed]:
    """Yield what a graph of this mode takes, of one rendered pair for every seed."""
    from csknet_core.data.synthetic import random_frame
    from csknet_core.runtime.preprocess import normalize_still

    for seed in seeds:
        frame = random_frame(seed, size)
        feed: Feed = {}
        if Modality.OPTICAL in mode.modalities:
            feed["optical"] = frame.optical
        if Modality.THERMAL in mode.modalities:
            feed["thermal"] = normalize_still(frame.thermal)
        yield feed


def _disagreement(source: Path, target: Path, feeds: Iterator[Feed]) -> float:
    import onnxruntime

    sessions = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (source, target)
    ]
    shares = []
    for feed in feeds:
        one, other = (session.run(None, feed)[0] for session in sessions)
        shares.append(float((np.asarray(one) != np.asarray(other)).mean()))
    return float(np.mean(shares))


def _has_dot_product() -> bool:
    """Whether 8-bit products are summed in 32 bits: Arm, and x86 with VNNI."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
