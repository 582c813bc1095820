"""What the parts of a claim say together: counts, null twins, and one verdict a claim.

The rule of a verdict is simple on purpose, and pages state it: over the parts of one kind of data a
claim *holds* where at least one part holds and none is reversed; it is *reversed* where at least
one part is reversed and none holds; it is *mixed* where there are both, else *undecided*. A claim
of which every part has to hold says so, see `Claim.every`: a part that could not be tested does not
hold. One that is about some data only counts no others, see `Claim.about`, neither for the verdict
nor in the numbers beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from thesislib.records.hypotheses import CLAIMS
from thesislib.records.ledger import HOLDS, REVERSED, UNDECIDED, Part

MIXED, UNTESTED, MISSING = "mixed", "not tested", "not recorded yet"


def as_planted(parts: Iterable[Part]) -> list[Part]:
    """Parts on twins at the strength that the chapter's own tables are made of."""
    return [part for part in parts if part.planted]


def null_parts(parts: Iterable[Part]) -> list[Part]:
    """Parts on null twins that could be tested, of claims that have a null twin."""
    return [p for p in parts if p.strength == 0 and p.tested and CLAIMS[p.claim].null]


def counted(key: str, parts: Iterable[Part]) -> list[Part]:
    """Parts of a claim that count for its verdict.

    Args:
        key: Of the claim.
        parts: Of the ledger; those of other claims are passed over.
    """
    return [p for p in parts if p.claim == key and p.data.startswith(CLAIMS[key].about)]


def real_words(key: str, parts: Iterable[Part]) -> str:
    """How the parts of a claim came out on real recordings.

    >>> real_words("A", [])
    'not tested on real recordings'
    """
    real = [part for part in counted(key, parts) if not part.synthetic]
    return in_words(real) if real else "not tested on real recordings"


def planted_words(key: str, parts: Iterable[Part]) -> str:
    """How the parts of a claim came out on twins as planted.

    >>> planted_words("A", [])
    'not recorded yet'
    """
    return in_words(as_planted(counted(key, parts)))


def in_words(parts: Sequence[Part]) -> str:
    """How several parts came out, counted.

    >>> in_words([])
    'not recorded yet'
    """
    if not parts:
        return MISSING
    counts = {
        name: sum(part.verdict == name for part in parts)
        for name in dict.fromkeys([HOLDS, REVERSED, *(part.verdict for part in parts)])
    }
    told = [f"{name} in {number}" for name, number in counts.items() if number]
    return f"{', '.join(told)} of {len(parts)}"


def null_words(key: str, parts: Iterable[Part]) -> str:
    """What the null twin gave, and for how many parts there is one that could be tested.

    A part that comes out there is an effect that is not there.

    Args:
        key: Of the claim.
        parts: Of the ledger; those of other claims are passed over.

    >>> null_words("A", []), null_words("F", [])[:13]
    ('not recorded yet', 'no null twin:')
    """
    own = counted(key, parts)
    if not CLAIMS[key].null:
        return f"no null twin: {CLAIMS[key].no_null}"
    all_parts = {(p.part, p.data) for p in own if p.planted or p.strength == 0}
    if not all_parts:
        return MISSING
    null = null_parts(own)
    number = len({(part.part, part.data) for part in null})
    told = f"tested for {number or 'none'} of {len(all_parts)} parts"
    if not null:
        return told
    wrong = sum(part.decided for part in null)
    if wrong:
        return f"{told}: finds in {wrong} what was not planted"
    return f"{told}: finds nothing, as it should"


def verdict(key: str, parts: Iterable[Part]) -> str:
    """One verdict on a claim, from parts of one kind of data, by the rule of this module.

    Args:
        key: Of the claim.
        parts: On twins as planted, or on real recordings.

    Returns:
        `HOLDS`, `REVERSED`, `MIXED`, `UNDECIDED`, or `UNTESTED` where no part that counts was.
    """
    own = counted(key, parts)
    if not any(part.tested for part in own):
        return UNTESTED
    found = {part.verdict for part in own}
    if {HOLDS, REVERSED} <= found:
        return MIXED
    if REVERSED in found:
        return REVERSED
    holds = found == {HOLDS} if CLAIMS[key].every else HOLDS in found
    return HOLDS if holds else UNDECIDED


def twin_verdict(key: str, parts: Iterable[Part]) -> str:
    """The verdict on twins as planted; `MISSING` where nothing is recorded.

    >>> twin_verdict("A", [])
    'not recorded yet'
    """
    planted = as_planted(counted(key, parts))
    return verdict(key, planted) if planted else MISSING


def verdict_on_people(key: str, parts: Iterable[Part]) -> str:
    """The verdict on real recordings.

    >>> verdict_on_people("A", [])
    'not tested'
    """
    return verdict(key, (part for part in parts if not part.synthetic))


def verdict_words(key: str, parts: Sequence[Part]) -> str:
    """The verdict line of a claim: on twins as planted, and on real recordings.

    Where a test finds something on the null twin, that is said beside it: a verdict on twins by
    such a test cannot be relied on.

    Args:
        key: Of the claim.
        parts: Of the ledger; those of other claims are passed over.

    >>> verdict_words("A", [])
    'on twins not recorded yet; on real recordings not tested'
    """
    own = counted(key, parts)
    on_twins = twin_verdict(key, own)
    null = null_parts(own)
    if wrong := sum(part.decided for part in null):
        on_twins += f", while {wrong} of {len(null)} null tests found what was not planted"
    return f"on twins {on_twins}; on real recordings {verdict_on_people(key, own)}"


def broken_nulls(parts: Iterable[Part]) -> str:
    """Which tests found something on a null twin, in a sentence.

    >>> broken_nulls([])
    'Found on a null twin, where nothing was planted: nothing recorded yet.'
    """
    null = null_parts(parts)
    wrong: dict[str, list[str]] = {}
    for part in null:
        if part.decided:
            wrong.setdefault(part.claim, []).append(part.part)
    told = "; ".join(f"{key} ({', '.join(names)})" for key, names in wrong.items())
    none = "none" if null else "nothing recorded yet"
    return f"Found on a null twin, where nothing was planted: {told or none}."


def strength_words(part: Part) -> str:
    """How strongly the effects of a twin were planted, where that is not as documented; or nothing.

    >>> from types import SimpleNamespace
    >>> strength_words(SimpleNamespace(synthetic=True, strength=2.0))
    'planted twice as strong as documented'
    """
    if not part.synthetic or part.strength == 1:
        return ""
    if part.strength == 0:
        return "nothing planted"
    times = "twice" if part.strength == 2 else f"{part.strength:g} times"
    return f"planted {times} as strong as documented"
