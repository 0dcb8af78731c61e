"""Where the files are that come with the package."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def config_folder() -> Path:
    """Return the config folder of this checkout, or of the installed package."""
    if (_ROOT / "config").is_dir():
        return _ROOT / "config"
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory("csknet_ros")) / "config"
