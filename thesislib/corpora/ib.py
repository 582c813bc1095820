"""The IB annotations, and simulated ones: conversations with the files of several annotators.

Layout, for the annotations as for their twin: ``ANNOTATOR/RECORDING.eaf``, one folder an annotator
and one file a participant, with ``twin.json`` beside the folders of a twin.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from thesislib import files
from thesislib.code import code_sha256
from thesislib.config import AgreementConfig
from thesislib.corpora.acceptance import require_acceptance
from thesislib.corpora.annotation import IBAnnotation
from thesislib.corpora.elan import read_eaf
from thesislib.corpora.twins.annotators import EFFECTS, write_annotations
from thesislib.corpora.twins.dyads import simulate_dyad
from thesislib.corpora.twins.voice import parse_effects
from thesislib.errors import InputError

TWIN_MODULE = "thesislib.corpora.twins.annotators"
Annotations = dict[str, dict[str, IBAnnotation]]


def load_annotations(config: AgreementConfig) -> tuple[Annotations, list[InputError]]:
    """Annotator to recording to annotation; files that cannot be read are named and left out.

    The real annotations of a corpus are sought in the folder ``ib/CORPUS`` of the data roots; a
    twin is simulated, written as ``.eaf`` files, and read back as the real ones are.

    Raises:
        InputError: the annotations are not there, or their terms were not accepted.
    """
    corpus = config.corpus.removesuffix("-twin")
    root = _twin(config, corpus) if config.synthetic else _real(corpus)
    annotations: Annotations = {}
    failures = []
    for path in sorted(root.glob("*/*.eaf")):
        try:
            annotations.setdefault(path.parent.name, {})[path.stem] = read_eaf(path)
        except InputError as error:
            failures.append(error)
    if not annotations:
        raise InputError(root, "holds no readable ANNOTATOR/RECORDING.eaf", "check the folder")
    return annotations, failures


def _real(corpus: str) -> Path:
    require_acceptance("ib")
    root = files.find_corpus("ib")
    if root is None or not (root / corpus).is_dir():
        raise InputError(
            f"ib/{corpus}",
            f"is not under {', '.join(str(folder) for folder in files.data_roots())}",
            "ask the authors for the IB annotations, or set THESISLIB_DATA_ROOT",
        )
    return root / corpus


def _twin(config: AgreementConfig, corpus: str) -> Path:
    """The twin's folder, written when it is not there or was written by other code."""
    scales = parse_effects(config.effects.split())
    of_annotators = {name: scales.pop(name) for name in sorted(EFFECTS.keys() & scales.keys())}
    effects = "".join(f"-{pair}" for pair in sorted(config.effects.split()))
    name = f"ib-{corpus}-s{config.seed}-n{config.dyads}-{config.duration_s:g}s{effects}"
    root = files.project_root() / "data" / "twins" / name
    about = {"twin": "ib", "corpus": corpus, "seed": config.seed, "dyads": config.dyads}
    about |= {
        "duration_s": config.duration_s,
        "effects": config.effects,
        "code_sha256": code_sha256([TWIN_MODULE]),
    }
    marker = root / "twin.json"
    try:
        if json.loads(marker.read_text(encoding="utf-8")) == about:
            return root
    except (OSError, ValueError):
        pass  # none there, or a damaged one: it is written anew
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{name}.") as folder:
        staging = Path(folder) / name
        dyads = [
            simulate_dyad(
                corpus, number, seed=config.seed, duration_s=config.duration_s, effects=scales
            )
            for number in range(1, config.dyads + 1)
        ]
        write_annotations(staging, dyads, seed=config.seed, effects=of_annotators, dirt=True)
        (staging / "twin.json").write_text(json.dumps(about), encoding="utf-8")
        if root.exists():
            root.rename(Path(folder) / "old")
        staging.rename(root)
    return root


def all_repairs(annotations: Annotations) -> Sequence[str]:
    """What reading repaired, a line each, with annotator and recording."""
    return [
        f"{annotator}/{recording}: {repair}"
        for annotator, recordings in annotations.items()
        for recording, annotation in recordings.items()
        for repair in annotation.repairs
    ]
