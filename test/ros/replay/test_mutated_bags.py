"""Mutated bags end in an error or a partial result, never in a traceback.

CSKNET_MUTATED_BAGS sets how many are tried.
"""

import os
import random
from collections import Counter

from support.bags import write_bag
from support.engines import ThresholdEngine, threshold_segmenter

from benchmarks.fuzz.mutations import mutate_bytes
from csknet_core.errors import CsknetError
from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_ros.replay.replay import Job, Run, replay
from csknet_ros.synchronizer import SyncSettings

TRIES = int(os.environ.get("CSKNET_MUTATED_BAGS", "120"))
RUN = Run("run", SegmenterSettings(), SyncSettings())


def test_mutated_bags_never_end_in_a_traceback(tmp_path):
    rng, outcomes = random.Random(1), Counter()
    kinds = (("a.mcap", False), ("b.mcap", True), ("c", False), ("d", True))
    bags = [write_bag(tmp_path / name, 3, phases={0: "x"}, compress=zstd) for name, zstd in kinds]
    files = [bag if bag.is_file() else next(bag.glob("*.db3")) for bag in bags]
    whole = [file.read_bytes() for file in files]
    for _ in range(TRIES):
        which = rng.randrange(len(bags))
        files[which].write_bytes(mutate_bytes(whole[which], rng))
        segmenter = threshold_segmenter(ThresholdEngine())(SegmenterSettings())
        try:
            result = replay(Job(RUN, bags[which]), segmenter)
        except CsknetError:
            outcomes["refused"] += 1
        else:
            result.to_json()
            outcomes["complete" if result.complete else "partial"] += 1
        files[which].write_bytes(whole[which])
    assert outcomes.total() == TRIES
    assert outcomes["refused"]
    assert outcomes["complete"]
