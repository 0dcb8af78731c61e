"""The folder that results are written into, before there are any."""

from __future__ import annotations

import tempfile
from pathlib import Path

from csknet_core.errors import ConfigError


def prepare_folder(out: Path) -> None:
    """Make a folder to write files into; refuse early what would fail after all the work.

    Raises:
        ConfigError: it cannot be made, or nothing can be written into it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: is no folder and cannot be made one ({error})") from error
    try:
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written into ({error})") from error


def own_folder(out: Path, name: str, source: Path) -> Path:
    """Make a folder of new files in a folder of results.

    Args:
        out: the results.
        name: of the folder.
        source: folder that the results are made of.

    Raises:
        ConfigError: new files would overwrite those of the source, or of what a link leads to.
    """
    folder = out / name
    if folder.is_symlink() or out.resolve() == source.resolve():
        raise ConfigError(f"{folder}: its files would be overwritten; write into a new folder")
    prepare_folder(folder)
    return folder


def link_into(out: Path, source: Path) -> None:
    """Link a file or folder under its name into a folder of results, where that is not done yet.

    Raises:
        ConfigError: something else of that name is there, or no link can be made.
    """
    link = out / source.name
    if link.resolve() == source.resolve():
        return
    try:
        link.symlink_to(source.resolve())
    except FileExistsError as error:
        raise ConfigError(
            f"{link}: is there already and is not {source}; write into a new folder"
        ) from error
    except OSError as error:
        raise ConfigError(f"{link}: cannot be made a link to {source} ({error})") from error
