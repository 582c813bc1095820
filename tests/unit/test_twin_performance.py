"""Performances of the twins: what is planted can be measured, and what is off cannot."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.linalg import solve_toeplitz
from scipy.signal import butter, decimate, sosfiltfilt
from scipy.stats import ks_2samp, pearsonr

from thesislib.corpora.twins import gestures as gestures_of
from thesislib.corpora.twins import people as people_of
from thesislib.corpora.twins import talk
from thesislib.corpora.twins.dyads import Dyad, Event, chance, simulate_dyad
from thesislib.corpora.twins.face_motion import ACTION_UNITS, FaceMotion
from thesislib.corpora.twins.laughter import plan_laugh
from thesislib.corpora.twins.people import TRAITS, Person, sample_person, spontaneous_events
from thesislib.corpora.twins.performance import (
    SAMPLE_RATE,
    Performance,
    perform_clip,
    perform_dyad,
)
from thesislib.corpora.twins.phonetics import parse_syllables, sentence_plan
from thesislib.corpora.twins.source_filter import synthesise
from thesislib.corpora.twins.voice import EmotionEffect, SpeakerVoice
from thesislib.errors import InputError

ANNA, BERT = (sample_person(name, sex, seed=5) for name, sex in (("p1", "female"), ("p2", "male")))


def event(kind: str, start_s: float, end_s: float, intensity: float) -> Event:
    start, end = round(1000 * start_s), round(1000 * end_s)
    return Event(
        start_ms=start,
        apex_ms=start + (end - start) // 4,
        release_ms=end - (end - start) // 3,
        end_ms=end,
        kind=kind,  # type: ignore[arg-type]
        intensity=intensity,
        shown=intensity,
        mimics=False,
    )


def unit(motion: FaceMotion, number: int) -> np.ndarray:
    return motion.action_units[:, ACTION_UNITS.index(number)].numpy()


def rms(waveform: torch.Tensor) -> float:
    return float(waveform.double().square().mean().sqrt())


def same_motion(one: FaceMotion, other: FaceMotion, tolerance: float = 0.0) -> bool:
    parts = ("action_units", "pose", "shoulders", "gaze")
    return all(
        torch.allclose(getattr(one, name), getattr(other, name), rtol=0, atol=tolerance)
        for name in parts
    )


def joined(
    dyad: Dyad, people: tuple[Person, Person] = (ANNA, BERT), **options: object
) -> list[tuple[torch.Tensor, FaceMotion, tuple[tuple[float, float, str], ...]]]:
    settings = {"fps": 25.0, "leakage_db": None, "seed": 1, **options}
    blocks = list(perform_dyad(dyad, people, **settings))  # type: ignore[arg-type]
    out = []
    for seat in (0, 1):
        parts: list[Performance] = [block[seat] for block in blocks]
        motion = FaceMotion(
            *(
                torch.cat([getattr(part.motion, name) for part in parts])
                for name in ("action_units", "pose", "shoulders", "gaze")
            )
        )
        syllables = tuple(row for part in parts for row in part.syllables)
        out.append((torch.cat([part.waveform for part in parts]), motion, syllables))
    return out


# --- people


def test_people_are_their_name_and_seed() -> None:
    assert sample_person("a", "male", seed=0) == sample_person("a", "male", seed=0)
    others = [sample_person("b", "male", seed=0), sample_person("a", "male", seed=1)]
    for other in others:
        assert other.identity != sample_person("a", "male", seed=0).identity
        assert other.voice != sample_person("a", "male", seed=0).voice


def test_traits_depend_neither_on_sex_nor_on_each_other() -> None:
    values = {
        sex: np.array(
            [
                list(sample_person(f"{sex} {i}", sex, seed=0).personality.values())
                for i in range(250)
            ]
        )
        for sex in ("female", "male")
    }
    for column in range(len(TRAITS)):
        assert ks_2samp(values["female"][:, column], values["male"][:, column]).pvalue > 0.01
    correlation = np.corrcoef(np.concatenate(list(values.values())).T)
    assert np.abs(correlation - np.eye(5)).max() < 0.15
    assert values["male"].min() >= 0
    assert values["male"].max() <= 1
    assert values["male"].std() > 0.15


def test_without_their_effects_all_people_look_and_sound_alike() -> None:
    off = dict.fromkeys(("speaker_f0", "speaker_tract", "speaker_quality", "face_identity"), 0.0)
    one = sample_person("a", "female", seed=0, effects=off)
    other = sample_person("b", "male", seed=3, effects=off)
    assert one.voice == other.voice
    assert one.identity == other.identity
    assert one.personality != other.personality


def with_traits(person: Person, **traits: float) -> Person:
    return replace(person, personality={**dict.fromkeys(TRAITS, 0.5), **traits})


def test_extraverts_are_louder_and_faster_and_only_if_planted() -> None:
    shy, bold = (with_traits(BERT, extraversion=value) for value in (0.0, 1.0))
    syllables = sentence_plan("a05")

    def measure(person: Person, scale: float) -> tuple[float, float]:
        effects = {"personality_voice": scale}
        clips = [
            perform_clip(person, syllables, fps=25, seed=seed, effects=effects) for seed in range(3)
        ]
        level = np.mean([20 * np.log10(rms(clip.waveform)) for clip in clips])
        length = np.mean([clip.syllables[-1][1] - clip.syllables[0][0] for clip in clips])
        return float(level), float(length)

    (shy_db, shy_s), (bold_db, bold_s) = measure(shy, 1), measure(bold, 1)
    assert 6.5 < bold_db - shy_db < 9.5  # 8 dB
    assert shy_s / bold_s == pytest.approx(1.15**2, rel=0.02)
    assert measure(shy, 0) == measure(bold, 0)


def test_personality_shows_in_the_face_and_only_if_planted() -> None:
    calm = with_traits(ANNA, neuroticism=0.0, extraversion=0.0, agreeableness=0.0)
    vivid = with_traits(ANNA, neuroticism=1.0, extraversion=1.0, agreeableness=1.0)
    options = {"duration_s": 20.0, "fps": 20, "seed": 2}

    def motions(scale: float) -> list[FaceMotion]:
        effects = {"personality_face": scale, "personality_voice": 0.0}
        return [
            perform_clip(person, None, effects=effects, **options).motion  # type: ignore[arg-type]
            for person in (calm, vivid)
        ]

    one, other = motions(1)
    times_s = np.arange(12_000) / 20
    plans = [
        gestures_of.plan_gestures(p.name, people_of.habits(p), 600.0, 2) for p in (calm, vivid)
    ]
    blinks = [
        (np.diff((gestures_of.blink(plan, times_s) > 0.4).astype(int)) == 1).sum() for plan in plans
    ]
    assert 100 < 1.8 * blinks[0] < blinks[1] < 400  # 2.56 times, less what the pause between takes
    away = [np.abs(gestures_of.gaze(plan, times_s)).mean() for plan in plans]
    assert away[1] < 0.6 * away[0]
    short = gestures_of.plan_gestures(calm.name, people_of.habits(calm), 20.0, 2)
    seen = gestures_of.gaze(short, np.arange(400) / 20).astype(np.float32)
    assert np.array_equal(one.gaze.numpy(), seen)
    assert unit(other, 12).min() > unit(one, 12).min() + 0.05
    assert same_motion(*motions(0))
    rates = [len(spontaneous_events(p, 3000.0, seed=0)) for p in (calm, vivid)]
    assert rates[1] > 3 * rates[0]
    null = [
        spontaneous_events(p, 600.0, seed=0, effects={"personality_face": 0}) for p in (calm, vivid)
    ]
    assert null[0] == null[1]
    assert all(a.end_ms < b.start_ms for a, b in zip(null[0], null[0][1:], strict=False))


# --- clips


@pytest.mark.parametrize("fps", [25, 50, 30000 / 1001])
@pytest.mark.parametrize("duration_s", [0.5, 3.217])
def test_a_clip_is_as_long_as_asked(fps: float, duration_s: float) -> None:
    clip = perform_clip(ANNA, sentence_plan("a01"), duration_s=duration_s, fps=fps, seed=0)
    assert len(clip.waveform) == round(duration_s * SAMPLE_RATE)
    assert len(clip.motion) == round(duration_s * fps)
    assert clip.waveform.dtype == torch.float32
    assert clip.waveform.abs().max() < 1
    assert all(start < duration_s for start, _, _ in clip.syllables)


def test_a_sentence_takes_its_own_time_and_says_its_syllables() -> None:
    plan = sentence_plan("b03")
    clip = perform_clip(ANNA, plan, fps=25, seed=0)
    assert len(clip.waveform) == len(clip.motion) * SAMPLE_RATE // 25
    assert [phones for _, _, phones in clip.syllables] == [s.phones for s in plan]
    ends = [0.0, *(end for _, end, _ in clip.syllables)]
    assert all(
        before <= start < end for before, (start, end, _) in zip(ends, clip.syllables, strict=False)
    )
    wave = clip.waveform.numpy()
    inside = np.zeros(len(wave), bool)
    for start, end, _ in clip.syllables:
        inside[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = True
    assert np.sqrt(np.mean(wave[inside] ** 2)) > 10 * np.sqrt(np.mean(wave[~inside] ** 2))


def test_the_same_seed_gives_the_same_bytes() -> None:
    def make(seed: int) -> bytes:
        clip = perform_clip(ANNA, None, duration_s=2.0, fps=25, seed=seed)
        return clip.waveform.numpy().tobytes() + clip.motion.action_units.numpy().tobytes()

    assert make(3) == make(3)
    assert make(3) != make(4)


def test_emotions_show_in_voice_and_face_and_can_be_switched_off() -> None:
    syllables = sentence_plan("a01")
    off = dict.fromkeys([name for name in people_of.EFFECTS if name.startswith("emotion_")], 0.0)

    def clip(emotion: str, **effects: float) -> Performance:
        return perform_clip(BERT, syllables, emotion=emotion, fps=25, seed=0, effects=effects)

    neutral, anger = clip("neutral"), clip("anger")
    assert rms(anger.waveform) > 1.5 * rms(neutral.waveform)
    assert unit(anger.motion, 4).max() > 0.9 > unit(neutral.motion, 4).max()
    null = clip("anger", **off)
    assert torch.equal(null.waveform, neutral.waveform)
    assert same_motion(null.motion, neutral.motion)
    face_only = clip("anger", **{**off, "emotion_face": 1.0})
    assert torch.equal(face_only.waveform, neutral.waveform)
    assert unit(face_only.motion, 4).max() > 0.9


def test_lips_follow_the_voice_and_only_if_planted() -> None:
    smooth = butter(2, 6, fs=SAMPLE_RATE, output="sos")
    found = {}
    for scale in (1.0, 0.0):
        clip = perform_clip(
            BERT, None, duration_s=10.0, fps=50, seed=1, effects={"lips": scale}, language="open"
        )
        loud = sosfiltfilt(smooth, np.abs(clip.waveform.double().numpy()))[160::320]
        opening = unit(clip.motion, 25) + unit(clip.motion, 26)
        found[scale] = opening
        if scale:
            together = pearsonr(loud, opening).statistic
            shifted = [pearsonr(loud, np.roll(opening, k)).statistic for k in range(50, 450, 10)]
            assert together > 0.4
            assert together > max(shifted) + 0.1
    assert found[0.0].max() == 0.0


def test_a_smiling_mouth_still_closes_to_speak() -> None:
    syllables = parse_syllables("ma 'ma ma 'ma ma 'ma")
    clip = perform_clip(
        BERT, syllables, duration_s=3.0, events=[event("smile", 0, 3, 1.0)], fps=50, seed=0
    )
    start, end, _ = clip.syllables[3]
    parted = unit(clip.motion, 25)[round(start * 50) : round(end * 50)]
    assert parted.min() < 0.35 < 0.6 < parted.max()
    assert unit(clip.motion, 12)[75] > 0.95


# --- smiles and laughs


def formants(waveform: np.ndarray) -> np.ndarray:
    """Frequencies of the poles of linear prediction (order 10 at 8 kHz), sharp ones only."""
    low = decimate(waveform, 2)
    low = np.append(low[0], low[1:] - 0.95 * low[:-1]) * np.hamming(len(low))
    r = np.correlate(low, low, "full")[len(low) - 1 :][:11]
    roots = np.roots(np.concatenate([[1.0], -solve_toeplitz(r[:10], r[1:11])]))
    roots = roots[(roots.imag > 0) & (np.abs(roots) > 0.85)]
    return np.sort(np.angle(roots) * 8000 / (2 * np.pi))


@pytest.mark.parametrize("vowel", ["e", "A"])
def test_a_smile_raises_the_second_formant(vowel: str) -> None:
    voice = SpeakerVoice(100.0, 17.0, 0.55, 0.0, 0.005, 0.0, 0.0)
    syllables = parse_syllables(f"'{vowel}{vowel}{vowel}{vowel}")
    smiles = [event("smile", -1, 4, 1.0)]
    wanted = {"e": 2050.0, "A": 1230.0}[vowel]
    f2 = []
    for scale in (0.0, 1.0):
        sound = talk.say(
            0.5,
            voice,
            syllables,
            EmotionEffect(f0_range_ratio=0.1),
            np.random.default_rng(0),
            smiles=smiles,
            smile_scale=scale,
        )
        waveform = synthesise([sound.utterance])[0].numpy()
        middle = round((np.mean(sound.syllables[0][:2]) - sound.start_s) * SAMPLE_RATE)
        found = formants(waveform[middle - 800 : middle + 800])
        f2.append(found[np.abs(found - wanted * (1 + 0.08 * scale)).argmin()])
    assert f2[0] == pytest.approx(wanted, rel=0.05)
    assert f2[1] / f2[0] == pytest.approx(1.08, abs=0.025)


def test_smiles_are_heard_and_seen_only_if_planted() -> None:
    options = {"duration_s": 4.0, "fps": 25, "seed": 4}
    smiles = [event("smile", 0.5, 3.5, 0.9)]

    def clip(events: list[Event], **effects: float) -> Performance:
        return perform_clip(ANNA, None, events=events, effects=effects, **options)  # type: ignore[arg-type]

    plain, smiled = clip([]), clip(smiles)
    assert not torch.equal(plain.waveform, smiled.waveform)
    assert unit(smiled.motion, 12).max() > 0.85
    assert torch.equal(plain.waveform, clip(smiles, smile_voice=0).waveform)
    assert same_motion(plain.motion, clip(smiles, smile_face=0).motion)
    half = unit(clip(smiles, smile_face=0.5).motion, 12).max()
    assert 0.4 < half < 0.6


def test_laughs_are_heard_and_seen_only_if_planted() -> None:
    options = {"duration_s": 5.0, "fps": 25, "seed": 4}
    laughs = [event("laugh", 2.0, 4.0, 0.9)]

    def clip(events: list[Event], **effects: float) -> Performance:
        return perform_clip(ANNA, None, events=events, effects=effects, **options)  # type: ignore[arg-type]

    plain, laughing = clip([]), clip(laughs)
    assert not torch.equal(plain.waveform, laughing.waveform)
    assert not any(2.0 < start < 4.0 for start, _, _ in laughing.syllables)
    silent = clip(laughs, laugh_voice=0)
    assert torch.equal(plain.waveform, silent.waveform)
    assert unit(silent.motion, 26).max() > 0.5
    assert same_motion(plain.motion, clip(laughs, laugh_voice=0, laugh_face=0).motion)
    still = clip(laughs, laugh_face=0)
    assert torch.equal(still.waveform, laughing.waveform)
    assert unit(still.motion, 12)[50:100].max() < 0.15
    half = clip(laughs, laugh_voice=0.5).waveform[36000:60000]
    assert rms(half) / rms(laughing.waveform[36000:60000]) == pytest.approx(0.5, rel=0.03)


def test_the_jaw_pulses_with_the_calls_that_are_heard() -> None:
    laughs = [event("laugh", 0.5, 3.0, 1.0)]
    silent = with_traits(BERT, neuroticism=0.0)
    clip = perform_clip(silent, parse_syllables("ma ma"), events=laughs, fps=50, seed=0)
    plan = plan_laugh(BERT.voice, 2.5, 1.0, chance(0, "laugh of p2 at 500"))
    smooth = butter(2, 12, fs=SAMPLE_RATE, output="sos")
    jaw = unit(clip.motion, 26)
    loud = sosfiltfilt(smooth, np.abs(clip.waveform.double().numpy()))[:: SAMPLE_RATE // 50]
    calls_s = 0.5 + plan.call_s[2:-1]  # those at full intensity
    assert len(calls_s) >= 4
    for call_s in calls_s:
        window = slice(round(call_s * 50), round((call_s + 0.16) * 50))
        before = round((call_s - 0.05) * 50)
        assert jaw[window].max() > jaw[before] + 0.1
        assert loud[window].max() > 2 * loud[before]
        assert abs(int(jaw[window].argmax()) - int(loud[window].argmax())) <= 3  # 60 ms
    assert np.ptp(clip.motion.shoulders.numpy()[50:120]) > 0.05


# --- dyads

DYAD = simulate_dyad("ifadv", 2, seed=3, duration_s=24)


@cache
def plain() -> list[tuple[torch.Tensor, FaceMotion, tuple[tuple[float, float, str], ...]]]:
    return joined(DYAD)


@pytest.mark.parametrize("fps", [25.0, 30000 / 1001])
def test_a_dyad_is_exactly_as_long_as_planned(fps: float) -> None:
    dyad = simulate_dyad("ccdb", 1, duration_s=11.3)
    for waveform, motion, _ in joined(dyad, fps=fps, block_s=2.7):
        assert len(waveform) == round(11.3 * SAMPLE_RATE)
        assert len(motion) == round(11.3 * fps)


def test_blocks_join_without_a_seam() -> None:
    long = joined(DYAD, leakage_db=-20.0)
    short = joined(DYAD, leakage_db=-20.0, block_s=1.3)
    for one, other in zip(long, short, strict=True):
        assert torch.allclose(one[0], other[0], rtol=0, atol=1e-6)
        assert same_motion(one[1], other[1], 1e-6)
        assert one[2] == other[2]


def test_speech_lies_within_turns_and_feedback() -> None:
    results = plain()
    for participant, (waveform, _, syllables) in zip(DYAD.participants, results, strict=True):
        turns = [(s.start_s, s.end_s) for s in participant.roles if s.value == "spk"]
        feedback = [(s.start_s - 0.1, s.end_s + 0.5) for s in participant.backchannels]
        laughs = [
            (e.start_ms / 1000, e.end_ms / 1000) for e in participant.events if e.kind == "laugh"
        ]
        assert len(syllables) > 30
        for start, end, _ in syllables:
            assert any(a <= start and end <= b + 0.01 for a, b in turns + feedback)
            assert not any(start < b and a < end for a, b in laughs if (a, b) not in feedback)
        level = waveform.double().square()
        talking = torch.zeros(len(level), dtype=torch.bool)
        for a, b in turns + feedback + laughs:
            talking[round(max(a, 0) * SAMPLE_RATE) : round((b + 0.3) * SAMPLE_RATE)] = True
        quiet = 10 * torch.log10(level[~talking].mean())
        assert quiet == pytest.approx(-66.0, abs=0.5)  # the room alone
        spoken = sum(min(b, 24) - a for a, b in turns)
        voiced = sum(end - start for start, end, _ in syllables)
        assert voiced > 0.4 * spoken


def test_leakage_has_the_level_asked_for_and_can_be_switched_off() -> None:
    alone = plain()
    leaky = joined(DYAD, leakage_db=-25.0)
    for seat in (0, 1):
        leaked = (leaky[seat][0] - alone[seat][0]).double()
        other = alone[1 - seat][0].double()
        assert 20 * np.log10(rms(leaked) / rms(other)) == pytest.approx(-25.0, abs=0.1)
        gain = float(leaked[48:] @ other[:-48] / (other[:-48] @ other[:-48]))
        assert 20 * np.log10(gain) == pytest.approx(-25.0, abs=0.1)  # 3 ms later
        assert same_motion(leaky[seat][1], alone[seat][1])
    off = joined(DYAD, leakage_db=-25.0, effects={"leakage": 0})
    half = joined(DYAD, leakage_db=-25.0, effects={"leakage": 0.5})
    for seat in (0, 1):
        assert torch.equal(off[seat][0], alone[seat][0])
        difference = rms(half[seat][0] - alone[seat][0]) / rms(leaky[seat][0] - alone[seat][0])
        assert difference == pytest.approx(0.5, rel=0.01)


def test_listeners_nod_and_only_if_planted() -> None:
    on, off = plain(), joined(DYAD, effects={"nods": 0})
    for seat, participant in enumerate(DYAD.participants):
        difference = (on[seat][1].pose[:, 1] - off[seat][1].pose[:, 1]).numpy()
        times_s = np.arange(len(difference)) / 25
        within = np.zeros(len(difference), bool)
        for segment in participant.backchannels:
            within |= (times_s >= segment.start_s) & (times_s <= segment.end_s)
        assert within.any()
        assert difference[within].min() < -0.08
        assert np.abs(difference[~within]).max() == 0
        assert torch.equal(on[seat][0], off[seat][0])


def test_languages_differ_in_their_syllables() -> None:
    generator = np.random.default_rng(0)
    closed = {}
    for language in talk.LANGUAGES:
        drawn = talk.draw_syllables(language, 400, generator)
        closed[language] = np.mean([s.phones[-1] in "tdnslkmRbpgfvSCxN" for s in drawn])
        assert all(parse_syllables(s.phones)[0].phones == s.phones for s in drawn)
    assert closed["open"] == 0.0
    assert closed["german"] > closed["final"] + 0.1


def test_a_dyad_speaks_the_language_of_its_corpus() -> None:
    dyad = simulate_dyad("ndc-me", 1, duration_s=10)
    usual = [part[2] for part in joined(dyad)]
    assert [part[2] for part in joined(dyad, language="final")] == usual
    assert [part[2] for part in joined(dyad, language="open")] != usual


def test_what_cannot_be_performed_is_refused() -> None:
    plan = sentence_plan("a01")
    with pytest.raises(InputError, match="surprise"):
        perform_clip(ANNA, plan, emotion="surprise", fps=25, seed=0)
    with pytest.raises(InputError, match="nor is a duration"):
        perform_clip(ANNA, fps=25, seed=0)
    with pytest.raises(InputError, match="fps"):
        perform_clip(ANNA, plan, fps=0, seed=0)
    with pytest.raises(InputError, match="seed"):
        perform_clip(ANNA, plan, fps=25, seed=-1)
    with pytest.raises(InputError, match="intensity"):
        perform_clip(ANNA, plan, fps=25, seed=0, intensity=1.5)
    with pytest.raises(InputError, match="duration"):
        perform_clip(ANNA, plan, fps=25, seed=0, duration_s=float("nan"))
    with pytest.raises(InputError, match="is no effect"):
        perform_clip(ANNA, plan, fps=25, seed=0, effects={"laughs": 0})
    with pytest.raises(InputError, match="language"):
        perform_clip(ANNA, duration_s=3.0, fps=25, seed=0, language="klingon")
    with pytest.raises(InputError, match="leakage_db"):
        joined(DYAD, leakage_db=3.0)
    with pytest.raises(InputError, match="sex"):
        sample_person("a", "unknown", seed=0)
    with pytest.raises(InputError, match="seed"):
        sample_person("a", "male", seed=-1)
