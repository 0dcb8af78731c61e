import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from std_msgs.msg import Header

from csknet_core.modality import Mode, Reason
from csknet_ros.frame_status import ANSWERED, DROPPED, FrameStatus, decode, encode
from csknet_ros.frames import DropReason

FUSED = FrameStatus("thermal", ANSWERED, "fused", "ok", 123456789, -2.5, 0.4, 1.0, total_ms=50.125)


def test_a_status_survives_the_trip_with_the_frames_header():
    message = encode(FUSED, Header(frame_id="thermal_optical"))
    assert message.header.frame_id == "thermal_optical"
    assert decode(message) == FUSED


@pytest.mark.parametrize(
    ("status", "level"),
    [
        (FUSED, DiagnosticStatus.OK),
        (FrameStatus("thermal", ANSWERED, Mode.THERMAL_ONLY.value, Reason.OPTICAL_DARK.value),
         DiagnosticStatus.WARN),
        (FrameStatus("thermal", DROPPED, "", DropReason.SUPERSEDED.value), DiagnosticStatus.WARN),
        (FrameStatus("thermal", DROPPED, "", DropReason.ENGINE_ERROR.value),
         DiagnosticStatus.ERROR),
    ],
)  # fmt: skip
def test_the_level_says_how_well_the_frame_went(status, level):
    message = encode(status, Header())
    assert message.status[0].level == level
    assert status.reason in message.status[0].message or level == DiagnosticStatus.OK


def test_other_diagnostics_are_refused():
    with pytest.raises(ValueError, match="not a"):
        decode(DiagnosticArray())
    with pytest.raises(ValueError, match="incomplete"):
        decode(DiagnosticArray(status=[DiagnosticStatus(name="csknet: frame")]))
