import pytest
import yaml

from csknet_core.classes import BUILTIN_TABLES, MFNET, ClassTable
from csknet_core.errors import ConfigError


@pytest.mark.parametrize("table", BUILTIN_TABLES.values(), ids=list(BUILTIN_TABLES))
def test_builtin_tables_survive_a_round_trip(table):
    assert ClassTable.from_dict(table.to_dict()) == table
    assert len(set(table.names)) == len(table)


def test_mfnet_has_the_ids_of_its_data_set():
    assert [MFNET.id_of(n) for n in ("background", "car", "person", "bump")] == [0, 1, 2, 8]


def test_palette_looks_up_rgb_and_is_black_elsewhere():
    assert MFNET.palette[1].tolist() == [66, 133, 244]
    assert not MFNET.palette[200:].any()


def test_own_tables_come_from_yaml(tmp_path):
    file = tmp_path / "table.yaml"
    file.write_text(yaml.safe_dump(MFNET.to_dict()))
    assert ClassTable.load(str(file)) == MFNET
    assert ClassTable.load("mfnet") is MFNET


@pytest.mark.parametrize(
    "text",
    [
        "- a",
        "name: x",
        "name: x\nclasses: 3",
        "classes: [",
        "name: x\nclasses: [{name: a}]",
        "name: x\nclasses: [{name: a, color: [1, 2]}, {name: b, color: [1, 2, 3]}]",
        "name: x\nclasses: [{name: a, color: [1, 2, 300]}, {name: b, color: [1, 2, 3]}]",
        "name: x\nclasses: [{name: a, color: [1, 2, 3]}]",
        "name: x\nclasses: [{name: a, color: [1, 2, 3]}, {name: a, color: [1, 2, 3]}]",
    ],
)
def test_malformed_tables_are_refused(tmp_path, text):
    file = tmp_path / "table.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"class table"):
        ClassTable.from_yaml(file)


def test_missing_file_and_unknown_names_say_what_to_do():
    with pytest.raises(ConfigError, match="cannot be read"):
        ClassTable.load("nowhere.yaml")
    with pytest.raises(ConfigError, match="use one of mfnet"):
        ClassTable.load("cityscapes")
    with pytest.raises(ConfigError, match="it has background, car"):
        MFNET.id_of("dog")
