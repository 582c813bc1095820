"""Acceptances: who agreed to the terms of a licensed corpus, to which terms, and when.

Loading licensed media needs one (`require_acceptance`). A manifest asks for it, by
``thesis:acceptanceNeeded``, unless the owner attaches no condition beyond naming the source. The
record stays on this machine, in ``data/acceptances.json``, which git ignores: accepting is
an act of the person who holds the copy and does not travel with the repository.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from thesislib import files
from thesislib.corpora.manifest import TWIN_SUFFIX, Manifest, load_manifest
from thesislib.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """One acceptance.

    Attributes:
        corpus: Name of the manifest.
        accepted_by: Name of the person, as the person gave it.
        accepted_at: When, in UTC (ISO 8601, to the second).
        licence_url: Where the text of the licence stands.
        licence_sha256: Hash of licence and permitted use; another one means other terms.
        manifest_sha256: Hash of the manifest that was shown.
    """

    corpus: str
    accepted_by: str
    accepted_at: str
    licence_url: str
    licence_sha256: str
    manifest_sha256: str


def acceptances_path() -> Path:
    """The file that holds the acceptances."""
    return files.project_root() / "data" / "acceptances.json"


def terms(corpus: str) -> dict[str, str]:
    """What a person must have read before accepting, in order: heading to text.

    Raises:
        InputError: no such corpus, or it needs no acceptance (a twin never does).

    >>> list(terms("crema-d"))
    ['corpus', 'licence', 'licence text', 'access', 'permitted use', 'consent basis']
    """
    manifest = _licensed(corpus)
    return {
        "corpus": str(manifest.document["alternateName"]),
        "licence": str(manifest.about("licence")),
        "licence text": str(manifest.document["license"]),
        "access": str(manifest.about("accessRoute")),
        "permitted use": str(manifest.about("permittedUse")),
        "consent basis": str(manifest.about("consentBasis")),
    }


def accept(corpus: str, *, name: str) -> Acceptance:
    """Record that a person accepts the terms of a corpus; an older record of it is replaced.

    Args:
        corpus: Name of the manifest.
        name: The person's name, as it shall stand in the record.

    Raises:
        InputError: no such corpus, it needs no acceptance (a twin never does), the name is
            empty, the file is damaged, or it cannot be written.
    """
    manifest = _licensed(corpus)
    if not name.strip():
        raise InputError("option --name", "is empty", "give the name of the person who accepts")
    acceptance = Acceptance(
        corpus=manifest.name,
        accepted_by=" ".join(name.split()),
        accepted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        licence_url=str(manifest.document["license"]),
        licence_sha256=_licence_sha256(manifest),
        manifest_sha256=manifest.sha256,
    )
    found = read_acceptances() | {manifest.name: acceptance}
    document = {key: asdict(found[key]) for key in sorted(found)}
    with files.atomic_write(acceptances_path()) as part:
        part.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return acceptance


def read_acceptances() -> dict[str, Acceptance]:
    """All recorded acceptances by corpus; none where the file does not exist.

    Raises:
        InputError: the file is damaged.
    """
    path = acceptances_path()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = {corpus: Acceptance(**entry) for corpus, entry in document.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            path, f"cannot be read ({error})", "remove it and accept each corpus again"
        ) from error
    for corpus, acceptance in found.items():
        if acceptance.corpus != corpus or not all(
            isinstance(value, str) and value for value in asdict(acceptance).values()
        ):
            raise InputError(
                path,
                "is not an acceptance of this corpus",
                f"run `thesis data accept {corpus}` after removing the entry",
                where=corpus,
            )
    return found


def require_acceptance(corpus: str | Manifest) -> None:
    """Refuse to go on where the terms of a licensed corpus have not been accepted.

    Loaders of licensed media call it first. A twin passes by its name: nobody is recorded in it.

    Args:
        corpus: Name of a corpus or of its twin, or the manifest of a real corpus.

    Raises:
        InputError: nobody has accepted, or the licence in the manifest is another one since; or
            the file of acceptances is damaged.

    >>> require_acceptance("emodb"), require_acceptance("crema-d-twin")
    (None, None)
    """
    if isinstance(corpus, str):
        if corpus.endswith(TWIN_SUFFIX):
            return
        corpus = load_manifest(corpus)
    if not corpus.about("acceptanceNeeded"):
        return
    mend = f"read its terms and accept them with `thesis data accept {corpus.name}`"
    acceptance = read_acceptances().get(corpus.name)
    if acceptance is None:
        raise InputError(corpus.name, "has a licence that nobody here has accepted", mend)
    if acceptance.licence_sha256 != _licence_sha256(corpus):
        raise InputError(
            corpus.name,
            f"has another licence than the one accepted by {acceptance.accepted_by} "
            f"at {acceptance.accepted_at}",
            mend,
        )


def _licensed(corpus: str) -> Manifest:
    manifest = load_manifest(corpus)
    if corpus.endswith(TWIN_SUFFIX) or not manifest.about("acceptanceNeeded"):
        raise InputError(corpus, "needs no acceptance", "load it as it is")
    return manifest


def _licence_sha256(manifest: Manifest) -> str:
    """Hash of what an agreement is about; a corrected spelling elsewhere does not void it."""
    agreed = [
        manifest.document["license"],
        manifest.about("licence"),
        manifest.about("permittedUse"),
    ]
    return hashlib.sha256(json.dumps(agreed).encode()).hexdigest()
