"""Serve the live page: `ros2 run csknet_ros view`, or `python -m csknet_ros.view`."""

from __future__ import annotations

import argparse
import os
import sys

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.utilities import remove_ros_args

from csknet_core.errors import CsknetError
from csknet_ros.fastdds import profile_environment
from csknet_ros.tools.files import config_folder
from csknet_ros.tools.interrupts import start_ros
from csknet_ros.view.node import ViewNode
from csknet_ros.view.server import ViewServer, is_local
from csknet_ros.view.state import ViewState


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="view", description=__doc__)
    parser.add_argument("--port", type=int, default=8420, help="0 takes a free one")
    parser.add_argument("--node", default="csknet", help="name of the segmentation node")
    parser.add_argument(
        "--transport", choices=("auto", "raw", "compressed"), default="auto",
        help="of the camera topics; auto takes what is published, raw first",
    )  # fmt: skip
    parser.add_argument("--bind", default="127.0.0.1", help="address to serve on")
    parser.add_argument(
        "--allow-remote", action="store_true",
        help="let --bind open the page, the cameras' images included, to other machines",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error("--port must be 0 to 65535")
    if not is_local(options.bind) and not options.allow_remote:
        parser.error(
            f"--bind {options.bind} shows the cameras to everybody on the network, without a "
            "password; add --allow-remote if that is meant"
        )
    return options


def use_profile() -> None:
    """Let Fast DDS take large images, unless a profile is chosen already."""
    os.environ.update(profile_environment(str(config_folder() / "fastdds.xml")))


def serve(options: argparse.Namespace) -> None:
    """Serve until interrupted.

    Raises:
        CsknetError: the address or port cannot be bound.
        KeyboardInterrupt: in the end.
    """
    state = ViewState()
    server = ViewServer(state, options.bind, options.port)
    server.start()
    try:
        node = ViewNode(state, options.node, options.transport)
        if not is_local(options.bind):
            node.get_logger().warning(
                f"everybody who can reach {server.url} sees the cameras; there is no password"
            )
        node.get_logger().info(f"open {server.url}")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while True:
            executor.spin_once(timeout_sec=0.2)
    finally:
        server.close()


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code."""
    arguments = sys.argv if arguments is None else arguments
    options = parse_arguments(remove_ros_args(arguments)[1:])
    use_profile()
    start_ros(arguments)
    try:
        serve(options)
    except CsknetError as error:
        print(f"view: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
