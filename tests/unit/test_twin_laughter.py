"""Laughs of the twins, measured in the waveform with scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from thesislib.corpora.twins.laughter import BREATH_S, CALL_S, Laugh, plan_laugh
from thesislib.corpora.twins.source_filter import synthesise
from thesislib.corpora.twins.voice import SpeakerVoice
from thesislib.errors import InputError

RATE = 16_000
VOICE = SpeakerVoice(120.0, 17.0, 0.55, 0.0, 0.01, 0.004, 0.02)


def laugh(intensity: float, seed: int, duration_s: float = 2.0) -> tuple[Laugh, np.ndarray]:
    plan = plan_laugh(VOICE, duration_s, intensity, np.random.default_rng(seed))
    return plan, synthesise([plan.utterance])[0].numpy()


def envelope(waveform: np.ndarray) -> np.ndarray:
    smooth = butter(2, 20, fs=RATE, output="sos")
    return sosfiltfilt(smooth, np.abs(waveform)).clip(0)


def periodicity(piece: np.ndarray) -> tuple[float, float]:
    """Height and frequency of the highest peak of the generalised autocorrelation.

    The exponent of 0.6 flattens the formants, whose ringing is no periodicity; the window's own
    autocorrelation is not divided out, so that of several periods the shortest wins.
    """
    spectrum = np.fft.rfft((piece - piece.mean()) * np.hanning(len(piece)), 4096)
    spectrum[np.fft.rfftfreq(4096, 1 / RATE) > 4000] = 0
    curve = np.fft.irfft(np.abs(spectrum) ** 0.6)
    lags = np.arange(RATE // 700, RATE // 110)
    lag = lags[np.argmax(curve[lags])]
    return float(curve[lag] / curve[0]), RATE / lag


def call_pieces(plan: Laugh, waveform: np.ndarray) -> list[np.ndarray]:
    return [waveform[round((t + 0.045) * RATE) : round((t + 0.1) * RATE)] for t in plan.call_s]


def test_about_five_calls_a_second_are_heard() -> None:
    peaks = []
    for seed in range(8):
        plan, waveform = laugh(1.0, seed)
        calls = waveform[: round((plan.call_s[-1] + CALL_S) * RATE)]
        wave = envelope(calls)[::80]
        spectrum = np.abs(np.fft.rfft((wave - wave.mean()) * np.hanning(len(wave)), 8192))
        hz = np.fft.rfftfreq(8192, 80 / RATE)
        peaks.append(hz[np.argmax(spectrum * ((hz > 2) & (hz < 12)))])
    assert 4.6 < np.median(peaks) < 5.4
    assert all(4 < peak < 6 for peak in peaks)


def test_f0_falls_over_a_bout() -> None:
    falls = []
    for seed in range(6):
        plan, waveform = laugh(1.0, seed)
        measured = [periodicity(piece)[1] for piece in call_pieces(plan, waveform)]
        f0 = np.array(measured)[plan.voiced]
        falls.append(12 * np.log2(f0[0] / f0[-1]))
        assert np.polyfit(np.arange(len(f0)), np.log2(f0), 1)[0] < 0
    assert np.mean(falls) > 4.0


def test_f0_that_is_heard_is_the_one_planned() -> None:
    plan, waveform = laugh(0.8, 3)
    for at, piece, voiced in zip(
        plan.call_s, call_pieces(plan, waveform), plan.voiced, strict=True
    ):
        if voiced:
            planned = plan.utterance.f0_hz[round((at + 0.0725) * 200)]
            assert periodicity(piece)[1] == pytest.approx(planned, rel=0.06)


def test_unvoiced_calls_are_noise_and_voiced_ones_are_not() -> None:
    heights: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(12):
        plan, waveform = laugh(0.5, seed)
        for piece, voiced in zip(call_pieces(plan, waveform), plan.voiced, strict=True):
            heights[bool(voiced)].append(periodicity(piece)[0])
    assert np.median(heights[True]) > 0.3
    assert np.median(heights[False]) < 0.12
    assert min(heights[True]) > max(heights[False])


def test_intensity_makes_laughs_louder_higher_longer_and_voiced() -> None:
    found = {}
    for intensity in (0.1, 0.5, 0.9):
        plans = [laugh(intensity, seed) for seed in range(16)]
        found[intensity] = (
            np.mean([np.sqrt(np.mean(wave**2)) for _, wave in plans]),
            np.mean([np.median(plan.utterance.f0_hz) for plan, _ in plans]),
            np.mean([len(plan.call_s) for plan, _ in plans]),
            np.mean([plan.voiced.mean() for plan, _ in plans]),
        )
    for weak, strong in ((0.1, 0.5), (0.5, 0.9)):
        assert all(np.array(found[weak]) < np.array(found[strong]))
    assert found[0.1][3] < 0.35
    assert found[0.9][3] > 0.7


def test_breath_is_drawn_in_after_the_last_call() -> None:
    plan, waveform = laugh(0.8, 1)
    assert len(plan.breath_s) == 1
    assert plan.breath_s[0] > plan.call_s[-1] + CALL_S
    start = round(plan.breath_s[0] * RATE)
    breath = waveform[start : start + round(BREATH_S * RATE)]
    rest = waveform[round((plan.breath_s[0] + BREATH_S + 0.02) * RATE) :]
    assert np.sqrt(np.mean(breath**2)) > 4 * np.sqrt(np.mean(rest**2))
    middle = breath[len(breath) // 3 : 2 * len(breath) // 3]
    assert periodicity(middle)[0] < 0.2


def test_long_laughs_have_several_bouts() -> None:
    plan, _ = laugh(1.0, 0, duration_s=6.0)
    assert len(plan.breath_s) >= 2
    gaps = np.diff(plan.call_s)
    assert (gaps > 2 * np.median(gaps)).sum() == len(plan.breath_s) - 1
    first = plan.call_s < plan.breath_s[0]
    at = np.round((plan.call_s + 0.07) * 200).astype(int)
    f0 = plan.utterance.f0_hz[at]
    assert f0[~first][0] > f0[first][-1]  # a new bout starts high again


@pytest.mark.parametrize("duration_s", [0.3, 0.5, 0.64, 1.0, 6.0])
@pytest.mark.parametrize("intensity", [0.0, 1.0])
def test_every_length_is_filled_and_kept_to(duration_s: float, intensity: float) -> None:
    plan, waveform = laugh(intensity, 5, duration_s)
    assert plan.utterance.duration_s == pytest.approx(duration_s, abs=0.003)
    assert len(plan.call_s) >= 1
    assert plan.call_s[-1] + CALL_S <= duration_s + 0.03
    assert 0.001 < np.sqrt(np.mean(waveform**2)) < 0.5


def test_a_laugh_is_its_own_source_of_chance() -> None:
    one, again, other = laugh(0.6, 7)[1], laugh(0.6, 7)[1], laugh(0.6, 8)[1]
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()


@pytest.mark.parametrize(("duration_s", "intensity"), [(0.2, 0.5), (float("nan"), 0.5), (1.0, 1.5)])
def test_impossible_laughs_are_refused(duration_s: float, intensity: float) -> None:
    with pytest.raises(InputError):
        plan_laugh(VOICE, duration_s, intensity, np.random.default_rng(0))
