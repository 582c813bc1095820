"""A plan of speech made audible: a batched source-filter synthesiser.

The voiced source is a band-limited pulse train in closed form, shaped by a glottal formant (Doval,
d'Alessandro and Henrich, 2006). It and the noises pass through time-varying resonators (Fant, 1960;
Klatt, 1980) by overlap-add. Everything is vectorised over clips and time, and in double precision,
so that a clip's 16-bit samples do not depend on the batch that it was made in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from thesislib.corpora.twins.voice import FRAME_RATE_HZ, SpeakerVoice, Utterance
from thesislib.errors import InputError

NOISE_FLOOR_DB = -72.0
"""Level of the recording's noise, in dB below full scale."""
_SPEED_OF_SOUND_CM_S = 35_000.0


def synthesise(utterances: Sequence[Utterance], sample_rate: int = 16_000) -> Tensor:
    """Speak a batch of planned utterances.

    Args:
        utterances: The plans, at least one.
        sample_rate: In Hz, a multiple of 200 from 8,000 up.

    Returns:
        Waveforms `(B, N)`, float64, within -0.98 to 0.98. Row b holds
        ``utterances[b].duration_s * sample_rate`` samples and zeros after them.

    Raises:
        InputError: the batch is empty, or the rate does not fit.
    """
    if not utterances:
        raise InputError("utterances", "is empty", "give at least one plan")
    if sample_rate % FRAME_RATE_HZ or sample_rate < 8_000:
        raise InputError(
            "sample_rate", f"cannot be {sample_rate}", "use a multiple of 200, 8000 up"
        )
    hop = sample_rate // FRAME_RATE_HZ
    frames = [len(utterance.f0_hz) for utterance in utterances]
    longest = max(frames)
    tracks = torch.zeros(len(utterances), longest + 1, 10, dtype=torch.float64)
    noise = torch.zeros(len(utterances), 3, longest * hop, dtype=torch.float64)
    cycles = torch.zeros(len(utterances), 2, longest * 4, dtype=torch.float64)  # f0 stays < 800 Hz
    for b, utterance in enumerate(utterances):
        both = np.concatenate([utterance.f0_hz[:, None], utterance.tracks], axis=1)
        tracks[b] = torch.from_numpy(np.pad(both, ((0, longest + 1 - frames[b]), (0, 0)), "edge"))
        generator = np.random.default_rng(utterance.noise_seed)
        own = frames[b]
        noise[b, :, : own * hop] = torch.from_numpy(generator.standard_normal((3, own * hop)))
        cycles[b, :, : own * 4] = torch.from_numpy(generator.standard_normal((2, own * 4)))
    voices = {
        field.name: torch.tensor([[getattr(u.voice, field.name)] for u in utterances]).double()
        for field in fields(SpeakerVoice)
    }
    sources, voicing = _sources(tracks, noise, cycles, voices, hop, sample_rate)
    waveform = _filter(sources, tracks, voices, hop, sample_rate)
    waveform = _add_room(waveform, sample_rate)
    level_db = torch.tensor([[u.level_db] for u in utterances], dtype=torch.float64)
    noisy = _to_samples(tracks[..., 6] + tracks[..., 7], hop) > 0.05
    voiced = voicing > 0.25
    # Where nothing is voiced, as in a breathed laugh, the level is that of the noise.
    weight = torch.where(voiced.any(-1, True), voiced, noisy).double()
    rms = ((waveform.square() * weight).sum(-1, True) / weight.sum(-1, True).clamp(min=1)).sqrt()
    waveform = waveform * 10 ** (level_db / 20) / rms.clamp(min=1e-9)
    waveform = waveform + 10 ** (NOISE_FLOOR_DB / 20) * noise[:, 2]
    inside = torch.arange(longest * hop) < torch.tensor(frames)[:, None] * hop
    waveform = waveform * inside
    return waveform * (0.98 / waveform.abs().amax(-1, True).clamp(min=1e-9)).clamp(max=1.0)


def _to_samples(track: Tensor, hop: int) -> Tensor:
    """Interpolate `(B, T + 1)` frames linearly to `(B, T * hop)` samples."""
    ramp = torch.arange(hop, dtype=track.dtype) / hop
    return (track[:, :-1, None] + track.diff(dim=1)[..., None] * ramp).flatten(1)


def _sources(
    tracks: Tensor,
    noise: Tensor,
    cycles: Tensor,
    voices: Mapping[str, Tensor],
    hop: int,
    sample_rate: int,
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Pulses, aspiration and frication `(B, N)`, and the voicing track at the sample rate."""
    f0_hz, voicing, aspiration, frication = (
        _to_samples(tracks[..., column], hop) for column in (0, 5, 6, 7)
    )
    # Half a cycle early, so that jitter and shimmer change between pulses and not on them.
    cycle = (torch.cumsum(f0_hz / sample_rate, -1) + 0.5).long().clamp(max=cycles.shape[-1] - 1)
    jittered_hz = f0_hz * (1 + voices["jitter"] * torch.gather(cycles[:, 0], 1, cycle))
    shimmer = 1 + voices["shimmer"] * torch.gather(cycles[:, 1], 1, cycle)
    phase = torch.cumsum(jittered_hz / sample_rate, -1).remainder(1.0)
    # All harmonics below 0.47 of the rate with equal amplitude: the Dirichlet kernel, and the next
    # harmonic faded in, lest a harmonic that enters or leaves make a click.
    harmonics = 0.47 * sample_rate / f0_hz
    whole = harmonics.floor()
    order = 2 * whole + 1
    sine = torch.sin(math.pi * phase)
    at_pulse = sine.abs() < 1e-7
    kernel = torch.sin(math.pi * order * phase) / torch.where(at_pulse, 1.0, sine)
    kernel = torch.where(at_pulse, order, kernel) - 1
    last = 2 * (harmonics - whole) * torch.cos(2 * math.pi * (whole + 1) * phase)
    pulses = (kernel + last) * voicing * shimmer / (2 * harmonics).sqrt()
    # Air rushes while the glottis is open, before the pulse, which is its closing.
    gust = 1 - 0.8 * voicing.clamp(max=1) * torch.sin(2 * math.pi * phase)
    return (pulses, noise[:, 0] * aspiration * gust, noise[:, 1] * frication * gust), voicing


def _resonator(frequency_hz: Tensor, bandwidth_hz: Tensor, sample_rate: int) -> Tensor:
    """Polynomials `(..., 3)` in the delay, of two-pole resonators with unit gain at 0 Hz.

    Source: Klatt (1980), equations 1 and 2.
    """
    radius = torch.exp(-math.pi * bandwidth_hz / sample_rate)
    first = -2 * radius * torch.cos(2 * math.pi * frequency_hz / sample_rate)
    second = radius.square()
    return (
        torch.stack([torch.ones_like(first), first, second], -1) / (1 + first + second)[..., None]
    )


def _response(polynomial: Tensor, delays: Tensor) -> Tensor:
    """Values `(..., K)` of real polynomials `(..., P)` at complex delays `(K,)`, as one product."""
    powers = torch.view_as_real(delays ** torch.arange(polynomial.shape[-1])[:, None]).flatten(1)
    return torch.view_as_complex((polynomial @ powers).unflatten(-1, (-1, 2)))


def _times(one: Tensor, other: Tensor) -> Tensor:
    """Product of polynomials `(..., P)` and `(..., 3)`."""
    pad = torch.nn.functional.pad
    terms = [pad(one * other[..., k : k + 1], (k, 2 - k)) for k in range(3)]
    return terms[0] + terms[1] + terms[2]


def _filter(
    sources: tuple[Tensor, Tensor, Tensor],
    tracks: Tensor,
    voices: Mapping[str, Tensor],
    hop: int,
    sample_rate: int,
) -> Tensor:
    """Shape the sources `(B, N)` by glottis, vocal tract and constriction; overlap-add `(B, N)`."""
    parts = 7  # 20 ms windows, 15 ms more for the resonances to ring
    size, window = parts * hop, torch.hann_window(4 * hop, dtype=torch.float64) / 2
    hz = torch.fft.rfftfreq(size, 1 / sample_rate, dtype=torch.float64)
    delays = torch.exp(-2j * math.pi * hz / sample_rate)
    radiation = 1 - delays
    pulses, aspiration, frication = (
        torch.fft.rfft(
            torch.nn.functional.pad(x, (2 * hop, 2 * hop)).unfold(-1, 4 * hop, hop) * window, size
        )
        for x in sources
    )  # frame t is centred on sample t * hop
    # Glottal flow: a resonance set by the open quotient, then the return phase and the tilt.
    glottal_hz = 0.7 * tracks[..., 0] / voices["open_quotient"]
    glottis = _resonator(glottal_hz, 0.9 * glottal_hz, sample_rate)
    glottis = glottis * (2 * torch.sin(math.pi * glottal_hz / sample_rate))[..., None]
    octaves = torch.log2(hz.clamp(min=500.0) / 500.0)
    tilt = 10 ** (voices["tilt_db_per_octave"] * octaves / 20) / (1 + (hz / 3500.0) ** 2).sqrt()
    tract = _resonator(tracks[..., 1], 60.0 * tracks[..., 4], sample_rate)
    for formant, bandwidth_hz in ((2, 90.0), (3, 140.0)):
        widths_hz = bandwidth_hz * tracks[..., 4]
        tract = _times(tract, _resonator(tracks[..., formant], widths_hz, sample_rate))
    upper = _upper_formants(voices["tract_length_cm"], delays, sample_rate)
    spectrum = pulses * (radiation * tilt * upper)[:, None] / _response(glottis, delays)
    spectrum += aspiration * (0.5 * upper)[:, None]  # flat, as Klatt's after radiation
    spectrum /= _response(tract, delays)
    # Frication is shaped by the short cavity in front of its constriction alone; 0.6 at its peak.
    centre_hz, width_hz = tracks[..., 8].clamp(max=0.45 * sample_rate), tracks[..., 9]
    cavity = _resonator(centre_hz, width_hz, sample_rate)
    angle, radius = centre_hz / sample_rate, torch.exp(-math.pi * width_hz / sample_rate)
    peak = (1 - torch.exp(-2j * math.pi * angle)).abs() / (
        (1 - radius) * (1 - radius * torch.exp(-4j * math.pi * angle)).abs()
    )
    cavity = cavity / cavity[..., :1] * (peak / 0.6)[..., None]
    spectrum += frication * radiation / _response(cavity, delays)
    pieces = torch.fft.irfft(spectrum, size).unflatten(-1, (parts, hop))
    total = pieces.new_zeros(pieces.shape[0], pieces.shape[1] + parts - 1, hop)
    for part in range(parts):
        total[:, part : part + pieces.shape[1]] += pieces[:, :, part]
    return total.flatten(1)[:, 2 * hop : 2 * hop + sources[0].shape[1]]


def _upper_formants(tract_length_cm: Tensor, delays: Tensor, sample_rate: int) -> Tensor:
    """Formants from the fourth up, those of a uniform tube; `(B, 1)` to complex `(B, K)`."""
    response = torch.ones(len(tract_length_cm), len(delays), dtype=delays.dtype)
    for formant in range(4, 4 + round(sample_rate / 1000 / 2)):
        hz = (2 * formant - 1) * _SPEED_OF_SOUND_CM_S / (4 * tract_length_cm[:, 0])
        one = _response(_resonator(hz, 60.0 * formant * torch.ones_like(hz), sample_rate), delays)
        response = torch.where((hz < 0.48 * sample_rate)[:, None], response / one, response)
    return response


def _add_room(waveform: Tensor, sample_rate: int) -> Tensor:
    """Add a faint, short reverberation to `(B, N)`: 22 dB down, falling by 60 dB in 0.12 s."""
    length = int(0.12 * sample_rate)
    decay = 10 ** (-3 * np.arange(length) / length)
    echo = np.random.default_rng(1).standard_normal(length) * decay
    echo *= 10 ** (-22 / 20) / np.sqrt(np.square(echo).sum())
    echo[0] = 1.0
    size = waveform.shape[-1] + length
    spectrum = torch.fft.rfft(waveform, size) * torch.fft.rfft(torch.from_numpy(echo), size)
    return torch.fft.irfft(spectrum, size)[..., : waveform.shape[-1]]
