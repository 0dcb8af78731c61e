"""A weights file from a stranger: refused by its header, before anything is built from it."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from csknet_core.classes import PST900
from csknet_core.errors import ConfigError, WeightsError
from csknet_core.model import zoo
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import load_network, save_network
from csknet_core.weights import files
from csknet_core.weights.files import METADATA_KEY, find_weights, read_info


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_network(path, CSKNet(ModelConfig(5, decoder_width=8)).eval(), PST900, {})
    return path


def write(source, target, tensors=None, **changes):
    """Copy weights with other tensors or another metadata document."""
    document = json.loads(read_info(source).to_metadata()[METADATA_KEY])
    document["model"] |= changes.pop("model", {})
    document |= changes
    metadata = {METADATA_KEY: json.dumps(document)}
    save_file(tensors or load_file(source), target, metadata=metadata)
    return target


@pytest.mark.parametrize("setting", [{"decoder_width": 10**7}, {"decoder_width": -1}])
def test_a_network_of_absurd_size_is_never_built(weights, tmp_path, monkeypatch, setting):
    path = write(weights, tmp_path / "huge.safetensors", model=setting)

    def refuse(*_):
        raise AssertionError("built")

    monkeypatch.setattr(zoo, "CSKNet", refuse)
    with pytest.raises(WeightsError, match=r"huge\.safetensors: .*decoder_width 1 to"):
        load_network(str(path))


@pytest.mark.parametrize(
    "setting",
    [
        {"encoder": []},
        {"encoder": None},
        {"decoder_width": 64.5},
        {"decoder_width": True},
        {"decoder_width": "8"},
        {"separate_norm": "no"},
        {"exchange_one_way": 0},
        {"fusion": {}},
        {"exchange": 3},
        {"exchange": "abcde"},
        {"exchange": ["none", "none", "none", "none", []]},
        {"exchange": ["none", "none", "none", "none", "all"]},
        {"depth": 3},
    ],
)
def test_a_setting_of_a_wrong_type_is_an_error_and_no_crash(weights, tmp_path, setting):
    path = write(weights, tmp_path / "typed.safetensors", model=setting)
    with pytest.raises(WeightsError, match=rf"typed\.safetensors: .*{next(iter(setting))}"):
        load_network(str(path))


def test_more_classes_than_a_label_map_can_hold_are_refused():
    with pytest.raises(ConfigError, match="num_classes must be 2 to 255"):
        ModelConfig(256)


def test_a_file_larger_than_the_limit_is_not_opened(weights, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    monkeypatch.setattr(files, "safe_open", None)
    with pytest.raises(WeightsError, match="larger than 1000 bytes"):
        read_info(weights)


def test_too_many_tensors_are_refused(weights, monkeypatch):
    monkeypatch.setattr(files, "MAX_TENSORS", 10)
    with pytest.raises(WeightsError, match="more than 10 tensors"):
        read_info(weights)


def test_long_metadata_is_refused(weights, monkeypatch):
    monkeypatch.setattr(files, "MAX_METADATA_BYTES", 10)
    with pytest.raises(WeightsError, match="metadata beyond 10 bytes"):
        read_info(weights)


def test_tensors_must_be_floating_point(weights, tmp_path):
    tensors = load_file(weights)
    tensors["fused_head.1.bias"] = torch.zeros(5, dtype=torch.int64)
    path = write(weights, tmp_path / "integer.safetensors", tensors)
    with pytest.raises(WeightsError, match=r"'fused_head\.1\.bias' is I64"):
        read_info(path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": 1, "temperature": {"fused": 1' + "0" * 400 + "}}",
        '{"format": 1, "temperature": {"fused": NaN}}',
        '{"format": 1' + "0" * 5000 + "}",
        "[]",
        "null",
    ],
)
def test_hostile_metadata_is_an_error_and_no_crash(weights, tmp_path, text):
    path = tmp_path / "hostile.safetensors"
    save_file(load_file(weights), path, metadata={METADATA_KEY: text})
    with pytest.raises(WeightsError, match=r"hostile\.safetensors"):
        read_info(path)


def test_weights_must_be_the_file_whose_digest_is_recorded(weights, tmp_path):
    path = write(weights, tmp_path / "kept.safetensors")
    record = tmp_path / "kept.safetensors.sha256"
    record.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  kept.safetensors\n")
    assert read_info(path).classes == PST900
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for refused in (read_info, lambda p: load_network(str(p))):
        with pytest.raises(WeightsError, match="not the file whose SHA-256"):
            refused(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"abc"])
def test_an_unreadable_record_is_no_permission(weights, tmp_path, content):
    path = write(weights, tmp_path / "kept.safetensors")
    (tmp_path / "kept.safetensors.sha256").write_bytes(content)
    with pytest.raises(WeightsError, match="sha256"):
        read_info(path)


@pytest.mark.parametrize("name", ["../files", "../../model/zoo", "/etc/passwd", "..", "\0"])
def test_a_name_reaches_no_other_file(name):
    with pytest.raises(WeightsError):
        find_weights(name)
