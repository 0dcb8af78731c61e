"""The segmentation node with an engine that costs nothing."""

from __future__ import annotations

import contextlib

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from csknet_core.classes import MFNET, ClassTable
from csknet_core.runtime.backends.base import LabelsAndConfidence
from csknet_core.runtime.policy import ModalityPolicy
from csknet_core.runtime.preprocess import ThermalNormalizer
from csknet_core.runtime.segmenter import Segmenter, SegmenterSettings
from csknet_ros.segmentation_node import SegmentationNode


class NullEngine:
    """Answers background, at once."""

    name = "null"
    size = (480, 640)

    def __init__(self) -> None:
        self._labels = np.zeros(self.size, np.uint8)

    @property
    def classes(self) -> ClassTable:
        """The MFNet table."""
        return MFNET

    def run(self, *_: object) -> LabelsAndConfidence:
        """Return the same maps every time."""
        return self._labels, self._labels

    def close(self) -> None:
        """Do nothing."""


def null_segmenter(settings: SegmenterSettings) -> Segmenter:
    """Return a segmenter around a null engine."""
    thermal, policy = ThermalNormalizer(settings.thermal), ModalityPolicy(settings.policy)
    return Segmenter(NullEngine(), thermal, policy)


def main() -> None:
    """Run the node until it is terminated."""
    rclpy.init()
    node = SegmentationNode(null_segmenter)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    node.autostart()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()


if __name__ == "__main__":
    main()
