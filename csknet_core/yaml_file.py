"""YAML files of the user, read so that a hostile one can do nothing but be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 20
"""Larger YAML files are refused before they are read."""


class _PlainLoader(yaml.SafeLoader):
    """Plain data only; references are refused.

    A few lines of nested references stand for gigabytes once they are walked over or shown in an
    error message, and one that refers to itself never ends.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references (*name) are not allowed; write the values out")
        return super().compose_node(parent, index)


def read_yaml(path: str | Path) -> Any:
    """Read one YAML document as plain data.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8.
        yaml.YAMLError: it is no YAML, too large, nested too deeply, or uses references.
    """
    path = Path(path)
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise yaml.YAMLError(f"larger than {MAX_BYTES} bytes")
    loader = _PlainLoader(content.decode("utf-8"))
    try:
        return loader.get_single_data()
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    except (ValueError, OverflowError, KeyError) as error:
        # PyYAML lets through what Python says of impossible dates and numbers.
        raise yaml.YAMLError(f"a value that cannot be read ({error})") from error
    finally:
        loader.dispose()
