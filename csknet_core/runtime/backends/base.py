"""What an inference backend must offer to the segmenter."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from csknet_core.classes import ClassTable
from csknet_core.modality import Mode

LabelsAndConfidence = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class Engine(Protocol):
    """Runs the network on arrays that already have its input size."""

    @property
    def name(self) -> str:
        """Backend and device, such as `onnxruntime-cpu` or `torch-cuda`."""
        ...

    @property
    def classes(self) -> ClassTable:
        """Classes of the ids in the label maps."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network input in pixels."""
        ...

    def run(
        self,
        mode: Mode,
        optical: NDArray[np.uint8] | None,
        thermal: NDArray[np.float32] | None,
    ) -> LabelsAndConfidence:
        """Segment one frame.

        Args:
            mode: decides which inputs are read; the others may be None.
            optical: (H, W, 3) uint8, RGB order, H and W as `size`.
            thermal: (H, W) float32 in 0..1, H and W as `size`.

        Returns:
            The label map (H, W) uint8 and the confidence (H, W) uint8, 255 = certain.

        Raises:
            EngineError: inference failed or gave values that are not finite.
        """
        ...

    def close(self) -> None:
        """Free the network and its device memory; the engine cannot be used afterwards."""
        ...
