import numpy as np
import pytest

from csknet_core.errors import ConfigError
from csknet_core.modality import Mode, Reason
from csknet_core.runtime.policy import ModalityPolicy, PolicySettings

RNG = np.random.default_rng(0)


def optical(mean: float = 0.4, spread: float = 0.1) -> np.ndarray:
    """A noisy RGB image; every call gives another one."""
    values = RNG.normal(mean * 255, spread * 255, (48, 64, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def thermal() -> np.ndarray:
    return RNG.integers(28000, 31000, (48, 64)).astype(np.uint16)


def decide_modes(policy: ModalityPolicy, pairs) -> list[tuple[Mode | None, Reason]]:
    decisions = [policy.decide(*pair) for pair in pairs]
    return [(decision.mode, decision.reason) for decision in decisions]


def test_two_good_images_are_fused():
    decision = ModalityPolicy().decide(optical(0.4), thermal())
    assert (decision.mode, decision.reason) == (Mode.FUSED, Reason.OK)
    assert decision.optical.mean == pytest.approx(0.4, abs=0.02)
    assert decision.thermal.frozen_for == 0


def test_luminance_is_weighted_as_rec_601():
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 1] = 255
    assert ModalityPolicy().decide(image, None).optical.mean == pytest.approx(0.587, abs=1e-5)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (optical(0.005, 0.004), Reason.OPTICAL_DARK),
        (optical(1.2, 0.05), Reason.OPTICAL_OVEREXPOSED),
        (np.full((48, 64, 3), 90, np.uint8), Reason.OPTICAL_BLANK),
    ],
)
def test_the_first_frame_decides_at_once(image, reason):
    decision = ModalityPolicy().decide(image, thermal())
    assert (decision.mode, decision.reason) == (Mode.THERMAL_ONLY, reason)


def test_a_real_night_street_stays_fused():
    assert ModalityPolicy().decide(optical(0.06, 0.04), thermal()).mode is Mode.FUSED


def test_darkness_must_hold_before_the_mode_changes_and_again_before_it_changes_back():
    policy = ModalityPolicy(PolicySettings(hold=2))
    means = [0.4, 0.4, 0.005, 0.4, 0.005, 0.005, 0.005, 0.4, 0.005, 0.4, 0.4, 0.4]
    got = decide_modes(policy, [(optical(mean, 0.02), thermal()) for mean in means])
    fused = [mode is Mode.FUSED for mode, _ in got]
    assert fused == [True] * 5 + [False] * 5 + [True] * 2


def test_between_the_thresholds_the_verdict_stays_as_it_was():
    settings = PolicySettings(optical_dark_enter=0.1, optical_dark_leave=0.2, hold=1)
    policy = ModalityPolicy(settings)
    means = [0.3, 0.15, 0.05, 0.15, 0.25, 0.15]
    got = decide_modes(policy, [(optical(mean, 0.01), thermal()) for mean in means])
    assert [mode is Mode.FUSED for mode, _ in got] == [True, True, False, False, True, True]


def test_a_frozen_thermal_camera_is_left_out_and_taken_back():
    policy = ModalityPolicy(PolicySettings(frozen_after=3, hold=2))
    still = thermal()
    pairs = [(optical(), still) for _ in range(5)] + [(optical(), thermal()) for _ in range(3)]
    got = decide_modes(policy, pairs)
    assert [mode for mode, _ in got[:3]] == [Mode.FUSED] * 3
    assert got[3] == (Mode.OPTICAL_ONLY, Reason.THERMAL_FROZEN)
    assert got[4] == got[3]
    assert [mode for mode, _ in got[5:]] == [Mode.OPTICAL_ONLY, Mode.FUSED, Mode.FUSED]


def test_frozen_detection_can_be_turned_off():
    policy = ModalityPolicy(PolicySettings(frozen_after=0))
    still = thermal()
    assert all(policy.decide(optical(), still).mode is Mode.FUSED for _ in range(20))


def test_one_optical_image_paired_twice_is_not_a_frozen_camera():
    policy = ModalityPolicy(PolicySettings(frozen_after=2))
    image = optical()
    for _ in range(10):
        decision = policy.decide(image, thermal(), optical_stamp_ns=7)
    assert decision.mode is Mode.FUSED
    for stamp in range(10):
        decision = policy.decide(image, thermal(), optical_stamp_ns=stamp)
    assert decision.reason is Reason.OPTICAL_FROZEN


@pytest.mark.parametrize("value", [np.nan, 300.1])
def test_a_thermal_image_without_content_is_blank(value):
    blank = np.full((48, 64), value, np.float32)
    decision = ModalityPolicy().decide(optical(), blank)
    assert (decision.mode, decision.reason) == (Mode.OPTICAL_ONLY, Reason.THERMAL_BLANK)


def test_absence_is_passed_on_as_the_reason():
    policy = ModalityPolicy()
    decision = policy.decide(None, thermal(), Reason.OPTICAL_LOST)
    assert (decision.mode, decision.reason) == (Mode.THERMAL_ONLY, Reason.OPTICAL_LOST)
    decision = policy.decide(optical(), None, Reason.THERMAL_LOST)
    assert (decision.mode, decision.reason) == (Mode.OPTICAL_ONLY, Reason.THERMAL_LOST)


@pytest.mark.parametrize(
    "pair",
    [
        (None, None),
        (optical(0.002, 0.001), None),
        (None, np.zeros((48, 64), np.uint8)),
        (optical(0.002, 0.001), np.zeros((48, 64), np.uint8)),
    ],
)
def test_nothing_to_trust_gives_no_mode(pair):
    decision = ModalityPolicy().decide(*pair, Reason.OPTICAL_LOST)
    assert (decision.mode, decision.reason) == (None, Reason.NO_USABLE_MODALITY)


def test_a_forced_mode_needs_only_its_images():
    dark = optical(0.002, 0.001)
    fused = ModalityPolicy(PolicySettings(force=Mode.FUSED))
    assert fused.decide(dark, thermal()).reason is Reason.FORCED
    assert fused.decide(None, thermal(), Reason.OPTICAL_LOST).mode is Mode.THERMAL_ONLY
    only = ModalityPolicy(PolicySettings(force=Mode.THERMAL_ONLY))
    assert only.decide(optical(), thermal()).mode is Mode.THERMAL_ONLY
    assert only.decide(optical(), None, Reason.THERMAL_LOST).mode is Mode.OPTICAL_ONLY


def test_tiny_images_are_judged_too():
    assert ModalityPolicy().decide(optical()[:1, :2], thermal()[:2, :2]).mode is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"optical_dark_enter": 0.5, "optical_dark_leave": 0.4},
        {"saturated_leave": 0.9},
        {"hold": 0},
        {"frozen_after": -1},
        {"blank_contrast": 2.0},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PolicySettings(**wrong)
