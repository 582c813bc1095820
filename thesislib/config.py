"""Parameters of the experiments: one frozen dataclass an experiment, three sizes each.

A notebook's parameters are the fields of its dataclass; a name that is no field raises. A profile
changes sizes only: ``tiny`` is what tests and notebooks run, ``small`` is what the book reports,
``paper`` is the size of the thesis.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from thesislib.errors import InputError

PROFILES = ("tiny", "small", "paper")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What every experiment takes.

    Attributes:
        corpus: Name of a corpus, with ``-twin`` for its synthetic twin.
        profile: ``tiny``, ``small`` or ``paper``.
        seed: Seed of the twin and of every bootstrap.
        out: Folder for records and predictions.
        replicates: Bootstrap replicates.
        threads: CPU threads.
    """

    CHAPTER: ClassVar[str]
    CORPORA: ClassVar[tuple[str, ...]]
    SIZES: ClassVar[dict[str, dict[str, Any]]]

    corpus: str = ""
    profile: str = "tiny"
    seed: int = 0
    out: str = "data/results"
    replicates: int = 500
    threads: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value, wanted = getattr(self, field.name), type(field.default)
            fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
            _check(
                fits and isinstance(value, bool) == (wanted is bool),
                field.name,
                value,
                f"give a value of type {wanted.__name__}",
            )
        corpora = [name for corpus in self.CORPORA for name in (corpus, f"{corpus}-twin")]
        _check(self.profile in PROFILES, "profile", self.profile, f"choose {', '.join(PROFILES)}")
        _check(self.corpus in corpora, "corpus", self.corpus, f"choose {', '.join(corpora)}")
        _check(self.seed >= 0, "seed", self.seed, "give 0 or more")
        _check(self.replicates >= 1, "replicates", self.replicates, "give 1 or more")
        _check(self.threads >= 1, "threads", self.threads, "give 1 or more")

    @property
    def synthetic(self) -> bool:
        """Whether the corpus is a twin."""
        return self.corpus.endswith("-twin")

    def command(self) -> str:
        """The command that makes this run again."""
        options = "".join(
            f" -p {name} {shlex.quote(str(value))}" for name, value in self.changed().items()
        )
        return f"thesis run {self.CHAPTER}{options} --profile {self.profile}"

    def changed(self) -> dict[str, Any]:
        """The parameters that differ from those of the profile."""
        values, defaults = self.as_dict(), for_profile(type(self), self.profile).as_dict()
        return {name: value for name, value in values.items() if value != defaults[name]}

    def as_dict(self) -> dict[str, Any]:
        """Every parameter but the folder that results go to."""
        return {name: value for name, value in asdict(self).items() if name != "out"}


@dataclass(frozen=True, kw_only=True)
class AgreementConfig(Experiment):
    """Chapter 5: how far annotators agree, and what roles are for.

    Attributes:
        dyads: Number of simulated conversations of a twin.
        duration_s: Length of each, in seconds.
        shuffles: Shuffled pairings of the mimicry and role tests.
    """

    CHAPTER = "05"
    CORPORA = ("ifadv", "ndc-me", "ccdb")
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {},
        "small": {"dyads": 24, "replicates": 2000, "shuffles": 999},
        "paper": {"dyads": 100, "duration_s": 600.0, "replicates": 10_000, "shuffles": 999},
    }

    corpus: str = "ifadv-twin"
    dyads: int = 8
    duration_s: float = 240.0
    shuffles: int = 199

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.dyads >= 4, "dyads", self.dyads, "give 4 or more, to shuffle them")
        _check(self.duration_s >= 60, "duration_s", self.duration_s, "give 60 s or more")
        _check(self.shuffles >= 1, "shuffles", self.shuffles, "give 1 or more")


@dataclass(frozen=True, kw_only=True)
class MainBranchConfig(Experiment):
    """Chapter 8, first half: what the frozen main branch already knows.

    Attributes:
        encoder: ``speech-encoder``, or the folder of a Hugging Face Whisper model.
        clips: How many clips to use, balanced over speakers and emotions; 0 means all.
        window_s: Length of the analysed window from the start of a clip, in seconds.
        regularisation_c: Inverse strength of the probe's L2 penalty.
    """

    CHAPTER = "08"
    CORPORA = ("emodb",)
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {},
        "small": {"clips": 0, "replicates": 2000},
        "paper": {"clips": 0, "replicates": 10_000},
    }

    corpus: str = "emodb-twin"
    encoder: str = "speech-encoder"
    clips: int = 140
    window_s: float = 2.0
    regularisation_c: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.clips >= 0, "clips", self.clips, "give 0 for all, or a number")
        _check(self.window_s >= 0.1, "window_s", self.window_s, "give 0.1 s or more")
        _check(self.regularisation_c > 0, "regularisation_c", self.regularisation_c, "be positive")


EXPERIMENTS: tuple[type[Experiment], ...] = (AgreementConfig, MainBranchConfig)
Kind = TypeVar("Kind", bound=Experiment)


def for_profile(kind: type[Kind], profile: str, **given: Any) -> Kind:  # noqa: ANN401
    """The configuration of a profile, with given parameters in place of its sizes.

    A parameter that is None keeps the profile's value.

    Raises:
        InputError: an unknown profile, an unknown parameter, or a value that cannot be.

    >>> for_profile(MainBranchConfig, "small", seed=3).clips
    0
    """
    _check(profile in PROFILES, "profile", profile, f"choose {', '.join(PROFILES)}")
    known = {field.name for field in fields(kind)}
    for name in given.keys() - known:
        _check(False, name, given[name], f"the parameters are {', '.join(sorted(known))}")
    chosen = {name: value for name, value in given.items() if value is not None}
    return kind(**{**kind.SIZES[profile], **chosen, "profile": profile})


def from_notebook(kind: type[Kind], namespace: dict[str, Any]) -> Kind:
    """The configuration that a notebook's parameters describe, one a field.

    Args:
        kind: The experiment.
        namespace: The notebook's ``globals()``.

    Raises:
        InputError: a value that cannot be.
    """
    return for_profile(kind, **{field.name: namespace[field.name] for field in fields(kind)})


def _check(holds: bool, name: str, value: object, mend: str) -> None:
    if not holds:
        raise InputError(f"parameter {name}", f"cannot be {value!r}", mend)
