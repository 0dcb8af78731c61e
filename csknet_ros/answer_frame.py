"""Which camera's frame an answer is in. Imports no ROS."""

from __future__ import annotations

from typing import Any

from csknet_core.modality import Modality
from csknet_core.runtime.registration import RegistrationSettings
from csknet_ros.frames import FrameSet


class AnswerFrame:
    """Tells the frame_id of answers; remembers the one of the grid's camera while it is missing.

    Args:
        registration: says whose grid answers are on; without a file they are on the primary's.
    """

    def __init__(self, registration: RegistrationSettings) -> None:
        self._registered = bool(registration.file)
        self._grid = Modality(registration.grid)
        self._known = ""

    def of(self, frame: FrameSet[Any]) -> str:
        """Return the frame_id of the answer to a frame set of messages.

        It is empty as long as the grid's camera has never been seen: the other one's would be
        wrong.
        """
        if not self._registered:
            return str(frame.lead.data.header.frame_id)
        own = frame.thermal if self._grid is Modality.THERMAL else frame.optical
        if own is not None:
            self._known = own.data.header.frame_id
        return self._known
