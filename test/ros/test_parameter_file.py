"""A parameter file gives the replay what it gives the node, and is refused where the node is."""

from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.exceptions import ParameterException
from rclpy.parameter import Parameter
from support.engines import ThresholdEngine, threshold_segmenter
from support.graph import next_domain

from csknet_core.errors import ConfigError
from csknet_ros.parameter_file import read_parameter_file
from csknet_ros.parameters import BY_NAME
from csknet_ros.segmentation_node import SegmentationNode


def of_the_node(file: Path, namespace: str) -> dict:
    """What the real node has after it was started with a file, but for defaults."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    node = None
    try:
        node = SegmentationNode(
            threshold_segmenter(ThresholdEngine()), context=context, namespace=namespace,
            cli_args=["--ros-args", "--params-file", str(file)],
        )  # fmt: skip
        values = {name: node.get_parameter(name).value for name in BY_NAME}
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown(context=context)
    return {name: value for name, value in values.items() if value != BY_NAME[name].default}


OTHERS = "other: {ros__parameters: {speed: 1}}\n"
ACCEPTED = {
    "for all": ("/**: {ros__parameters: {threads: 2}}", ""),
    "for its name": ("csknet: {ros__parameters: {threads: 2}}", ""),
    "for its full name": ("/csknet: {ros__parameters: {threads: 2}}", ""),
    "in a namespace": ("/robot/csknet: {ros__parameters: {threads: 2}}", "robot"),
    "in a nested namespace": ("robot: {csknet: {ros__parameters: {threads: 2}}}", "robot"),
    "in any namespace": ("/**/csknet: {ros__parameters: {threads: 2}}", "a/b"),
    "in any namespace, nested": ("/**: {csknet: {ros__parameters: {threads: 2}}}", ""),
    "in any namespace of one level": ("/*/csknet: {ros__parameters: {threads: 2}}", "robot"),
    "for all of a namespace": ("/robot/**: {ros__parameters: {threads: 2}}", "robot"),
    "the later wins": (
        "csknet: {ros__parameters: {threads: 2}}\n/**: {ros__parameters: {threads: 3}}", ""),
    "the earlier lacks some": (
        "/**: {ros__parameters: {threads: 2, input_depth: 9}}\n"
        "csknet: {ros__parameters: {threads: 3}}", ""),
    "among other nodes": (OTHERS + "csknet: {ros__parameters: {threads: 2}}", ""),
    "shared with other nodes": (
        OTHERS + "/**: {ros__parameters: {threads: 2, robot_base_frame: base_link}}", ""),
    "what every node has": (
        "/**: {ros__parameters: {use_sim_time: true, start_type_description_service: true, "
        "qos_overrides: {/parameter_events: {publisher: {depth: 9}}}, threads: 2}}", ""),
    "dotted": ("/**: {ros__parameters: {sync.slop: 0.02, policy: {hold: 4}}}", ""),
    "an exponent": ("/**: {ros__parameters: {sync: {slop: 2e-2, max_wait: 1E-1}}}", ""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "namespace"), ACCEPTED.values(), ids=list(ACCEPTED))
def test_a_file_gives_the_replay_what_it_gives_the_node(tmp_path, text, namespace):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    expected = of_the_node(file, namespace)
    assert expected
    assert read_parameter_file(file) == expected


def test_the_nav2_example_gives_the_replay_the_nodes_parameters(repository):
    file = repository / "config" / "nav2_example.yaml"
    assert read_parameter_file(file) == of_the_node(file, "robot")


def test_what_the_node_dumps_of_itself_can_be_replayed(tmp_path):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    node = SegmentationNode(
        threshold_segmenter(ThresholdEngine()), context=context,
        parameter_overrides=[Parameter("policy.hold", value=4)],
    )  # fmt: skip
    dumped = {name: parameter.value for name, parameter in node._parameters.items()}
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    assert set(dumped) > set(BY_NAME)
    file = tmp_path / "dumped.yaml"
    file.write_text(yaml.safe_dump({"/csknet": {"ros__parameters": dumped}}))
    assert read_parameter_file(file) == {name: dumped[name] for name in BY_NAME}


@pytest.mark.parametrize(
    ("values", "problem"),
    [("overlay_alpha: 1", "overlay_alpha must be float, got 1; write 1.0"),
     ("threads: 2.0", "threads must be int, got 2.0"),
     ("weights: 1", "weights must be str, got 1"),
     ("overlay_alpha: wide", "overlay_alpha must be float, got 'wide'"),
     ("overlay_alpha: 1.5", "overlay_alpha is 1.5, not within 0 to 1"),
     ("overlay_alpha: 2e1", "overlay_alpha is 20.0, not within 0 to 1"),
     ("overlay_alpha: .nan", "overlay_alpha is nan, not within 0 to 1"),
     ("overlay_alpha: ''", "overlay_alpha must be float, got ''")],
)  # fmt: skip
def test_a_value_the_node_refuses_is_refused_by_name(tmp_path, values, problem):
    file = tmp_path / "params.yaml"
    file.write_text(f"/**: {{ros__parameters: {{{values}}}}}")
    with pytest.raises(ParameterException):
        of_the_node(file, "")
    with pytest.raises(ConfigError) as error:
        read_parameter_file(file)
    assert str(error.value) == f"parameter file {file}: {problem}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [(OTHERS, "no section for the node csknet; it has /other"),
     ("{}", "no section for the node csknet; it has none"),
     ("[]", "no ros__parameters in it"),
     ("threads: 2", "no ros__parameters at threads"),
     ("csknet: {threads: 2}", "no ros__parameters at csknet/threads"),
     ("ros__parameters: {threads: 2}", "ros__parameters of no node"),
     ("csknet: {ros__parameters: [1]}", "no parameters in them"),
     ("csknet: {ros__parameters: {1: 2}}", "1 is unknown"),
     ("/front/csknet: {ros__parameters: {threads: 2}}\n"
      "/rear/csknet: {ros__parameters: {threads: 3}}", r"several namespaces \(/front, /rear\)"),
     ("csknet: {ros__parameters: {}}\nrear: {csknet: {ros__parameters: {}}}",
      r"several namespaces \(/, /rear\)"),
     # A typing error in a file that is the node's own.
     ("/**: {ros__parameters: {sync: {slopp: 0.1}}}", "sync.slopp is unknown"),
     (OTHERS + "csknet: {ros__parameters: {sync: {slopp: 0.1}}}", "sync.slopp is unknown")],
)  # fmt: skip
def test_a_file_that_says_nothing_clear_of_the_node_is_refused(tmp_path, text, problem):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"^parameter file {file}: .*{problem}"):
        read_parameter_file(file)
