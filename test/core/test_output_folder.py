"""Folders that results are written into: what is refused before any work is done."""

import pytest

from csknet_core.errors import ConfigError
from csknet_core.output_folder import link_into, own_folder, prepare_folder


def test_a_folder_is_made_with_its_parents_and_stays_empty(tmp_path):
    prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file: is no folder"):
        prepare_folder(tmp_path / "file")


def test_files_of_the_source_are_never_written_over(tmp_path):
    source = tmp_path / "source"
    (source / "labels").mkdir(parents=True)
    with pytest.raises(ConfigError, match="labels: its files would be overwritten"):
        own_folder(source, "labels", source)
    out = tmp_path / "out"
    out.mkdir()
    (out / "labels").symlink_to(source / "labels")
    with pytest.raises(ConfigError, match="labels: its files would be overwritten"):
        own_folder(out, "labels", source)
    assert own_folder(out, "thermal", source).is_dir()


def test_a_link_is_made_once_and_never_in_place_of_something_else(tmp_path):
    source, out = tmp_path / "source" / "rgb", tmp_path / "out"
    source.mkdir(parents=True)
    out.mkdir()
    link_into(out, source)
    link_into(out, source)
    assert (out / "rgb").resolve() == source.resolve()
    other = tmp_path / "other" / "rgb"
    other.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"out/rgb: is there already and is not .*other/rgb"):
        link_into(out, other)
    (out / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="gone: is there already"):
        link_into(out, tmp_path / "gone")
