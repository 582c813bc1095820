"""What a step of pre-training draws at random, the same for any number of processes.

Processes take every n-th row of a micro-batch, and their generators are alike. Each of them draws
for all rows, as one process would, and keeps its own. The number of rows may differ between them,
at the end of an epoch, so they tell each other: whoever drew fewer numbers would draw the next ones
from elsewhere.

Source: thesis section 7.4; notes items 1 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thesislib.learning.datasets import Batch
from thesislib.learning.processes import gather_objects, rank_and_processes
from thesislib.models.masked_autoencoder import MaskedAutoencoderConfig
from thesislib.signals.audio_visual import FrontEnd, sample_frames


def rows_of_all(rows: int) -> tuple[int, slice]:
    """How many rows all processes have together, and which of them this process has.

    >>> rows_of_all(3)
    (3, slice(0, None, 1))
    """
    rank, processes = rank_and_processes()
    return sum(gather_objects(rows)), slice(rank, None, processes)


def draw_masks(
    rows: int, sizes: MaskedAutoencoderConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Noise for the masks of this process's rows, `(rows, tokens)` of audio and of video.

    Args:
        rows: Of this process; all processes must ask.
        sizes: Of the model.
        generator: Alike in all processes.
    """
    every, own = rows_of_all(rows)
    audio, video = (
        torch.rand(every, n, generator=generator, device=generator.device)[own]
        for n in (sizes.n_audio_tokens, sizes.n_video_tokens)
    )
    return audio, video


@dataclass(frozen=True, slots=True)
class TrainingFrontEnd:
    """A front end that shows each row the frames that one process would have drawn for it.

    Attributes:
        front: Makes the inputs.
    """

    front: FrontEnd

    def __call__(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Inputs of a batch; all processes must ask."""
        index = None
        if "frames" in batch:
            n_rows, n_candidates = batch["frames"].shape[:2]
            every, own = rows_of_all(n_rows)
            index = sample_frames(n_candidates, self.front.n_frames, every, generator)[own]
        return self.front(batch, generator, index=index)
