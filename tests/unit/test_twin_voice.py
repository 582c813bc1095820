"""The voice synthesiser: every planted factor is measured again in the sound, with numpy alone."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg

from thesislib.corpora.twins.phonetics import (
    CONSONANTS,
    SENTENCES,
    VOWELS,
    parse_syllables,
    sentence_plan,
)
from thesislib.corpora.twins.source_filter import NOISE_FLOOR_DB, synthesise
from thesislib.corpora.twins.voice import (
    COMMON_VOICE,
    EMOTION_EFFECTS,
    FRAME_RATE_HZ,
    NEUTRAL_LEVEL_DB,
    EmotionEffect,
    blend_voice,
    effect_scales,
    plan_utterance,
    sample_speaker,
)
from thesislib.errors import InputError

RATE = 16_000
HOP = RATE // FRAME_RATE_HZ
MALE = replace(COMMON_VOICE, f0_hz=110.0, tract_length_cm=17.0)


def plan(voice=MALE, effect=None, syllables=None, seed=0):
    syllables = sentence_plan("a02") if syllables is None else syllables
    return plan_utterance(voice, syllables, effect or EmotionEffect(), np.random.default_rng(seed))


def speak(utterance, rate=RATE):
    return synthesise([utterance], rate)[0].numpy()


def voiced_frames(utterance, waveform, size):
    """Frames of `size` samples centred where voicing is full, and the planned f0 there."""
    where = np.flatnonzero(utterance.tracks[:, 4] > 0.5)
    where = where[(where * HOP > size) & (where * HOP < len(waveform) - size)]
    frames = np.stack([waveform[t * HOP - size // 2 : t * HOP + size // 2] for t in where])
    return frames, utterance.f0_hz[where]


def autocorrelation(frames):
    frames = frames * np.hanning(frames.shape[1])
    power = np.abs(np.fft.rfft(frames, 2 * frames.shape[1])) ** 2
    return np.fft.irfft(power)[:, : frames.shape[1]]


def measured_f0(frames, low=60, high=500):
    window = autocorrelation(np.ones((1, frames.shape[1])))
    correlation = autocorrelation(frames) / window.clip(min=1e-3 * window[0, 0])
    lags = np.arange(RATE // high, RATE // low)
    return RATE / lags[correlation[:, lags].argmax(1)]


def level_db(frames):
    return 10 * np.log10(np.mean(frames**2))


def long_term_db(utterance, seed=0):
    waveform = speak(utterance)
    frames, _ = voiced_frames(utterance, waveform, 512)
    power = np.abs(np.fft.rfft(frames * np.hanning(512))) ** 2
    return 10 * np.log10(power.mean(0))


@pytest.mark.parametrize(
    ("f0_hz", "ratio"), [(90.0, 1.0), (120.0, 1.4), (220.0, 1.0), (220.0, 1.4)]
)
def test_f0_of_the_sound_is_the_planned_f0(f0_hz, ratio):
    utterance = plan(replace(MALE, f0_hz=f0_hz, jitter=0.0), EmotionEffect(f0_level_ratio=ratio))
    frames, planned = voiced_frames(utterance, speak(utterance), 640)
    error = measured_f0(frames) / planned - 1
    assert np.median(np.abs(error)) < 0.02
    assert np.mean(np.abs(error) < 0.05) > 0.8
    assert utterance.mean_f0_hz == pytest.approx(f0_hz * ratio, rel=1e-9)


def test_f0_range_scales_the_contour():
    spread = {}
    for ratio in (0.5, 1.0, 2.0):
        utterance = plan(effect=EmotionEffect(f0_range_ratio=ratio))
        spread[ratio] = np.std(np.log2(utterance.f0_hz[utterance.tracks[:, 4] > 0.5]))
    assert spread[0.5] < 0.7 * spread[1.0]
    assert spread[2.0] > 1.6 * spread[1.0]


def formants(tract_length_cm):
    """Formants of a long [e], by linear prediction of order 18."""
    voice = replace(MALE, f0_hz=80.0, tract_length_cm=tract_length_cm, jitter=0.0, shimmer=0.0)
    utterance = plan(voice, EmotionEffect(rate_ratio=0.25), parse_syllables("e"))
    waveform = speak(utterance)
    middle = len(waveform) // 2
    frame = np.diff(waveform[middle - 640 : middle + 640]) * np.hanning(1279)
    correlation = np.correlate(frame, frame, "full")[len(frame) - 1 :][:19]
    correlation[0] *= 1 + 1e-9
    predictor = scipy.linalg.solve_toeplitz(correlation[:18], correlation[1:19])
    roots = np.roots(np.concatenate([[1.0], -predictor]))
    hz = np.angle(roots) * RATE / (2 * np.pi)
    return np.sort(hz[(hz > 150) & (np.abs(roots) > 0.9)])


@pytest.mark.parametrize("length_cm", [17.0, 14.5])
def test_formants_move_with_the_tract(length_cm):
    found = formants(length_cm)
    for planned in np.array(VOWELS["e"][1:]) * 17.0 / length_cm:
        assert np.min(np.abs(found / planned - 1)) < 0.06


def test_energy_is_planted_in_decibels_and_vanishes_at_zero():
    effect = EMOTION_EFFECTS["anger"]
    only = EmotionEffect(energy_db=effect.energy_db)
    levels = {}
    for scale in (0.0, 0.5, 1.0):
        utterance = plan(effect=only.scaled(energy=scale))
        levels[scale] = level_db(voiced_frames(utterance, speak(utterance), 512)[0])
    assert levels[0.0] == pytest.approx(NEUTRAL_LEVEL_DB, abs=2.0)
    assert levels[1.0] - levels[0.0] == pytest.approx(effect.energy_db, abs=0.05)
    assert levels[0.5] - levels[0.0] == pytest.approx(effect.energy_db / 2, abs=0.05)


@pytest.mark.parametrize("tilt", [-3.0, 4.0])
def test_tilt_is_planted_in_decibels_per_octave(tilt):
    voice = replace(MALE, breathiness=0.0, tilt_db_per_octave=4.0)
    hz = np.fft.rfftfreq(512, 1 / RATE)
    inside = (hz >= 500) & (hz <= 4000)
    syllables = parse_syllables("'la le lo 'la li le")
    plain = long_term_db(plan(voice, None, syllables))
    tilted = long_term_db(plan(voice, EmotionEffect(tilt_db_per_octave=tilt), syllables))
    slope = np.polyfit(np.log2(hz[inside]), (tilted - plain)[inside], 1)[0]
    assert slope == pytest.approx(tilt, abs=0.3)


def test_rate_divides_durations():
    seconds = {r: plan(effect=EmotionEffect(rate_ratio=r)).duration_s for r in (0.5, 1.0, 2.0)}
    # The silences at both ends are constant; speech takes S / rate.
    assert (seconds[0.5] - seconds[1.0]) / (seconds[1.0] - seconds[2.0]) == pytest.approx(
        2, abs=0.05
    )


def test_jitter_and_shimmer_reduce_the_periodicity():
    def periodicity(ratio):
        voice = replace(MALE, breathiness=0.0)
        effect = EmotionEffect(f0_range_ratio=0.01, jitter_ratio=ratio, shimmer_ratio=ratio)
        utterance = plan(voice, effect, parse_syllables("lA le lo lA"))
        frames, f0_hz = voiced_frames(utterance, speak(utterance), 800)
        correlation = autocorrelation(frames)
        lags = np.round(RATE / f0_hz).astype(int)
        near = np.stack([correlation[np.arange(len(lags)), lags + d] for d in (-2, -1, 0, 1, 2)])
        return np.median(near.max(0) / correlation[:, 0])

    steady, usual, rough = periodicity(0.0), periodicity(1.0), periodicity(4.0)
    assert steady > usual > rough
    assert steady - rough > 0.05


def test_a_scaled_effect_vanishes_at_zero_and_is_paired():
    effect = EMOTION_EFFECTS["sadness"]
    nothing = effect.scaled(f0=0, rate=0, energy=0, tilt=0, jitter=0)
    assert nothing == EmotionEffect() == EMOTION_EFFECTS["neutral"]
    assert np.array_equal(speak(plan(effect=nothing)), speak(plan()))
    assert effect.scaled() == effect


def test_varied_effects_centre_on_the_effect():
    generator = np.random.default_rng(0)
    draws = [EMOTION_EFFECTS["anger"].varied(generator) for _ in range(2000)]
    assert np.mean([d.energy_db for d in draws]) == pytest.approx(6.0, abs=0.15)
    assert np.std([np.log(d.f0_level_ratio) for d in draws]) == pytest.approx(0.09, rel=0.1)
    assert np.exp(np.mean([np.log(d.rate_ratio) for d in draws])) == pytest.approx(1.1, rel=0.01)


def test_speakers_differ_by_sex_and_blend_into_one():
    generator = np.random.default_rng(0)
    men = [sample_speaker("male", generator) for _ in range(50)]
    women = [sample_speaker("female", generator) for _ in range(50)]
    assert max(v.f0_hz for v in men) < min(v.f0_hz for v in women)
    assert max(v.tract_length_cm for v in women) < min(v.tract_length_cm for v in men)
    same = blend_voice(men[0], f0=0, tract=0, quality=0)
    assert same == COMMON_VOICE
    own = blend_voice(men[0])
    assert own.f0_hz == pytest.approx(men[0].f0_hz)
    assert own.open_quotient == pytest.approx(men[0].open_quotient)
    with pytest.raises(InputError, match="unknown: is no sex"):
        sample_speaker("unknown", generator)


def test_samples_do_not_depend_on_the_batch():
    utterances = [plan(seed=seed, syllables=sentence_plan(code)) for seed, code in
                  enumerate(["b03", "a01", "a05"])]  # fmt: skip
    together = synthesise(utterances).numpy()
    for row, utterance in zip(together, utterances, strict=True):
        alone = speak(utterance)
        assert len(alone) == round(utterance.duration_s * RATE)
        assert np.array_equal(np.round(row[: len(alone)] * 32767), np.round(alone * 32767))
        assert not row[len(alone) :].any()


def test_fricatives_hiss_vowels_hum_and_pauses_are_quiet():
    utterance = plan(syllables=parse_syllables("'sAs | 'lA"))
    waveform = speak(utterance)
    tracks = utterance.tracks
    hz = np.fft.rfftfreq(256, 1 / RATE)

    def frames(where):
        return np.stack([waveform[t * HOP - 128 : t * HOP + 128] for t in where if t > 2])

    def centroid(chosen):
        power = (np.abs(np.fft.rfft(chosen * np.hanning(256))) ** 2).mean(0)
        return (power * hz).sum() / power.sum()

    hiss = frames(np.flatnonzero(tracks[:, 6] > 0.3))
    hum = frames(np.flatnonzero(tracks[:, 4] > 0.8))
    quiet = np.flatnonzero(tracks[:, 4:7].sum(1) == 0)
    inner = quiet[(quiet > 60) & (quiet < len(tracks) - 60)]
    assert centroid(hiss) > 4000
    assert centroid(hum) < 1500
    assert level_db(frames(quiet[-8:-3])) == pytest.approx(NOISE_FLOOR_DB, abs=1.5)
    assert len(inner) > 5
    assert level_db(frames(inner)) < level_db(hum) - 25


@pytest.mark.parametrize("rate", [8_000, 24_000])
def test_other_rates_carry_the_same_voice(rate):
    utterance = plan(replace(MALE, jitter=0.0))
    waveform = speak(utterance, rate)
    assert len(waveform) == round(utterance.duration_s * rate)
    reference = speak(utterance)
    hz = (200, 1500)

    def band(signal, at):
        spectrum = np.abs(np.fft.rfft(signal)) ** 2 / len(signal) / at
        bins = np.fft.rfftfreq(len(signal), 1 / at)
        inside = (bins > hz[0]) & (bins < hz[1])
        return 10 * np.log10(spectrum[inside].sum() / spectrum.sum())

    assert band(waveform, rate) == pytest.approx(band(reference, RATE), abs=1.0)


def test_loud_speech_stays_within_the_format():
    waveform = speak(plan(effect=EmotionEffect(energy_db=60.0)))
    assert np.abs(waveform).max() == pytest.approx(0.98)
    assert np.isfinite(waveform).all()


def test_every_sentence_is_made_of_known_phones():
    for code in SENTENCES:
        syllables = sentence_plan(code)
        assert any(syllable.accented for syllable in syllables)
        for syllable in syllables:
            assert all(phone in CONSONANTS for phone in syllable.onset)
            assert syllable.nucleus not in CONSONANTS
            assert (syllable.segments()[:, 0] > 0).all()


def test_bad_input_is_one_line():
    with pytest.raises(InputError, match=r"c99: is no sentence code; choose one of a01"):
        sentence_plan("c99")
    for wrong in ("q", "st", "'"):
        with pytest.raises(InputError, match="is no syllable"):
            parse_syllables(wrong)
    with pytest.raises(InputError, match="pitch: is no effect of this twin; known are f0, rate"):
        effect_scales(["f0", "rate"], {"pitch": 0.0})
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="strength"):
            effect_scales(["f0"], {"f0": bad})
    with pytest.raises(InputError, match="at least one plan"):
        synthesise([])
    with pytest.raises(InputError, match="multiple of 200"):
        synthesise([plan()], 44_100)
    with pytest.raises(InputError, match="at least one syllable"):
        plan(syllables=[])
