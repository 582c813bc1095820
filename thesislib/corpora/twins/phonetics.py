"""What a twin's speaker says: phones with their acoustic targets, and the ten Berlin sentences.

Vowel formants are rounded to 10 Hz and are of the order of the means that Pätzold and Simpson
(1997) and Sendlmeier and Seebode (2006) give for male speakers of German; consonant loci and noise
bands follow Klatt (1980) and Stevens (1998). They make plausible speech; they were chosen by hand,
with no classification result in view.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from thesislib.errors import InputError

# Vowel: duration in ms, F1, F2, F3 in Hz for a tract of 17 cm. The symbols are SAMPA without length
# marks: small letters are long and tense, capitals short and lax; `A` is long, `a` short.
VOWELS: dict[str, tuple[float, float, float, float]] = {
    "i": (95, 280, 2150, 2900), "I": (65, 360, 1850, 2500), "e": (100, 360, 2050, 2600),
    "E": (70, 500, 1750, 2450), "y": (95, 290, 1650, 2150), "Y": (65, 370, 1500, 2150),
    "2": (100, 370, 1450, 2150), "9": (75, 490, 1430, 2200), "a": (80, 680, 1320, 2450),
    "A": (125, 700, 1230, 2500), "O": (75, 530, 1040, 2400), "o": (105, 380, 830, 2400),
    "U": (65, 380, 1050, 2350), "u": (105, 310, 850, 2300), "@": (50, 420, 1450, 2450),
    "6": (65, 520, 1280, 2400),
}  # fmt: skip
DIPHTHONGS = {"1": "aI", "3": "aU", "0": "OY"}

# Consonant: its segments, each of (duration ms, F1, F2, F3, bandwidth ratio,
# voicing, aspiration, frication, centre of the frication Hz, its bandwidth Hz).
_Segment = tuple[float, float, float, float, float, float, float, float, float, float]
_LIPS, _TEETH, _VELUM = (330, 950, 2200), (330, 1750, 2650), (330, 1900, 2300)


def _stop(
    locus: tuple[float, float, float], burst_hz: float, width_hz: float, voiced: bool
) -> tuple[_Segment, ...]:
    closure = (45.0 if voiced else 60.0, *locus, 1.5, 0.12 if voiced else 0, 0, 0, burst_hz, 2000)
    burst = (8.0, *locus, 1.5, 0.1 if voiced else 0, 0, 0.35, burst_hz, width_hz)
    puff = (5.0 if voiced else 24.0, *locus, 1.5, 0.4 if voiced else 0, 0.35, 0.03, burst_hz, 3000)
    return closure, burst, puff


CONSONANTS: dict[str, tuple[_Segment, ...]] = {
    "p": _stop(_LIPS, 900, 2500, False), "b": _stop(_LIPS, 900, 2500, True),
    "t": _stop(_TEETH, 4500, 3000, False), "d": _stop(_TEETH, 4500, 3000, True),
    "k": _stop(_VELUM, 2200, 1200, False), "g": _stop(_VELUM, 2200, 1200, True),
    "f": ((80, *_LIPS, 1.5, 0, 0.02, 0.14, 6500, 6000),),
    "v": ((50, *_LIPS, 1.5, 0.35, 0.02, 0.05, 6500, 6000),),
    "s": ((90, *_TEETH, 1.5, 0, 0.02, 0.45, 6000, 2400),),
    "z": ((65, *_TEETH, 1.5, 0.3, 0.02, 0.20, 6000, 2400),),
    "S": ((95, 330, 1700, 2500, 1.5, 0, 0.02, 0.50, 3300, 1700),),
    "C": ((75, 300, 2100, 2800, 1.5, 0, 0.05, 0.28, 3800, 2000),),
    "x": ((75, 450, 1200, 2400, 1.5, 0, 0.15, 0.25, 1700, 1200),),
    "h": ((45, 500, 1500, 2500, 1.5, 0.05, 0.55, 0.0, 1500, 3000),),
    "j": ((45, 280, 2150, 2900, 1.2, 0.7, 0.05, 0.02, 3800, 2000),),
    "l": ((55, 340, 1250, 2600, 1.4, 0.7, 0.02, 0.0, 1500, 3000),),
    "R": ((50, 470, 1150, 2350, 1.4, 0.5, 0.10, 0.06, 1500, 1200),),
    "m": ((65, 270, 1000, 2200, 2.5, 0.6, 0.0, 0.0, 1500, 3000),),
    "n": ((60, 270, 1550, 2500, 2.5, 0.6, 0.0, 0.0, 1500, 3000),),
    "N": ((65, 270, 1900, 2400, 2.5, 0.6, 0.0, 0.0, 1500, 3000),),
    "?": ((30, 500, 1500, 2500, 1.5, 0, 0, 0, 1500, 3000),),
}  # fmt: skip

# The sentences of Burkhardt et al. (2005), transcribed broadly; `'` accents a syllable, `|` pauses.
SENTENCES: dict[str, str] = {
    "a01": "de6 'la p@n likt 3f dem '1s SRaNk",
    "a02": "das vIl zi am 'mIt vOx '?ap ge b@n",
    "a04": "'h0 t@ '?A b@nt k9n t@ ?IC ?Es im 'zA g@n",
    "a05": "das 'SvA6 ts@ StYk pa 'pi6 b@ 'fIn d@t zIC dA '?o b@n ne b@n dem 'hOlts StYk",
    "a07": "?In 'zi b@n 'StUn d@n vI6t ?Es zo 'v1t z1n",
    "b01": "vas zInt dEn das fy6 'ty t@n | di dA 'Un t6 dem 'tIS Ste @n",
    "b02": "zi hA b@n ?Es g@ 'RA d@ 'hox g@ tRA g@n | ?Unt jEtst ge @n zi 'vi d6 'RUn t6",
    "b03": "?an den 'vO x@n En d@n bIn IC jEtst '?I m6 nax 'h3 z@ g@ fA R@n | "
    "?Unt hA b@ '?ag nEs b@ 'zuxt",
    "b09": "IC vIl das '?e b@n 'vEk bRI N@n | ?Unt dan mIt 'kA6l vas 'tRIN k@n ge @n",
    "b10": "di vI6t 3f dem 'plats z1n | vo vi6 zi '?I m6 'hIn le g@n",
}


@dataclass(frozen=True, slots=True)
class Syllable:
    """One syllable of a sentence plan.

    Attributes:
        phones: Symbols of `VOWELS`, `DIPHTHONGS` and `CONSONANTS`, in order.
        accented: Whether it carries a pitch accent.
        pause_s: Silence after it, in seconds at the neutral rate.
    """

    phones: str
    accented: bool = False
    pause_s: float = 0.0

    @property
    def onset(self) -> str:
        """The consonants before the vowel."""
        return self.phones[: self._nucleus()]

    @property
    def nucleus(self) -> str:
        """The first vowel or diphthong."""
        return self.phones[self._nucleus()]

    def _nucleus(self) -> int:
        return next(i for i, phone in enumerate(self.phones) if phone not in CONSONANTS)

    def segments(self) -> NDArray[np.float64]:
        """The syllable's acoustic segments.

        Returns:
            An array `(S, 11)`: duration in seconds, F1, F2 and F3 in Hz (tract of 17 cm), bandwidth
            ratio, voicing, aspiration and frication amplitudes, centre and bandwidth of the
            frication in Hz, and 1 where the segment belongs to a vowel.
        """
        rows: list[tuple[float, ...]] = []
        for phone in self.phones:
            vowels = DIPHTHONGS.get(phone, phone)
            if phone in CONSONANTS:
                rows.extend((*segment, 0.0) for segment in CONSONANTS[phone])
            else:
                for vowel in vowels:
                    rows.append((*VOWELS[vowel], 1.0, 1.0, 0.0, 0.0, 1500.0, 3000.0, 1.0))
        table = np.array(rows, dtype=np.float64)
        table[:, 0] /= 1000.0
        return table


@cache
def sentence_plan(code: str) -> tuple[Syllable, ...]:
    """The syllables of one of the ten Berlin sentences.

    Args:
        code: Sentence code of the corpus, ``a01`` to ``b10``.

    Raises:
        InputError: no sentence has this code.

    Source: sentences from Burkhardt et al. (2005), "A database of German emotional speech".

    >>> [syllable.phones for syllable in sentence_plan("a01")][:3]
    ['de6', 'la', 'p@n']
    >>> sentence_plan("a01")[1].accented, sentence_plan("a01")[1].onset
    (True, 'l')
    """
    if code not in SENTENCES:
        raise InputError(code, "is no sentence code", f"choose one of {', '.join(SENTENCES)}")
    return parse_syllables(SENTENCES[code])


def parse_syllables(transcription: str) -> tuple[Syllable, ...]:
    """Read syllables from a transcription such as ``"de6 'la p@n | 3f"``.

    Args:
        transcription: Syllables between blanks; ``'`` marks an accent, ``|`` a pause of 0.2 s.

    Raises:
        InputError: a symbol is unknown, or a syllable has no vowel.
    """
    syllables: list[Syllable] = []
    for token in transcription.split():
        if token == "|" and syllables:
            last = syllables[-1]
            syllables[-1] = Syllable(last.phones, last.accented, 0.2)
            continue
        phones = token.removeprefix("'")
        known = all(phone in CONSONANTS or _is_vowel(phone) for phone in phones)
        if not known or not any(_is_vowel(phone) for phone in phones):
            raise InputError(token, "is no syllable", "use the symbols of phonetics.VOWELS")
        syllables.append(Syllable(phones, token.startswith("'")))
    return tuple(syllables)


def _is_vowel(phone: str) -> bool:
    return phone in VOWELS or phone in DIPHTHONGS
