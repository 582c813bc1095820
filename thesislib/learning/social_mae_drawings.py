"""Some clips as a pre-trained model draws them, kept so that a page can show them without it.

Source: thesis Figure 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from thesislib.config import SocialMaeConfig
from thesislib.errors import InputError
from thesislib.learning.datasets import seeded
from thesislib.learning.social_mae_data import Windows
from thesislib.learning.social_mae_inputs import front_end
from thesislib.learning.social_mae_reconstruction import choose_rows, draw, original_colours
from thesislib.learning.social_mae_regions import window_regions
from thesislib.models.masked_autoencoder import MaskedAutoencoder
from thesislib.records.drawings import Drawing, pack
from thesislib.records.record import RunRecord
from thesislib.records.recording import Stopwatch, record_run
from thesislib.signals.audio_visual import FrontEnd

if TYPE_CHECKING:
    from thesislib.learning.social_mae import Data

EXPERIMENT = "drawings"
"""Name of the experiment of these records; their kind is *reconstruction*."""
_MASKS = 77


def drawings(
    model: MaskedAutoencoder,
    windows: Windows,
    rows: Tensor,
    front: FrontEnd,
    *,
    seed: int,
    regions: Tensor | None = None,
) -> pd.DataFrame:
    """Pictures of some windows: original, hidden, drawn, and copied by the control.

    Args:
        model: Pre-trained.
        windows: Of any corpus.
        rows: `(n,)`, which of them.
        front: Makes the inputs, with fixed frames.
        seed: Of the masks.
        regions: `(n, n_frames, S, S)` uint8, the part of the face of each pixel of these rows;
            None where they are not known.

    Returns:
        A frame of kind *reconstruction*, a row a clip and modality: the squared error of the
        model on hidden values, in its units, and the columns of `thesislib.records.drawings`.
    """
    tensors = windows.tensors()
    batch = front({name: values[rows] for name, values in tensors.items()})
    drawn = draw(model.eval(), batch, seeded(seed, _MASKS))
    found = []
    for modality in ("audio", "video") if windows.frames is not None else ("audio",):
        parts: Mapping[str, Tensor] = {
            "original": getattr(drawn, modality),
            "drawn": getattr(drawn.mae, modality),
            "copied": getattr(drawn.copy, modality),
        }
        hidden = getattr(drawn.mae, f"{modality}_hidden").bool()
        error = (parts["drawn"] - parts["original"]).double() ** 2 * hidden
        shown = {name: _in_units(values, modality, front) for name, values in parts.items()}
        if modality == "video":
            hidden = hidden.permute(0, 2, 3, 4, 1)
        for number, row in enumerate(rows.tolist()):
            clip = windows.clips[row]
            pictures = {name: values[number].numpy() for name, values in shown.items()}
            known = regions is not None and modality == "video"
            parts_of_face = regions[number].numpy() if known else None  # type: ignore[index]
            found.append(
                {
                    "clip_id": clip.clip_id,
                    "speaker": clip.speaker,
                    "modality": modality,
                    "region": "all",
                    "squared_error": float(error[number].sum()),
                    "n": int(hidden[number].sum()),
                    **pack(
                        Drawing(hidden=hidden[number].numpy(), regions=parts_of_face, **pictures)
                    ),
                }
            )
    return pd.DataFrame(found)


def _in_units(values: Tensor, modality: str, front: FrontEnd) -> Tensor:
    """Standardised inputs as log-mels `(B, T, M)`, or as colours `(B, T, H, W, 3)` in [0, 1]."""
    if modality == "audio":
        return values * front.preset.log_mel.std + front.preset.log_mel.mean
    return original_colours(values, front).permute(0, 2, 3, 4, 1)


def record_drawings(
    config: SocialMaeConfig, data: Data, model: MaskedAutoencoder, stopwatch: Stopwatch
) -> RunRecord:
    """Draw some clips of a task's corpus, spread evenly over it, and keep them as a record.

    Args:
        config: Of the job; says how many.
        data: From `thesislib.learning.social_mae.load`.
        model: From `thesislib.learning.social_mae_pretraining.pretrain`.
        stopwatch: Started before the job.

    Raises:
        InputError: the corpus is real; recordings of people are not handed on.
    """
    if not config.synthetic:
        mend = "draw its twin: pictures of people are not handed on"
        raise InputError(f"corpus {config.corpus}", "is real", mend)
    rows = choose_rows(len(data.windows), config.kept_drawings)
    frame = drawings(
        model, data.windows, rows, front_end(config), seed=config.seed,
        regions=window_regions(config, data.corpus, data.windows, rows),
    )  # fmt: skip
    return record_run(
        frame,
        "reconstruction",
        experiment=EXPERIMENT,
        configuration={
            "model": "mae",
            "mode": "masked",
            "frames": str(config.n_frames),
            "pretraining": config.pretraining,
            "scope": config.scope,
        },
        manifest=data.corpus.manifest,
        variant=data.corpus.variant,
        config=config,
        stopwatch=stopwatch,
    )


def clip_of(windows: Windows, row: int, front: FrontEnd) -> tuple[Tensor, Tensor | None]:
    """Inputs of one window, as batches of one: `(1, T, M)`, and `(1, 3, T, H, W)` or None."""
    rows = torch.tensor([row])
    batch = front({name: values[rows] for name, values in windows.tensors().items()})
    return batch["audio"], batch.get("video")
