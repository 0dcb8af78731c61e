import subprocess
import sys

import pytest

BESIDE_EACH_OTHER = """
import resource, sys, threading
import numpy as np
from csknet_core.modality import Mode
from csknet_core.runtime.backends import onnx_backend
from csknet_core.runtime.backends.onnx_backend import OnnxEngine
from csknet_core.runtime.memory import release_memory
from csknet_core.weights.files import find_weights

onnx_backend._SHRINK_AT = int(sys.argv[1])
SIZE = 480, 640
rng = np.random.default_rng(0)
optical = rng.integers(0, 255, (*SIZE, 3), np.uint8)
thermal = rng.random(SIZE, np.float32)

def run(engine):
    for _ in range(4):
        engine.run(Mode.FUSED, optical, thermal)

def resident_mb():
    release_memory()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

engine = OnnxEngine(find_weights(), SIZE)
run(engine)
before = resident_mb()
for _ in range(3):
    other = OnnxEngine(find_weights(), SIZE)
    thread = threading.Thread(target=run, args=(engine,))
    thread.start()
    run(other)
    thread.join()
    engine.close()
    engine = other
run(engine)
print(resident_mb() - before)
"""


def growth_mb(shrink_at):
    command = [sys.executable, "-c", BESIDE_EACH_OTHER, str(shrink_at)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("default_weights")
def test_what_engines_beside_each_other_took_is_returned():
    """As when one is stuck and the watchdog opens another."""
    assert growth_mb(shrink_at=6) < 80  # 115 MB if it is kept
