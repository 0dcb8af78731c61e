"""The torch backend; what needs a GPU is run where there is one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from csknet_core.errors import EngineError
from csknet_core.modality import Mode
from csknet_core.runtime.backends import cuda_graph, open_engine
from csknet_core.runtime.backends.torch_backend import TorchEngine
from csknet_core.runtime.bench import example_input

SIZE = (64, 96)


@pytest.fixture(scope="module")
def engine(default_weights):
    return TorchEngine(default_weights, SIZE)


@pytest.mark.parametrize("mode", list(Mode))
def test_it_answers_as_the_onnx_backend_does(engine, default_weights, mode):
    images = example_input(SIZE)
    ours, _ = engine.run(mode, *images)
    theirs, _ = open_engine(default_weights, SIZE, "onnx-cpu").run(mode, *images)
    assert (ours != theirs).mean() < 0.002


def test_images_of_another_mode_are_not_read(engine):
    optical, thermal = example_input(SIZE)
    alone, _ = engine.run(Mode.THERMAL_ONLY, None, thermal)
    both, _ = engine.run(Mode.THERMAL_ONLY, optical, thermal)
    assert np.array_equal(alone, both)


def test_a_missing_image_is_an_engine_error(engine):
    with pytest.raises(EngineError, match="fused"):
        engine.run(Mode.FUSED, None, example_input(SIZE)[1])


class _Maps(torch.nn.Module):
    def forward(self, image):
        return (image > 0.5).to(torch.uint8), (255 * image).to(torch.uint8)


def test_without_a_graph_the_network_runs_kernel_by_kernel(engine, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("capture not permitted")

    monkeypatch.setattr(cuda_graph, "CudaGraphRunner", fail)
    assert cuda_graph.capture(_Maps(), [np.zeros(SIZE, np.float32)]) is None
    assert "capture not permitted" in caplog.text
    # The path a GPU takes then, on the CPU in half precision.
    images = list(example_input(SIZE))
    labels, confidence = engine._run_cuda(Mode.FUSED, images)
    expected, _ = engine.run(Mode.FUSED, *images)
    assert labels.dtype == confidence.dtype == np.uint8
    assert (labels != expected).mean() < 0.01
    engine._graphs.clear()


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture
def fast(default_weights):
    engine = TorchEngine(default_weights, SIZE, "cuda")
    yield engine
    engine.close()


@needs_gpu
@pytest.mark.parametrize("mode", list(Mode))
def test_the_cuda_graph_agrees_with_the_cpu_in_float(fast, engine, mode):
    images = example_input(SIZE)
    for _ in range(3):  # the second run replays the graph
        labels, _ = fast.run(mode, *images)
    expected, _ = engine.run(mode, *images)
    assert fast._graphs[mode] is not None
    assert (labels != expected).mean() < 0.005


@needs_gpu
def test_every_frame_gets_its_own_answer_while_modes_take_turns_on_the_gpu(fast, engine):
    rng = np.random.default_rng(0)
    optical, thermal = example_input(SIZE)
    for _ in range(4):
        row, column = rng.integers(0, SIZE)
        frame = (np.roll(image, (row, column), (0, 1)) for image in (optical, thermal))
        images = [np.ascontiguousarray(image) for image in frame]
        for mode in Mode:
            labels, confidence = fast.run(mode, *images)
            expected, sure = engine.run(mode, *images)
            assert (labels != expected).mean() < 0.01
            assert np.abs(confidence.astype(int) - sure).mean() < 2


@needs_gpu
def test_graphs_made_in_one_thread_answer_in_another(fast, engine):
    images = example_input(SIZE)
    fast.run(Mode.FUSED, *images)
    with ThreadPoolExecutor(1) as pool:
        for mode in (Mode.FUSED, Mode.THERMAL_ONLY):
            labels, _ = pool.submit(fast.run, mode, *images).result()
            assert (labels != engine.run(mode, *images)[0]).mean() < 0.005


@needs_gpu
def test_engines_opened_and_closed_leave_no_memory_on_the_gpu(default_weights):
    held = []
    for _ in range(3):
        engine = TorchEngine(default_weights, SIZE, "cuda")
        engine.run(Mode.FUSED, *example_input(SIZE))
        engine.close()
        held.append(torch.cuda.memory_allocated())
    assert held[-1] <= held[0]


@needs_gpu
def test_auto_takes_the_gpu(default_weights):
    assert open_engine(default_weights, SIZE).name == "torch-cuda"
