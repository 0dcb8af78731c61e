"""Eight-bit graphs: close to the float ones, smaller, cached beside them."""

import numpy as np
import onnx
import pytest

from csknet_core.errors import EngineError
from csknet_core.modality import Mode
from csknet_core.runtime import quantize
from csknet_core.runtime.backends import open_engine
from csknet_core.runtime.export import ensure_onnx, onnx_path
from csknet_core.runtime.quantize import quantize_onnx, rendered_feeds

SIZE = (96, 128)


@pytest.fixture(scope="module")
def engines(default_weights):
    return [open_engine(default_weights, SIZE, device) for device in ("onnx-cpu", "onnx-int8")]


@pytest.mark.parametrize("mode", list(Mode))
def test_eight_bit_answers_are_close_to_the_float_ones(engines, mode):
    shares = []
    for feed in rendered_feeds(mode, SIZE, range(200, 224)):  # of 4, one odd frame would decide
        answers = [e.run(mode, feed.get("optical"), feed.get("thermal")) for e in engines]
        shares.append((answers[0][0] != answers[1][0]).mean())
    assert np.mean(shares) < 0.05
    assert engines[1].name == "onnxruntime-int8"


def test_convolutions_are_integer_but_for_the_first_stages(engines, default_weights):
    graph = onnx.load(str(ensure_onnx(default_weights, Mode.THERMAL_ONLY, SIZE, True))).graph
    quantized = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    convolutions = [n for n in graph.node if n.op_type == "Conv"]
    integer = [n for n in convolutions if n.input[0] in quantized]
    assert 0.5 * len(convolutions) < len(integer) < len(convolutions)
    assert not any("/stages.0/" in n.name or "/stages.1/" in n.name for n in integer)


def test_both_forms_have_files_of_their_own(default_weights):
    paths = {onnx_path(default_weights, Mode.FUSED, SIZE, int8) for int8 in (False, True)}
    assert len(paths) == 2


def test_a_graph_that_got_too_bad_is_refused(default_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "MAX_DISAGREEMENT", -1.0)
    source = ensure_onnx(default_weights, Mode.THERMAL_ONLY, SIZE)
    with pytest.raises(EngineError, match="onnx-cpu"):
        quantize_onnx(source, tmp_path / "x.onnx", Mode.THERMAL_ONLY, SIZE)
