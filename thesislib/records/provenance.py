"""Which commit and machine made a number, and which cells of a notebook took part."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

import torch

from thesislib import files


def commit() -> str:
    """The checked-out commit, with ``-dirty`` where tracked files differ; empty without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"],
            cwd=files.project_root(),
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return described.stdout.strip()


def environment() -> dict[str, str | int]:
    """Versions, processor and thread count, as a run record keeps them."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": _processor(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def notebook_cells(chapter: str, tag: str) -> list[str]:
    """Source of the code cells of a chapter's notebook that carry a tag; none without it."""
    cells: list[str] = []
    for path in sorted((files.project_root() / "notebooks").glob(f"{chapter}_*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code" and tag in cell["metadata"].get("tags", []):
                cells.append("".join(cell["source"]))
    return cells
