"""Handcrafted functionals and a linear model: no learning but in the last step.

eGeMAPS are 88 statistics of pitch, loudness, spectrum and voice quality, computed by openSMILE, an
optional extra (``pip install 'thesislib[baselines]'``). Without it, means and deviations of MFCC
and of their slopes serve.

Simplified: the literature puts a support vector machine on such functionals; here it is a linear
layer, so that `fit` trains it as it trains the others. MFCC statistics cover the padding of a
spectrogram too, so that clips of one length should be compared.

Source: eyben2016egemaps; eyben2010opensmile; davis1980mfcc.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from thesislib.baselines.inputs import cepstra, check_inputs, check_outputs
from thesislib.errors import InputError

N_EGEMAPS = 88
N_MFCC = 20


def egemaps(waveforms: Tensor | Sequence[Tensor], *, sample_rate: int = 16000) -> Tensor:
    """The extended Geneva minimalistic acoustic parameter set (v02) of each clip.

    Args:
        waveforms: `(B, N)` in [-1, 1], or B clips `(N,)` of unequal lengths.
        sample_rate: In hertz.

    Returns:
        `(B, 88)` float32, in openSMILE's order and units.

    Raises:
        InputError: openSMILE is not installed, or a clip is too short or silent for it.

    Source: eyben2016egemaps.
    """
    try:
        import opensmile
    except ImportError as error:
        mend = "run `pip install 'thesislib[baselines]'`, or use mfcc_statistics"
        raise InputError("opensmile", "is not installed", mend) from error
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    # openSMILE takes a clip at a time; its own loop over frames is compiled.
    rows = [smile.process_signal(row.numpy(), sample_rate).to_numpy() for row in waveforms]
    values = torch.from_numpy(np.stack(rows)).float().reshape(len(rows), N_EGEMAPS)
    broken = ~torch.isfinite(values).all(dim=1)
    if bool(broken.any()):
        row = int(broken.nonzero()[0, 0])
        raise InputError("waveforms", "has no eGeMAPS", "leave it out", where=f"row {row}")
    return values


def mfcc_statistics(log_mel: Tensor, n_mfcc: int = N_MFCC) -> Tensor:
    """Mean and deviation over time of MFCC and of their slopes.

    Args:
        log_mel: `(B, T, M)`, T at least 3.
        n_mfcc: Coefficients.

    Returns:
        `(B, 4 * n_mfcc)`: means, deviations, means of the slopes, their deviations.

    >>> mfcc_statistics(torch.zeros(2, 8, 128)).shape
    torch.Size([2, 80])
    """
    if log_mel.ndim != 3 or log_mel.shape[1] < 3:
        problem = f"shape {tuple(log_mel.shape)} is not (B, T, M) with T >= 3"
        raise InputError("audio", problem, "give longer clips")
    coefficients = cepstra(log_mel, n_mfcc)
    slopes = (coefficients[:, 2:] - coefficients[:, :-2]) / 2
    moments = [f(x) for x in (coefficients, slopes) for f in (_mean, _deviation)]
    return torch.cat(moments, dim=1)


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=1)


def _deviation(x: Tensor) -> Tensor:
    return x.std(dim=1, correction=0)


class FunctionalsLinear(nn.Module):
    """A linear layer on standardised functionals of the sound; the frames are not looked at.

    Args:
        n_outputs: Classes, or values to regress.
        n_features: Of the functionals; the default is that of `mfcc_statistics`.

    >>> FunctionalsLinear(6)(torch.zeros(2, 8, 128), None).shape
    torch.Size([2, 6])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n_outputs: int, n_features: int = 4 * N_MFCC) -> None:
        super().__init__()
        check_outputs(n_outputs)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))
        self.linear = nn.Linear(n_features, n_outputs)

    def standardise(self, audio: Tensor) -> FunctionalsLinear:
        """Take mean and deviation from the inputs of the training part; returns itself."""
        features = self.features(audio)
        self.mean.copy_(features.mean(dim=0))
        self.std.copy_(features.std(dim=0, correction=0).clamp(min=1e-6))
        return self

    def features(self, audio: Tensor) -> Tensor:
        """Functionals `(B, n_features)` as given, or those of spectrograms `(B, T, 128)`."""
        if audio.ndim == 2:
            if audio.shape[1] != len(self.mean):
                problem = f"shape {tuple(audio.shape)} is not (B, {len(self.mean)})"
                raise InputError("audio", problem, "set n_features to their number")
            return audio
        check_inputs(audio, None)
        return mfcc_statistics(audio)

    def forward(self, audio: Tensor | None, video: Tensor | None = None) -> Tensor:
        """Outputs `(B, n_outputs)`.

        Raises:
            InputError: There is no sound, or its shape does not fit.
        """
        if audio is None:
            raise InputError("audio", "is None", "functionals are of the sound; give it")
        return self.linear((self.features(audio) - self.mean) / self.std)
