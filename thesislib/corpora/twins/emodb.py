"""The twin of EmoDB: the corpus's layout and naming, with synthetic voices and planted effects."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from thesislib import __version__
from thesislib.code import code_sha256
from thesislib.corpora.twins.phonetics import SENTENCES, Syllable, sentence_plan
from thesislib.corpora.twins.source_filter import synthesise
from thesislib.corpora.twins.voice import (
    EMOTION_EFFECTS,
    UTTERANCE_SPREAD,
    Utterance,
    blend_voice,
    effect_scales,
    plan_utterance,
    sample_speaker,
)
from thesislib.errors import InputError

SAMPLE_RATE = 16_000
SPEAKER_SEXES: Mapping[str, str] = {
    "03": "male", "08": "female", "09": "female", "10": "male", "11": "male",
    "12": "male", "13": "female", "14": "female", "15": "male", "16": "female",
}  # fmt: skip
EMOTION_COUNTS: Mapping[str, int] = {
    "anger": 127, "boredom": 81, "disgust": 46, "fear": 69,
    "happiness": 71, "sadness": 62, "neutral": 79,
}  # fmt: skip
EMOTION_LETTERS: Mapping[str, str] = {
    "anger": "W", "boredom": "L", "disgust": "E", "fear": "A",
    "happiness": "F", "sadness": "T", "neutral": "N",
}  # fmt: skip
EFFECTS: Mapping[str, str] = {
    "speaker_f0": "each speaker's own mean f0",
    "speaker_tract": "each speaker's own vocal-tract length, hence formants",
    "speaker_quality": "each speaker's own open quotient, tilt, breathiness, jitter and shimmer",
    "sentence": "share of syllables that are the sentence's own; the others are drawn at random",
    "emotion_f0": "f0 level and range of an emotion",
    "emotion_rate": "speaking rate of an emotion",
    "emotion_energy": "level of an emotion",
    "emotion_tilt": "spectral tilt of an emotion",
    "emotion_jitter": "jitter and shimmer of an emotion",
    "listeners": "how far recognition follows the intensity of the emotion",
}
"""Names of the planted effects: 1 is the documented size, 0 switches one off."""

LISTENERS = 20
_BATCH = 4


def plan_clips(clips: int | None = None) -> list[str]:
    """File names of the twin, without ``.wav``, the same for every seed.

    All 535 have the real composition by emotion; within an emotion speakers and sentences take
    turns. A smaller number is drawn round-robin over speakers and emotions: the first seven
    cover the emotions, the first ten the speakers, the first seventy every pair.

    Args:
        clips: How many, 1 to 535; None for all, in alphabetical order.

    Raises:
        InputError: `clips` is out of range.

    >>> len(plan_clips()), plan_clips(3)
    (535, ['03a01Wa', '08a05Lc', '09b02Ea'])
    """
    pools: dict[tuple[int, int], list[str]] = {}
    for e, (emotion, count) in enumerate(EMOTION_COUNTS.items()):
        for i in range(count):
            turn, s = divmod(i, 10)
            s = (s + 3 * e) % 10
            speaker, sentence = list(SPEAKER_SEXES)[s], list(SENTENCES)[(turn + 3 * s) % 10]
            version = "abcd"[(e + s + turn // 10) % 4]  # a second take has the next letter
            name = f"{speaker}{sentence}{EMOTION_LETTERS[emotion]}{version}"
            pools.setdefault((s, e), []).append(name)
    total = sum(EMOTION_COUNTS.values())
    if clips is None:
        return sorted(name for pool in pools.values() for name in pool)
    if not 1 <= clips <= total:
        raise InputError("clips", f"cannot be {clips}", f"choose 1 to {total}")
    names: list[str] = []
    k = 0
    while len(names) < clips:
        pool = pools[k % 10, k % 7]
        if pool:
            names.append(pool.pop(0))
        k += 1
    return sorted(names)


def recognition_probability(intensity: float, scale: float = 1.0, chance: float = 0.0) -> float:
    """Probability that a simulated listener recognises a clip's emotion.

    The logistic function of ``2.4 + 3 scale (intensity - 2/3) + chance``: 0.92 at the mean
    intensity of 2/3, 0.60 at 0 and 0.97 at 1, for a scale of 1 and no chance.

    Args:
        intensity: Of the acted emotion, 0 to 1.
        scale: Strength of the effect ``listeners``.
        chance: A clip's own offset; `write_twin` draws it with a standard deviation of 0.5.

    >>> round(recognition_probability(1.0), 2), round(recognition_probability(1.0, 0.0), 2)
    (0.97, 0.92)
    """
    return 1 / (1 + math.exp(-(2.4 + 3.0 * scale * (intensity - 2 / 3) + chance)))


def plan_clip(
    name: str, *, seed: int = 0, effects: Mapping[str, float] | None = None
) -> tuple[Utterance, dict[str, Any]]:
    """Draw one clip from its own source of chance, whatever other clips there are.

    The same draws serve every strength of an effect, so twins that differ in one effect are paired
    clip by clip.

    Args:
        name: File name without ``.wav``, such as ``03a01Wa``.
        seed: Of the corpus.
        effects: Strengths that differ from 1, by the names of `EFFECTS`.

    Returns:
        The plan for `synthesise`, and the factors as they are written to ``twin.json``.

    Raises:
        InputError: an effect is unknown or its strength unusable.
    """
    scales = _scales(effects)
    speaker, code = name[:2], name[2:5]
    emotion = next(key for key, letter in EMOTION_LETTERS.items() if letter == name[5])
    sex = SPEAKER_SEXES[speaker]
    voice = blend_voice(
        sample_speaker(sex, _generator(seed, f"speaker {speaker}")),
        f0=scales["speaker_f0"],
        tract=scales["speaker_tract"],
        quality=scales["speaker_quality"],
    )
    generator = _generator(seed, f"clip {name}")
    intensity = float(generator.beta(4, 2))
    effect = EMOTION_EFFECTS[emotion].scaled(
        f0=intensity * scales["emotion_f0"],
        rate=intensity * scales["emotion_rate"],
        energy=intensity * scales["emotion_energy"],
        tilt=intensity * scales["emotion_tilt"],
        jitter=intensity * scales["emotion_jitter"],
    )
    varied = effect.varied(generator)
    chance = float(0.5 * generator.standard_normal())
    probability = recognition_probability(intensity, scales["listeners"], chance)
    votes = generator.random((2, LISTENERS))
    recognised = int((votes[0] < probability).sum())
    natural = int((votes[1] < 0.85 * probability).sum())
    syllables = _sentence(code, scales["sentence"], _generator(seed, f"syllables {name}"))
    utterance = plan_utterance(voice, syllables, varied, generator)
    factors = {
        "file": f"wav/{name}.wav",
        "speaker": speaker,
        "sex": sex,
        "sentence": code,
        "emotion": emotion,
        "intensity": intensity,
        "syllables": " ".join(syllable.phones for syllable in syllables),
        "duration_s": utterance.duration_s,
        "mean_f0_hz": utterance.mean_f0_hz,
        "level_db": utterance.level_db,
        "tract_length_cm": voice.tract_length_cm,
        "f0_range_ratio": varied.f0_range_ratio,
        "rate_ratio": varied.rate_ratio,
        "tilt_db_per_octave": utterance.voice.tilt_db_per_octave,
        "jitter": utterance.voice.jitter,
        "shimmer": utterance.voice.shimmer,
        "recognised_percent": 100 * recognised / LISTENERS,
        "natural_percent": 100 * natural / LISTENERS,
    }
    return utterance, factors


def write_twin(
    out: Path,
    *,
    seed: int = 0,
    clips: int | None = None,
    effects: Mapping[str, float] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write the twin in the layout of the release: ``wav/``, ``erkennung.txt`` and ``twin.json``.

    Everything is written to a folder beside `out`, which takes its place when it is complete. An
    older twin is replaced; any other folder that holds something is left alone. The same seed
    gives the same bytes, and a clip does not depend on how many are asked for.

    Args:
        out: Folder of the twin.
        seed: 0 or more.
        clips: How many, 1 to 535, balanced over speakers and emotions; None for all.
        effects: Strengths that differ from 1, by the names of `EFFECTS`; 0 for a null twin.
        progress: Called with the number of clips written so far.

    Returns:
        `out`.

    Raises:
        InputError: an effect or a number cannot be used, `out` holds something that is no twin,
            or it cannot be written.
    """
    scales = _scales(effects)
    if seed < 0:
        raise InputError("seed", f"cannot be {seed}", "use 0 or more")
    names = plan_clips(clips)
    _check_target(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
    except OSError as error:
        raise InputError(
            out, f"cannot be written ({error.strerror})", "choose another --out folder"
        ) from error
    try:
        twin = staging / "twin"  # made by mkdir, so with the permissions that folders have here
        (twin / "wav").mkdir(parents=True)
        plans = {name: plan_clip(name, seed=seed, effects=scales) for name in names}
        _write_sound(twin, {name: plan[0] for name, plan in plans.items()}, progress)
        records = [plans[name][1] for name in names]
        (twin / "erkennung.txt").write_bytes(_listeners_table(records))
        description = {
            "twin": "emodb",
            "synthetic": True,
            "thesislib": __version__,
            "code_sha256": code_sha256([__name__]),
            "seed": seed,
            "effects": scales,
            "emotion_effects": {key: asdict(value) for key, value in EMOTION_EFFECTS.items()},
            "utterance_spread": asdict(UTTERANCE_SPREAD),
            "clips": records,
        }
        text = json.dumps(description, indent=1) + "\n"
        (twin / "twin.json").write_text(text, encoding="utf-8")
        _check_target(out)  # again: the folder may have changed meanwhile
        if out.exists():
            out.rename(staging / "old")
        twin.rename(out)
    except OSError as error:
        raise InputError(
            out, f"cannot be written ({error.strerror})", "free space or choose another folder"
        ) from error
    finally:
        old = staging / "old"
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(staging, ignore_errors=True)
    return out


def _scales(effects: Mapping[str, float] | None) -> dict[str, float]:
    scales = effect_scales(EFFECTS, effects)
    if scales["sentence"] > 1:
        raise InputError("sentence", "is a share and cannot exceed 1", "use 0 to 1")
    return scales


def _generator(seed: int, what: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(what.encode())])


def _sentence(code: str, share: float, generator: np.random.Generator) -> list[Syllable]:
    """The sentence with each syllable kept with probability `share`, else drawn from all ten.

    The number of syllables moves with `share` from that of a sentence drawn at random to the
    sentence's own, so that at 0 neither length, nor accents, nor pauses tell the sentence.
    """
    plan = sentence_plan(code)
    everything = [syllable for other in SENTENCES for syllable in sentence_plan(other)]
    own_length = len(plan)
    any_length = len(sentence_plan(list(SENTENCES)[generator.integers(len(SENTENCES))]))
    length = round(share * own_length + (1 - share) * any_length)
    chosen = generator.integers(len(everything), size=(64,))
    kept = generator.random(64) < share
    return [plan[i] if kept[i] and i < own_length else everything[chosen[i]] for i in range(length)]


def _write_sound(
    folder: Path, utterances: Mapping[str, Utterance], progress: Callable[[int], None] | None
) -> None:
    # Clips of like length share a batch: less padding. Their samples do not depend on it.
    names = sorted(utterances, key=lambda name: (len(utterances[name].f0_hz), name))
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        waveforms = synthesise([utterances[name] for name in batch], SAMPLE_RATE).numpy()
        for name, waveform in zip(batch, waveforms, strict=True):
            samples = round(utterances[name].duration_s * SAMPLE_RATE)
            pcm = np.round(waveform[:samples] * 32767).astype(np.int16)
            sf.write(folder / "wav" / f"{name}.wav", pcm, SAMPLE_RATE, subtype="PCM_16")
        if progress is not None:
            progress(start + len(batch))


def _listeners_table(records: list[dict[str, Any]]) -> bytes:
    """``erkennung.txt`` as it is handed out: Latin-1, tabs, decimal commas, no-break spaces."""
    lines = ["Nr.\tSatz\terkannt\tnatuerlich"]
    for number, record in enumerate(records, start=1):
        shares = [
            f"{record[key]:.2f}".replace(".", ",") + "\xa0" * 5
            for key in ("recognised_percent", "natural_percent")
        ]
        lines.append("\t".join([f"{number}\xa0\xa0", Path(record["file"]).name, *shares]))
    return ("\n".join(lines) + "\n").encode("latin-1")


def _check_target(out: Path) -> None:
    """Refuse to replace anything but a twin of this corpus, whole and unmixed, or nothing."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(out, "is no folder", "choose another --out folder")
    if not out.exists() or not any(out.iterdir()):
        return
    try:
        description = json.loads((out / "twin.json").read_text(encoding="utf-8"))
        own = {record["file"] for record in description["clips"]}
        is_twin = description["twin"] == "emodb"
    except (OSError, ValueError, KeyError, TypeError):
        is_twin, own = False, set()
    if not is_twin:
        raise InputError(
            out, "exists and is no twin of EmoDB", "choose another --out folder or remove it"
        )
    own |= {"twin.json", "erkennung.txt", "wav"}
    for path in sorted(out.rglob("*")):
        if path.relative_to(out).as_posix() not in own:
            raise InputError(
                path, "is not part of the twin and would be lost", "move it elsewhere first"
            )
