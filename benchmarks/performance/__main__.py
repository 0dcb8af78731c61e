"""Write the tables of docs/performance.md: `python -m benchmarks.performance --bench bench.json`.

Every table stands between `<!-- NAME -->` and `<!-- end NAME -->`. A table whose file is not given
stays as it is; that of the goals needs `--bench` and `--node`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import tables
from benchmarks.performance.goals import goals_table

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
console = Console()

File = Annotated[Path | None, typer.Option(exists=True, dir_okay=False)]


def fill_in(document: str, filled: dict[str, str]) -> str:
    """Return the document with these tables between their marks.

    Raises:
        ValueError: a mark is missing.
    """
    for name, table in filled.items():
        marks = f"<!-- {name} -->", f"<!-- end {name} -->"
        pattern = f"{re.escape(marks[0])}.*?{re.escape(marks[1])}"
        whole = f"{marks[0]}\n{table}\n{marks[1]}".replace("\\", r"\\")
        document, found = re.subn(pattern, whole, document, flags=re.DOTALL)
        if found != 1:
            raise ValueError(
                f"the document needs '{marks[0]}' and '{marks[1]}' once, in this order"
            )
    return document


def main(
    bench: File = None,
    forms: File = None,
    node: File = None,
    synchronizer: File = None,
    gpu_bench: File = None,
    gpu_node: File = None,
    document: Annotated[Path, typer.Option(help="The file to write tables into.")] = DOCUMENT,
) -> None:
    """Write the tables of the files given."""
    files = {
        "bench": bench, "forms": forms, "node": node, "synchronizer": synchronizer,
        "gpu bench": gpu_bench, "gpu node": gpu_node,
    }  # fmt: skip
    data = {name: _read(path) for name, path in files.items() if path}
    filled = {name: tables.show(found) for name, found in data.items()}
    if "bench" in data and "node" in data:
        filled["goals"] = goals_table(data["bench"], data["node"])
    document.write_text(fill_in(document.read_text(encoding="utf-8"), filled), encoding="utf-8")
    console.print(f"{document}: {', '.join(filled) or 'nothing to write'}")


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    typer.run(main)
