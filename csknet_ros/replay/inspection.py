"""Looks at the files of a rosbag2 bag before a library reads them.

Whoever wrote a bag chose the names in its metadata, what its database runs when it is read, and
how often its index lists a chunk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from rosbags.rosbag2.storage_mcap import ChunkInfo

from csknet_core.errors import DataError
from csknet_core.yaml_file import read_yaml
from csknet_ros.replay.unpacking import MOST_BYTES, check_packed_files

METADATA = "metadata.yaml"
MOST_AT_A_TIME = 4 * MOST_BYTES
"""Chunks of an MCAP file whose times overlap are in memory together; more than that is refused."""

_CHUNK_HEADER = 49  # bytes before the packed data, without the name of the compression


def check_files(path: Path) -> None:
    """Check a bag's metadata and files.

    Args:
        path: folder of a rosbag2 bag, or one of its files.

    Raises:
        DataError: a name leads out of the bag, the metadata has another form, a database would run
            more than plain tables, or a file unpacks to too much. The message does not name `path`.
        OSError, UnicodeDecodeError, yaml.YAMLError, sqlite3.Error: a file cannot be read.
    """
    if path.is_dir():
        metadata = _own_file(path, METADATA)
        information = _mapping(_mapping(read_yaml(metadata))["rosbag2_bagfile_information"])
        if not isinstance(information.get("files", []), list):
            raise DataError(f"{METADATA}: files is no list")  # rosbags could not close the bag
        files = [_own_file(path, name) for name in _names(information["relative_file_paths"])]
        if str(information.get("compression_mode", "")).lower() == "file":
            check_packed_files(files)
            return  # the databases are in there
    else:
        files = [path]
    for file in files:
        if not file.is_file():
            raise DataError(f"{file.name} is no file")
        if file.suffix == ".db3":
            _check_database(file)


def check_chunks(chunks: Sequence[ChunkInfo]) -> None:
    """Check that the chunks of an MCAP file can be read in bounded memory.

    Raises:
        DataError: two share bytes, or too many overlap in time.
    """
    end = 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.chunk_start_offset):
        if chunk.chunk_start_offset < end:
            raise DataError("its index lists the same bytes in two chunks")
        end = chunk.chunk_start_offset + _CHUNK_HEADER + len(chunk.compression)
        end += chunk.compressed_size
    changes = [(chunk.message_start_time, chunk.uncompressed_size) for chunk in chunks]
    # One that begins when another ends overlaps it: its bytes are added first.
    changes += [(chunk.message_end_time + 1, -chunk.uncompressed_size) for chunk in chunks]
    held = 0
    for _, change in sorted(changes):
        held += change
        if held > MOST_AT_A_TIME:
            raise DataError(f"more than {MOST_AT_A_TIME} bytes of its chunks overlap in time")


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{METADATA} has another form")
    return value


def _names(listed: Any) -> list[str]:
    """Return the file names of a bag; folders before them are those it was recorded in."""
    if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
        raise DataError(f"{METADATA}: relative_file_paths is no list of names")
    for entry in listed:
        # A separator of any system, on any system.
        path = PureWindowsPath(entry)
        if path.anchor or path.drive or ".." in path.parts or not path.name or "\0" in entry:
            raise DataError(f"{METADATA}: {entry!r} leads out of the bag; name files in its folder")
    return [PurePath(entry).name for entry in listed]


def _own_file(folder: Path, name: str) -> Path:
    path = folder / name
    if path.exists() and path.resolve().parent != folder.resolve():
        raise DataError(f"{name} is a link that leads out of the bag; copy the file into it")
    # Reading a pipe would wait for ever.
    if not path.is_file():
        raise DataError(f"{name} is missing, or no file")
    return path


def _check_database(path: Path) -> None:
    """Check that a database holds nothing that computes what is read from it.

    A view never has to end, and a generated column can make a gigabyte out of nothing.
    """
    if any(character in str(path) for character in "%?#"):
        # rosbags puts the name into a URI as it is: %2f would be a separator, ? an option.
        raise DataError(f"{path.name}: rename it and its folders, without any of % ? #")
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        tables = connection.execute("SELECT name, type FROM pragma_table_list").fetchall()
        for name, kind in tables:
            columns = connection.execute("SELECT hidden FROM pragma_table_xinfo(?)", (name,))
            if kind != "table" or any(hidden for (hidden,) in columns):
                raise DataError(f"{path.name}: '{name}' is no plain table")
    finally:
        connection.close()
