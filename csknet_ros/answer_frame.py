"""Which camera's grid and frame an answer is in. Imports no ROS."""

from __future__ import annotations

from typing import Any

from csknet_core.modality import Modality
from csknet_core.runtime.registration import RegistrationSettings
from csknet_ros.decoding import Decoded
from csknet_ros.frames import FrameSet


class AnswerFrame:
    """Tells the grid and frame_id of answers; remembers that of a grid's camera that is missing.

    Args:
        registration: says whose grid answers are on; without a file they are on that of the
            thermal image, or of the RGB image where no thermal one can be used.
    """

    def __init__(self, registration: RegistrationSettings) -> None:
        self._registered = bool(registration.file)
        self._grid = Modality(registration.grid)
        self._known = ""

    def camera(self, images: Decoded) -> Modality:
        """Return the camera whose pixels the answer to decoded images is on."""
        if self._registered:
            return self._grid
        # By what could be decoded: a thermal message that is damaged gives no grid.
        return Modality.OPTICAL if images.thermal is None else Modality.THERMAL

    def of(self, frame: FrameSet[Any], images: Decoded) -> str:
        """Return the frame_id of the answer to a frame set of messages.

        It is empty as long as the grid's camera has never been seen: the other one's would be
        wrong.

        Args:
            frame: the messages.
            images: what could be decoded of them.
        """
        own = frame.of(self.camera(images))
        if own is not None:
            self._known = own.data.header.frame_id
        return self._known
