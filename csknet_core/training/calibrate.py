"""The last touches to trained weights: biases of classes, and a temperature for every mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from csknet_core.classes import IGNORE_ID, ClassTable
from csknet_core.data.datasets import PairDataset
from csknet_core.errors import ConfigError, DataError
from csknet_core.input_size import check_size
from csknet_core.modality import Mode
from csknet_core.model.csknet import CSKNet
from csknet_core.model.inference import DeployedNetwork
from csknet_core.runtime.preprocess import resize_optical, resize_thermal

TEMPERATURES = tuple(round(float(t), 3) for t in np.geomspace(0.5, 2.0, 29))
"""Those tried: from twice as sure to half as sure; 1 is among them."""

MAX_SHIFT = 20.0


@dataclass(frozen=True)
class Fit:
    """The temperature of a mode.

    Attributes:
        temperature: one of `TEMPERATURES`.
        before: mean negative log-likelihood of the true classes at temperature 1.
        after: the same at this temperature.
    """

    temperature: float
    before: float
    after: float

    @property
    def at_end(self) -> bool:
        """Whether a temperature beyond those tried might fit better."""
        return self.temperature in (TEMPERATURES[0], TEMPERATURES[-1])


def shift_classes(network: CSKNet, classes: ClassTable, shifts: Mapping[str, float]) -> None:
    """Add a constant to the logits of classes in every head, in place.

    Class-weighted cross-entropy teaches a head the logarithm of its class weights on top of what
    the images say, so that rare classes are found more often and their outlines get too wide. A
    negative shift takes some of that back (Menon et al., "Long-tail learning via logit
    adjustment", ICLR 2021): precision for recall.

    Args:
        network: to change.
        classes: its table.
        shifts: what is added to the logits of a class, by its name.

    Raises:
        ConfigError: a class that is not in the table, or a shift beyond +-20 or not finite.
    """
    last = network.fused_head[-1], network.optical_head, network.thermal_head
    for name, shift in shifts.items():
        if not abs(shift) <= MAX_SHIFT:
            raise ConfigError(f"shift {shift} of class '{name}': give a number within +-20")
        index = classes.id_of(name)
        for head in last:
            assert isinstance(head, nn.Conv2d)
            assert head.bias is not None
            with torch.no_grad():
                head.bias[index] += shift


def sum_shifts(card: Mapping[str, Any], shifts: Mapping[str, float]) -> dict[str, float]:
    """Return the shifts of all calibrations of weights, by class: those in their card, and more."""
    total = dict(shifts)
    before = card.get("shifts")
    for name, shift in before.items() if isinstance(before, dict) else ():
        if isinstance(shift, (int, float)):
            total[name] = total.get(name, 0.0) + shift
    return total


@torch.inference_mode()
def fit_temperatures(
    network: CSKNet,
    pairs: PairDataset,
    size: tuple[int, int],
    progress: Callable[[int], None] = lambda _: None,
) -> dict[Mode, Fit]:
    """Find the temperature of every mode that makes the true classes likeliest.

    Temperature scaling after Guo et al. ("On calibration of modern neural networks", ICML 2017):
    logits are divided by it, labels stay what they are, confidence becomes a probability.

    Args:
        network: in evaluation mode.
        pairs: labelled pairs it was not trained on.
        size: height and width it sees, multiples of 32.
        progress: called with the number of pairs done.

    Raises:
        ConfigError: the network cannot take images of that size.
        DataError: the pairs have no labels, or one of them cannot be used.
    """
    check_size(size)
    if not pairs.labelled or not len(pairs):
        raise DataError(f"{pairs.root}: no labels to calibrate with")
    deployed = {mode: DeployedNetwork(network, mode) for mode in Mode}
    losses = {mode: np.zeros(len(TEMPERATURES)) for mode in Mode}
    pixels = 0
    for index in range(len(pairs)):
        pair = pairs[index]
        assert pair.labels is not None
        images = {
            "optical": torch.from_numpy(resize_optical(pair.optical, size)),
            "thermal": torch.from_numpy(resize_thermal(pair.normalized_thermal(), size)),
        }
        pixels += int((pair.labels != IGNORE_ID).sum())
        for mode, body in deployed.items():
            logits = body.logits(*(images[modality.value] for modality in mode.modalities))
            losses[mode] += _losses(logits, pair.labels)
        progress(index + 1)
    if not pixels:
        raise DataError(f"{pairs.root}: no pixel of its {len(pairs)} label maps has a class")
    return {mode: _best(total / pixels) for mode, total in losses.items()}


def _losses(logits: Tensor, labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the summed loss at every one of `TEMPERATURES`."""
    full = F.interpolate(logits.float(), labels.shape, mode="bilinear", align_corners=False)
    true = torch.from_numpy(labels.astype(np.int64))[None]
    sums = [
        F.cross_entropy(full / t, true, ignore_index=IGNORE_ID, reduction="sum").item()
        for t in TEMPERATURES
    ]
    return np.array(sums)


def _best(losses: NDArray[np.float64]) -> Fit:
    index = int(losses.argmin())
    unscaled = TEMPERATURES.index(1.0)
    return Fit(TEMPERATURES[index], float(losses[unscaled]), float(losses[index]))
