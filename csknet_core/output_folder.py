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
