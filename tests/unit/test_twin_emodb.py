"""The twin of EmoDB: its layout, its determinism, its planted effects and their absence."""

import json
import re
from collections import Counter
from dataclasses import astuple
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from thesislib.corpora.twins.emodb import (
    EFFECTS,
    EMOTION_COUNTS,
    EMOTION_LETTERS,
    SPEAKER_SEXES,
    plan_clip,
    plan_clips,
    write_twin,
)
from thesislib.corpora.twins.phonetics import SENTENCES, sentence_plan
from thesislib.corpora.twins.voice import COMMON_VOICE, EMOTION_EFFECTS
from thesislib.errors import InputError

NAME = re.compile(r"(03|08|09|1[0-6])(a0[12457]|b0[1239]|b10)([WLEAFTN])([a-d])")
ROW = re.compile(rb"\d+\xa0\xa0\t(\w{7}\.wav)\t(\d{1,3},\d\d)\xa0{5}\t(\d{1,3},\d\d)\xa0{5}")


def digest(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@cache
def factors(step: int = 3, **effects: float) -> list[dict]:
    """What is planned for every third clip, without its sound."""
    return [plan_clip(name, effects=effects)[1] for name in plan_clips()[::step]]


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    return write_twin(tmp_path_factory.mktemp("twins") / "emodb", seed=3, clips=14)


def test_the_plan_has_the_real_composition():
    names = plan_clips()
    assert len(set(names)) == len(names) == 535
    assert names == sorted(names)
    assert all(NAME.fullmatch(name) for name in names)
    letters = Counter(name[5] for name in names)
    assert letters == {EMOTION_LETTERS[key]: count for key, count in EMOTION_COUNTS.items()}
    speakers = Counter(name[:2] for name in names)
    assert set(speakers) == set(SPEAKER_SEXES)
    assert max(speakers.values()) - min(speakers.values()) <= 4
    assert set(Counter(name[2:5] for name in names)) == set(SENTENCES)
    # No sentence or speaker may stand for an emotion.
    for emotion in EMOTION_LETTERS.values():
        assert {name[:2] for name in names if name[5] == emotion} == set(SPEAKER_SEXES)
        assert {name[2:5] for name in names if name[5] == emotion} == set(SENTENCES)


def test_a_subset_is_balanced_and_grows():
    assert len({name[5] for name in plan_clips(7)}) == 7
    assert len({name[:2] for name in plan_clips(10)}) == 10
    assert len({(name[:2], name[5]) for name in plan_clips(70)}) == 70
    for few, more in ((1, 7), (70, 71), (300, 534), (534, 535)):
        assert set(plan_clips(few)) < set(plan_clips(more))
        assert len(plan_clips(few)) == few
    assert plan_clips(535) == plan_clips()


def test_layout_and_audio_format(twin):
    files = digest(twin)
    names = plan_clips(14)
    assert set(files) == {"erkennung.txt", "twin.json"} | {f"wav/{name}.wav" for name in names}
    for name in names:
        info = sf.info(twin / "wav" / f"{name}.wav")
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 1.0 < info.duration < 7.0
        samples, _ = sf.read(twin / "wav" / f"{name}.wav", dtype="int16")
        assert 500 < np.abs(samples.astype(int)).max() < 32_200


def test_listeners_file_has_the_real_dialect(twin):
    raw = (twin / "erkennung.txt").read_bytes()
    head, *rows = raw.removesuffix(b"\n").split(b"\n")
    assert head == b"Nr.\tSatz\terkannt\tnatuerlich"
    matches = [ROW.fullmatch(row) for row in rows]
    assert [match[1].decode() for match in matches] == [f"{name}.wav" for name in plan_clips(14)]
    records = json.loads((twin / "twin.json").read_text())["clips"]
    for match, record in zip(matches, records, strict=True):
        percent = float(match[2].replace(b",", b"."))
        assert percent == record["recognised_percent"]
        assert percent % 5 == 0  # twenty listeners


def test_the_description_tells_the_sound(twin):
    description = json.loads((twin / "twin.json").read_text())
    assert description["twin"] == "emodb"
    assert description["synthetic"] is True
    assert description["seed"] == 3
    assert description["effects"] == dict.fromkeys(EFFECTS, 1.0)
    assert description["emotion_effects"]["anger"]["energy_db"] == 6.0
    for record in description["clips"]:
        info = sf.info(twin / record["file"])
        assert info.duration == pytest.approx(record["duration_s"])
        assert record["sex"] == SPEAKER_SEXES[record["speaker"]]
        assert Path(record["file"]).name[5] == EMOTION_LETTERS[record["emotion"]]


def test_same_seed_same_bytes_whatever_else_is_asked_for(twin, tmp_path):
    whole = digest(twin)
    part = digest(write_twin(tmp_path / "part", seed=3, clips=5))
    sounds = [name for name in part if name.endswith(".wav")]
    assert len(sounds) == 5
    assert all(part[name] == whole[name] for name in sounds)
    assert digest(write_twin(tmp_path / "again", seed=3, clips=5)) == part
    other = digest(write_twin(tmp_path / "other", seed=4, clips=5))
    assert all(part[name] != other[name] for name in sounds)


def ratio_to_neutral(records, emotion, key):
    """Mean logarithm of `key` for an emotion less that for neutral, paired by speaker."""

    def mean(speaker, which):
        return np.mean([np.log(r[key]) for r in records
                        if r["speaker"] == speaker and r["emotion"] == which])  # fmt: skip

    speakers = {r["speaker"] for r in records if r["emotion"] == emotion}
    speakers &= {r["speaker"] for r in records if r["emotion"] == "neutral"}
    return np.mean([mean(speaker, emotion) - mean(speaker, "neutral") for speaker in speakers])


@pytest.mark.parametrize(
    ("effect", "key", "field"),
    [
        ("emotion_f0", "mean_f0_hz", "f0_level_ratio"),
        ("emotion_f0", "f0_range_ratio", "f0_range_ratio"),
        ("emotion_rate", "rate_ratio", "rate_ratio"),
        ("emotion_jitter", "jitter", "jitter_ratio"),
        ("emotion_jitter", "shimmer", "shimmer_ratio"),
    ],
)
def test_emotion_ratios_show_a_dose_and_a_null(effect, key, field):
    emotion = {"emotion_rate": "sadness"}.get(effect, "anger")
    size = np.log(getattr(EMOTION_EFFECTS[emotion], field))
    full, null = factors(), factors(**{effect: 0.0})
    planted = ratio_to_neutral(full, emotion, key) - ratio_to_neutral(null, emotion, key)
    intensity = np.mean([r["intensity"] for r in full if r["emotion"] == emotion])
    # Paired twins: the difference is the effect at the mean intensity, without sampling noise.
    assert planted == pytest.approx(size * intensity, rel=0.15)
    assert abs(ratio_to_neutral(null, emotion, key)) < 0.12
    twice = factors(**{effect: 2.0})
    doubled = ratio_to_neutral(twice, emotion, key) - ratio_to_neutral(null, emotion, key)
    assert doubled == pytest.approx(2 * planted)


@pytest.mark.parametrize(
    ("effect", "key", "field"),
    [
        ("emotion_energy", "level_db", "energy_db"),
        ("emotion_tilt", "tilt_db_per_octave", "tilt_db_per_octave"),
    ],
)
def test_emotion_decibels_follow_the_intensity(effect, key, field):
    full, null = factors(), factors(**{effect: 0.0})
    for record, without in zip(full, null, strict=True):
        size = getattr(EMOTION_EFFECTS[record["emotion"]], field)
        assert record[key] - without[key] == pytest.approx(size * record["intensity"])


def test_emotions_overlap():
    full = factors()
    angry = [r["level_db"] for r in full if r["emotion"] == "anger"]
    neutral = [r["level_db"] for r in full if r["emotion"] == "neutral"]
    assert min(angry) < max(neutral)


def test_speaker_effects_vanish_one_by_one():
    by_speaker = {r["speaker"]: r for r in factors()}
    assert len({r["tract_length_cm"] for r in by_speaker.values()}) == 10
    assert {round(r["tract_length_cm"], 9) for r in factors(speaker_tract=0.0)} == {
        COMMON_VOICE.tract_length_cm
    }
    quiet = dict.fromkeys(("emotion_f0", "emotion_jitter", "emotion_tilt"), 0.0)

    def spread(**effects):
        means = [
            np.mean(
                [
                    np.log2(r["mean_f0_hz"])
                    for r in factors(**quiet, **effects)
                    if r["speaker"] == speaker
                ]
            )
            for speaker in SPEAKER_SEXES
        ]
        return np.std(means)

    assert spread() > 0.3
    assert spread(speaker_f0=0.0) < 0.06
    assert spread(speaker_tract=0.0, speaker_quality=0.0) == pytest.approx(spread())


def test_sentences_are_their_own_or_nobodys():
    for record in factors():
        own = " ".join(syllable.phones for syllable in sentence_plan(record["sentence"]))
        assert record["syllables"] == own
    lengths = {code: [] for code in SENTENCES}
    shared = []
    for record in factors(sentence=0.0):
        spoken = record["syllables"].split()
        own = [syllable.phones for syllable in sentence_plan(record["sentence"])]
        lengths[record["sentence"]].append(len(spoken))
        shared.append(np.mean([a == b for a, b in zip(spoken, own, strict=False)]))
    assert np.mean(shared) < 0.05
    own_lengths = [len(sentence_plan(code)) for code in SENTENCES]
    mean_lengths = [np.mean(lengths[code]) for code in SENTENCES]
    assert np.std(own_lengths) > 3 * np.std(mean_lengths)


def test_listeners_follow_the_intensity_or_not_at_all():
    def correlation(**effects):
        records = factors(**effects)
        pairs = [(r["intensity"], r["recognised_percent"]) for r in records]
        return np.corrcoef(np.array(pairs).T)[0, 1]

    assert correlation() > 0.4
    assert correlation(listeners=2.0) > correlation() + 0.05
    # Three standard errors of a correlation that is not there, over the whole corpus.
    assert abs(correlation(step=1, listeners=0.0)) < 3 / np.sqrt(535)
    shares = [r["recognised_percent"] for r in factors()]
    assert 85 < np.mean(shares) < 95
    assert all(0 <= share <= 100 for share in shares)


def test_emotion_reaches_the_sound_and_the_null_twin_has_none(tmp_path):
    def level_db(folder, name):
        samples, _ = sf.read(folder / "wav" / f"{name}.wav")
        return 20 * np.log10(np.std(samples))

    off = dict.fromkeys((name for name in EFFECTS if name.startswith("emotion")), 0.0)
    full = write_twin(tmp_path / "full", clips=10, effects={"emotion_energy": 2.0})
    half = write_twin(tmp_path / "half", clips=10)
    null = write_twin(tmp_path / "null", clips=10, effects=off)
    angry = next(name for name in plan_clips(10) if name[5] == "W")
    sad = next(name for name in plan_clips(10) if name[5] == "T")
    neutral = next(name for name in plan_clips(10) if name[5] == "N")
    assert level_db(full, angry) > level_db(half, angry) + 2 > level_db(null, angry) + 4
    assert level_db(full, sad) < level_db(half, sad) - 1.5 < level_db(null, sad) - 2
    # Neutral speech is the same in every one of them, to the byte.
    same = {(folder / "wav" / f"{neutral}.wav").read_bytes() for folder in (full, half, null)}
    assert len(same) == 1


def test_the_page_prints_the_planted_sizes():
    page = (Path(__file__).parents[2] / "book" / "twins.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in EFFECTS)
    for emotion, effect in EMOTION_EFFECTS.items():
        row = re.search(rf"^\| {emotion} \|(.+)\|$", page, flags=re.MULTILINE)
        assert [float(cell) for cell in row[1].split("|")] == list(astuple(effect))


def test_progress_counts_the_clips(tmp_path):
    seen = []
    write_twin(tmp_path / "emodb", clips=9, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 9


def test_a_twin_is_replaced_and_nothing_else_is(tmp_path):
    out = write_twin(tmp_path / "emodb", clips=3)
    write_twin(out, clips=2)
    assert len(list((out / "wav").iterdir())) == 2
    notes = out / "wav" / "my_notes.txt"
    notes.write_text("keep")
    with pytest.raises(InputError, match=r"my_notes.txt: is not part of the twin"):
        write_twin(out, clips=2)
    assert notes.read_text() == "keep"

    real = tmp_path / "real"
    (real / "wav").mkdir(parents=True)
    (real / "wav" / "03a01Wa.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match="is no twin of EmoDB"):
        write_twin(real, clips=2)
    (real / "twin.json").write_text('{"twin": "cremad", "clips": []}')
    with pytest.raises(InputError, match="is no twin of EmoDB"):
        write_twin(real, clips=2)
    assert (real / "wav" / "03a01Wa.wav").read_bytes() == b"RIFF"

    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="is no folder"):
        write_twin(file, clips=2)
    with pytest.raises(InputError, match="cannot be written"):
        write_twin(file / "below", clips=2)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (write_twin(empty, clips=1) / "twin.json").is_file()


def test_an_interruption_leaves_the_old_twin(tmp_path):
    out = write_twin(tmp_path / "emodb", clips=2)
    before = digest(out)

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_twin(out, clips=6, progress=stop)
    assert digest(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["emodb"]


def test_bad_input_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"pitch: is no effect.*known are speaker_f0"):
        write_twin(tmp_path / "emodb", effects={"pitch": 1.0})
    with pytest.raises(InputError, match="sentence: is a share"):
        plan_clip("03a01Wa", effects={"sentence": 1.5})
    for clips in (0, 536):
        with pytest.raises(InputError, match="choose 1 to 535"):
            write_twin(tmp_path / "emodb", clips=clips)
    with pytest.raises(InputError, match="seed"):
        write_twin(tmp_path / "emodb", seed=-1)
    assert not list(tmp_path.iterdir())
