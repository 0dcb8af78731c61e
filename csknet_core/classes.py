"""Class tables: the names, ids and colours of the classes a label map can hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from csknet_core.errors import ConfigError
from csknet_core.yaml_file import read_yaml

IGNORE_ID = 255
"""Class id of pixels that carry no ground truth (and no answer)."""

Color = tuple[int, int, int]


@dataclass(frozen=True)
class SemanticClass:
    """One class: `name`, the `color` (RGB, 0-255) it is drawn in."""

    name: str
    color: Color


@dataclass(frozen=True)
class ClassTable:
    """An ordered list of classes; a class's id is its place in the list.

    Raises:
        ConfigError: fewer than 2 or more than 255 classes, a name used twice, or a
            colour that is not three integers in 0..255.
    """

    name: str
    classes: tuple[SemanticClass, ...]
    ignore_id: int = field(default=IGNORE_ID, init=False)

    def __post_init__(self) -> None:
        if not 2 <= len(self.classes) <= IGNORE_ID:
            raise ConfigError(
                f"class table '{self.name}': {len(self.classes)} classes; give 2 to {IGNORE_ID}"
            )
        seen: set[str] = set()
        for semantic_class in self.classes:
            if not semantic_class.name or semantic_class.name in seen:
                raise ConfigError(
                    f"class table '{self.name}': class name '{semantic_class.name}' is empty or "
                    "used twice; give every class its own name"
                )
            seen.add(semantic_class.name)
            color = semantic_class.color
            if len(color) != 3 or any(
                type(channel) is not int or not 0 <= channel <= 255 for channel in color
            ):
                raise ConfigError(
                    f"class table '{self.name}': colour {color!r} of '{semantic_class.name}' is "
                    "not three integers (R, G, B) in 0..255"
                )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of their ids."""
        return tuple(semantic_class.name for semantic_class in self.classes)

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """Look-up table from label id to RGB, shape (256, 3), uint8; unused ids are black."""
        table = np.zeros((256, 3), np.uint8)
        for class_id, semantic_class in enumerate(self.classes):
            table[class_id] = semantic_class.color
        return table

    def id_of(self, name: str) -> int:
        """Return the id of the class called `name`.

        Raises:
            ConfigError: there is no such class.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise ConfigError(
                f"class table '{self.name}' has no class '{name}'; it has {', '.join(self.names)}"
            ) from None

    def to_dict(self) -> dict[str, object]:
        """Return the table as plain data, the inverse of `from_dict`."""
        return {
            "name": self.name,
            "classes": [{"name": c.name, "color": list(c.color)} for c in self.classes],
        }

    @classmethod
    def from_dict(cls, data: object, source: str = "class table") -> ClassTable:
        """Build a table from plain data, as `to_dict` gives it.

        Args:
            data: `{"name": str, "classes": [{"name": str, "color": [r, g, b]}, ...]}`.
            source: what to call the data in an error message, such as its file.

        Raises:
            ConfigError: the data has another form.
        """
        try:
            if not isinstance(data, dict):
                raise TypeError("it is not a mapping")
            classes = tuple(_class_from_dict(entry) for entry in data["classes"])
            return cls(str(data["name"]), classes)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{source}: not a class table ({error}); it needs 'name' and 'classes', a list of "
                "{name: ..., color: [r, g, b]}"
            ) from error
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error

    @classmethod
    def from_yaml(cls, path: str | Path) -> ClassTable:
        """Read a table from a YAML file of the form described at `from_dict`.

        Raises:
            ConfigError: the file cannot be read or has another form.
        """
        try:
            data = read_yaml(path)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"class table {path}: cannot be read ({error})") from error
        return cls.from_dict(data, str(path))

    @classmethod
    def load(cls, name_or_path: str) -> ClassTable:
        """Return a built-in table by name, or read one from a `.yaml` file.

        Raises:
            ConfigError: neither a built-in name nor a readable YAML table.
        """
        if name_or_path in BUILTIN_TABLES:
            return BUILTIN_TABLES[name_or_path]
        if name_or_path.endswith((".yaml", ".yml")):
            return cls.from_yaml(name_or_path)
        raise ConfigError(
            f"class table '{name_or_path}' is unknown; use one of {', '.join(BUILTIN_TABLES)} or "
            "the path of a .yaml file"
        )


def _class_from_dict(entry: dict[str, object]) -> SemanticClass:
    color = entry["color"]
    if not isinstance(color, list) or len(color) != 3:
        raise ValueError(f"colour {color!r} is not [r, g, b]")
    return SemanticClass(str(entry["name"]), (color[0], color[1], color[2]))


def _table(name: str, rows: Iterable[tuple[str, Color]]) -> ClassTable:
    return ClassTable(name, tuple(SemanticClass(*row) for row in rows))


MFNET = _table(
    "mfnet",
    [
        ("background", (0, 0, 0)),
        ("car", (66, 133, 244)),
        ("person", (234, 51, 35)),
        ("bike", (251, 188, 5)),
        ("curve", (170, 70, 230)),
        ("car_stop", (0, 200, 170)),
        ("guardrail", (165, 110, 60)),
        ("color_cone", (255, 120, 0)),
        ("bump", (150, 220, 50)),
    ],
)
"""MFNet (Ha et al., IROS 2017) and MSRS; 'background' is everything unlabelled, road included.

The colours are ours: several of the data set's own are nearly black or hard to tell apart.
"""

FMB = _table(
    "fmb",
    [
        ("background", (0, 0, 0)),
        ("road", (179, 228, 228)),
        ("sidewalk", (181, 57, 133)),
        ("building", (67, 162, 177)),
        ("traffic_light", (200, 178, 50)),
        ("traffic_sign", (132, 45, 199)),
        ("vegetation", (66, 172, 84)),
        ("sky", (179, 73, 79)),
        ("person", (76, 99, 166)),
        ("car", (66, 121, 253)),
        ("truck", (137, 165, 91)),
        ("bus", (155, 97, 152)),
        ("motorcycle", (105, 153, 140)),
        ("bicycle", (222, 215, 158)),
        ("pole", (135, 113, 90)),
    ],
)
"""FMB (Liu et al., ICCV 2023): 14 classes and background."""

PST900 = _table(
    "pst900",
    [
        ("background", (0, 0, 0)),
        ("fire_extinguisher", (0, 0, 255)),
        ("backpack", (0, 255, 0)),
        ("hand_drill", (255, 0, 0)),
        ("survivor", (255, 255, 255)),
    ],
)
"""PST900 (Shivakumar et al., ICRA 2020): subterranean search and rescue."""

MVSS = _table(
    "mvss",
    [
        ("background", (0, 0, 0)),
        ("car", (0, 0, 142)),
        ("bus", (0, 60, 100)),
        ("motorcycle", (0, 0, 230)),
        ("bicycle", (119, 11, 32)),
        ("pedestrian", (255, 0, 0)),
        ("motorcyclist", (0, 139, 139)),
        ("bicyclist", (255, 165, 150)),
        ("cart", (192, 64, 0)),
        ("bench", (211, 211, 211)),
        ("umbrella", (100, 33, 128)),
        ("box", (117, 79, 86)),
        ("pole", (153, 153, 153)),
        ("street_lamp", (190, 122, 222)),
        ("traffic_light", (250, 170, 30)),
        ("traffic_sign", (220, 220, 0)),
        ("car_stop", (222, 142, 35)),
        ("color_cone", (205, 155, 155)),
        ("sky", (70, 130, 180)),
        ("road", (128, 64, 128)),
        ("sidewalk", (244, 35, 232)),
        ("curb", (0, 0, 70)),
        ("vegetation", (107, 142, 35)),
        ("terrain", (152, 251, 152)),
        ("building", (70, 70, 70)),
        ("ground", (110, 80, 100)),
    ],
)
"""MVSeg, the data set of MVSS (Ji et al., CVPR 2023): 25 classes and background."""

BUILTIN_TABLES: dict[str, ClassTable] = {t.name: t for t in (MFNET, FMB, PST900, MVSS)}
