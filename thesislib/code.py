"""Hashes of code: what a result depends on, without prose and without the rest of the library."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# What is imported everywhere and yet makes no prediction. Parameters are values, which a record
# holds in full and which are compared one by one: if their module counted as code, a field added
# for one chapter would make every other chapter stale. Records write down what others made, and
# with them every metric would count as training. This module only tells whether code is the same.
NOT_CODE = ("config.py", "code.py", "records/")


@cache
def imported_modules(path: Path) -> frozenset[Path]:
    """Files of thesislib that a file of thesislib names in its import statements."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name == "thesislib" or name.startswith("thesislib."):
                target = PACKAGE.joinpath(*name.split(".")[1:])
                found |= {
                    candidate
                    for candidate in (target.with_suffix(".py"), target / "__init__.py")
                    if candidate.is_file()
                }
    return frozenset(found)


def import_closure(modules: Iterable[str]) -> list[Path]:
    """Files that the named modules of thesislib import, directly or not, and their own.

    Parameters and records are left out (`NOT_CODE`).

    >>> [path.name for path in import_closure(["thesislib.errors"])]
    ['errors.py']
    """
    waiting = [PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py") for name in modules]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in seen and not path.relative_to(PACKAGE).as_posix().startswith(NOT_CODE):
            seen.add(path)
            waiting.extend(imported_modules(path))
    return sorted(seen)


def code_sha256(modules: Iterable[str], cells: Iterable[str] = ()) -> str:
    """Hash of the code that the modules import, and of the code cells given; not of prose.

    Comments and layout do not count: the hash is taken over syntax trees, with docstrings left
    in.
    """
    digest = hashlib.sha256()
    for path in import_closure(modules):
        digest.update(str(path.relative_to(PACKAGE)).encode())
        digest.update(_canonical_source(path.read_text(encoding="utf-8")).encode())
    for cell in cells:
        digest.update(_canonical_source(cell).encode())
    return digest.hexdigest()


def same_code(first: str, second: str) -> bool:
    """Whether two sources count as the same code: they differ in comments and layout only.

    >>> same_code("x = 1  # one", "x=1"), same_code("x = 1", "x = 2")
    (True, False)
    """
    return _canonical_source(first) == _canonical_source(second)


@cache  # a run that writes fourteen records would parse the same files as often
def _canonical_source(source: str) -> str:
    return _canonical(ast.parse(source))


def _canonical(node: object) -> str:
    """A syntax tree as text, the same for every version of Python: empty fields are left out."""
    if isinstance(node, ast.AST):
        parts = [
            f"{name}={_canonical(value)}"
            for name, value in ast.iter_fields(node)
            if value is not None and value != []
        ]
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(_canonical(entry) for entry in node)}]"
    return repr(node)
