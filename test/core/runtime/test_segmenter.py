"""The segmenter on real backends with a small random network, and on the shipped weights."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from csknet_core.classes import MFNET
from csknet_core.data.layouts import open_pairs
from csknet_core.errors import ConfigError, EngineError, ImageError, NoUsableModalityError
from csknet_core.evaluation.evaluator import evaluate
from csknet_core.modality import Mode, Reason
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import save_network
from csknet_core.runtime import export
from csknet_core.runtime.backends import open_engine
from csknet_core.runtime.policy import ModalityPolicy
from csknet_core.runtime.preprocess import ThermalNormalizer, ThermalSettings
from csknet_core.runtime.segmenter import Segmenter, SegmenterSettings

SIZE = (64, 96)
RNG = np.random.default_rng(0)
OPTICAL = RNG.integers(0, 256, (120, 160, 3), np.uint8)
THERMAL = RNG.integers(28000, 31000, (100, 140)).astype(np.uint16)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    path = folder / "small.safetensors"
    save_network(path, CSKNet(ModelConfig(len(MFNET), decoder_width=16)).eval(), MFNET, {})
    patch = pytest.MonkeyPatch()
    patch.setenv("CSKNET_CACHE", str(folder / "cache"))
    yield path
    patch.undo()


@pytest.fixture(scope="module", params=["onnx-cpu", "torch-cpu"])
def engine(weights, request):
    engine = open_engine(weights, SIZE, request.param)
    yield engine
    engine.close()


def segmenter(engine) -> Segmenter:
    return Segmenter(engine, ThermalNormalizer(ThermalSettings()), ModalityPolicy())


def test_answers_are_on_the_thermal_grid_with_all_stages_timed(engine):
    answer = segmenter(engine).segment(OPTICAL, THERMAL)
    assert answer.labels.shape == answer.confidence.shape == (100, 140)
    assert answer.labels.dtype == answer.confidence.dtype == np.uint8
    assert (answer.mode, answer.reason) == (Mode.FUSED, Reason.OK)
    assert set(answer.stages_ms) == {"policy", "preprocess", "inference", "postprocess"}
    assert min(answer.stages_ms.values()) >= 0


def test_a_missing_camera_changes_mode_and_grid(engine):
    ours = segmenter(engine)
    answer = ours.segment(None, THERMAL, Reason.OPTICAL_LOST)
    assert (answer.mode, answer.reason) == (Mode.THERMAL_ONLY, Reason.OPTICAL_LOST)
    answer = ours.segment(OPTICAL, None, Reason.THERMAL_LOST)
    assert answer.mode is Mode.OPTICAL_ONLY
    assert answer.labels.shape == (120, 160)


def test_nothing_usable_carries_the_decision(engine):
    with pytest.raises(NoUsableModalityError) as caught:
        segmenter(engine).segment(np.zeros_like(OPTICAL), None, Reason.THERMAL_LOST)
    assert caught.value.decision.optical.mean == 0


def test_wrong_images_are_refused(engine):
    with pytest.raises(ImageError, match="uint8"):
        segmenter(engine).segment(OPTICAL.astype(np.float64)[..., :2], THERMAL)
    with pytest.raises(ImageError, match="float64"):
        segmenter(engine).segment(OPTICAL, THERMAL.astype(np.float64))
    with pytest.raises(EngineError, match="failed on a fused frame"):
        engine.run(Mode.FUSED, OPTICAL, None)


def test_backends_agree(weights):
    onnx, eager = (open_engine(weights, SIZE, device) for device in ("onnx-cpu", "torch-cpu"))
    optical, thermal = OPTICAL[: SIZE[0], : SIZE[1]].copy(), RNG.random(SIZE, np.float32)
    for mode in Mode:
        (a, ca), (b, cb) = (e.run(mode, optical, thermal) for e in (onnx, eager))
        assert (a != b).mean() < 1e-3
        assert np.abs(ca.astype(int) - cb).max() <= 2
    assert (onnx.name, eager.name) == ("onnxruntime-cpu", "torch-cpu")


def test_a_cached_graph_runs_without_torch(weights):
    open_engine(weights, SIZE, "onnx-cpu")
    code = (
        "import sys; from pathlib import Path;"
        "from csknet_core.runtime.backends import open_engine;"
        "from csknet_core.runtime.segmenter import Segmenter;"
        f"open_engine(Path({str(weights)!r}), {SIZE}, 'cpu');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_damaged_cached_graph_names_the_file(weights):
    open_engine(weights, SIZE, "onnx-cpu")
    path = export.onnx_path(weights, Mode.FUSED, SIZE)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    try:
        with pytest.raises(EngineError, match="delete it to build it again"):
            open_engine(weights, SIZE, "onnx-cpu")
    finally:
        path.write_bytes(whole)


def test_exported_graphs_are_checked_against_torch(weights, tmp_path, monkeypatch):
    target = tmp_path / "graph.onnx"
    assert export.export_onnx(weights, Mode.THERMAL_ONLY, SIZE, target) <= export.MAX_DISAGREEMENT
    assert target.is_file()
    monkeypatch.setattr(export, "MAX_DISAGREEMENT", -1.0)
    with pytest.raises(EngineError, match="differ from torch"):
        export.export_onnx(weights, Mode.THERMAL_ONLY, SIZE, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize(
    ("size", "device", "words"),
    [((60, 96), "cpu", "multiples of 32"), (SIZE, "tpu", "device 'tpu' is unknown")],
)
def test_settings_that_cannot_run_are_refused(weights, size, device, words):
    with pytest.raises(ConfigError, match=words):
        open_engine(weights, size, device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["torch-cuda", "onnx-cuda"])
def test_asking_for_a_gpu_that_is_not_there_says_so(weights, device):
    with pytest.raises(EngineError, match="device:=cpu"):
        open_engine(weights, SIZE, device)


def test_the_shipped_weights_hold_their_own_on_real_pairs(mfnet, default_weights):
    """Coarse floors, far below the card's table: they catch a broken model, not a worse one."""
    engine = open_engine(default_weights, (480, 640), "cpu")
    folder = open_pairs(mfnet, "val")
    folder.names = folder.names[::6]
    scores = evaluate(engine, folder).to_json()
    assert scores["fused"]["per_class"]["person"] > 0.4
    assert scores["thermal_only"]["per_class"]["person"] > 0.35
    assert scores["fused"]["day"] > 0
    assert scores["fused"]["night"] > 0


def test_the_default_weights_load_by_an_empty_name(default_weights):
    ours = Segmenter.load(SegmenterSettings(device="torch-cpu", size=(64, 96)))
    assert ours.classes == MFNET
    assert ours.name == "torch-cpu"
