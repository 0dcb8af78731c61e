import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from csknet_core.classes import FMB, MFNET, PST900
from csknet_core.errors import WeightsError
from csknet_core.modality import Mode
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import load_network, save_network
from csknet_core.weights.files import (
    METADATA_KEY,
    WeightsInfo,
    check_class_table,
    find_weights,
    read_info,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    network = CSKNet(ModelConfig(5, decoder_width=8)).eval()
    save_network(path, network, PST900, {"data": "none"}, {Mode.FUSED: 1.5})
    return path


def _rewrite(source: Path, target: Path, **changes) -> Path:
    tensors = load_file(source)
    tensors.update(changes)
    tensors = {key: value for key, value in tensors.items() if value is not None}
    save_file(tensors, target, metadata=read_info(source).to_metadata())
    return target


def test_a_network_survives_saving_to_half_precision(weights):
    network, info = load_network(str(weights))
    torch.manual_seed(0)
    again = CSKNet(ModelConfig(5, decoder_width=8))
    stored = network.state_dict()
    for name, value in again.state_dict().items():
        kept = value.half().float() if value.is_floating_point() else value
        assert torch.equal(stored[name], kept), name
    assert info.classes == PST900
    assert info.temperature == {Mode.FUSED: 1.5, Mode.THERMAL_ONLY: 1, Mode.OPTICAL_ONLY: 1}
    assert info.card == {"data": "none"}
    assert network.config == again.config
    assert not network.training


def test_others_may_read_weights_as_they_may_any_file(weights, tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    assert weights.stat().st_mode == plain.stat().st_mode


def test_info_is_read_without_torch(weights):
    import subprocess
    import sys

    code = (
        "import sys, pathlib; from csknet_core.weights.files import read_info;"
        f"read_info(pathlib.Path({str(weights)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_weights_name_the_path_and_the_cure():
    with pytest.raises(WeightsError, match=r"no/such\.safetensors: no such file; use"):
        find_weights("no/such.safetensors")
    with pytest.raises(WeightsError, match="neither a shipped name"):
        find_weights("resnet")


def test_a_pickle_is_refused_by_name_and_by_content(tmp_path):
    pickle = tmp_path / "model.pth"
    torch.save({"weight": torch.zeros(1)}, pickle)
    with pytest.raises(WeightsError, match="neither a shipped name"):
        find_weights(str(pickle))
    disguised = tmp_path / "model.safetensors"
    disguised.write_bytes(pickle.read_bytes())
    with pytest.raises(WeightsError, match="not safetensors"):
        load_network(str(disguised))


@pytest.mark.parametrize("cut", [0, 7, 100, 5000])
def test_truncated_weights_are_refused(weights, tmp_path, cut):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(weights.read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r"cut\.safetensors"):
        load_network(str(path))


def test_safetensors_of_somebody_else_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="not written by csknet"):
        read_info(path)


@pytest.mark.parametrize(
    "change",
    [
        {"fused_head.1.bias": None},
        {"fused_head.1.bias": torch.zeros(6)},
        {"extra": torch.zeros(1)},
        {"fused_head.1.bias": torch.full((5,), np.nan)},
    ],
)
def test_a_wrong_tensor_is_named(weights, tmp_path, change):
    path = _rewrite(weights, tmp_path / "wrong.safetensors", **change)
    with pytest.raises(WeightsError, match=next(iter(change)).replace(".", r"\.")):
        load_network(str(path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 99),
        ("classes", {}),
        ("temperature", {"fused": 1e9}),
        ("model", {"num_classes": 2}),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(weights, tmp_path, key, value):
    document = json.loads(read_info(weights).to_metadata()[METADATA_KEY])
    document[key] = value
    path = tmp_path / "meta.safetensors"
    save_file(load_file(weights), path, metadata={METADATA_KEY: json.dumps(document)})
    with pytest.raises(WeightsError, match=r"meta\.safetensors"):
        read_info(path)


def test_a_class_table_that_does_not_fit_shows_both():
    info = WeightsInfo(Path("w.safetensors"), {}, MFNET)
    check_class_table(info, MFNET)
    with pytest.raises(WeightsError, match=r"color_cone.*vegetation"):
        check_class_table(info, FMB)
