"""Broken files of every kind that csknet reads: something valid comes out, or a clear error."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz.mutations import mutate_bytes, mutate_safetensors, mutate_yaml
from csknet_core.classes import ClassTable
from csknet_core.errors import CsknetError, ImageError

READ, REFUSED = "read", "refused"
"""What can become of a file; names in the corpus begin with it."""

Mutate = Callable[[bytes, random.Random], bytes]
CORPUS = Path(__file__).resolve().parents[2] / "test" / "corpus"
MOST_SECONDS = 30
_LONGEST_ERROR = 3000


class Hang(BaseException):
    """A file took too long; nothing that catches errors catches this."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of the kind and of its folder in the corpus.
        read: reads a file and uses what came out.
        mutations: how files are changed.
        make: writes files into a folder that are too large for the corpus.
    """

    name: str
    read: Callable[[Path], None]
    mutations: tuple[Mutate, ...]
    make: Callable[[Path], list[Path]] = lambda folder: []

    def corpus(self) -> list[Path]:
        """Return the files that mutations start from."""
        return sorted(path for path in (CORPUS / self.name).iterdir() if path.is_file())

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """Return a changed file."""
        for _ in range(rng.choice((1, 1, 1, 2))):
            data = rng.choice(self.mutations)(data, rng)
        return data


def judge(kind: Kind, path: Path) -> str:
    """Read a file; returns "read" or "refused".

    Raises:
        AssertionError: the refusal does not name the file, or is too long to read.
        Hang: it took more than `MOST_SECONDS`.
        Exception: whatever came but a `CsknetError`.
    """
    try:
        with _watch():
            kind.read(path)
    except CsknetError as error:
        _check_refusal(path, str(error))
        return REFUSED
    return READ


def _check_refusal(path: Path, text: str) -> None:
    assert path.name in text, f"an error that does not name the file: {text}"
    # It may show a value of the file, but not more than is in there.
    longest = _LONGEST_ERROR + 4 * path.stat().st_size
    assert len(text) < longest, f"an error of {len(text)} characters"


@contextmanager
def _watch() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang(f"not done within {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _read_weights(path: Path) -> None:
    from csknet_core.model.zoo import load_network

    network, info = load_network(str(path))
    assert len(info.classes) == network.config.num_classes, "class table of another size"


def _read_classes(path: Path) -> None:
    table = ClassTable.from_yaml(path)
    assert table.palette.shape == (256, 3)
    assert len(set(table.names)) == len(table), "a name twice"


def _read_parameters(path: Path) -> None:
    from csknet_ros.replay.settings import read_settings

    read_settings(path)


def _read_registration(path: Path) -> None:
    from csknet_core.runtime.registration import load_pixel_map

    geometry = load_pixel_map(path)
    _check_maps(geometry.optical_pixels((12, 16), (24, 32)), (12, 16))
    _check_maps(geometry.thermal_pixels((24, 32), (12, 16)), (24, 32))


def _check_maps(maps: Any, size: tuple[int, int]) -> None:
    for one in maps:
        assert one.shape == size, f"map of {one.shape}"
        assert one.dtype == np.float32, f"map of {one.dtype}"
        assert np.isfinite(one).all(), "a map that is not finite"


def _read_points(path: Path) -> None:
    from csknet_core.runtime.register import estimate_from_points

    estimate = estimate_from_points(path)
    assert np.isfinite(estimate.homography.matrix).all(), "a homography that is not finite"


def _read_recipe(path: Path) -> None:
    from csknet_core.training.recipe import load_recipe

    load_recipe(path)


def _read_script(path: Path) -> None:
    from csknet_ros.tools.script import load_script

    script = load_script(path)
    assert script.seconds > 0, "a script of no length"
    script.phase_at(0.5)


def read_bag(path: Path) -> None:
    """Read a bag and decode its images, as `csknet replay` does.

    Raises:
        DataError: it is refused.
    """
    from csknet_ros.images import optical_from_message, thermal_from_message
    from csknet_ros.replay.messages import RGB, THERMAL, Topics
    from csknet_ros.replay.reader import BagReader

    with BagReader(path, Topics()) as reader:
        for message in reader.messages():
            try:
                if message.kind == RGB:
                    optical_from_message(message.data)
                elif message.kind == THERMAL:
                    thermal_from_message(message.data)
            except ImageError:
                continue


def _read_metadata(path: Path) -> None:
    """Read the metadata of a bag, with a bag made for it."""
    with tempfile.TemporaryDirectory() as folder:
        # Named like the file, as its errors name the bag.
        bag = Path(folder) / path.name
        bag.mkdir()
        (bag / "bag.db3").write_bytes(_database())
        shutil.copy(path, bag / "metadata.yaml")
        read_bag(bag)


@cache
def _database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return _write_bag(Path(folder) / "bag").read_bytes()


def _write_bag(path: Path) -> Path:
    """Write a bag of one frame; returns its database."""
    from csknet_ros.replay.writer import BagWriter

    with BagWriter(path) as writer:
        writer.image("/rgb/image", 5, 5, "camera", np.zeros((4, 6, 3), np.uint8))
        writer.image("/thermal/image", 5, 5, "camera", np.full((4, 6), 300, np.uint16))
    return path / f"{path.name}.db3"


def _make_weights(folder: Path) -> list[Path]:
    from csknet_core.classes import PST900
    from csknet_core.model.csknet import CSKNet, ModelConfig
    from csknet_core.model.zoo import save_network

    path = folder / f"{READ}_network.safetensors"
    save_network(path, CSKNet(ModelConfig(5, decoder_width=8)).eval(), PST900, {})
    return [path]


_YAML = (mutate_yaml, mutate_yaml, mutate_yaml, mutate_bytes)
_TENSORS = (mutate_safetensors, mutate_safetensors, mutate_bytes)
KINDS = {
    kind.name: kind
    for kind in (
        Kind("weights", _read_weights, _TENSORS, _make_weights),
        Kind("classes", _read_classes, _YAML),
        Kind("parameters", _read_parameters, _YAML),
        Kind("registration", _read_registration, _YAML),
        Kind("points", _read_points, _YAML),
        Kind("recipes", _read_recipe, _YAML),
        Kind("scripts", _read_script, _YAML),
        Kind("bags", read_bag, (mutate_bytes,), lambda folder: [_write_bag(folder / "read_bag")]),
        Kind("metadata", _read_metadata, _YAML),
    )
}


def fuzz(kind: Kind, files: list[Path], folder: Path, seed: str) -> str:
    """Change one of some files, and judge the result, which is left in `folder`.

    Args:
        kind: of the files.
        files: to choose from.
        folder: for the changed file.
        seed: decides what is changed, and how.

    Returns:
        What `judge` returns; it raises the same.
    """
    rng = random.Random(seed)
    # What is refused already seldom gets far.
    good = [file for file in files if file.name.startswith(READ)]
    source = rng.choice(good if good and rng.random() < 0.8 else files)
    path = folder / f"changed{source.suffix}"
    path.write_bytes(kind.mutate(source.read_bytes(), rng))
    return judge(kind, path)
