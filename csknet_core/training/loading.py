"""Batches of samples that other processes prepare while this one trains."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import cv2
from torch.utils.data import DataLoader, Dataset, Subset

from csknet_core.data.mixture import TensorSample
from csknet_core.errors import DataError

_MOST_WORKERS = 8


def load_batches(
    samples: Dataset[TensorSample], indices: Sequence[int], size: int, workers: int
) -> Iterator[TensorSample]:
    """Yield batches of the samples with these indices, in their order.

    Args:
        samples: a sample must depend on its index alone.
        indices: of all samples wanted.
        size: samples in a batch.
        workers: processes that prepare them; 0 does it here, -1 takes `count_workers`.

    Raises:
        DataError: a sample cannot be made.
    """
    count = count_workers() if workers < 0 else workers
    loader = DataLoader(
        Subset(samples, indices), size, num_workers=count,
        multiprocessing_context="fork" if count else None,
    )  # fmt: skip
    try:
        yield from _start(loader)
    except DataError as error:
        raise DataError(_own_words(error)) from None


def count_workers() -> int:
    """Return a core less than this process has for itself, 1 to 8."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun
    cores = len(os.sched_getaffinity(0)) // processes
    return min(max(cores - 1, 1), _MOST_WORKERS)


def _start(loader: DataLoader[TensorSample]) -> Iterator[TensorSample]:
    """Start a loader's workers with one thread of OpenCV each, as they share the cores already.

    Forked processes inherit that. Asked of one afterwards, OpenCV would wait for ever for the
    threads that the fork left behind.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return iter(loader)
    finally:
        cv2.setNumThreads(threads)


def _own_words(error: DataError) -> str:
    """Return what an error says without the traceback that PyTorch adds in a worker."""
    return str(error).rpartition(f"{DataError.__name__}: ")[2].strip()
