import resource
import subprocess
import sys

import pytest

from csknet_core.runtime import memory
from csknet_core.runtime.memory import release_memory, steady_heap


def _resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_in_pieces_goes_back_to_the_system():
    """Pieces below the size that is mapped on its own, with a few left in between."""
    if memory._library_function("malloc_trim") is None:
        pytest.skip("this C library cannot trim its heap")
    pieces = [bytearray(60_000) for _ in range(5000)]
    kept = pieces[::100]
    full = _resident_mb()
    del pieces
    release_memory()
    assert _resident_mb() < full - 200
    assert len(kept) == 50


_BIG_BLOCKS = """
import resource, sys
from csknet_core.runtime.memory import steady_heap

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

if sys.argv[1] == "steady":
    steady_heap()
bytearray(30 << 20)  # freed at once: glibc will not map blocks up to this size on their own again
before = resident_mb()
big, small = [], []
for _ in range(20):
    big.append(bytearray(b"x") * (2 << 20))
    small.append(bytearray(1000))
del big
print(resident_mb() - before)
"""


def _kept_mb(how: str) -> float:
    command = [sys.executable, "-c", _BIG_BLOCKS, how]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_big_blocks_below_small_ones_are_not_kept_by_a_steady_heap():
    if memory._library_function("mallopt") is None:
        pytest.skip("this C library's heap cannot be told how to keep memory")
    assert _kept_mb("left alone") > 30
    assert _kept_mb("steady") < 5


def test_without_such_a_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_library_function", lambda name: None)
    release_memory()
    steady_heap()
