"""What the speakers of the twins of recordings say: sentences by name, and accents.

The twelve sentences of CREMA-D are transcribed broadly, with the phones of a German speaker of
English, since these are the ones that the synthesiser has. Other corpora have sentences of words
that mean nothing, in the language of `thesislib.corpora.twins.talk`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from thesislib.corpora.twins.dyads import chance
from thesislib.corpora.twins.phonetics import Syllable, parse_syllables
from thesislib.corpora.twins.talk import CORPUS_LANGUAGES, draw_syllables

CREMA_D: Mapping[str, str] = {
    "IEO": "?Its ?i 'lE v@n ?@ 'klOk",
    "TIE": "dEt ?Iz ?Eg 'zEkt li vOt 'hE p@nt",
    "IOM": "?1m On m1 'vE tu d@ 'mi tIN",
    "IWW": "?1 'van d6 vOt 'dIs Iz ?@ 'b3t",
    "TAI": "di 'E6 plEn Iz 'Ol mOst 'fUl",
    "MTI": "'mE bi tu 'mO RO It vIl bi 'kOlt",
    "IWL": "?1 vUt 'l1k ?@ 'nju ?@ 'lam klOk",
    "ITH": "?1 'sINk ?1 hEf ?@ 'dOk t6s ?@ 'p0nt m@nt",
    "DFA": "dOnt f6 'gEt ?@ 'dSE kIt",
    "ITS": "?1 'sINk ?1f 'sin dIs bi 'fO6",
    "TSI": "d@ 'S6 f@s Iz 'slIk",
    "WSI": "vil 'stOp In ?@ 'ka p@l Of 'mI nIts",
}
"""Code of `data_manifests/crema-d.json` to syllables."""
SENTENCES = 40
"""Sentences of a corpus whose words mean nothing."""


@dataclass(frozen=True, slots=True)
class Accent:
    """How a group of speakers departs from the standard.

    Attributes:
        vowels: Vowel to the one said instead, as far as they differ.
        stress: ``as written``, ``later`` (on the next syllable) or ``even`` (on every other).
        pause_s: Added after each stressed syllable.
    """

    vowels: Mapping[str, str] = field(default_factory=dict)
    stress: str = "as written"
    pause_s: float = 0.0


ACCENTS: Mapping[str, Accent] = {
    "standard": Accent(),
    "fronted": Accent({"u": "y", "U": "Y", "o": "2", "O": "9", "@": "E", "3": "0"}, stress="later"),
    "lowered": Accent(
        {"i": "e", "I": "E", "e": "E", "E": "a", "u": "o", "U": "O", "o": "O", "@": "6"},
        stress="even",
    ),
    "raised": Accent(
        {"E": "I", "e": "i", "a": "E", "A": "a", "O": "U", "o": "u", "6": "@", "9": "Y"},
        pause_s=0.08,
    ),
}
"""Accents, each with its own shift of vowels and its own rhythm."""

_VOWEL_LETTERS = {
    "i": "EE", "I": "I", "e": "AY", "E": "E", "y": "UE", "Y": "UE", "2": "OE", "9": "OE", "a": "U",
    "A": "A", "O": "O", "o": "OH", "U": "OU", "u": "OO", "@": "E", "6": "ER", "1": "Y", "3": "OW",
    "0": "OI",
}  # fmt: skip
_CONSONANT_LETTERS = {"S": "SH", "C": "CH", "x": "KH", "N": "NG", "R": "R", "?": ""}


@cache
def sentence_bank(corpus: str) -> Mapping[str, tuple[Syllable, ...]]:
    """The sentences of a corpus, by name, the same for every seed.

    Those of CREMA-D are its own; other corpora have `SENTENCES` of 8 to 14 syllables, with a
    pause in the middle.

    >>> list(sentence_bank("crema-d"))[:2], len(sentence_bank("librispeech")["s07"]) >= 8
    (['IEO', 'TIE'], True)
    """
    if corpus == "crema-d":
        return {code: parse_syllables(text) for code, text in CREMA_D.items()}
    bank = {}
    for number in range(SENTENCES):
        generator = chance(0, f"sentence {number} of {corpus}")
        n = int(generator.integers(8, 15))
        said = list(draw_syllables(CORPUS_LANGUAGES[corpus], n, generator))
        said[n // 2 - 1] = replace(said[n // 2 - 1], pause_s=0.15)
        bank[f"s{number:02}"] = tuple(said)
    return bank


def speak(
    corpus: str, sentence: str, share: float, generator: np.random.Generator
) -> tuple[Syllable, ...]:
    """A sentence with each syllable kept with probability `share`, else drawn from all sentences.

    The number of syllables moves with `share` from that of a sentence drawn at random to the
    sentence's own, so that at 0 nothing tells the sentence.

    Args:
        corpus: Name of the corpus.
        sentence: One of its `sentence_bank`.
        share: Strength of the effect ``sentence``, 0 to 1.
        generator: Source of chance; the same draws serve every strength.
    """
    bank = sentence_bank(corpus)
    plan, everything = bank[sentence], [s for other in bank.values() for s in other]
    any_length = len(list(bank.values())[int(generator.integers(len(bank)))])
    length = round(share * len(plan) + (1 - share) * any_length)
    chosen = generator.integers(len(everything), size=64)
    kept = generator.random(64) < share
    return tuple(
        plan[i] if kept[i] and i < len(plan) else everything[chosen[i]] for i in range(length)
    )


def with_accent(
    syllables: Sequence[Syllable], name: str, scale: float, generator: np.random.Generator
) -> tuple[Syllable, ...]:
    """Say syllables in an accent.

    Each syllable takes part with the probability `scale`: its vowels shift, and its stress is
    that of the accent. Pauses are multiplied by `scale`.

    Args:
        syllables: In the standard.
        name: One of `ACCENTS`.
        scale: Strength of the effect ``accent``; above 1 only pauses grow.
        generator: Source of chance; the same draws serve every strength.

    >>> said = with_accent(parse_syllables("'lu m@"), "fronted", 1, np.random.default_rng(0))
    >>> [(s.phones, s.accented) for s in said]
    [('ly', False), ('mE', True)]
    """
    accent = ACCENTS[name]
    takes_part = generator.random(len(syllables)) < scale
    result = []
    for i, syllable in enumerate(syllables):
        if not takes_part[i]:
            result.append(syllable)
            continue
        stressed = {
            "as written": syllable.accented,
            "later": i > 0 and syllables[i - 1].accented,
            "even": i % 2 == 0,
        }[accent.stress]
        phones = "".join(accent.vowels.get(phone, phone) for phone in syllable.phones)
        pause_s = syllable.pause_s + (scale * accent.pause_s if stressed else 0.0)
        result.append(Syllable(phones, stressed, pause_s))
    return tuple(result)


def spelt(syllables: Sequence[Syllable]) -> str:
    """Words in capitals for syllables that mean nothing: a word begins at each stress or pause.

    >>> spelt(parse_syllables("'1 n@ 'SlIk"))
    'YNE SHLIK'
    """
    words: list[str] = []
    for i, syllable in enumerate(syllables):
        text = "".join(
            _VOWEL_LETTERS.get(phone, _CONSONANT_LETTERS.get(phone, phone.upper()))
            for phone in syllable.phones
        )
        if i == 0 or syllable.accented or syllables[i - 1].pause_s:
            words.append(text)
        else:
            words[-1] += text
    return " ".join(words)
