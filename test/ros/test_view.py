"""The live page: bag player, node and view over real DDS, read over HTTP and in a browser."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from support.bags import write_bag
from support.browser import Browser
from support.engines import SIZE
from support.graph import Graph, next_domain, optical_image, thermal_image, wait_for

from csknet_core.classes import MFNET
from csknet_core.errors import ConfigError
from csknet_core.modality import Mode, Reason
from csknet_ros.frame_status import ANSWERED, DROPPED, FrameStatus
from csknet_ros.frames import DropReason
from csknet_ros.images import fill_message
from csknet_ros.mode_colors import MODE_COLORS
from csknet_ros.qos import LATCHED
from csknet_ros.view.node import ViewNode
from csknet_ros.view.server import ViewServer
from csknet_ros.view.state import HISTORY_S, ViewState
from csknet_ros.view.words import REASONS


class View:
    """The view as a process, on a free port."""

    def __init__(self, domain: int, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "csknet_ros.view", "--port", "0", *arguments],
            env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        self.log = ""
        while not (found := re.search(r"open (http://\S+)", self.log)):
            line = self.process.stderr.readline()
            assert line, self.log
            self.log += line
        self.url = found[1]

    def close(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        self.log += self.process.communicate(timeout=30)[1]
        return self.process.returncode


def events(url: str):
    """Yield the updates the page gets."""
    with urlopen(f"{url}events", timeout=30) as reply:
        assert reply.headers["Content-Type"] == "text/event-stream"
        for line in reply:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


def first_event(url: str, wanted) -> dict:
    """Return the first update for which something holds."""
    end = time.monotonic() + 60
    for update in events(url):
        if wanted(update):
            return update
        assert time.monotonic() < end, update
    raise AssertionError("the stream ended")


def picture(url: str, name: str) -> np.ndarray:
    with urlopen(f"{url}{name}.jpg", timeout=30) as reply:
        assert reply.headers["Content-Type"] == "image/jpeg"
        return cv2.imdecode(np.frombuffer(reply.read(), np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Address of a view of a bag that loops: three seconds with both cameras, six without RGB."""
    path = tmp_path_factory.mktemp("view") / "bag"
    write_bag(path, frames=90, rgb_lost=range(30, 90), labels=False)
    with Graph(**{"sync.thermal_timeout": 60.0}) as graph:
        domain = graph.context.get_domain_id()
        player = subprocess.Popen(
            [sys.executable, "-m", "csknet_ros.tools.bag_player", str(path), "--loop"],
            env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        view = View(domain)
        try:
            yield view.url
        finally:
            player.terminate()
            assert view.close() == 0, view.log
            player.wait()
    assert "Traceback" not in view.log


def test_modes_have_the_colours_of_the_reports(repository):
    style = (repository / "csknet_ros" / "view" / "page.css").read_text()
    for mode, color in MODE_COLORS.items():
        assert f"--{mode}: {color};" in style


def test_the_page_follows_the_drive_from_fused_to_thermal_only(drive):
    fused = first_event(drive, lambda update: update["status"].get("reason") == "ok")
    assert fused["status"]["mode"] == "fused"
    assert fused["status"]["reason_words"] == "both cameras are used"
    lost = first_event(drive, lambda update: update["status"].get("reason") == "optical_lost")
    status = lost["status"]
    assert (status["mode"], status["mode_words"]) == ("thermal_only", "thermal only")
    assert status["answered"] > 5
    assert status["engine"] == "threshold-cpu"
    assert 0 < status["p50_ms"] <= status["p95_ms"]
    assert {name for name, _ in status["stages"]} >= {"inference", "waited", "preprocess"}
    assert lost["silence"] == ""
    history = [mode for _, mode, *_ in next(events(drive))["records"] if mode]
    assert history.index("fused") < history.index("thermal_only")
    assert [entry["name"] for entry in lost["classes"]] == list(MFNET.names[1:])
    assert tuple(lost["classes"][1]["color"]) == MFNET.classes[2].color


def test_later_updates_hold_only_what_is_new(drive):
    stream = events(drive)
    first = next(stream)
    assert first["first"]
    assert first["words"]["reasons"] == REASONS
    newest = first["sequence"]
    for update, _ in zip(stream, range(5), strict=False):
        assert "first" not in update
        assert len(update["records"]) == update["sequence"] - newest
        newest = update["sequence"]


def test_the_images_are_those_of_the_cameras_and_the_node(drive):
    first_event(drive, lambda update: all(
        update["images"][name]["sequence"] for name in ("thermal", "overlay")))  # fmt: skip
    thermal, overlay = picture(drive, "thermal"), picture(drive, "overlay")
    assert thermal.shape == overlay.shape == (*SIZE, 3)
    assert np.ptp(thermal) > 100
    # Thermal is grey; the overlay has the classes' colours in it.
    assert np.ptp(thermal, axis=2).max() < 20
    assert np.ptp(overlay, axis=2).max() > 60
    before = first_event(drive, lambda update: update["images"]["overlay"]["sequence"])
    later = before["images"]["overlay"]["sequence"] + 3
    first_event(drive, lambda update: update["images"]["overlay"]["sequence"] >= later)
    assert not np.array_equal(picture(drive, "overlay"), overlay)


def test_the_page_loads_nothing_from_elsewhere(drive):
    for name in ("", "page.css", "page.js"):
        with urlopen(drive + name, timeout=30) as reply:
            text = reply.read().decode()
            assert "default-src 'self'" in reply.headers["Content-Security-Policy"]
        assert "//" not in re.sub(r"(?m)^\s*//.*$|; // .*$", "", text)
        assert "@import" not in text


def test_a_browser_shows_images_mode_timeline_and_legend(drive, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open(drive)
        browser.wait_for(
            "document.querySelector('#mode').dataset.mode === 'thermal_only'"
            " && document.querySelector('#reason').textContent === 'the RGB camera is silent'"
        )
        for name in ("overlay", "thermal"):
            width = browser.wait_for(f"document.querySelector('#{name} img').naturalWidth")
            assert width == SIZE[1]
            assert not browser.evaluate(f"document.querySelector('#{name} img').hidden")
        message = browser.wait_for("document.querySelector('#rgb .message').textContent")
        assert "/rgb/image" in message
        legend = browser.evaluate("document.querySelector('#legend').innerText.split('\\n')")
        assert legend == [name.replace("_", " ") for name in MFNET.names[1:]]
        shades = browser.evaluate(
            "(() => { const c = document.querySelector('#timeline'), p = new Set();"
            " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            " for (let i = 0; i < d.length; i += 4) p.add([d[i], d[i + 1], d[i + 2]].join());"
            " return [...p]; })()"
        )
        # Orange on the timeline: answered from thermal alone.
        assert "224,123,26" in shades
        assert not browser.evaluate("document.documentElement.scrollHeight > innerHeight"), (
            "all of it is to be seen at once"
        )
        browser.screenshot(tmp_path / "view.png")
    shot = cv2.imread(str(tmp_path / "view.png"))
    assert shot.shape == (900, 1440, 3)
    assert len(np.unique(shot.reshape(-1, 3), axis=0)) > 100


def test_a_browser_does_not_pass_off_the_past_as_the_present(tmp_path):
    state = ViewState()
    state.add_status(status())
    server = ViewServer(state)
    server.start()
    with Browser(tmp_path / "profile") as browser:
        browser.open(server.url)
        browser.wait_for("document.querySelector('#mode').textContent === 'fused'")
        # Five seconds after the last frame nothing is claimed any more.
        browser.wait_for("document.querySelector('#mode').textContent === 'no answers'")
        assert browser.evaluate("document.querySelector('#mode').dataset.mode") == ""
        server.close()
        browser.wait_for("document.querySelector('#mode').textContent === 'no connection'")
        assert browser.evaluate("document.querySelectorAll('figure.stale').length") == 3
        assert not browser.evaluate("document.querySelector('#banner').hidden")


def test_silence_names_the_topics_and_the_cure():
    view = View(
        next_domain(), "--node", "segmenter",
        "--ros-args", "-r", "rgb/image:=/front/image_raw", "-r", "__ns:=/robot1",
    )  # fmt: skip
    try:
        update = first_event(
            view.url,
            lambda one: (
                one["silence"]
                and all(image["message"].startswith("Nothing") for image in one["images"].values())
            ),
        )
    finally:
        assert view.close(signal.SIGTERM) == 0, view.log
    assert "/robot1/segmenter/frame_status" in update["silence"]
    assert "--node" in update["silence"]
    for name, topic in (
        ("rgb", "/front/image_raw"),
        ("thermal", "/robot1/thermal/image"),
        ("overlay", "/robot1/segmenter/overlay"),
    ):
        assert f"Nothing received on {topic} for" in update["images"][name]["message"]
        assert "nobody publishes it" in update["images"][name]["message"]
        assert update["images"][name]["sequence"] == 0


def run_view(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "csknet_ros.view", *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": str(next_domain())},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_other_machines_get_in_only_when_asked_and_with_a_warning():
    refused = run_view("--bind", "0.0.0.0")
    assert refused.returncode == 2
    assert "--allow-remote" in refused.stderr
    view = View(next_domain(), "--bind", "0.0.0.0", "--allow-remote")
    assert view.close() == 0
    assert "[WARN]" in view.log
    assert "everybody who can reach" in view.log


def test_a_port_in_use_ends_with_the_cure():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_view("--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "choose another --port" in done.stderr
    assert "Traceback" not in done.stderr


# The ROS side alone, in the test's process


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watcher:
    """A view node and a publishing node in one context."""

    def __init__(self, **options) -> None:
        self.clock = Clock()
        self.state = ViewState(self.clock)
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=next_domain())
        self.view = ViewNode(self.state, context=self.context, **options)
        self.other = rclpy.create_node("other", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.view)
        self.executor.add_node(self.other)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.view.destroy_node()
        self.other.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def spin_until(self, condition) -> None:
        wait_for(lambda: self.executor.spin_once(timeout_sec=0.02) or condition())


def test_nothing_is_subscribed_to_while_nobody_looks():
    topics = ("csknet/overlay", "rgb/image", "thermal/image")
    with Watcher() as watcher:
        count = watcher.other.count_subscribers
        watcher.spin_until(lambda: count("csknet/frame_status"))
        assert [count(topic) for topic in topics] == [0, 0, 0]
        watcher.state.watch()
        watcher.spin_until(lambda: all(count(topic) for topic in topics))
        watcher.clock.now += 10
        watcher.spin_until(lambda: not any(count(topic) for topic in topics))
        assert count("csknet/frame_status")


def test_compressed_topics_are_taken_where_only_they_are_published():
    with Watcher() as watcher:
        rgb = watcher.other.create_publisher(CompressedImage, "rgb/image/compressed", 1)
        thermal = watcher.other.create_publisher(Image, "thermal/image", 1)
        watcher.other.create_publisher(CompressedImage, "thermal/image/compressed", 1)
        watcher.state.watch()
        watcher.spin_until(
            lambda: rgb.get_subscription_count() and thermal.get_subscription_count()
        )
        assert not watcher.other.count_subscribers("rgb/image")
        assert not watcher.other.count_subscribers("thermal/image/compressed")
        sent = np.full((*SIZE, 3), (30, 60, 200), np.uint8)
        message = CompressedImage(format="png", data=cv2.imencode(".png", sent)[1].tobytes())
        watcher.spin_until(lambda: rgb.publish(message) or watcher.state.jpeg("rgb"))
        shown = cv2.imdecode(np.frombuffer(watcher.state.jpeg("rgb"), np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(shown.astype(int) - sent).max() < 6


def test_a_damaged_class_table_or_image_does_no_harm():
    with Watcher() as watcher:
        tables = watcher.other.create_publisher(String, "csknet/label_info", LATCHED)
        thermal = watcher.other.create_publisher(Image, "thermal/image", 1)
        watcher.state.watch()
        watcher.spin_until(lambda: thermal.get_subscription_count())
        for text in ("no json", "[]", '{"name": "x"}', '{"name": "x", "classes": [{"name": 3}]}'):
            tables.publish(String(data=text))
        bad = Image(height=2, width=2, encoding="mono16", step=4)
        watcher.spin_until(
            lambda: thermal.publish(bad) or watcher.state.update(0)["images"]["thermal"]["sequence"]
        )
        assert watcher.state.jpeg("thermal") == b""
        assert "cut short" in watcher.state.update(0)["images"]["thermal"]["message"]
        assert watcher.state.update(0)["classes"] == []
        good = Image()
        fill_message(good, thermal_image(), "mono16")
        watcher.spin_until(lambda: thermal.publish(good) or watcher.state.jpeg("thermal"))
        assert watcher.state.update(0)["images"]["thermal"]["message"] == ""


# State and server, without ROS


def status(reason: str = "ok", mode: str = "fused", total_ms: float = 10.0) -> FrameStatus:
    outcome = ANSWERED if mode else DROPPED
    return FrameStatus("thermal", outcome, mode, reason, total_ms=total_ms)


def test_rates_latency_and_drops_are_counted():
    clock = Clock()
    state = ViewState(clock)
    for index in range(20):
        clock.now += 0.5
        state.add_status(status(total_ms=float(index)))
    for reason in ("superseded", "superseded", "bad_image"):
        state.add_status(status(reason, mode=""))
    summary = state.update(0)["status"]
    # Frames 9 to 19 came in the last five seconds.
    assert summary["rate_hz"] == 2.2
    assert summary["p50_ms"] == 14.0
    assert summary["p95_ms"] == 18.5
    assert summary["answered"] == 20
    assert [(name, count) for name, _, count in summary["dropped"]] == [
        ("superseded", 2), ("bad image", 1)
    ]  # fmt: skip
    clock.now += 6
    later = state.update(0)["status"]
    assert "mode" not in later
    assert later["answered"] == 20


@pytest.mark.parametrize(
    "change",
    [lambda state: state.add_image("rgb", Image()), lambda state: state.add_status(status()),
     lambda state: state.set_classes(MFNET)],
)  # fmt: skip
def test_every_change_is_sent_at_once(change):
    state = ViewState()
    changes = state.update(0)["changes"]
    waiting = threading.Thread(target=state.wait, args=(changes, 60.0))
    waiting.start()
    change(state)
    waiting.join(20)
    assert not waiting.is_alive()


def test_memory_is_bounded_and_old_frames_leave_the_timeline():
    clock = Clock()
    state = ViewState(clock)
    for _ in range(20_000):
        clock.now += 0.001
        state.add_status(status())
    kept = len(state.update(0)["records"])
    assert 1000 < kept < 10_000
    assert len(state.update(19_990)["records"]) == 10
    clock.now += HISTORY_S + 1
    assert state.update(0)["records"] == []


def test_rgb_that_comes_is_not_said_to_be_silent():
    clock = Clock()
    state = ViewState(clock)
    state.set_feed("rgb", "/rgb/image", 1, True)
    message = Image()
    fill_message(message, optical_image(), "rgb8")
    state.add_image("rgb", message)
    state.add_status(FrameStatus("thermal", ANSWERED, "thermal_only", "optical_lost"))
    assert "stamps are far off" in state.update(0)["status"]["reason_words"]
    clock.now += 1
    assert state.update(0)["status"]["reason_words"] == "the RGB camera is silent"


def test_a_stopped_camera_is_told_from_one_that_never_came():
    clock = Clock()
    state = ViewState(clock)
    state.set_feed("rgb", "/rgb/image", 1, True)
    assert state.update(0)["images"]["rgb"]["message"] == "Waiting for /rgb/image"
    message = Image()
    fill_message(message, optical_image(), "rgb8")
    state.add_image("rgb", message)
    assert state.update(0)["images"]["rgb"] == {
        "topic": "/rgb/image", "sequence": 1, "stale": False, "message": ""
    }  # fmt: skip
    clock.now += 7
    image = state.update(0)["images"]["rgb"]
    assert image["stale"]
    assert image["message"].startswith("Nothing received on /rgb/image for 7 s (1 publisher)")
    assert "fastdds.xml" in image["message"]


def test_every_reason_is_put_into_words():
    assert set(REASONS) == {reason.value for kind in (Reason, DropReason) for reason in kind}
    assert all(len(words) > 10 for words in REASONS.values())
    assert {mode.value for mode in Mode} == {"fused", "thermal_only", "optical_only"}


@pytest.fixture
def server():
    state = ViewState()
    made = ViewServer(state, patience_s=1.0)
    made.start()
    yield made
    made.close()


def get(server: ViewServer, path: str, host: str | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    connection.request("GET", path, headers={"Host": host} if host else {})
    return connection.getresponse()


def test_names_that_are_not_this_host_are_refused(server):
    assert get(server, "/").status == 200
    assert get(server, "/", host="localhost:1234").status == 200
    assert get(server, "/", host="evil.example").status == 403
    assert get(server, "/rgb.jpg", host="evil.example").status == 403
    assert get(server, "/", host="[evil").status == 403


@pytest.mark.parametrize("path", ["/node.py", "/../setup.py", "/%2e%2e/setup.py", "/other.jpg"])
def test_only_the_page_and_its_images_are_served(server, path):
    assert get(server, path).status == 404


def test_an_image_that_has_not_come_is_not_found(server):
    assert get(server, "/overlay.jpg").status == 404


def big_image(seed: int) -> Image:
    message = Image()
    pixels = np.random.default_rng(seed).integers(0, 255, (480, 640, 3), np.uint8)
    fill_message(message, pixels, "rgb8")
    return message


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if "process_request" in t.name]


def test_a_browser_that_does_not_read_is_dropped_and_holds_nobody_up(server):
    server.state.add_image("overlay", big_image(0))
    address = urlsplit(server.url)
    slow = socket.create_connection((address.hostname, address.port))
    slow.sendall(b"GET /overlay.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
    wait_for(lambda: len(workers()) == 1)
    # Others are served, and messages are taken, while it is stuck.
    for seed in range(1, 4):
        server.state.add_image("overlay", big_image(seed))
        assert get(server, "/overlay.jpg").status == 200
    assert server.state.update(0)["images"]["overlay"]["sequence"] == 4
    wait_for(lambda: not workers())
    slow.close()


def test_too_many_connections_are_refused_and_leave_room_again(server):
    address = urlsplit(server.url)
    many = [socket.create_connection((address.hostname, address.port)) for _ in range(40)]
    # Silent connections end after the server's patience; then there is room.
    for one in many:
        one.settimeout(20)
        assert one.recv(100) == b""
        one.close()
    assert get(server, "/").status == 200


def test_an_address_of_another_host_cannot_be_bound():
    with pytest.raises(ConfigError, match="--bind"):
        ViewServer(ViewState(), "192.0.2.1", 0)
