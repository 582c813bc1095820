"""Parameters of the experiments: one frozen dataclass an experiment, three sizes each.

A notebook's parameters are the fields of its dataclass; a name that is no field raises. A profile
changes sizes only: ``tiny`` is what tests and notebooks run, ``small`` is what the book reports,
``paper`` is the size of the thesis.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from thesislib.errors import InputError

PROFILES = ("tiny", "small", "paper")


@dataclass(frozen=True, kw_only=True)
class MainBranchConfig:
    """Chapter 8, first half: what the frozen main branch already knows.

    Attributes:
        corpus: ``emodb`` for the recordings, ``emodb-twin`` for their synthetic twin.
        profile: ``tiny``, ``small`` or ``paper``.
        seed: Seed of the twin and of every bootstrap.
        encoder: ``speech-encoder``, or the folder of a Hugging Face Whisper model.
        out: Folder for records and predictions.
        clips: How many clips to use, balanced over speakers and emotions; 0 means all.
        replicates: Bootstrap replicates.
        window_s: Length of the analysed window from the start of a clip, in seconds.
        regularisation_c: Inverse strength of the probe's L2 penalty.
        threads: CPU threads.
    """

    corpus: str = "emodb-twin"
    profile: str = "tiny"
    seed: int = 0
    encoder: str = "speech-encoder"
    out: str = "data/results"
    clips: int = 140
    replicates: int = 500
    window_s: float = 2.0
    regularisation_c: float = 0.01
    threads: int = 1

    def __post_init__(self) -> None:
        _check(self.profile in PROFILES, "profile", self.profile, f"choose {', '.join(PROFILES)}")
        _check(self.corpus in ("emodb", "emodb-twin"), "corpus", self.corpus, "emodb or emodb-twin")
        _check(self.seed >= 0, "seed", self.seed, "give 0 or more")
        _check(self.clips >= 0, "clips", self.clips, "give 0 for all, or a number")
        _check(self.replicates >= 1, "replicates", self.replicates, "give 1 or more")
        _check(self.window_s >= 0.1, "window_s", self.window_s, "give 0.1 s or more")
        _check(self.regularisation_c > 0, "regularisation_c", self.regularisation_c, "be positive")
        _check(self.threads >= 1, "threads", self.threads, "give 1 or more")

    @property
    def synthetic(self) -> bool:
        """Whether the corpus is a twin."""
        return self.corpus.endswith("-twin")

    def command(self) -> str:
        """The command that makes this run again."""
        given = _changed(self, for_profile(type(self), self.profile))
        options = "".join(f" -p {name} {value}" for name, value in given.items())
        return f"thesis run 08{options} --profile {self.profile}"

    def as_dict(self) -> dict[str, Any]:
        """Every parameter but the folder that results go to."""
        return {name: value for name, value in asdict(self).items() if name != "out"}


SIZES: dict[type, dict[str, dict[str, Any]]] = {
    MainBranchConfig: {
        "tiny": {},
        "small": {"clips": 0, "replicates": 2000},
        "paper": {"clips": 0, "replicates": 10_000},
    },
}


def for_profile(kind: type, profile: str, **given: Any) -> Any:  # noqa: ANN401 - parameter values
    """The configuration of a profile, with given parameters in place of its sizes.

    Raises:
        InputError: an unknown profile, an unknown parameter, or a value that cannot be.

    >>> for_profile(MainBranchConfig, "small", seed=3).clips
    0
    """
    _check(profile in PROFILES, "profile", profile, f"choose {', '.join(PROFILES)}")
    known = {field.name for field in fields(kind)}
    for name in given.keys() - known:
        _check(False, name, given[name], f"the parameters are {', '.join(sorted(known))}")
    return kind(**{**SIZES[kind][profile], **given, "profile": profile})


def _changed(config: MainBranchConfig, default: MainBranchConfig) -> dict[str, Any]:
    values, defaults = config.as_dict(), default.as_dict()
    return {name: value for name, value in values.items() if value != defaults[name]}


def _check(holds: bool, name: str, value: object, mend: str) -> None:
    if not holds:
        raise InputError(f"parameter {name}", f"cannot be {value!r}", mend)
