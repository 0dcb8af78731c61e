"""The launch files' arguments, where launch itself need not be installed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from csknet_core.errors import ConfigError
from csknet_core.runtime.backends import DEVICES
from csknet_ros import launching
from csknet_ros.parameters import BY_NAME
from csknet_ros.tools.bag_player import parse_arguments

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
NAMES = ("segment", "demo", "replay")
MODULES = (
    "launch", "launch.actions", "launch.event_handlers", "launch.events",
    "launch.launch_description_sources", "launch.substitutions", "launch_ros",
    "launch_ros.actions", "launch_ros.parameter_descriptions", "launch_ros.utilities",
)  # fmt: skip


class Anything(ModuleType):
    """Has every name; the launch files only import them until they are launched."""

    def __getattr__(self, name: str) -> object:
        return lambda *arguments, **_: arguments


@pytest.fixture
def files(monkeypatch, repository) -> dict[str, ModuleType]:
    """The launch files as modules, without launch."""
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, Anything(name))
    packages = ModuleType("packages")
    packages.get_package_share_directory = lambda _: str(repository)
    monkeypatch.setitem(sys.modules, "ament_index_python.packages", packages)
    return {name: _load(LAUNCH / f"{name}.launch.py") for name in NAMES}


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("launch_file", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CAMERAS = {name: f"/camera/{name}" for name in launching.CAMERA_ARGUMENTS}


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_has_a_description_and_a_default_that_is_a_choice(files, name):
    module = files[name]
    for argument, (default, text) in module.ARGUMENTS.items():
        assert text.endswith(".")
        assert default is not None or argument == "bag"
        choices = getattr(module, "CHOICES", {}).get(argument)
        assert choices is None or default in choices
    assert set(getattr(module, "CHOICES", {})) <= set(module.ARGUMENTS)


def test_default_files_are_there(files):
    assert Path(files["segment"].ARGUMENTS["params_file"][0]).is_file()
    assert Path(files["replay"].ARGUMENTS["params_file"][0]).is_file()
    assert Path(files["demo"].ARGUMENTS["script"][0]).is_file()


def test_arguments_that_are_parameters_are_called_as_they_are(files):
    arguments = files["segment"].ARGUMENTS
    assert {"autostart", "weights", "device"} <= set(arguments) & set(BY_NAME)
    assert files["segment"].CHOICES["device"] == ("", *DEVICES)
    assert set(launching.CAMERA_ARGUMENTS) <= set(arguments)


def test_a_replay_changes_defaults_of_the_node_only(files):
    own = {"bag", "out", "rate", "labels_topic", "quiet"}
    assert set(files["replay"].ARGUMENTS) - own <= set(files["segment"].ARGUMENTS)
    for name in launching.CAMERA_ARGUMENTS:
        assert files["replay"].ARGUMENTS[name][0] == f"/{files['segment'].ARGUMENTS[name][0]}"


def test_the_readme_names_every_argument_of_the_node(files, repository):
    text = (repository / "README.md").read_text()
    table = text[text.index("| launch argument |") : text.index("| topic of the node |")]
    assert [name for name in files["segment"].ARGUMENTS if f"`{name}`" not in table] == []
    for name in ("script", "rate", "seconds"):
        assert f"`{name}`" in table


def test_node_parameters_leave_to_the_file_what_is_not_given(files):
    defaults = {name: default for name, (default, _) in files["segment"].ARGUMENTS.items()}
    given = files["segment"].node_parameters({**defaults, "use_sim_time": "True"})
    assert given == {"use_sim_time": True, "autostart": True}
    topic = {"thermal_topic": "/ir/image_raw/compressed"}
    given = files["segment"].node_parameters({**defaults, "device": "cpu", **topic})
    assert set(given) == {"use_sim_time", "autostart", "device", "thermal_transport"}


def test_raw_compressed_and_info_topics_move_together():
    rules = dict(launching.camera_remaps({**CAMERAS, "rgb_topic": "color/image/compressed"}))
    assert rules == {
        "rgb/image": "color/image",
        "rgb/image/compressed": "color/image/compressed",
        "rgb/camera_info": "/camera/rgb_info_topic",
        "thermal/image": "/camera/thermal_topic",
        "thermal/image/compressed": "/camera/thermal_topic/compressed",
        "thermal/camera_info": "/camera/thermal_info_topic",
        "depth/image": "/camera/depth_topic",
    }
    assert launching.camera_transports(CAMERAS) == {}
    compressed = {"rgb_topic": "a/compressed", "thermal_topic": "b"}
    assert launching.camera_transports(compressed) == {"rgb_transport": "compressed"}
    with pytest.raises(ConfigError, match=r"rgb_topic:=a/compressed: .* leave out /compressed"):
        launching.check_raw(compressed)


@pytest.mark.parametrize("name", launching.CAMERA_ARGUMENTS)
def test_a_bad_topic_is_named(name):
    with pytest.raises(ConfigError, match=f"^{name}:=a b: Invalid topic name"):
        launching.camera_remaps({**CAMERAS, name: "a b"})


@pytest.mark.parametrize("value", ["", "/", "robot", "/robot", "robot/", "/a/b"])
def test_namespaces(value):
    assert launching.check_namespace(value) == value


def test_a_bad_namespace_is_named():
    with pytest.raises(ConfigError, match=r"^namespace:=1a: "):
        launching.check_namespace("1a")


@pytest.mark.parametrize(
    ("namespace", "name"),
    [(None, "csknet"), ("", "csknet"), ("/", "csknet"), ("/a/b/", "a.b.csknet"), ("a", "a.csknet")],
)
def test_the_namespace_is_in_the_name_of_the_logger(namespace, name):
    assert launching.logger_name(namespace, "csknet") == name


@pytest.mark.parametrize("value", ["x", "", "0", "-1", "nan", "inf"])
def test_bad_numbers(value):
    with pytest.raises(ConfigError, match=r"^rate:=.*: give a positive number"):
        launching.check_number("rate", value)


def test_good_numbers():
    assert launching.check_number("rate", "2.5") == 2.5
    assert launching.check_number("quiet", "0", zero=True) == 0
    with pytest.raises(ConfigError, match="0 or a positive number"):
        launching.check_number("quiet", "-1", zero=True)


def test_paths_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "drive.mcap").touch()
    assert launching.check_path("bag", "~/drive.mcap") == str(tmp_path / "drive.mcap")
    with pytest.raises(ConfigError, match=r"^bag:=~/other\.mcap: no such file"):
        launching.check_path("bag", "~/other.mcap")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"a: [b", "cannot be read"), (b"\xff\xfe\xff", "cannot be read"), (b"- 1", "no parameters")],
)
def test_parameter_files_that_are_none(tmp_path, content, problem):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^params_file:=.*{problem}"):
        launching.check_parameters("params_file", str(file))
    with pytest.raises(ConfigError, match="no such file"):
        launching.check_parameters("params_file", str(tmp_path / "gone.yaml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        launching.check_parameters("params_file", str(tmp_path))


def test_a_replay_waits_for_listeners_of_its_own_topics_only(files):
    given = {"bag": "drive.mcap", "rate": "0.5", "rgb_topic": "/a", "thermal_topic": "/b",
             "labels_topic": "/c"}  # fmt: skip
    options = parse_arguments(files["replay"].player_arguments(given))
    assert (options.bag, options.rate, options.clock) == (Path("drive.mcap"), 0.5, True)
    assert options.wait_for == ["/a", "/b", "/c"]


def test_what_is_missing_or_failed_is_said():
    launching.check_modules(["json"], "json")
    with pytest.raises(ConfigError, match="no_such_module is not installed: pip install it"):
        launching.check_modules(["json", "no_such_module"], "it")
    launching.check_exit("bag_player", 0)
    with pytest.raises(ConfigError, match="bag_player failed with exit code 2"):
        launching.check_exit("bag_player", 2)


@pytest.mark.parametrize("code", [0, 1, -9])
def test_a_node_that_crashed_is_started_again(files, code):
    event, context = SimpleNamespace(returncode=code), SimpleNamespace(is_shutdown=False)
    assert files["segment"].end(event, context) == []


def test_a_node_that_refuses_its_parameters_ends_the_launch(files):
    event = SimpleNamespace(returncode=launching.UNUSABLE)
    with pytest.raises(ConfigError, match="cannot use its parameters"):
        files["segment"].end(event, SimpleNamespace(is_shutdown=False))
    assert files["segment"].end(event, SimpleNamespace(is_shutdown=True)) == []
