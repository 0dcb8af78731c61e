"""Plain folders of pairs that are made from those of another folder."""

from __future__ import annotations

from pathlib import Path

from csknet_core.data.datasets import PairDataset
from csknet_core.data.layouts import read_split
from csknet_core.errors import ConfigError
from csknet_core.output_folder import prepare_folder

_MARK = "made_from"


class DerivedFolder:
    """A folder with some files of pairs made anew and links to the others.

    Only a new or empty folder is taken, or one that was made from the same pairs before: nothing
    else is ever written over.

    Args:
        root: the folder.
        pairs: a plain folder.

    Raises:
        ConfigError: the folder holds something else, or cannot be made or written into.
    """

    def __init__(self, root: Path, pairs: PairDataset) -> None:
        self.root = root
        self._pairs = pairs
        prepare_folder(root)
        mark, source = root / _MARK, str(pairs.root.resolve())
        earlier = mark.is_file() and mark.read_text(encoding="utf-8") == source
        if not earlier and any(root.iterdir()):
            raise ConfigError(
                f"{root}: is not empty, nor made from {pairs.root} before; name a new folder"
            )
        mark.write_text(source, encoding="utf-8")

    def new_file(self, kind: str, name: str) -> Path:
        """Return where to write an image of a pair; an earlier file is gone.

        Args:
            kind: "rgb", "thermal" or "labels".
            name: of the pair.
        """
        path = self.root / kind / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        # Not through a link to what it was made from.
        if path.is_symlink() or path.is_file():
            path.unlink()
        return path

    def link(self, kind: str, name: str) -> None:
        """Link a file of a pair where there is one.

        Args:
            kind: "rgb", "thermal", "labels" or "boxes".
            name: of the pair.
        """
        files = self._pairs.files(name)
        source = {
            "rgb": files.optical,
            "thermal": files.thermal,
            "labels": files.labels,
            "boxes": self._pairs.root / "boxes" / f"{name}.txt",
        }[kind]
        if source is not None and source.is_file():
            link = self.root / kind / source.name
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(source.resolve())

    def write_lists(self) -> None:
        """Write the lists of splits, cut to these pairs."""
        known = set(self._pairs.names)
        for source in self._pairs.root.glob("*.txt"):
            names = [name for name in read_split(self._pairs.root, source.stem) if name in known]
            if names:
                self.write_list(source.stem, names)

    def write_list(self, split: str, names: list[str]) -> None:
        """Write the names of a split."""
        (self.root / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
