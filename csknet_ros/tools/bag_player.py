"""Plays a bag into a live graph, with rosbags; needs no rosbag2."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock

from csknet_core.errors import DataError
from csknet_ros.replay.storage import OpenBag
from csknet_ros.stamps import fill
from csknet_ros.tools.bag_topics import absent, awaited, played
from csknet_ros.tools.interrupts import start_ros
from csknet_ros.tools.recorded_qos import recorded_qos

# A subscriber may learn of its publisher a little later than the other way round.
_SETTLE_S = 0.3


@dataclass(frozen=True)
class Selection:
    """What of a bag is played.

    Attributes:
        topics: these and no others; none leaves out what the graph says itself.
        node: name of the segmentation node, whose recorded outputs are left out.
        wait_for: topics that must be listened to first; none takes the cameras and the truth.
    """

    topics: tuple[str, ...] = ()
    node: str = "csknet"
    wait_for: tuple[str, ...] = ()


class BagPlayer(Node):
    """Publishes a bag's messages on their topics, at the pace they were recorded.

    ROS remapping renames topics: `--ros-args --remap /camera/thermal:=/thermal/image`.

    Args:
        clock: whether to publish /clock in bag time.
        selection: what is played.
    """

    def __init__(self, clock: bool, selection: Selection) -> None:
        super().__init__("bag_player")
        self._selection = selection
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10) if clock else None
        self._playing: dict[int, tuple[Any, Any]] = {}

    def play(self, bag: Path, rate: float, wait_s: float) -> int:
        """Play once; returns how many messages went out.

        Args:
            bag: rosbag2 folder or MCAP file.
            rate: times recorded speed.
            wait_s: longest wait for subscribers, the first time.

        Raises:
            DataError: the bag is missing or damaged, or has no topic of a name that is wanted.
        """
        with OpenBag(bag) as opened:
            if not self._playing:
                self._advertise(opened)
                self._wait_for_subscribers(opened, wait_s)
            return self._publish_all(opened, rate)

    def _advertise(self, bag: OpenBag) -> None:
        """Create the publishers of a bag.

        Raises:
            DataError: there are none.
        """
        chosen, clock = self._selection, self._clock_publisher is not None
        wanted = played(bag.path, bag.connections, chosen.topics, chosen.node, clock)
        left = sorted({c.topic for c in bag.connections} - {c.topic for c in wanted})
        if left:
            self.get_logger().info(f"not played: {', '.join(left)}")
        for connection in wanted:
            try:
                kind = message_class(connection.msgtype)
                publisher = self.create_publisher(kind, connection.topic, recorded_qos(connection))
            except (AttributeError, ImportError, ValueError) as error:
                self.get_logger().warning(f"{connection.topic} left out: {error}")
                continue
            self._playing[connection.id] = (publisher, kind)
        if not self._playing:
            raise DataError(f"bag {bag.path}: nothing in it can be played")

    def _wait_for_subscribers(self, bag: OpenBag, longest_s: float) -> None:
        """Wait until the topics that matter are listened to, so that no first images are lost."""
        end = time.monotonic() + longest_s
        here = [c for c in bag.connections if c.id in self._playing]
        named = self._selection.wait_for
        missing = absent(here, named)
        if missing:
            self.get_logger().warning(f"the bag has no topic {', '.join(missing)}")
        topics = awaited(bag.path, here, named)
        publishers = [self._playing[c.id][0] for c in here if c.topic in topics]
        while time.monotonic() < end:
            if all(publisher.get_subscription_count() for publisher in publishers):
                time.sleep(_SETTLE_S)
                return
            time.sleep(0.05)
        unheard = [one.topic_name for one in publishers if not one.get_subscription_count()]
        self.get_logger().warning(f"nobody listens to {', '.join(unheard)}")

    def _publish_all(self, bag: OpenBag, rate: float) -> int:
        start = time.monotonic()
        count = 0
        connections = [c for c in bag.connections if c.id in self._playing]
        self.get_logger().info(f"playing {sum(c.msgcount for c in connections)} messages")
        if not connections:
            return 0
        for connection, time_ns, raw in bag.messages(connections):
            due = start + (time_ns - bag.start_ns) * 1e-9 / rate
            time.sleep(max(0.0, due - time.monotonic()))
            if self._clock_publisher is not None:
                now = Clock()
                fill(now.clock, time_ns)
                self._clock_publisher.publish(now)
            publisher, kind = self._playing[connection.id]
            try:
                publisher.publish(deserialize_message(raw, kind))
            except Exception as error:  # rclpy and the middleware raise their own types
                self.get_logger().warning(f"{connection.topic}: message left out: {error}")
                continue
            count += 1
        return count


def message_class(name: str) -> Any:
    """Return the class of a message type such as `sensor_msgs/msg/Image`.

    Raises:
        ImportError, AttributeError: the type is not installed.
    """
    package, _, leaf = name.partition("/msg/")
    # The name comes out of the bag: importing it could run any package there is.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    places = spec.submodule_search_locations if spec is not None else None
    if not any((Path(place) / "msg" / "__init__.py").is_file() for place in places or ()):
        raise ImportError(f"message type {name} is not installed")
    return getattr(importlib.import_module(f"{package}.msg"), leaf)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="bag_player", description=__doc__)
    parser.add_argument("bag", type=Path, help="rosbag2 folder (sqlite3 or MCAP) or .mcap file")
    parser.add_argument("--rate", type=float, default=1.0, help="times recorded speed")
    parser.add_argument("--loop", action="store_true", help="start over at the end")
    parser.add_argument("--wait", type=float, default=1.0, help="longest wait for subscribers, s")
    parser.add_argument("--clock", action="store_true", help="publish /clock in bag time")
    parser.add_argument(
        "--topics", nargs="+", default=(), help="play these and no others; else all but the "
        "segmentation node's outputs, /diagnostics, /rosout and /parameter_events",
    )  # fmt: skip
    parser.add_argument("--node", default="csknet", help="name of the segmentation node")
    parser.add_argument(
        "--wait-for", nargs="+", default=(), help="topics whose subscribers are waited for; else "
        "the cameras and the truth",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.rate <= 0:
        parser.error("--rate must be positive")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Play a bag; returns the exit code."""
    arguments = sys.argv if arguments is None else arguments
    options = parse_arguments(remove_ros_args(arguments)[1:])
    start_ros(arguments)
    selection = Selection(tuple(options.topics), options.node, tuple(options.wait_for))
    player = BagPlayer(options.clock, selection)
    try:
        while True:
            count = player.play(options.bag, options.rate, options.wait)
            player.get_logger().info(f"played {count} messages of {options.bag}")
            if not options.loop:
                time.sleep(0.5)  # let the last messages leave before the publishers go
                return 0
    except DataError as error:
        player.get_logger().error(str(error))
        return 2
    except KeyboardInterrupt:
        return 0
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
