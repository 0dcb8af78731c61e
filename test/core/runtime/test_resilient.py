"""Backends that fail are built anew, then replaced."""

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from csknet_core.classes import MFNET
from csknet_core.errors import ConfigError, EngineError
from csknet_core.modality import Mode
from csknet_core.runtime.backends import DEVICES
from csknet_core.runtime.backends.resilient import NEXT, ResilientEngine
from csknet_core.runtime.backends.torch_backend import TorchEngine

SIZE = (32, 32)


class Backend:
    """Fails as often as its shop says."""

    size, classes = SIZE, MFNET

    def __init__(self, name, shop):
        self.name, self._shop = name, shop

    def run(self, mode, optical, thermal):
        if self._shop.fail:
            self._shop.fail -= 1
            tensor = np.zeros(3)
            self._shop.tensors.append(weakref.ref(tensor))
            raise self._shop.error
        return np.zeros(SIZE, np.uint8), np.full(SIZE, self._shop.confidence, np.uint8)

    def close(self):
        self._shop.closed.append(self.name)


NAMES = {"onnx-cpu": "onnxruntime-cpu", "torch-cuda": "torch-cuda", "torch-cpu": "torch-cpu",
         "auto": "torch-cuda"}  # fmt: skip


class Shop:
    """Opens backends; `gone` ones cannot be opened."""

    def __init__(self):
        self.fail, self.error, self.confidence = 0, EngineError("out of memory"), 200
        self.opened, self.closed, self.gone = [], [], set()
        self.errors_when_opened = {}
        self.tensors, self.tensors_alive = [], []

    def __call__(self, weights, size, device, threads):
        self.tensors_alive += [tensor() is not None for tensor in self.tensors]
        if device in self.errors_when_opened:
            raise self.errors_when_opened[device]
        if device in self.gone:
            raise EngineError(f"{device} is not installed")
        self.opened.append(device)
        return Backend(NAMES[device], self)

    def engine(self, device):
        return ResilientEngine(Path("w"), SIZE, device, 0, self)


@pytest.fixture
def shop():
    return Shop()


def run(engine, times=1):
    """Return how many of some frames were answered."""
    answered = 0
    for _ in range(times):
        try:
            engine.run(Mode.FUSED, None, None)
            answered += 1
        except EngineError:
            pass
    return answered


def test_nothing_happens_while_all_is_well(shop):
    engine = shop.engine("onnx-cpu")
    assert run(engine, 5) == 5
    assert shop.opened == ["onnx-cpu"]
    assert (engine.name, engine.trouble, engine.size) == ("onnxruntime-cpu", "", SIZE)


def test_a_failure_costs_its_frame_and_the_backend_is_built_anew(shop):
    engine = shop.engine("onnx-cpu")
    shop.fail = 1
    assert run(engine, 3) == 2
    assert shop.opened == ["onnx-cpu", "onnx-cpu"]
    assert shop.closed == ["onnxruntime-cpu"]
    assert "out of memory" in engine.trouble
    assert "built anew" in engine.trouble


def test_a_second_failure_hands_over_to_the_next_backend(shop):
    engine = shop.engine("auto")
    shop.fail = 2
    assert run(engine, 3) == 1
    assert shop.opened == ["auto", "torch-cuda", "onnx-cpu"]
    assert engine.name == "onnxruntime-cpu"
    assert "onnxruntime-cpu took over" in engine.trouble
    run(engine, 200)
    assert engine.trouble  # it still is not the backend that was asked for


def test_what_cannot_be_opened_is_passed_over(shop):
    engine = shop.engine("torch-cuda")
    shop.fail, shop.gone = 2, {"onnx-cpu"}
    assert run(engine, 3) == 1
    assert engine.name == "torch-cpu"


def test_a_backend_that_has_run_again_for_long_is_trusted_again(shop):
    engine = shop.engine("onnx-cpu")
    shop.fail = 1
    run(engine, 101)
    assert engine.trouble == ""
    shop.fail = 1
    run(engine)
    assert engine.name == "onnxruntime-cpu"


def test_with_no_backend_left_every_frame_fails_until_one_can_be_opened(shop):
    engine = shop.engine("torch-cpu")
    shop.fail, shop.gone = 1, {"torch-cpu"}
    assert run(engine, 3) == 0
    with pytest.raises(EngineError, match="no backend can be opened"):
        engine.run(Mode.FUSED, None, None)
    shop.gone = set()
    assert run(engine, 2) == 1


def test_values_that_are_not_finite_are_a_failure(shop):
    engine = shop.engine("onnx-cpu")
    shop.confidence = 0
    with pytest.raises(EngineError, match="not finite"):
        engine.run(Mode.FUSED, None, None)


def test_any_exception_of_a_backend_counts(shop):
    engine = shop.engine("onnx-cpu")
    shop.fail, shop.error = 1, MemoryError("no memory")
    with pytest.raises(MemoryError):
        engine.run(Mode.FUSED, None, None)
    assert run(engine) == 1


def out_of_memory_errors():
    from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

    return [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeException("Failed to allocate memory for requested buffer of size 2147483648"),
        MemoryError(),
    ]


@pytest.mark.parametrize("error", out_of_memory_errors(), ids=lambda e: type(e).__name__)
def test_a_device_out_of_memory_is_opened_anew_and_then_left_for_the_next(shop, error):
    engine = shop.engine("auto")
    shop.fail, shop.error = 2, error
    for _ in range(2):
        with pytest.raises(type(error)):
            engine.run(Mode.FUSED, None, None)
    assert shop.opened == ["auto", "torch-cuda", "onnx-cpu"]
    assert run(engine) == 1


@pytest.mark.parametrize("error", out_of_memory_errors(), ids=lambda e: type(e).__name__)
def test_a_device_without_the_memory_to_be_opened_again_is_passed_over(shop, error):
    engine = shop.engine("auto")
    shop.fail, shop.errors_when_opened = 1, {"torch-cuda": error}
    assert run(engine, 2) == 1
    assert engine.name == "onnxruntime-cpu"
    assert "took over" in engine.trouble


def test_what_a_failed_frame_held_is_freed_before_the_backend_is_opened_again(shop):
    engine = shop.engine("onnx-cpu")
    shop.fail = 1
    run(engine)
    assert shop.tensors_alive == [False]


def test_a_network_that_does_not_fit_on_its_device_is_an_engine_error(monkeypatch, default_weights):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.nn.Module, "to", fail)
    with pytest.raises(EngineError, match="torch-cpu cannot be opened: CUDA out of memory"):
        TorchEngine(default_weights, SIZE)


def test_a_backend_that_cannot_be_opened_at_the_start_is_an_error(shop):
    shop.gone = {"onnx-cpu"}
    with pytest.raises(EngineError):
        shop.engine("onnx-cpu")
    with pytest.raises(ConfigError, match="unknown"):
        ResilientEngine(Path("w"), SIZE, "abacus")


@pytest.mark.parametrize("device", [d for d in DEVICES if "-" in d])
def test_the_line_ends_with_torch_on_the_cpu_whatever_it_starts_with(device):
    line = [device]
    while line[-1] in NEXT:
        line.append(NEXT[line[-1]])
    assert line[-1] == "torch-cpu"
    assert len(set(line)) == len(line)
    assert set(line) <= set(DEVICES)
