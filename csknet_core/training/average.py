"""Average the weights of several runs of one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from csknet_core.errors import ConfigError
from csknet_core.model.zoo import load_network, save_network
from csknet_core.training.calibrate import sum_shifts
from csknet_core.weights.files import WeightsInfo


def average_weights(files: Sequence[str], out: Path) -> list[str]:
    """Write the mean of networks that were trained on from one another, or from one start.

    The mean of a network and of what further training on other data made of it often generalises
    better than either (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

    Args:
        files: two or more weights files.
        out: file to write.

    Returns:
        The files that have temperatures. The mean has none: it is another network, whose
        confidences are to be calibrated anew.

    Raises:
        ConfigError: fewer than two files, or they differ in network or classes.
        WeightsError: a file cannot be used.
    """
    if len(files) < 2:
        raise ConfigError("give two or more weights files to average")
    first, info = load_network(files[0])
    calibrated = [files[0]] * _is_calibrated(info)
    cards = [info.card]
    total = {name: value.clone() for name, value in first.state_dict().items()}
    for file in files[1:]:
        network, other = load_network(file)
        if other.model != info.model or other.classes.names != info.classes.names:
            raise ConfigError(f"{file}: another network or other classes than {files[0]}")
        calibrated += [file] * _is_calibrated(other)
        cards.append(other.card)
        for name, value in network.state_dict().items():
            total[name] += value
    mean = {
        name: value / len(files) if value.is_floating_point() else value
        for name, value in total.items()
    }
    first.load_state_dict(mean)
    card: dict[str, Any] = {"average_of": [Path(file).name for file in files]}
    if shifts := _mean_shifts(cards):
        card["shifts"] = shifts
    with torch.no_grad():
        save_network(out, first, info.classes, card)
    return calibrated


def _mean_shifts(cards: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what the mean of networks has of the shifts of its parts, which are in its biases."""
    total: dict[str, float] = {}
    for card in cards:
        total = sum_shifts(card, total)
    return {name: shift / len(cards) for name, shift in total.items()}


def _is_calibrated(info: WeightsInfo) -> bool:
    return any(value != 1.0 for value in info.temperature.values())
