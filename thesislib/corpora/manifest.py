"""Manifests: one Croissant JSON-LD file a corpus, which says what it is and how it may be used.

The files are valid Croissant (mlcroissant checks each in the tests); here they are read as plain
JSON, because a page or a loader needs a few fields and not a graph of triples.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from thesislib import files
from thesislib.errors import InputError

TWIN_SUFFIX = "-twin"


@dataclass(frozen=True)
class Manifest:
    """One manifest.

    Attributes:
        path: The JSON-LD file.
        document: Its parsed content.
    """

    path: Path
    document: dict[str, Any]

    @property
    def name(self) -> str:
        """Short name, as commands take it."""
        return str(self.document["name"])

    @cached_property
    def sha256(self) -> str:
        """Hash of the file's bytes, which every run record quotes."""
        return files.sha256_file(self.path)

    def about(self, key: str) -> Any:  # noqa: ANN401 - whatever JSON holds there
        """A property of this project's own vocabulary, such as ``accessRoute``.

        Raises:
            InputError: the manifest does not say it.
        """
        try:
            return self.document[f"thesis:{key}"]
        except KeyError:
            raise InputError(self.path, f"says nothing about {key}", f"add thesis:{key}") from None

    def records(self, name: str) -> list[dict[str, Any]]:
        """Rows of an inline record set, with bare field names.

        Raises:
            InputError: there is no such record set.
        """
        for record_set in self.document.get("recordSet", []):
            if record_set["name"] == name:
                return [
                    {key.removeprefix(f"{name}/"): value for key, value in row.items()}
                    for row in record_set["data"]
                ]
        raise InputError(self.path, f"has no record set {name!r}", "add it to the manifest")


def manifests_root() -> Path:
    """Folder of the manifests."""
    return files.project_root() / "data_manifests"


def load_manifest(name: str) -> Manifest:
    """The manifest of a corpus or a set of weights; a twin shares that of its corpus.

    Raises:
        InputError: no manifest has this name, or the file is not JSON.

    >>> load_manifest("emodb-twin").name
    'emodb'
    """
    path = manifests_root() / f"{name.removesuffix(TWIN_SUFFIX)}.json"
    try:
        return Manifest(path, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in manifests_root().glob("*.json")))
        raise InputError(name, "has no manifest", f"choose one of: {known}") from None
    except json.JSONDecodeError as error:
        raise InputError(
            path, error.msg, "restore the file", where=f"line {error.lineno}"
        ) from error


def list_manifests(kind: str) -> list[Manifest]:
    """All manifests of a kind, ``corpus`` or ``weights``, in order of name."""
    found = [load_manifest(path.stem) for path in sorted(manifests_root().glob("*.json"))]
    return [manifest for manifest in found if manifest.about("kind") == kind]
