"""The node's parameters: declared here once, with ranges, descriptions and validation.

`config/segment.yaml` is made from this table by `python -m csknet_ros.parameters`, and
`docs/parameters.md` by `python -m csknet_ros.parameters --markdown`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from csknet_core.errors import ConfigError
from csknet_core.image_header import MAX_PIXELS
from csknet_core.modality import Modality, Mode
from csknet_core.runtime.backends import DEVICES
from csknet_core.runtime.cost_grid import CostGridSettings
from csknet_core.runtime.ground import (
    DEPTH_SOURCES,
    MOUNT_SOURCES,
    Mount,
    NavigationSettings,
)
from csknet_core.runtime.policy import PolicySettings
from csknet_core.runtime.preprocess import TELEMETRY_LOCATIONS, ThermalSettings
from csknet_core.runtime.registration import OUTSIDE, RegistrationSettings
from csknet_core.runtime.segmenter import SegmenterSettings
from csknet_core.runtime.thermal_presets import PRESETS, apply_preset
from csknet_ros.bundle import BundleSettings
from csknet_ros.stamps import SECOND_NS
from csknet_ros.synchronizer import LARGEST_OFFSET_S, LONGEST_WAIT_S, SyncSettings

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor

Value = bool | int | float | str


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: dotted name.
        default: its type is the parameter's.
        description: one sentence, with the unit.
        low, high: range of a number, inclusive.
        choices: values of a text, if limited.
        live: whether it may change while the node is configured.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = True


_SYNC, _POLICY, _THERMAL = SyncSettings(), PolicySettings(), ThermalSettings()
_REGISTRATION = RegistrationSettings()
_MOUNT, _NAVIGATION = Mount(), NavigationSettings()
_BUNDLE, _GRID = BundleSettings(), CostGridSettings()
_TRANSPORTS = ("raw", "compressed")
_MODES = ("", *(mode.value for mode in Mode))

PARAMETERS: tuple[Parameter, ...] = (
    Parameter("autostart", True, "Configure and activate at start, without a lifecycle manager.",
              live=False),
    Parameter("weights", "", "Weights file, or name of shipped weights; empty takes the default.",
              live=False),
    Parameter("device", "auto", "Backend and device.", live=False,
              choices=DEVICES),
    Parameter("input_height", 480, "Rows of the network input, a multiple of 32.", 32, 4096,
              live=False),
    Parameter("input_width", 640, "Columns of the network input, a multiple of 32.", 32, 4096,
              live=False),
    Parameter("threads", 0, "CPU threads per frame; 0 lets the backend choose.", 0, 256,
              live=False),
    Parameter("class_table", "", "Class table the weights must have: a name or a YAML file; empty "
              "takes the weights' own.", live=False),
    Parameter("input_reliability", "best_effort", "QoS reliability of the camera subscriptions.",
              choices=("best_effort", "reliable"), live=False),
    Parameter("input_depth", 5, "QoS history depth of the camera subscriptions.", 1, 100,
              live=False),
    Parameter("rgb_transport", "raw", "Subscribe to rgb/image, or to rgb/image/compressed.",
              choices=_TRANSPORTS, live=False),
    Parameter("thermal_transport", "raw", "Subscribe to thermal/image, or to "
              "thermal/image/compressed.", choices=_TRANSPORTS, live=False),
    Parameter("max_image_pixels", MAX_PIXELS, "Camera images with more pixels are refused before "
              "anything is copied.", 1, MAX_PIXELS),
    Parameter("overlay_alpha", 0.55, "Opacity of the colours in the overlay.", 0.0, 1.0),
    Parameter("fallback_confidence_scale", 1.0, "Confidence is multiplied by this in thermal-only "
              "and RGB-only answers, so that a costmap can trust them less.", 0.0, 1.0),
    Parameter("engine.stuck_after", 10.0, "Inference that takes longer is given up and a fresh "
              "engine opened, seconds.", 0.1, 600.0),
    Parameter("sync.slop", _SYNC.slop_ns / SECOND_NS,
              "Largest stamp difference of a pair, seconds.", 0.0, 0.9),
    Parameter("sync.max_wait", _SYNC.max_wait_ns / SECOND_NS,
              "Longest a thermal frame waits for its partner, seconds.", 0.0, LONGEST_WAIT_S),
    Parameter("sync.thermal_offset", 0.0, "Added to thermal stamps when comparing, seconds.",
              -LARGEST_OFFSET_S, LARGEST_OFFSET_S),
    Parameter("sync.dropout_after", _SYNC.dropout_after,
              "Misses in a row after which RGB counts as lost and nothing waits for it.", 1, 1000),
    Parameter("sync.recover_after", _SYNC.recover_after,
              "Matches in a row after which RGB counts as back.", 1, 1000),
    Parameter("sync.thermal_timeout", _SYNC.thermal_timeout_ns / SECOND_NS,
              "Thermal silence after which RGB frames are answered alone, seconds.", 0.01, 60.0),
    Parameter("sync.queue_size", _SYNC.queue_size, "Most frames held per camera.", 1, 1000),
    Parameter("thermal.preset", "", "What the camera sends in 16 bits: sets minimum, maximum and "
              "minimum_span where they are at their defaults; any other value wins.",
              choices=("", *PRESETS)),
    Parameter("thermal.mode", _THERMAL.mode, "Range of raw values: by scene, or minimum..maximum.",
              choices=("auto", "fixed")),
    Parameter("thermal.minimum", _THERMAL.minimum, "Raw value shown as 0 in fixed mode.",
              -1e6, 1e6),
    Parameter("thermal.maximum", _THERMAL.maximum, "Raw value shown as 1 in fixed mode.",
              -1e6, 1e6),
    Parameter("thermal.low_percentile", _THERMAL.low_percentile,
              "Percentile shown as 0 in auto mode.", 0.0, 100.0),
    Parameter("thermal.high_percentile", _THERMAL.high_percentile,
              "Percentile shown as 1 in auto mode.", 0.0, 100.0),
    Parameter("thermal.minimum_span", _THERMAL.minimum_span,
              "Smallest raw range stretched in auto mode; 0 takes 4 K in centikelvin or kelvin.",
              0.0, 1e6),
    Parameter("thermal.smoothing", _THERMAL.smoothing,
              "Share of the old range kept at every frame in auto mode.", 0.0, 0.999),
    Parameter("thermal.telemetry_rows", _THERMAL.telemetry_rows,
              "Rows of the thermal image that hold telemetry.", 0, 100),
    Parameter("thermal.telemetry_location", _THERMAL.telemetry_location,
              "Where those rows are: at the bottom (footer) or at the top (header).",
              choices=TELEMETRY_LOCATIONS),
    Parameter("registration.file", "", "Registration of the cameras, as 'csknet register' writes "
              "it; empty takes the images as aligned.", live=False),
    Parameter("registration.grid", _REGISTRATION.grid, "Camera whose pixels and frame the label "
              "map is on, whatever it is made from; optical needs registration.file.",
              choices=(Modality.THERMAL.value, Modality.OPTICAL.value), live=False),
    Parameter("registration.outside", _REGISTRATION.outside, "Answer of pixels that the other "
              "camera does not see: by the grid's camera alone, or unknown (255).",
              choices=OUTSIDE),
    Parameter("navigation.frame", "", "Frame of the points for a costmap, such as base_link; empty "
              "turns them off. Its ground is z = 0.", live=False),
    Parameter("navigation.mount", _NAVIGATION.mount_source, "Where the camera's pose in that frame "
              "comes from: the next six parameters, or tf2 (frame_id of the label map, at its "
              "stamp).", choices=MOUNT_SOURCES, live=False),
    Parameter("navigation.x", _MOUNT.x, "Camera whose grid the label map is on, ahead of that "
              "frame, metres.", -100.0, 100.0, live=False),
    Parameter("navigation.y", _MOUNT.y, "The same camera to the left of it, metres.", -100.0,
              100.0, live=False),
    Parameter("navigation.height", _MOUNT.height, "The same camera above the ground, metres.", 0.01,
              100.0, live=False),
    Parameter("navigation.roll", _MOUNT.roll, "Of the camera's body, radians (REP-103).", -3.2, 3.2,
              live=False),
    Parameter("navigation.pitch", _MOUNT.pitch, "Of the camera's body, radians; positive looks "
              "down.", -1.6, 1.6, live=False),
    Parameter("navigation.yaw", _MOUNT.yaw, "Of the camera's body, radians; positive looks left.",
              -3.2, 3.2, live=False),
    Parameter("navigation.depth", _NAVIGATION.depth, "How far away pixels are: on flat ground, or "
              "as depth/image says, which must be on the label map's grid.",
              choices=DEPTH_SOURCES, live=False),
    Parameter("navigation.clear_height", _NAVIGATION.clear_height, "With depth_image: pixels of "
              "clear classes that are farther from z = 0 are no ground, metres.", 0.0, 10.0,
              live=False),
    Parameter("navigation.obstacle_stride", _NAVIGATION.stride, "With depth_image: rows and "
              "columns from one point of ~/obstacles to the next; 1 leaves none out.", 1, 64,
              live=False),
    Parameter("navigation.max_range", _NAVIGATION.max_range, "Farthest points, metres.", 0.1,
              1000.0, live=False),
    Parameter("navigation.obstacle_classes", "", "Comma-separated names of classes not to drive "
              "over; empty takes all but the first of the table.", live=False),
    Parameter("navigation.clear_classes", "background", "Comma-separated names of classes that can "
              "be driven over.", live=False),
    Parameter("navigation.min_confidence", _NAVIGATION.least_confidence, "Pixels less sure than "
              "this are neither obstacle nor clear.", 0.0, 1.0, live=False),
    Parameter("navigation.grid_size", _GRID.size, "Side of ~/cost_grid, metres.", 0.1, 200.0,
              live=False),
    Parameter("navigation.grid_resolution", _GRID.resolution, "Cell of ~/cost_grid, metres.", 0.01,
              10.0, live=False),
    Parameter("navigation.class_costs", "", "Costs in ~/cost_grid, such as 'bump:60, curve:-1': 0 "
              "(free) to 100 (lethal), -1 unknown. Others: obstacles 100, clear classes 0, else "
              "unknown.", live=False),
    Parameter("policy.force_mode", "", "Answer in this mode whenever its images are there.",
              choices=_MODES),
    Parameter("policy.dark_enter", _POLICY.optical_dark_enter,
              "Mean luminance (0..1) below which RGB is too dark.", 0.0, 1.0),
    Parameter("policy.dark_leave", _POLICY.optical_dark_leave,
              "Mean luminance (0..1) above which RGB is bright enough again.", 0.0, 1.0),
    Parameter("policy.saturated_enter", _POLICY.saturated_enter,
              "Share of saturated pixels above which RGB is overexposed.", 0.0, 1.0),
    Parameter("policy.saturated_leave", _POLICY.saturated_leave,
              "Share of saturated pixels below which RGB is well exposed again.", 0.0, 1.0),
    Parameter("policy.blank_contrast", _POLICY.blank_contrast,
              "Luminance contrast (0..1) below which RGB shows nothing.", 0.0, 1.0),
    Parameter("policy.frozen_after", _POLICY.frozen_after,
              "Repeats of one image after which a camera counts as frozen; 0 turns it off.",
              0, 1000),
    Parameter("policy.hold", _POLICY.hold,
              "Frames in a row that must agree before the verdict on a camera changes.", 1, 1000),
    Parameter("capture.directory", _BUNDLE.directory, "Where ~/capture writes debug bundles: an "
              "absolute path, or one that starts with ~/.", live=False),
    Parameter("capture.frames", _BUNDLE.frames, "Frames remembered for a debug bundle; 0 keeps no "
              "images.", 0, 100, live=False),
)  # fmt: skip

BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


@dataclass(frozen=True)
class NodeSettings:
    """The parameters in the form the node uses them in."""

    segmenter: SegmenterSettings
    sync: SyncSettings
    overlay_alpha: float
    input_reliability: str
    input_depth: int
    transports: dict[Modality, str]
    fallback_confidence_scale: float
    stuck_after_ns: int
    navigation: NavigationSettings
    cost_grid: CostGridSettings
    bundle: BundleSettings
    max_image_pixels: int


_Get = Callable[[Callable[[Any], Any], str], Any]
"""Reads one parameter as a type, its default where it is not given."""


def build_settings(values: Mapping[str, Value]) -> NodeSettings:
    """Turn parameter values into settings.

    Raises:
        ConfigError: a value is not one of its choices, or values do not go together.
    """
    _check_choices(values)

    def get(kind: Callable[[Any], Any], name: str) -> Any:
        return kind(values.get(name, BY_NAME[name].default))

    return NodeSettings(
        segmenter=_segmenter(get),
        sync=_sync(get),
        overlay_alpha=get(float, "overlay_alpha"),
        input_reliability=get(str, "input_reliability"),
        input_depth=get(int, "input_depth"),
        transports={
            Modality.OPTICAL: get(str, "rgb_transport"),
            Modality.THERMAL: get(str, "thermal_transport"),
        },
        fallback_confidence_scale=get(float, "fallback_confidence_scale"),
        stuck_after_ns=_nanoseconds(get, "engine.stuck_after"),
        navigation=_navigation(get),
        cost_grid=_cost_grid(get),
        bundle=BundleSettings(get(str, "capture.directory"), get(int, "capture.frames")),
        max_image_pixels=get(int, "max_image_pixels"),
    )


def _check_choices(values: Mapping[str, Value]) -> None:
    for name, value in values.items():
        choices = BY_NAME[name].choices if name in BY_NAME else ()
        if choices and value not in choices:
            shown = ", ".join(repr(choice) for choice in choices)
            raise ConfigError(f"parameter {name}: {value!r} is not one of {shown}")


def _nanoseconds(get: _Get, name: str) -> int:
    return round(get(float, name) * SECOND_NS)


def _sync(get: _Get) -> SyncSettings:
    return SyncSettings(
        slop_ns=_nanoseconds(get, "sync.slop"),
        max_wait_ns=_nanoseconds(get, "sync.max_wait"),
        dropout_after=get(int, "sync.dropout_after"),
        recover_after=get(int, "sync.recover_after"),
        thermal_timeout_ns=_nanoseconds(get, "sync.thermal_timeout"),
        offset_ns=_nanoseconds(get, "sync.thermal_offset"),
        queue_size=get(int, "sync.queue_size"),
    )


def _thermal(get: _Get) -> ThermalSettings:
    settings = ThermalSettings(
        mode=get(str, "thermal.mode"),
        minimum=get(float, "thermal.minimum"),
        maximum=get(float, "thermal.maximum"),
        low_percentile=get(float, "thermal.low_percentile"),
        high_percentile=get(float, "thermal.high_percentile"),
        minimum_span=get(float, "thermal.minimum_span"),
        smoothing=get(float, "thermal.smoothing"),
        telemetry_rows=get(int, "thermal.telemetry_rows"),
        telemetry_location=get(str, "thermal.telemetry_location"),
    )
    return apply_preset(settings, get(str, "thermal.preset"))


def _policy(get: _Get) -> PolicySettings:
    force = get(str, "policy.force_mode")
    return PolicySettings(
        optical_dark_enter=get(float, "policy.dark_enter"),
        optical_dark_leave=get(float, "policy.dark_leave"),
        saturated_enter=get(float, "policy.saturated_enter"),
        saturated_leave=get(float, "policy.saturated_leave"),
        blank_contrast=get(float, "policy.blank_contrast"),
        frozen_after=get(int, "policy.frozen_after"),
        hold=get(int, "policy.hold"),
        force=Mode(force) if force else None,
    )


def _segmenter(get: _Get) -> SegmenterSettings:
    return SegmenterSettings(
        weights=get(str, "weights"),
        device=get(str, "device"),
        size=(get(int, "input_height"), get(int, "input_width")),
        threads=get(int, "threads"),
        classes=get(str, "class_table"),
        thermal=_thermal(get),
        policy=_policy(get),
        registration=RegistrationSettings(
            get(str, "registration.file"),
            get(str, "registration.grid"),
            get(str, "registration.outside"),
        ),
    )


def _cost_grid(get: _Get) -> CostGridSettings:
    return CostGridSettings(
        get(float, "navigation.grid_size"),
        get(float, "navigation.grid_resolution"),
        parse_costs(get(str, "navigation.class_costs")),
    )


def _navigation(get: _Get) -> NavigationSettings:
    def names(parameter: str) -> tuple[str, ...]:
        return tuple(n.strip() for n in get(str, parameter).split(",") if n.strip())

    places = ("x", "y", "height", "roll", "pitch", "yaw")
    return NavigationSettings(
        frame=get(str, "navigation.frame"),
        mount_source=get(str, "navigation.mount"),
        mount=Mount(**{place: get(float, f"navigation.{place}") for place in places}),
        max_range=get(float, "navigation.max_range"),
        obstacles=names("navigation.obstacle_classes"),
        clear=names("navigation.clear_classes"),
        least_confidence=get(float, "navigation.min_confidence"),
        depth=get(str, "navigation.depth"),
        clear_height=get(float, "navigation.clear_height"),
        stride=get(int, "navigation.obstacle_stride"),
    )


def parse_costs(text: str) -> dict[str, int]:
    """Read `NAME:COST, NAME:COST`.

    Raises:
        ConfigError: another form.
    """
    costs = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, colon, cost = (part.strip() for part in entry.partition(":"))
        try:
            if not name or not colon:
                raise ValueError
            costs[name] = int(cost)
        except ValueError as error:
            raise ConfigError(
                f"parameter navigation.class_costs: {entry!r} is not NAME:COST with a whole number"
            ) from error
    return costs


def describe(parameter: Parameter) -> ParameterDescriptor:
    """Return the ROS descriptor of a parameter."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    descriptor = ParameterDescriptor(name=parameter.name, description=parameter.description)
    if not parameter.live:
        descriptor.additional_constraints = "only while unconfigured"
    if parameter.choices:
        shown = ", ".join(choice or "''" for choice in parameter.choices)
        descriptor.additional_constraints += f"{'; ' * (not parameter.live)}one of {shown}"
    if parameter.low is not None and parameter.high is not None:
        if isinstance(parameter.default, int):
            span = IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high))
            descriptor.integer_range = [span]
        else:
            spread = FloatingPointRange(from_value=parameter.low, to_value=parameter.high)
            descriptor.floating_point_range = [spread]
    return descriptor


def to_yaml() -> str:
    """Return the defaults as a commented parameter file."""
    lines = [
        "# Defaults of the csknet node, made by: python -m csknet_ros.parameters",
        "/**:",
        "  ros__parameters:",
    ]
    group = ""
    for parameter in PARAMETERS:
        head, dot, leaf = parameter.name.rpartition(".")
        if dot and head != group:
            lines.append(f"    {head}:")
        group = head
        indent = "      " if dot else "    "
        lines.append(f"{indent}# {_comment(parameter)}")
        lines.append(f"{indent}{leaf}: {_yaml_value(parameter.default)}")
    return "\n".join(lines) + "\n"


def _comment(parameter: Parameter) -> str:
    text = parameter.description
    if parameter.choices:
        text += " One of: " + ", ".join(choice or '""' for choice in parameter.choices) + "."
    if parameter.low is not None and parameter.high is not None:
        text += f" Range {range_text(parameter)}."
    return text if parameter.live else f"{text} Read at configure."


def range_text(parameter: Parameter) -> str:
    """Return the range of a number in words."""
    # Seven digits and more are not rounded where whole numbers are counted.
    form = "d" if isinstance(parameter.default, int) else "g"
    return f"{parameter.low:{form}} to {parameter.high:{form}}"


def _yaml_value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def to_markdown() -> str:
    """Return the parameter reference."""
    lines = [
        "# Parameters of the csknet node",
        "",
        "Made by `python -m csknet_ros.parameters --markdown`. Live parameters take effect at once "
        "(`ros2 param set /csknet NAME VALUE`); the others are read at configure. A value outside "
        "its range, or one that does not go with the others, is refused with the reason.",
    ]
    group = None
    for parameter in PARAMETERS:
        head = parameter.name.rpartition(".")[0]
        if head != group:
            group = head
            lines += ["", f"## {_GROUPS[head]}", "", "| name | default | allowed | live | |",
                      "|---|---|---|---|---|"]  # fmt: skip
        default = f"`{_yaml_value(parameter.default)}`"
        live = "yes" if parameter.live else "no"
        name = f"`{parameter.name}`"
        lines.append(
            f"| {name} | {default} | {_allowed(parameter)} | {live} | {parameter.description} |"
        )
    return "\n".join(lines) + "\n"


_GROUPS = {
    "": "The node",
    "engine": "Engine",
    "sync": "Pairing",
    "thermal": "Range of thermal values",
    "registration": "Cameras that do not see the same pixels",
    "navigation": "Outputs for a costmap",
    "policy": "When a camera is not used",
    "capture": "Debug bundles",
}


def _allowed(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(f"`{choice}`" if choice else '`""`' for choice in parameter.choices)
    if parameter.low is not None and parameter.high is not None:
        return range_text(parameter)
    return "any" if isinstance(parameter.default, str) else "true, false"


if __name__ == "__main__":
    print(to_markdown() if "--markdown" in sys.argv else to_yaml(), end="")
