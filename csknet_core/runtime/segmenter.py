"""One call from camera arrays to an answer: policy, preprocessing, inference, output grid."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.errors import NoUsableModalityError
from csknet_core.modality import Modality, Mode, Reason
from csknet_core.runtime.backends import open_engine
from csknet_core.runtime.backends.base import Engine
from csknet_core.runtime.policy import Decision, ModalityPolicy, PolicySettings
from csknet_core.runtime.preprocess import (
    ThermalNormalizer,
    ThermalSettings,
    check_optical,
    check_thermal,
    resize_labels,
    resize_optical,
    resize_thermal,
)
from csknet_core.weights.files import check_class_table, find_weights, read_info


@dataclass(frozen=True)
class SegmenterSettings:
    """What `Segmenter.load` needs.

    Attributes:
        weights: a file, the name of shipped weights, or "" for the default ones.
        device: one of `backends.DEVICES`.
        size: height and width of the network input; multiples of 32.
        threads: CPU threads per frame; 0 lets the backend choose.
        classes: class table the weights must have (built-in name or YAML file); "" takes theirs.
        thermal: how raw thermal values become 0..1.
        policy: when a modality is not used.
    """

    weights: str = ""
    device: str = "auto"
    size: tuple[int, int] = (480, 640)
    threads: int = 0
    classes: str = ""
    thermal: ThermalSettings = field(default_factory=ThermalSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)


@dataclass(frozen=True)
class Segmentation:
    """The answer to one frame.

    Attributes:
        labels: (H, W) uint8 class ids on the output grid.
        confidence: (H, W) uint8, 255 times the probability of the label.
        decision: the mode, why, and the image statistics behind it.
        stages_ms: milliseconds spent in "policy", "preprocess", "inference", "postprocess".
    """

    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    decision: Decision
    stages_ms: dict[str, float]

    @property
    def mode(self) -> Mode:
        """How the label map was made."""
        assert self.decision.mode is not None
        return self.decision.mode

    @property
    def reason(self) -> Reason:
        """Why it was made that way."""
        return self.decision.reason


class Segmenter:
    """Keeps the state of one camera pair: thermal range, modality policy, engine."""

    def __init__(self, engine: Engine, thermal: ThermalNormalizer, policy: ModalityPolicy) -> None:
        self.engine = engine
        self.thermal = thermal
        self.policy = policy

    @classmethod
    def load(cls, settings: SegmenterSettings) -> Segmenter:
        """Load weights and open a backend.

        Raises:
            WeightsError: weights are missing, damaged or do not fit the class table.
            EngineError: no backend can run them here.
            ConfigError: a setting cannot be used.
        """
        weights = find_weights(settings.weights)
        info = read_info(weights)
        if settings.classes:
            check_class_table(info, ClassTable.load(settings.classes))
        engine = open_engine(weights, settings.size, settings.device, settings.threads)
        return cls(engine, ThermalNormalizer(settings.thermal), ModalityPolicy(settings.policy))

    @property
    def name(self) -> str:
        """Backend and device."""
        return self.engine.name

    @property
    def classes(self) -> ClassTable:
        """Classes of the ids in the label maps."""
        return self.engine.classes

    def segment(
        self,
        optical: NDArray[np.uint8] | None,
        thermal: NDArray[np.generic] | None,
        absence: Reason = Reason.OK,
        *,
        optical_stamp_ns: int | None = None,
        thermal_stamp_ns: int | None = None,
    ) -> Segmentation:
        """Answer one frame.

        Args:
            optical: (H, W, 3) uint8 RGB, or None when there is none.
            thermal: (H, W) uint8, uint16 or float32 raw values, or None when there is none.
            absence: why the missing image is missing.
            optical_stamp_ns: stamp of the optical image, see `ModalityPolicy.decide`.
            thermal_stamp_ns: stamp of the thermal image.

        Returns:
            Maps on the thermal image's grid, or on the optical one's where thermal is None.

        Raises:
            NoUsableModalityError: no image can be trusted; it carries the `decision`.
            ImageError: an image has a shape or type that cannot be used.
            EngineError: inference failed.
        """
        start = time.perf_counter()
        if optical is not None:
            check_optical(optical)
        if thermal is not None:
            check_thermal(thermal)
        decision = self.policy.decide(
            optical,
            thermal,
            absence,
            optical_stamp_ns=optical_stamp_ns,
            thermal_stamp_ns=thermal_stamp_ns,
        )
        if decision.mode is None:
            raise NoUsableModalityError(decision)
        decided = time.perf_counter()
        used = decision.mode.modalities
        network_optical = network_thermal = None
        if optical is not None and Modality.OPTICAL in used:
            network_optical = resize_optical(optical, self.engine.size)
        if thermal is not None and Modality.THERMAL in used:
            network_thermal = resize_thermal(self.thermal(thermal), self.engine.size)
        prepared = time.perf_counter()
        labels, confidence = self.engine.run(decision.mode, network_optical, network_thermal)
        inferred = time.perf_counter()
        primary = thermal if thermal is not None else optical
        assert primary is not None
        grid = (primary.shape[0], primary.shape[1])
        labels, confidence = resize_labels(labels, grid), resize_labels(confidence, grid)
        end = time.perf_counter()
        stages = {
            "policy": decided - start,
            "preprocess": prepared - decided,
            "inference": inferred - prepared,
            "postprocess": end - inferred,
        }
        return Segmentation(
            labels, confidence, decision, {name: 1e3 * value for name, value in stages.items()}
        )

    def reset(self) -> None:
        """Forget the stream seen so far (after a clock jump or a change of cameras)."""
        self.thermal.reset()
        self.policy.reset()

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()
