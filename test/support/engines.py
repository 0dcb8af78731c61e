"""A real but cheap engine: thresholds instead of a network."""

from __future__ import annotations

import time

import numpy as np

from csknet_core.classes import MFNET, ClassTable
from csknet_core.errors import EngineError
from csknet_core.modality import Mode
from csknet_core.runtime.policy import ModalityPolicy
from csknet_core.runtime.preprocess import ThermalNormalizer
from csknet_core.runtime.registration import Registration
from csknet_core.runtime.segmenter import Segmenter, SegmenterSettings

PERSON = MFNET.id_of("person")
CAR = MFNET.id_of("car")
SIZE = (64, 96)


class ThresholdEngine:
    """Warm pixels are people; without thermal, bright pixels are cars."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.fail_next = 0
        self.modes: list[Mode] = []
        self.closed = False

    name = "threshold-cpu"
    size = SIZE

    @property
    def classes(self) -> ClassTable:
        return MFNET

    def run(self, mode, optical, thermal):
        time.sleep(self.delay_s)
        self.modes.append(mode)
        if self.fail_next:
            self.fail_next -= 1
            raise EngineError("out of memory")
        labels = np.zeros(SIZE, np.uint8)
        if mode is Mode.OPTICAL_ONLY:
            labels[optical.mean(2) > 128] = CAR
        else:
            labels[thermal > 0.5] = PERSON
        return labels, np.full(SIZE, 200, np.uint8)

    def close(self) -> None:
        self.closed = True


def threshold_segmenter(engine: ThresholdEngine):
    """Return a segmenter factory for the node."""

    def make(settings: SegmenterSettings) -> Segmenter:
        return Segmenter(
            engine,
            ThermalNormalizer(settings.thermal),
            ModalityPolicy(settings.policy),
            Registration.load(settings.registration),
        )

    return make
