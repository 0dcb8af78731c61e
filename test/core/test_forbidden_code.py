"""No shipped file runs foreign code or opens the network; read from the syntax tree."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SHIPPED = ("csknet_core", "csknet_ros", "launch", "benchmarks", "scripts", "setup.py")
UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
NETWORK = {
    "socket", "ssl", "http", "urllib", "ftplib", "smtplib", "poplib", "imaplib", "telnetlib",
    "socketserver", "xmlrpc", "asyncio", "requests", "httpx", "aiohttp", "websocket", "websockets",
    "huggingface_hub", "wandb", "distributed", "dask", "torch.distributed",
}  # fmt: skip
# The page for people, distributed training, replay on a cluster; see SECURITY.md.
MAY_CONNECT = {
    "csknet_core/training/distributed.py",
    "csknet_ros/replay/workers.py",
    "csknet_ros/view/server.py",
}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.load_all",
    "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all",
    "subprocess.getoutput", "subprocess.getstatusoutput", "torch.hub.load",
    "torch.hub.load_state_dict_from_url",
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def full_names(tree: ast.Module) -> dict[str, str]:
    """What the names bound by imports stand for, so that an alias hides nothing."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def imported(tree: ast.Module) -> set[str]:
    """Every module imported anywhere in a file, and the packages it is in."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in found]
    return {".".join(part[:count]) for part in parts for count in range(1, len(part) + 1)}


def keyword(call: ast.Call, name: str) -> object:
    for argument in call.keywords:
        if argument.arg == name:
            value = argument.value
            return value.value if isinstance(value, ast.Constant) else "unknown"
    return None


def offences(source: str) -> list[str]:
    """What a source file does that shipped code must not do."""
    tree = ast.parse(source)
    names = full_names(tree)
    found = [f"imports {name}" for name in sorted(imported(tree) & UNPICKLING)]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        head, dot, rest = dotted(call.func).partition(".")
        name = names.get(head, head) + dot + rest
        if name in FORBIDDEN_CALLS:
            found.append(f"calls {name}")
        loads = name in ("torch.load", "torch.serialization.load")
        if loads and keyword(call, "weights_only") is not True:
            found.append("calls torch.load without weights_only=True")
        if keyword(call, "shell") not in (None, False):
            found.append(f"calls {name} with a shell")
        if keyword(call, "allow_pickle") not in (None, False):
            found.append(f"calls {name} with pickles allowed")
    return found


def shipped(repository: Path) -> list[Path]:
    files = []
    for place in SHIPPED:
        path = repository / place
        files += [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert len(files) > 80
    return files


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "def f():\n    from urllib.request import urlopen",
        "import torch.distributed",
    ],
)
def test_the_check_sees_network_modules_wherever_they_are_imported(source):
    assert imported(ast.parse(source)) & NETWORK


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('a.pth')",
        "import torch as t\nt.load('a.pth', weights_only=False)",
        "from torch import load as fetch\nfetch('a.pth')",
        "eval('1')",
        "exec('1')",
        "import os\nos.system('ls')",
        "from os import system\nsystem('ls')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess as s\ns.Popen('ls', shell=flag)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "from yaml import unsafe_load\nunsafe_load(text)",
        "import numpy as np\nnp.load('a.npy', allow_pickle=True)",
    ],
)
def test_the_check_sees_every_way_to_run_foreign_code(source):
    assert len(offences(source)) == 1


def test_the_check_lets_harmless_code_pass():
    assert not offences(
        "import re, subprocess, torch, yaml\nre.compile('a')\nnetwork.eval()\n"
        "torch.load('a', weights_only=True)\nyaml.safe_load(text)\nsubprocess.run(['ls'])"
    )


def test_no_shipped_file_can_run_foreign_code(repository):
    found = {
        str(path.relative_to(repository)): offences(path.read_text(encoding="utf-8"))
        for path in shipped(repository)
    }
    assert {path: what for path, what in found.items() if what} == {}


def test_only_the_tools_that_say_so_import_network_modules(repository):
    users = {
        str(path.relative_to(repository))
        for path in shipped(repository)
        if not path.is_relative_to(repository / "benchmarks")
        and imported(ast.parse(path.read_text(encoding="utf-8"))) & NETWORK
    }
    assert users == MAY_CONNECT


OFFLINE = """
import sys, numpy as np

def refuse(event, arguments):
    if event.startswith("socket.") or event == "urllib.Request":
        raise RuntimeError(f"network used: {event}")

sys.addaudithook(refuse)
if "provoke" in sys.argv:
    import socket
    socket.socket()
from csknet_core.runtime.segmenter import Segmenter, SegmenterSettings

segmenter = Segmenter.load(SegmenterSettings(device=sys.argv[1], size=(64, 64), threads=1))
image = np.random.default_rng(0).integers(60, 200, (64, 64, 3), np.uint8)
assert segmenter.segment(image, image[..., 0]).labels.shape == (64, 64)
segmenter.close()
"""


@pytest.mark.parametrize(
    ("arguments", "code"), [(["torch-cpu"], 0), (["onnx-cpu"], 0), (["torch-cpu", "provoke"], 1)]
)
def test_the_segmenter_runs_with_the_network_refused(arguments, code):
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert ("network used" in done.stderr) == bool(code)
