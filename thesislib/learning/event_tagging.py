"""An AST that is trained here, to tell sound events apart, and then serves as a main branch.

AST was trained on two million clips of AudioSet; this one, a small one, is trained on a few hundred
synthetic ones. It stands for a main branch that learnt sounds rather than speech, not for AST.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.corpora.loading import load_corpus
from thesislib.learning.branch_data import branch_inputs, read_windows
from thesislib.learning.feature_cache import tensor_sha256
from thesislib.learning.training import Batch, TensorData, TrainingConfig, fit
from thesislib.models.ast import ASTConfig, ASTEncoder, build_ast
from thesislib.models.dual_branch import patch_grid
from thesislib.signals.audio import SAMPLE_RATE, frame_count

EPOCHS = 15
BATCH_SIZE = 16
LEARNING_RATE = 5e-4


class EventTagger(nn.Module):
    """An AST with a linear layer on the mean of its tokens."""

    def __init__(self, encoder: ASTEncoder, n_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.width, n_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Windows `(B, T, M)` to logits `(B, classes)`."""
        logits: Tensor = self.head(self.encoder(log_mel).mean(dim=1))
        return logits


def ast_sizes(window_s: float) -> ASTConfig:
    """Sizes of the small AST for windows of this length: whole patches that cover it.

    >>> ast_sizes(2.0).grid
    (8, 13)
    """
    n_frames = frame_count(round(window_s * SAMPLE_RATE))
    return ASTConfig(n_frames=-(-n_frames // 16) * 16, width=192, heads=3, layers=4, ffn_width=768)


def event_ast(
    *,
    clips: int,
    window_s: float,
    seed: int = 0,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> ASTEncoder:
    """The small AST, trained on the twin of sound events, or loaded where it has been.

    Args:
        clips: Of the twin.
        window_s: Length of a window, in seconds.
        seed: Of the twin and of the training.
        workers: Processes that write the twin.
        say: Told how well it tells events apart on the twin's evaluation part.

    Returns:
        Frozen.

    Raises:
        InputError: the twin cannot be written.
    """
    config = ast_sizes(window_s)
    corpus = load_corpus(
        "sound-events-twin", clips=clips, seed=seed, effects={"pictures": 0.0}, workers=workers
    )
    generator = torch.Generator().manual_seed(seed)
    encoder = build_ast(config, generator)
    windows = read_windows(corpus.clips, window_s, every=True, say=say)
    inputs = branch_inputs(windows, encoder, patch_grid(encoder))
    classes = sorted({clip.labels["event"] for clip in windows.clips})
    target = torch.tensor([classes.index(clip.labels["event"]) for clip in windows.clips])
    tested = torch.tensor([clip.labels["partition"] == "eval" for clip in windows.clips])
    tagger = EventTagger(encoder, len(classes), generator)
    training = TrainingConfig(
        epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE, seed=seed,
        monitor="accuracy", mode="max",
    )  # fmt: skip
    key = cache_key(
        sizes=asdict(config),
        training=asdict(training),
        windows=tensor_sha256(inputs, target, tested),
        code=code_sha256([__name__]),
    )

    def accuracy(model: nn.Module) -> dict[str, float]:
        hits = [
            (model(part).argmax(dim=1) == truth).float()
            for part, truth in zip(
                inputs[tested].split(BATCH_SIZE), target[tested].split(BATCH_SIZE), strict=True
            )
        ]
        return {"accuracy": float(torch.cat(hits).mean())}

    fitted = fit(
        tagger,
        _loss,
        TensorData(log_mel=inputs[~tested], target=target[~tested]),
        config=training,
        validate=accuracy,
        folder=cache_folder("event-ast", key),
        key=key,
        progress=False,
    )
    best = fitted.history["accuracy"].max()
    say(f"AST: {best:.2f} of {int(tested.sum())} windows right, {len(classes)} classes")
    return encoder.requires_grad_(False).eval()


def _loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    return {"loss": F.cross_entropy(model(batch["log_mel"]), batch["target"])}
