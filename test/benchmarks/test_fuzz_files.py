"""The files of the corpus are read or refused as their names say, and so are changed ones."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz import files
from benchmarks.fuzz.files import CORPUS, KINDS, READ, REFUSED, Hang, Kind, fuzz, judge
from csknet_core.errors import ConfigError

TRIES = {"weights": 20, "bags": 60, "metadata": 60}
FILES = [
    pytest.param(kind, path, id=f"{kind.name}/{path.name}")
    for kind in KINDS.values()
    for path in kind.corpus()
]


@pytest.mark.parametrize(("kind", "path"), FILES)
def test_a_file_of_the_corpus_is_read_or_refused_as_its_name_says(kind, path):
    assert judge(kind, path) == path.name.partition("_")[0]


def test_the_corpus_is_small_and_has_files_of_every_kind():
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 40_000
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_changed_files_are_read_or_refused(tmp_path, kind):
    sources = kind.corpus() + (kind.make(tmp_path) if kind.name == "bags" else [])
    with np.errstate(all="ignore"):
        outcomes = [
            fuzz(kind, sources, tmp_path, f"test/{index}")
            for index in range(TRIES.get(kind.name, 150))
        ]
    assert REFUSED in outcomes
    assert READ in outcomes or kind.name == "weights"


def test_a_whole_network_is_read_and_changed_ones_are_read_or_refused(tmp_path):
    kind = KINDS["weights"]
    sources = kind.make(tmp_path)
    assert judge(kind, sources[0]) == READ
    for index in range(6):
        fuzz(kind, sources, tmp_path, f"test/{index}")


def raising(error: BaseException) -> Kind:
    def read(path: Path) -> None:
        raise error

    return Kind("x", read, ())


def test_what_breaks_the_rules_is_noticed(tmp_path, monkeypatch):
    path = tmp_path / "a.yaml"
    path.write_text("x")
    assert judge(raising(ConfigError("a.yaml: no")), path) == REFUSED
    with pytest.raises(AssertionError, match="does not name"):
        judge(raising(ConfigError("no")), path)
    with pytest.raises(AssertionError, match="an error of"):
        judge(raising(ConfigError("a.yaml" * 1000)), path)
    with pytest.raises(KeyError):
        judge(raising(KeyError("x")), path)

    def wait(path: Path) -> None:
        try:
            while True:
                pass
        except Exception as error:
            raise ConfigError("a.yaml") from error

    monkeypatch.setattr(files, "MOST_SECONDS", 1)
    with pytest.raises(Hang):
        judge(Kind("x", wait, ()), path)
