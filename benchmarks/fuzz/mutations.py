"""Changes to files as a crash, a bad disk, a typing error or an attacker might make them."""

from __future__ import annotations

import copy
import json
import random
import struct
from typing import Any

import yaml

from csknet_core.weights.files import METADATA_KEY

_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 255, 256, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308,
    float("inf"), float("-inf"), float("nan"), "", "a", "thermal", "../../a", "\0", "é" * 300,
    [], {}, [[]], [0, 0], [1, 2, 3], [["a"]], {"a": 1}, {"": {}}, [None] * 50,
)  # fmt: skip
_WORDS = (
    "&a ", "*a", "!!python/name:os.system", "!!binary x", "!!set ", "<<: ", "? ", ": ", "- ", "[",
    "]", "{", "}", "---\n", "...\n", "\t", "\0", "\x07", "\ufeff", "2020-99-99", "0x", "0o8", "1_0",
    ".nan", ".inf", "~", "1e400", "'", '"', "|\n", ">\n", "%YAML 9.9\n", "\n", "  ", "#",
)  # fmt: skip


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes, cut the end off, or copy a stretch over another."""
    if not data:
        return rng.randbytes(rng.randint(1, 40))
    mutated = bytearray(data)
    size, how = len(mutated), rng.random()
    if how < 0.5:
        for _ in range(rng.randint(1, 30)):
            mutated[rng.randrange(size)] = rng.randrange(256)
    elif how < 0.7:
        del mutated[rng.randrange(size) :]
    elif how < 0.85:
        first, last = sorted(rng.randrange(size) for _ in range(2))
        other = rng.randrange(size)
        mutated[first:last] = mutated[other : other + last - first]
    else:
        # Lengths and offsets are at both ends of a file.
        for _ in range(rng.randint(1, 8)):
            near = rng.randrange(min(2000, size))
            mutated[rng.choice((near, size - 1 - near))] = rng.choice((0, 1, 127, 128, 255))
    return bytes(mutated)


def mutate_yaml(data: bytes, rng: random.Random) -> bytes:
    """Change a value, a key or the text of a YAML file."""
    if rng.random() < 0.3:
        text = data.decode("utf-8", "replace")
        for _ in range(rng.randint(1, 3)):
            at = rng.randint(0, len(text))
            text = text[:at] + rng.choice(_WORDS) + text[at + rng.choice((0, 0, 1, 5)) :]
        return text.encode("utf-8", "replace")
    try:
        tree = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError):
        return mutate_bytes(data, rng)
    return yaml.safe_dump(mutate_tree(tree, rng), allow_unicode=True).encode("utf-8", "replace")


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Change the header of a safetensors file, or the document of csknet in it."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        metadata = header["__metadata__"]
        document = json.loads(metadata[METADATA_KEY])
    except (struct.error, ValueError, KeyError, TypeError, RecursionError):
        return mutate_bytes(data, rng)
    how = rng.random()
    if how < 0.5:
        metadata[METADATA_KEY] = json.dumps(mutate_tree(document, rng))
    elif how < 0.6:
        header["__metadata__"] = mutate_tree(metadata, rng)
    elif how < 0.9:
        _mutate_tensor(header, rng)
    text = json.dumps(header).encode()
    length = len(text)
    if how >= 0.9:
        length = rng.choice((0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1))
    return struct.pack("<Q", length) + text + data[8 + struct.unpack("<Q", data[:8])[0] :]


def mutate_tree(tree: Any, rng: random.Random) -> Any:
    """Return plain data with one to three of its values or keys changed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            return rng.choice(_VALUES)
        holder, key = rng.choice(places)
        how = rng.random()
        if how < 0.15:
            del holder[key]
        elif how < 0.25 and isinstance(holder, dict):
            # Keys of other types, and names that are unknown.
            holder[rng.choice(("x", "", 1, None, 2.5, True, f"{key}x"))] = holder.pop(key)
        elif how < 0.35:
            other, name = rng.choice(places)
            holder[key] = copy.deepcopy(other.get(name)) if isinstance(other, dict) else key
        elif how < 0.4:
            holder[key] = [holder[key]] * rng.choice((0, 1, 2, 300))
        else:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
    return tree


def _places(tree: Any) -> Any:
    """Yield (mapping or list, key or index) of everything in a tree."""
    if isinstance(tree, dict | list):
        entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in entries:
            yield tree, key
            yield from _places(value)


def _mutate_tensor(header: dict[str, Any], rng: random.Random) -> None:
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return
    name = rng.choice(names)
    entry, how = header[name], rng.randrange(6)
    begin, end = entry["data_offsets"]
    if how == 0:
        entry["dtype"] = rng.choice(("F64", "I8", "BOOL", "F8_E4M3", "BF16", "F32", "x", 7, None))
    elif how == 1:
        entry["shape"] = rng.choice(([], [0], [-1], [2**32, 2**32], [2**63], [1.5], "x", None))
    elif how == 2:
        changed: tuple[Any, ...] = (
            [end, begin],
            [begin, end + 1],
            [0, 2**63],
            [begin + 1, end + 1],
            [-1, 0],
            [],
            3,
        )
        entry["data_offsets"] = rng.choice(changed)
    elif how == 3:
        del header[name]
    elif how == 4:
        header[rng.choice(("", "a" * 5000, "__metadata__", "\0"))] = header.pop(name)
    else:
        header[name] = mutate_tree(entry, rng)
