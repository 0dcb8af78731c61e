"""Weights files: find one by name, read what it says of itself. Imports no torch.

A weights file is a safetensors file whose metadata holds one JSON document under the key
`csknet`: network settings, class table, softmax temperature per mode and the card. Reading one
never runs code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from csknet_core.classes import ClassTable
from csknet_core.errors import ConfigError, WeightsError
from csknet_core.modality import Mode

FORMAT = 1
METADATA_KEY = "csknet"
DEFAULT_WEIGHTS = "csknet-lite0"
SHIPPED = Path(__file__).parent
MAX_BYTES = 1 << 30
MAX_METADATA_BYTES = 1 << 20
MAX_TENSORS = 10_000
_DTYPES = frozenset({"F16", "F32", "BF16"})
_CURE = "use a .safetensors file written by 'csknet train' or one that comes with csknet"


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights file says of itself.

    Attributes:
        path: the file.
        model: network settings, as `ModelConfig.to_dict` gives them.
        classes: the classes of the label maps.
        temperature: for each mode, what logits are divided by before the softmax so that
            confidences are calibrated probabilities.
        card: where the weights come from: data, recipe, measured scores.
    """

    path: Path
    model: dict[str, Any]
    classes: ClassTable
    temperature: dict[Mode, float] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata that `read_info` reads."""
        document = {
            "format": FORMAT,
            "model": self.model,
            "classes": self.classes.to_dict(),
            "temperature": {mode.value: value for mode, value in self.temperature.items()},
            "card": self.card,
        }
        return {METADATA_KEY: json.dumps(document)}


def shipped_weights() -> list[str]:
    """Return the names of the weights that come with csknet."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def find_weights(name_or_path: str | Path = "") -> Path:
    """Return the path of a weights file.

    Args:
        name_or_path: a file, the name of shipped weights, or "" for the default ones.

    Raises:
        WeightsError: there is no such file, or it is not a .safetensors file.
    """
    name = str(name_or_path) or DEFAULT_WEIGHTS
    shipped = SHIPPED / f"{name}.safetensors"
    if "/" not in name and shipped.is_file():
        return shipped
    path = Path(name).expanduser()
    if path.suffix != ".safetensors":
        known = ", ".join(shipped_weights()) or "none"
        raise WeightsError(
            f"weights '{name}': neither a shipped name ({known}) nor a file; {_CURE}"
        )
    if not path.is_file():
        raise WeightsError(f"weights {path}: no such file; {_CURE}")
    return path


def read_info(path: Path) -> WeightsInfo:
    """Read what a weights file says of itself, without its tensors.

    Raises:
        WeightsError: not a safetensors file, damaged, beyond the limits, other than its recorded
            SHA-256, or not written by csknet.
    """
    check_file(path)
    metadata = _read_metadata(path)
    try:
        document = json.loads(metadata[METADATA_KEY])
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, this version reads {FORMAT}")
        temperature = {mode: float(document["temperature"].get(mode.value, 1.0)) for mode in Mode}
        if not all(0.01 <= value <= 100 for value in temperature.values()):
            raise ValueError("a temperature outside 0.01..100")
        classes = ClassTable.from_dict(document["classes"], str(path))
        model = dict(document["model"])
        if model.get("num_classes") != len(classes):
            raise ValueError("the network and the class table differ in their number of classes")
        return WeightsInfo(path, model, classes, temperature, dict(document["card"]))
    except (
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
        AttributeError,
        ConfigError,
    ) as error:
        raise WeightsError(f"weights {path}: not written by csknet ({error}); {_CURE}") from error


def _read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file whose header is within the limits."""
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if len(names) > MAX_TENSORS:
                raise WeightsError(f"weights {path}: more than {MAX_TENSORS} tensors; {_CURE}")
            for name in names:
                dtype = file.get_slice(name).get_dtype()
                if dtype not in _DTYPES:
                    raise WeightsError(f"weights {path}: tensor '{name}' is {dtype}; {_CURE}")
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"weights {path}: damaged or not safetensors ({error}); {_CURE}"
        ) from error
    if len(metadata.get(METADATA_KEY, "")) > MAX_METADATA_BYTES:
        raise WeightsError(f"weights {path}: metadata beyond {MAX_METADATA_BYTES} bytes; {_CURE}")
    return metadata


def check_file(path: Path) -> None:
    """Check the size of a weights file, and its SHA-256 if one is recorded.

    The record is `NAME.safetensors.sha256` beside the file, as `sha256sum` writes it.

    Raises:
        WeightsError: the file is too large or not the one that was recorded, or either cannot be
            read.
    """
    record = path.with_name(f"{path.name}.sha256")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(f"weights {path}: larger than {MAX_BYTES} bytes; {_CURE}")
        if not record.is_file():
            return
        with record.open(encoding="ascii") as file:
            words = file.read(4096).split()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"weights {path} or {record.name}: cannot be read ({error}); {_CURE}"
        ) from error
    if not words or words[0].lower() != file_digest(path):
        raise WeightsError(
            f"weights {path}: not the file whose SHA-256 is in {record.name}; fetch it again, or "
            "record the new file with sha256sum"
        )


def check_class_table(info: WeightsInfo, wanted: ClassTable) -> None:
    """Check that weights answer in the classes the user asked for.

    Raises:
        WeightsError: names or their order differ; the message shows both.
    """
    if info.classes.names != wanted.names:
        raise WeightsError(
            f"weights {info.path} answer in the classes {', '.join(info.classes.names)}; the class "
            f"table '{wanted.name}' has {', '.join(wanted.names)}; use the table of the weights "
            "(leave the class table empty) or train weights for yours"
        )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
