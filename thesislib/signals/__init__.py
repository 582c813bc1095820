"""From files to waveforms, and from waveforms to features."""

from thesislib.signals.audio import (
    AST,
    CAV_MAE,
    KALDI,
    SOCIAL_MAE,
    LogMelPreset,
    frame_count,
    kaldi_log_mel,
    mfcc,
    whisper_log_mel,
)
from thesislib.signals.media import WaveformBatch, read_batch, read_waveform
from thesislib.signals.voice import f0_track, long_term_average_spectrum

__all__ = [
    "AST",
    "CAV_MAE",
    "KALDI",
    "SOCIAL_MAE",
    "LogMelPreset",
    "WaveformBatch",
    "f0_track",
    "frame_count",
    "kaldi_log_mel",
    "long_term_average_spectrum",
    "mfcc",
    "read_batch",
    "read_waveform",
    "whisper_log_mel",
]
