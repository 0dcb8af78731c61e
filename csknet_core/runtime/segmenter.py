"""One call from camera arrays to an answer: policy, preprocessing, inference, output grid."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import IGNORE_ID, ClassTable
from csknet_core.errors import NoUsableModalityError
from csknet_core.modality import Modality, Mode, Reason
from csknet_core.runtime.backends.base import Engine
from csknet_core.runtime.backends.resilient import ResilientEngine
from csknet_core.runtime.policy import Decision, ModalityPolicy, PolicySettings
from csknet_core.runtime.preprocess import (
    ThermalNormalizer,
    ThermalSettings,
    check_optical,
    resize_labels,
    resize_optical,
    resize_thermal,
)
from csknet_core.runtime.registration import Registration, RegistrationSettings
from csknet_core.weights.files import check_class_table, find_weights, read_info

Inside = NDArray[np.bool_] | None
"""Where the camera that is not the grid's sees something; None where it sees everything."""


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
        registration: how the cameras' images come onto one grid.
    """

    weights: str = ""
    device: str = "auto"
    size: tuple[int, int] = (480, 640)
    threads: int = 0
    classes: str = ""
    thermal: ThermalSettings = field(default_factory=ThermalSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)


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

    def with_confidence(self, scale: float) -> Segmentation:
        """Return the same answer with its confidence multiplied by `scale`, 0..1."""
        if scale == 1.0:
            return self
        return replace(self, confidence=(self.confidence * scale + 0.5).astype(np.uint8))

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
    """Keeps the state of one camera pair: thermal range, modality policy, engine.

    Args:
        engine: runs the network.
        thermal: makes raw thermal values 0..1.
        policy: decides the mode.
        registration: brings both cameras' images onto one grid; None for aligned cameras.

    Attributes:
        camera_grid: size of the last image of the registered grid's camera; None before any.
    """

    def __init__(
        self,
        engine: Engine,
        thermal: ThermalNormalizer,
        policy: ModalityPolicy,
        registration: Registration | None = None,
    ) -> None:
        self.engine = engine
        self.thermal = thermal
        self.policy = policy
        self.registration = registration
        self._inputs: tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None] = (None, None)
        self._grid = (0, 0)
        self.camera_grid: tuple[int, int] | None = None

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
        registration = Registration.load(settings.registration)
        engine = ResilientEngine(weights, settings.size, settings.device, settings.threads)
        thermal, policy = ThermalNormalizer(settings.thermal), ModalityPolicy(settings.policy)
        return cls(engine, thermal, policy, registration)

    @property
    def name(self) -> str:
        """Backend and device."""
        return self.engine.name

    @property
    def trouble(self) -> str:
        """What became of a backend that failed, "" if none did."""
        return str(getattr(self.engine, "trouble", ""))

    @property
    def classes(self) -> ClassTable:
        """Classes of the ids in the label maps."""
        return self.engine.classes

    def check(self, modality: Modality, image: NDArray[Any]) -> None:
        """Check that an image can be used, so that a bad one costs only its own camera.

        Args:
            modality: the camera.
            image: optical (H, W, 3) or thermal (H, W).

        Raises:
            ImageError: another shape or type, nothing but telemetry, or of another aspect than the
                cameras were registered with.
        """
        if modality is Modality.OPTICAL:
            check_optical(image)
        else:
            self.thermal.without_telemetry(image)
        if self.registration is not None:
            self.registration.check(modality, (image.shape[0], image.shape[1]))

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
            Maps on the thermal image's grid, or the optical one's if the registration says so. If
            that image is missing, they have the size it had last (before the first one that of the
            registration), so that they fit the camera's intrinsics; for aligned cameras, that of
            the other image. Label 255 and confidence 0 mark pixels that
            no usable camera sees.

        Raises:
            NoUsableModalityError: no image can be trusted; it carries the `decision`.
            ImageError: an image cannot be used, see `check`.
            EngineError: inference failed.
        """
        for modality, image in ((Modality.OPTICAL, optical), (Modality.THERMAL, thermal)):
            if image is not None:
                self.check(modality, image)
                if self.registration is not None and self.registration.grid is modality:
                    self.camera_grid = image.shape[0], image.shape[1]
        start = time.perf_counter()
        decision = self._decide(optical, thermal, absence, optical_stamp_ns, thermal_stamp_ns)
        if decision.mode is None:
            raise NoUsableModalityError(decision)
        decided = time.perf_counter()
        network_optical, network_thermal, inside = self._prepare(decision.mode, optical, thermal)
        prepared = time.perf_counter()
        labels, confidence = self._infer(decision.mode, network_optical, network_thermal, inside)
        inferred = time.perf_counter()
        grid = self._output_size(optical, thermal)
        self._inputs, self._grid = (network_optical, network_thermal), grid
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

    def _decide(
        self,
        optical: NDArray[np.uint8] | None,
        thermal: NDArray[np.generic] | None,
        absence: Reason,
        optical_stamp_ns: int | None,
        thermal_stamp_ns: int | None,
    ) -> Decision:
        scene = None
        if thermal is not None:
            # Telemetry counts on while a camera repeats its image.
            scene = self.thermal.without_telemetry(thermal)
        return self.policy.decide(
            optical,
            scene,
            absence,
            optical_stamp_ns=optical_stamp_ns,
            thermal_stamp_ns=thermal_stamp_ns,
        )

    def segment_again(self, mode: Mode) -> NDArray[np.uint8]:
        """Answer the frame answered last in another mode, to compare.

        Args:
            mode: one whose images the last answer used.

        Returns:
            The label map (H, W) uint8 on the same grid.

        Raises:
            EngineError: inference failed.
        """
        labels, _ = self.engine.run(mode, *self._inputs)
        return resize_labels(labels, self._grid)

    def background(
        self,
        optical: NDArray[np.uint8] | None,
        thermal: NDArray[np.generic] | None,
        answer: Segmentation,
    ) -> NDArray[Any] | None:
        """Return the camera image to draw an answer on: the optical one if the answer used it.

        Args:
            optical: (H, W, 3) uint8 of the answered frame, or None.
            thermal: (H, W) of it, or None.
            answer: to the frame.

        Returns:
            RGB (H, W, 3) uint8 or thermal (H, W), on the answer's grid.
        """
        if optical is not None and Modality.OPTICAL in answer.mode.modalities:
            return self._align_optical(optical, answer.labels.shape)[0]
        if (
            thermal is None
            or self.registration is None
            or self.registration.grid is Modality.THERMAL
        ):
            return thermal
        return self._align_thermal(thermal.astype(np.float32), answer.labels.shape)[0]

    def _prepare(
        self,
        mode: Mode,
        optical: NDArray[np.uint8] | None,
        thermal: NDArray[np.generic] | None,
    ) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None, Inside]:
        """Bring the images a mode uses to the network's size, on one grid."""
        network_optical = network_thermal = None
        inside: list[Inside] = []
        if optical is not None and Modality.OPTICAL in mode.modalities:
            network_optical, seen = self._align_optical(optical, self.engine.size)
            inside.append(seen)
        if thermal is not None and Modality.THERMAL in mode.modalities:
            network_thermal, seen = self._align_thermal(self.thermal(thermal), self.engine.size)
            inside.append(seen)
        return network_optical, network_thermal, next((s for s in inside if s is not None), None)

    def _align_optical(
        self, image: NDArray[np.uint8], size: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], Inside]:
        if self.registration is None or self.registration.grid is Modality.OPTICAL:
            return resize_optical(image, size), None
        return self.registration.warp(image, size)

    def _align_thermal(
        self, image: NDArray[np.float32], size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], Inside]:
        if self.registration is None or self.registration.grid is Modality.THERMAL:
            return resize_thermal(image, size), None
        return self.registration.warp(image, size)

    def _infer(
        self,
        mode: Mode,
        optical: NDArray[np.uint8] | None,
        thermal: NDArray[np.float32] | None,
        inside: Inside,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Run the network; what the other camera does not see is not answered from it."""
        labels, confidence = self.engine.run(mode, optical, thermal)
        if inside is None or inside.all():
            return labels, confidence
        other = np.full_like(labels, IGNORE_ID), np.zeros_like(confidence)
        assert self.registration is not None
        if mode is Mode.FUSED and self.registration.outside == "alone":
            if self.registration.grid is Modality.THERMAL:
                other = self.engine.run(Mode.THERMAL_ONLY, None, thermal)
            else:
                other = self.engine.run(Mode.OPTICAL_ONLY, optical, None)
        return np.where(inside, labels, other[0]), np.where(inside, confidence, other[1])

    def _output_size(
        self, optical: NDArray[np.uint8] | None, thermal: NDArray[np.generic] | None
    ) -> tuple[int, int]:
        own: NDArray[Any] | None = thermal if thermal is not None else optical
        if self.registration is not None:
            own = thermal if self.registration.grid is Modality.THERMAL else optical
            if own is None:
                return self.camera_grid or self.registration.grid_size
        assert own is not None
        return own.shape[0], own.shape[1]

    def reset(self) -> None:
        """Forget the stream seen so far (after a clock jump or a change of cameras)."""
        self._inputs = (None, None)
        self.thermal.reset()
        self.policy.reset()

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()
