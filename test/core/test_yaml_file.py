"""YAML that is made to hurt is refused with an error, quickly and in little memory."""

from pathlib import Path

import pytest
import yaml

from csknet_core.classes import ClassTable
from csknet_core.errors import ConfigError
from csknet_core.runtime.registration import load_pixel_map
from csknet_core.training.recipe import load_recipe
from csknet_core.yaml_file import MAX_BYTES, read_yaml
from csknet_ros.parameter_file import read_parameter_file
from csknet_ros.tools.script import load_script

# Eight levels of ten references each: 10^9 entries once somebody walks over them.
_LEVELS = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
_LEVELS += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
LAUGHS = "\n".join(_LEVELS) + "\nname: x\nclasses: [{name: a, color: *l8}, {name: b, color: *l8}]\n"
ENDLESS = "node: &n\n  ros__parameters: &p {again: *p}\n"
HOSTILE = {
    "references that multiply": LAUGHS,
    "a reference to itself": ENDLESS,
    "nested without end": "[" * 50_000,
    "nested mappings": "{a: " * 20_000,
    "a number too long to convert": "a: " + "9" * 10_000,
    "an impossible date": "a: 2020-99-99",
    "a Python object": "!!python/object/apply:os.system ['true']",
    "a Python name": "a: !!python/name:os.system",
    "too large": "# " + "x" * MAX_BYTES,
    "a control character": "a: \x07",
    "keys that cannot be keys": "? [a, b]\n: 1",
}
READERS = [
    ClassTable.from_yaml, load_pixel_map, load_recipe, read_parameter_file, load_script
]  # fmt: skip


@pytest.fixture(params=HOSTILE.values(), ids=list(HOSTILE))
def hostile(request, tmp_path) -> Path:
    path = tmp_path / "hostile.yaml"
    path.write_text(request.param)
    return path


def test_hostile_yaml_is_a_yaml_error(hostile):
    with pytest.raises(yaml.YAMLError):
        read_yaml(hostile)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__qualname__)
def test_every_reader_refuses_hostile_yaml_by_the_file_s_name(reader, hostile):
    with pytest.raises(ConfigError, match=r"hostile\.yaml") as error:
        reader(hostile)
    assert len(str(error.value)) < 2000


def test_plain_yaml_comes_out_as_data(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("a: [1, 2.5, x]\nb: {c: true}\n", encoding="utf-8")
    assert read_yaml(path) == {"a": [1, 2.5, "x"], "b": {"c": True}}
