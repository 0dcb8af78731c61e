"""Training samples: real pairs and freshly rendered stills in a fixed proportion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from csknet_core.classes import IGNORE_ID
from csknet_core.data.copy_paste import ObjectBank
from csknet_core.data.datasets import PairDataset
from csknet_core.data.samples import PairIndex, list_pairs, read_sample
from csknet_core.data.synthetic import random_frame
from csknet_core.data.transforms import AugmentSettings, Sample, augment
from csknet_core.runtime.preprocess import normalize_still

TensorSample = tuple[Tensor, Tensor, Tensor]


class TrainingMixture(Dataset[TensorSample]):
    """Sample i is a pure function of (seed, i), so that a resumed run sees the same samples.

    Args:
        folders: real labelled pairs; may be empty.
        length: samples in the whole run.
        rendered: share of samples that are rendered; 1 without folders.
        augmentation: applied to every sample.
        seed: of everything drawn.
        unlabelled: pairs that give samples without labels (all 255), even if they have some; may
            be empty.
        unlabelled_share: share of samples that are unlabelled.
        limit: takes only so many labelled pairs of each folder, its first ones; 0 takes all.
        rendered_scale: range of the rendered size relative to 480x640.
        objects: what is pasted into real labelled pairs; None pastes nothing.
        pasted: share of those that get some.
    """

    def __init__(
        self,
        folders: list[PairDataset],
        length: int,
        rendered: float,
        augmentation: AugmentSettings,
        seed: int,
        unlabelled: Sequence[PairDataset] = (),
        unlabelled_share: float = 0.0,
        limit: int = 0,
        rendered_scale: tuple[float, float] = (0.55, 1.0),
        objects: ObjectBank | None = None,
        pasted: float = 0.0,
    ) -> None:
        self.labelled = list_pairs(folders, limit)
        self.unlabelled = list_pairs(unlabelled)
        self.unlabelled_share = unlabelled_share
        self.length = length
        self.rendered = rendered if folders else 1.0
        self.augmentation = augmentation
        self.seed = seed
        self.rendered_scale = rendered_scale
        self.objects = objects
        self.pasted = pasted

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> TensorSample:
        """Return optical (3, H, W) and thermal (1, H, W) in 0..1 and labels (H, W) int64."""
        rng = np.random.default_rng((self.seed, index))
        return to_tensors(augment(self._draw(rng), self.augmentation, rng))

    def _draw(self, rng: np.random.Generator) -> Sample:
        if self.unlabelled and rng.random() < self.unlabelled_share:
            return _without_labels(_pick(self.unlabelled, rng))
        if not self.labelled or rng.random() < self.rendered:
            return self._render(rng)
        sample = _pick(self.labelled, rng)
        if self.objects is not None and rng.random() < self.pasted:
            return self.objects.paste_into(sample, rng)
        return sample

    def _render(self, rng: np.random.Generator) -> Sample:
        scale = rng.uniform(*self.rendered_scale)
        size = (round(480 * scale), round(640 * scale))
        frame = random_frame(int(rng.integers(1 << 31)), size)
        return Sample(frame.optical, normalize_still(frame.thermal), frame.labels)


def _pick(pairs: list[PairIndex], rng: np.random.Generator) -> Sample:
    return read_sample(*pairs[int(rng.integers(len(pairs)))])


def _without_labels(sample: Sample) -> Sample:
    return replace(sample, labels=np.full_like(sample.labels, IGNORE_ID))


def to_tensors(sample: Sample) -> TensorSample:
    """Return a sample as float optical and thermal in 0..1 and int64 labels."""
    return (
        torch.from_numpy(sample.optical).permute(2, 0, 1).float().div_(255),
        torch.from_numpy(sample.thermal)[None],
        torch.from_numpy(sample.labels).long(),
    )
