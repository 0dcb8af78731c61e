"""The variable that names the profile is the one the ROS distribution reads."""

import pytest

from csknet_ros.fastdds import profile_environment, profile_variable
from csknet_ros.inputs import large_images_cure

NEWER, OLDER = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"


@pytest.mark.parametrize(
    ("distribution", "variable"), [("humble", OLDER), ("jazzy", OLDER), ("kilted", NEWER)]
)
def test_each_distribution_gets_the_variable_it_reads(monkeypatch, distribution, variable):
    environment = {"ROS_DISTRO": distribution}
    assert profile_variable(environment) == variable
    assert profile_environment("/x.xml", environment) == {variable: "/x.xml"}
    monkeypatch.setenv("ROS_DISTRO", distribution)
    assert f"export {variable}=" in large_images_cure()


def test_without_a_distribution_it_is_the_newer_one():
    assert profile_environment("/x.xml", {}) == {NEWER: "/x.xml"}


@pytest.mark.parametrize("variable", [NEWER, OLDER])
def test_a_profile_that_is_chosen_stays(variable):
    assert profile_environment("/x.xml", {"ROS_DISTRO": "jazzy", variable: "/mine.xml"}) == {}
