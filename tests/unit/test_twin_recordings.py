"""Twins of single clips: each loads like its corpus, and what is planted is what is there."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from thesislib.corpora import sound_events
from thesislib.corpora.first_impressions import read_annotation
from thesislib.corpora.loading import reader
from thesislib.corpora.manifest import load_manifest
from thesislib.corpora.splits import leaked_share, published_split, speaker_split
from thesislib.corpora.twins import acted, clip_plans, event_pictures, talking_heads
from thesislib.corpora.twins.event_sounds import KINDS, plan_happening, sound
from thesislib.corpora.twins.interference import Acoustics, draw_acoustics, spoil_sound
from thesislib.corpora.twins.phonetics import parse_syllables
from thesislib.corpora.twins.recordings import CORPORA, TWINS, amount, write_twin
from thesislib.corpora.twins.sentences import (
    ACCENTS,
    sentence_bank,
    speak,
    spelt,
    with_accent,
)
from thesislib.corpora.twins.voice import effect_scales
from thesislib.errors import InputError
from thesislib.signals.video_sound import read_video_audio

SIZES = {"crema-d": 3, "first-impressions": 3, "voxceleb2": 2, "librispeech": 3, "sound-events": 5}
ON = {"size_pitch": 1.0, "background": 1.0, "synchrony": 1.0}


def write(corpus, out, *, clips=None, **options):
    if corpus == "first-impressions":
        options.setdefault("duration_s", 1.0)
    return write_twin(corpus, out, clips=clips or SIZES[corpus], workers=1, **options)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins")
    return {corpus: write(corpus, folder / corpus) for corpus in CORPORA}


def described(root):
    return json.loads((root / "twin.json").read_text())


def frames(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def scales_of(corpus, **wanted):
    return effect_scales(TWINS[corpus].effects, wanted)


# --- Layout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_twin_loads_like_its_corpus_and_has_no_problem(twins, corpus):
    layout = reader(corpus)
    assert layout.check(twins[corpus]) == []
    assert layout.detect_variant(twins[corpus]) == "twin"
    clips = layout.load_clips(twins[corpus])
    about = described(twins[corpus])
    assert len(clips) == len(about["clips"]) == SIZES[corpus]
    assert (about["twin"], about["synthetic"], about["seed"]) == (corpus, True, 0)
    assert about["effects"] == dict.fromkeys(TWINS[corpus].effects, 1.0)
    rows = {row["file"]: row for row in about["clips"]}
    for clip in clips:
        path = clip.video_path or clip.audio_path
        row = rows[path.relative_to(twins[corpus]).as_posix()]
        for key in ("emotion", "sentence", "partition", "transcript", "event", "video"):
            if key in clip.labels:
                assert clip.labels[key] == row[key]
        if corpus != "sound-events":
            assert clip.speaker == row["speaker"]
            assert clip.sex in (row["sex"], "unknown")


@pytest.mark.parametrize("corpus", CORPORA)
def test_recordings_have_sound_and_pictures_of_the_recorded_length(twins, corpus):
    for row in described(twins[corpus])["clips"]:
        path = twins[corpus] / row["file"]
        if corpus == "librispeech":
            about = soundfile.info(path)
            assert (about.samplerate, about.channels, about.subtype) == (16000, 1, "PCM_16")
            assert about.duration == pytest.approx(row["duration_s"], abs=1e-3)
            continue
        with av.open(str(path)) as container:
            pictures, sounds = container.streams.video[0], container.streams.audio[0]
            assert pictures.codec_context.name == "h264"
            assert pictures.average_rate == 25
            assert min(pictures.width, pictures.height) >= 224
            for stream in (pictures, sounds):
                length = float(stream.duration * stream.time_base)
                assert length == pytest.approx(row["duration_s"], abs=0.1)


def test_the_same_sound_lies_in_the_files_of_sound_alone(twins):
    root = twins["crema-d"]
    for row in described(root)["clips"]:
        name = Path(row["file"]).stem
        waveform, rate = soundfile.read(root / "AudioWAV" / f"{name}.wav")
        with av.open(str(root / row["file"])) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            parts = [
                out.to_ndarray()[0]
                for frame in container.decode(audio=0)
                for out in resampler.resample(frame)
            ]
        decoded = np.concatenate(parts)[: len(waveform)]
        waveform = waveform[: len(decoded)]
        lag = np.fft.irfft(
            np.fft.rfft(decoded, 2**17) * np.conj(np.fft.rfft(waveform, 2**17)), 2**17
        )
        assert lag.max() > 0.9 * np.linalg.norm(waveform) * np.linalg.norm(decoded)
    for path in twins["voxceleb2"].rglob("*.m4a"):
        with av.open(str(path)) as container:
            assert [stream.type for stream in container.streams] == ["audio"]


@pytest.mark.parametrize("corpus", ["crema-d", "voxceleb2", "sound-events"])
def test_a_twin_without_pictures_has_the_same_sound(twins, corpus, tmp_path):
    heard = write(corpus, tmp_path / "heard", effects={"pictures": 0})
    layout = reader(corpus)
    assert layout.check(heard) == []
    assert len(layout.load_clips(heard)) == SIZES[corpus]
    for row in described(heard)["clips"]:
        with av.open(str(heard / row["file"])) as container:
            assert [stream.type for stream in container.streams] == ["audio"]
        one, two = (read_video_audio(root / row["file"]) for root in (heard, twins[corpus]))
        assert abs(len(one) - len(two)) <= 2048
        n = min(len(one), len(two)) - 2048
        assert np.corrcoef(one[:n], two[:n])[0, 1] > 0.99
    for path in [*heard.rglob("*.wav"), *heard.rglob("*.m4a")]:
        assert path.read_bytes() == (twins[corpus] / path.relative_to(heard)).read_bytes()


@pytest.mark.parametrize("corpus", ["crema-d", "librispeech", "sound-events"])
def test_the_same_seed_gives_the_same_files_whatever_the_number_of_clips(twins, corpus, tmp_path):
    n = SIZES[corpus] - 1
    again = write(corpus, tmp_path / "again", clips=n)
    other = write(corpus, tmp_path / "other", clips=1, seed=1)
    same = [row["file"] for row in described(again)["clips"]]
    assert len(same) == n
    for name in same:
        assert (again / name).read_bytes() == (twins[corpus] / name).read_bytes()
    name = described(other)["clips"][0]["file"]
    assert (other / name).read_bytes() != (twins[corpus] / name).read_bytes()


# --- Planted factors -----------------------------------------------------------------------------


def test_the_face_of_an_emotion_can_be_switched_off_alone(twins, tmp_path):
    null = write("crema-d", tmp_path / "null", effects={"emotion_face": 0}, clips=3)
    rows = {row["file"]: row for row in described(twins["crema-d"])["clips"]}
    seen = set()
    for row in described(null)["clips"]:
        name = Path(row["file"]).stem
        one, two = (root / "AudioWAV" / f"{name}.wav" for root in (null, twins["crema-d"]))
        assert one.read_bytes() == two.read_bytes()
        pairs = [frames(root / row["file"]) for root in (null, twins["crema-d"])]
        differ = any((a != b).any() for a, b in zip(*pairs, strict=True))
        assert differ == (row["emotion"] != "neutral")
        assert row["votes"]["Voice"] == rows[row["file"]]["votes"]["Voice"]
        seen.add(differ)
    assert seen == {True, False}


def test_annotated_traits_are_the_persons_own_up_to_the_raters(twins, tmp_path):
    plans = talking_heads.plan_first_impressions(160, 0, scales_of("first-impressions"), 1.0)
    own = {
        plan.person: clip_plans.person_of(
            plan.corpus, plan.person, plan.sex, 0, scales_of("first-impressions")
        ).personality
        for plan in plans
    }
    records = [
        {
            "file": plan.files[0],
            "speaker": plan.person,
            "sex": plan.sex,
            "partition": plan.factors["partition"],
            "personality": own[plan.person],
        }
        for plan in plans
    ]
    for raters in (1.0, 0.0):
        scales = scales_of("first-impressions", raters=raters)
        talking_heads.write_first_impressions_tables(tmp_path, records, 0, scales)
        scores = {
            clip: values
            for part in talking_heads.ANNOTATIONS.values()
            for clip, values in read_annotation(tmp_path / part).items()
        }
        assert len(scores) == 160
        traits = np.array([[own[r["speaker"]][t] for t in talking_heads.TRAITS] for r in records])
        found = np.array(
            [[scores[Path(r["file"]).stem][t] for t in talking_heads.TRAITS] for r in records]
        )
        target = traits if raters else np.full_like(traits, 0.5)
        inside = (target > 0.15) & (target < 0.85)
        assert (found - target)[inside].std() == pytest.approx(talking_heads.RATER_NOISE, rel=0.1)
        assert abs((found - target)[inside].mean()) < 0.01
    row = described(twins["first-impressions"])["clips"][0]
    name = Path(row["file"]).stem
    (clip,) = [
        c
        for c in reader("first-impressions").load_clips(twins["first-impressions"])
        if c.clip_id == name
    ]
    assert dict(clip.scores) == row["annotation"]


def test_raters_follow_what_shows():
    generator = np.random.default_rng(0)
    scales = scales_of("crema-d")
    anger = clip_plans.EMOTIONS.index("anger")

    def share(**wanted):
        chosen = np.stack(
            [
                acted.rate("anger", 0.9, scales | wanted, np.random.default_rng(i))[0]
                for i in range(100)
            ]
        )
        return (chosen == anger).mean((0, 2))

    voice, face, both = share()
    assert 0.3 < voice < face < both
    unseen = share(emotion_face=0.0)
    assert unseen[1] < 0.1
    assert unseen[0] == voice
    assert share(raters=0.0) == pytest.approx(np.full(3, 1 / 6), abs=0.05)
    neutral, _ = acted.rate("neutral", 0.0, scales, generator)
    assert (neutral == 0).mean() > 0.5


def test_acted_votes_are_those_of_the_tables(twins):
    layout = twins["crema-d"]
    rows = {Path(r["file"]).stem: r for r in described(layout)["clips"]}
    letters = {r["emotion"]: r["vote"] for r in load_manifest("crema-d").records("emotions")}
    from thesislib.corpora.crema_d import load_clips

    for source, heading in (("perceived-voice", "Voice"), ("perceived-both", "MultiModal")):
        for clip in load_clips(layout, labels=source):
            counts = rows[clip.clip_id]["votes"][heading]
            assert sum(counts.values()) == acted.RATERS
            assert counts[letters[clip.labels["emotion"]]] == max(counts.values())
            assert 0 < clip.scores["strength"] <= 1


def test_accents_shift_vowels_and_rhythm_as_far_as_they_are_planted():
    said = sentence_bank("librispeech")["s03"]
    for name in ACCENTS:
        rng = np.random.default_rng(0)
        assert with_accent(said, name, 0.0, rng) == said
        changed = with_accent(said, name, 1.0, np.random.default_rng(0))
        assert (changed == said) == (name == "standard")
        assert len(changed) == len(said)
        parse_syllables(" ".join(s.phones for s in changed))  # still speakable


def test_a_sentence_is_one_and_can_be_switched_off():
    for corpus in ("crema-d", "librispeech", "voxceleb2"):
        bank = sentence_bank(corpus)
        name = list(bank)[3]
        for k in range(3):
            assert speak(corpus, name, 1.0, np.random.default_rng(k)) == bank[name]
        drawn = [speak(corpus, name, 0.0, np.random.default_rng(k)) for k in range(20)]
        assert len({len(d) for d in drawn}) > 1
        kept = [s.phones for s in bank[name]]
        shared = np.mean([a.phones == b for d in drawn for a, b in zip(d, kept, strict=False)])
        assert shared < 0.2
    assert set(sentence_bank("librispeech")["s01"]) != set(sentence_bank("voxceleb2")["s01"])
    assert spelt(sentence_bank("librispeech")["s01"]).isupper()


# --- People --------------------------------------------------------------------------------------


def test_people_of_two_corpora_are_different_people(twins):
    people = {}
    for corpus in CORPORA:
        for name, about in described(twins[corpus]).get("people", {}).items():
            key = (about["voice"]["f0_hz"], about["identity"]["jaw"])
            assert key not in people, (corpus, name)
            people[key] = corpus
    assert set(people.values()) == set(CORPORA) - {"sound-events"}
    same = [
        clip_plans.person_of(corpus, "1001", "male", 0, {}) for corpus in ("crema-d", "voxceleb2")
    ]
    assert same[0].identity != same[1].identity
    assert same[0].voice != same[1].voice


@pytest.mark.parametrize("corpus", ["first-impressions", "voxceleb2", "librispeech"])
def test_parts_share_no_speaker_and_no_part_is_of_one_sex(corpus):
    plans = TWINS[corpus].plan(24, 0, scales_of(corpus), None)
    by_part = {}
    for plan in plans:
        by_part.setdefault(plan.factors["partition"], set()).add((plan.person, plan.sex))
    parts = [{person for person, _ in people} for people in by_part.values()]
    assert sum(map(len, parts)) == len(set.union(*parts))
    for people in by_part.values():
        assert {sex for _, sex in people} == {"female", "male"}
    if corpus != "first-impressions":
        accents = {}
        for plan in plans:
            accents.setdefault(plan.person, set()).add(plan.factors["accent"])
        assert all(len(found) == 1 for found in accents.values())
        assert set.union(*accents.values()) == set(ACCENTS)
    fewer = TWINS[corpus].plan(7, 0, scales_of(corpus), None)
    assert all(plan in plans for plan in fewer)


def test_splits_of_a_twin_leak_nobody(twins):
    clips = reader("voxceleb2").load_clips(twins["voxceleb2"])
    split = published_split(clips, {"dev": "train", "test": "test"})
    assert len(split.train) == len(split.test) == 1
    assert leaked_share(clips, split) == 0
    clips = reader("crema-d").load_clips(twins["crema-d"])
    assert leaked_share(clips, speaker_split(clips, seed=0)) == 0


def test_acted_clips_are_balanced():
    plans = acted.plan(546, 0, scales_of("crema-d"))
    assert len({(plan.person, plan.emotion) for plan in plans}) == 546
    assert {plan.emotion for plan in acted.plan(6, 0, scales_of("crema-d"))} == set(
        clip_plans.EMOTIONS
    )
    whole = acted.plan(acted.WHOLE, 0, scales_of("crema-d"))
    assert len({plan.files for plan in whole}) == acted.WHOLE == amount("crema-d")
    sexes = list(acted.actor_sexes().values())
    assert (sexes.count("male"), sexes.count("female")) == (48, 43)
    levels = {}
    for plan in whole:
        levels.setdefault(plan.factors["level"], []).append(plan.intensity)
    assert np.mean(levels["LO"]) < np.mean(levels["MD"]) < np.mean(levels["HI"])


# --- Sound events --------------------------------------------------------------------------------


def test_classes_are_those_of_the_manifest():
    rows = load_manifest("sound-events").records("events")
    assert sorted(KINDS) == [row["event"] for row in rows]


@pytest.mark.parametrize("kind", [kind for kind, about in KINDS.items() if about.strokes])
def test_strokes_are_heard_and_seen_at_the_same_time(kind):
    happening = plan_happening(kind, np.random.default_rng(4), ON | {"background": 0.0})
    assert happening.heard == happening.seen
    waveform = sound(happening)
    assert waveform.dtype == torch.float32
    assert waveform.abs().max() <= 0.98
    assert torch.equal(waveform, sound(happening))
    first = happening.heard[0][0]
    before = waveform[: round(16000 * (first - 0.01))]
    after = waveform[round(16000 * first) : round(16000 * (first + 0.1))]
    assert before.square().mean() < 1e-4 * after.square().mean()
    assert len(torch.cat(list(event_pictures.draw(happening, 12, 25, 64)))) == 12


def test_a_thing_moves_when_it_sounds():
    """A bird's picture changes most where its call begins."""
    happening = plan_happening("bird", np.random.default_rng(2), ON)
    drawn = torch.cat(list(event_pictures.draw(happening, 100, 25, 64))).float()
    change = (drawn[1:] - drawn[:-1]).abs().mean((1, 2, 3))
    for onset, _ in happening.heard:
        place = round(onset * 25)
        window = change[max(place - 6, 0) : place + 4]
        assert window.argmax() + max(place - 6, 0) in range(place - 2, place + 2)


def test_without_synchrony_the_picture_goes_its_own_way():
    for k, kind in enumerate(KINDS):
        on, off = (
            plan_happening(kind, np.random.default_rng(k), ON | {"synchrony": s}) for s in (1, 0)
        )
        assert on.heard == on.seen == off.heard
        assert off.seen != off.heard
        assert torch.equal(sound(on), sound(off))


def test_pitch_falls_with_size_unless_switched_off():
    pairs = [plan_happening("bell", np.random.default_rng(k), ON) for k in range(30)]
    assert np.corrcoef([p.size for p in pairs], np.log([p.pitch_hz for p in pairs]))[0, 1] < -0.99
    off = [
        plan_happening("bell", np.random.default_rng(k), ON | {"size_pitch": 0.0}).pitch_hz
        for k in range(5)
    ]
    assert np.ptp(off) < 1e-9


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("x, 0.0, 4.0", r"line 4: cannot read"),
        ('x, 4.0, 0.0, "/t/bell"', r"line 4: cannot read"),
        ('x, 0.0, 4.0, "/m/other"', r"line 4: cannot read"),
    ],
)
def test_a_segment_that_cannot_be_read_is_named(twins, tmp_path, line, what):
    for name in (sound_events.CLASSES, *sound_events.SEGMENTS.values()):
        (tmp_path / name).write_bytes((twins["sound-events"] / name).read_bytes())
    path = tmp_path / "eval_segments.csv"
    path.write_text("\n".join([*path.read_text().splitlines()[:3], line]) + "\n")
    with pytest.raises(InputError, match=what):
        sound_events.load_clips(tmp_path)
    assert len(sound_events.check(tmp_path)) == 1


def test_a_missing_and_an_unlisted_event_are_reported(twins, tmp_path):
    root = twins["sound-events"]
    for name in (sound_events.CLASSES, *sound_events.SEGMENTS.values()):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "other.mp4").write_bytes(b"\x00\x00\x00\x10ftypisom\x00\x00\x02\x00")
    found = [str(problem) for problem in sound_events.check(tmp_path)]
    assert sum("is missing" in line for line in found) == SIZES["sound-events"]
    assert sum("is not in balanced_train_segments.csv" in line for line in found) == 1
    with pytest.raises(InputError, match=r"other\.mp4: is not in balanced_train"):
        sound_events.load_clips(tmp_path)


# --- Around the microphone -----------------------------------------------------------------------


def test_noise_has_the_planted_level_and_all_can_be_switched_off():
    generator = torch.Generator().manual_seed(0)
    voice = 0.05 * torch.randn(32000, generator=generator)
    nothing = draw_acoustics(np.random.default_rng(0), room=0, noise=0, music=0)
    assert spoil_sound(voice, nothing, 1) == pytest.approx(voice, abs=1e-7)
    for snr_db, music_db in ((10.0, None), (None, 10.0)):
        one = Acoustics(
            reverberation_s=0.3, wet_db=None, noise_snr_db=snr_db, noise_slope=3.0,
            music_snr_db=music_db, seed=3,
        )  # fmt: skip
        added = spoil_sound(voice, one, 1) - voice
        measured = 10 * torch.log10(voice.square().mean() / added.square().mean())
        assert float(measured) == pytest.approx(10.0, abs=0.2)
    echo = Acoustics(
        reverberation_s=0.4, wet_db=-8.0, noise_snr_db=None, noise_slope=0.0, music_snr_db=None,
        seed=3,
    )  # fmt: skip
    click = torch.zeros(16000)
    click[0] = 0.5
    tail = spoil_sound(click, echo, 1).double().square()
    early, late = tail[80:1600].sum(), tail[4800:6400].sum()
    assert late < 1e-3 * early
    assert float(10 * torch.log10(tail[1:].sum() / tail[0])) == pytest.approx(-8.0, abs=0.5)


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corpus", "options", "what"),
    [
        ("emodb", {}, "is no twin of clips; use one of crema-d"),
        ("crema-d", {"clips": 0}, "cannot be 0; choose 1 to 7462"),
        ("voxceleb2", {"clips": 1}, "choose 2 to"),
        ("crema-d", {"seed": -1}, "cannot be -1"),
        ("crema-d", {"effects": {"mimicry": 0}}, "is no effect of this twin; known are .*accent"),
        ("librispeech", {"effects": {"sentence": 2}}, "is a share"),
        ("voxceleb2", {"duration_s": 3.0}, "first-impressions only"),
    ],
)
def test_numbers_and_names_that_cannot_be_used_are_refused(tmp_path, corpus, options, what):
    with pytest.raises(InputError, match=what):
        write_twin(corpus, tmp_path / "out", workers=1, **options)
    assert not (tmp_path / "out").exists()
