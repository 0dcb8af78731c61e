import resource
import sys

import pytest

from csknet_core.runtime import memory
from csknet_core.runtime.memory import release_memory


def _resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_in_pieces_goes_back_to_the_system():
    """Pieces below the size that is mapped on its own, with a few left in between."""
    if memory._malloc_trim() is None:
        pytest.skip("this C library cannot trim its heap")
    pieces = [bytearray(60_000) for _ in range(5000)]
    kept = pieces[::100]
    full = _resident_mb()
    del pieces
    release_memory()
    assert _resident_mb() < full - 200
    assert len(kept) == 50


def test_without_such_a_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    release_memory()
