"""Batches that other processes prepare: the same whatever their number, and clear errors."""

import cv2
import numpy as np
import pytest
import torch

from csknet_core.data.mixture import TrainingMixture
from csknet_core.data.transforms import AugmentSettings
from csknet_core.errors import DataError
from csknet_core.training.loading import count_workers, load_batches


class Broken(torch.utils.data.Dataset):
    """Every sample but the first cannot be made."""

    def __getitem__(self, index):
        if index:
            raise DataError(f"pairs: '{index}': thermal image has no live pixel")
        return torch.zeros(1), torch.zeros(1), torch.zeros(1)


@pytest.fixture
def samples():
    return TrainingMixture([], 8, 1.0, AugmentSettings((64, 64)), 0)


@pytest.mark.parametrize(
    ("cores", "processes", "workers"), [(1, 1, 1), (2, 1, 1), (6, 1, 5), (64, 1, 8), (16, 4, 3)]
)
def test_a_machine_with_more_cores_prepares_samples_in_more_processes(
    monkeypatch, cores, processes, workers
):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert count_workers() == workers


def test_samples_do_not_depend_on_how_many_processes_prepare_them(samples):
    alone = list(load_batches(samples, range(2, 8), 2, 0))
    assert len(alone) == 3
    for workers in (1, 2):
        prepared = list(load_batches(samples, range(2, 8), 2, workers))
        for one, other in zip(alone, prepared, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_workers_start_after_opencv_has_used_its_threads_here(samples):
    image = np.zeros((2000, 2000, 3), np.uint8)
    cv2.GaussianBlur(image, (0, 0), 5)
    threads = cv2.getNumThreads()
    assert len(list(load_batches(samples, range(4), 2, 2))) == 2
    assert cv2.getNumThreads() == threads


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_cannot_be_made_is_told_in_one_line(workers):
    batches = load_batches(Broken(), range(3), 1, workers)
    next(batches)
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(caught.value) == "pairs: '1': thermal image has no live pixel"
