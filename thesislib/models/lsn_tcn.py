"""LSN-TCN: laughs, smiles or none, from the voice, the mouth, or both (chapter 6).

Two MS-TCN branches (`thesislib.models.ms_tcn`), each with a head of three classes, and a fusion
of the two (`thesislib.models.fusion`). A call says by what it gives which model it means: audio
alone, video alone, or both.

Presets: ``thesis`` has the sizes that the text gives; ``release`` those of the authors' public
code, which shares one set of temporal blocks and has one linear layer as fusion; ``small`` and
``tiny`` are the thesis's structure at sizes for a laptop and for tests.

Source: thesis section 6.3, Figure 6.1; Bohy et al. 2022, "A new perspective on smiling and
laughter detection"; notes 14 to 17.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from thesislib.models.fusion import FUSION_LEVELS, Branch, make_fusion
from thesislib.models.ms_tcn import Features, Layout, Lengths, MsTcn, MsTcnConfig

CLASSES = ("Laughs", "Smiles", "None")  # in the order of the release's labels


@dataclass(frozen=True)
class LsnTcnConfig:
    """Inputs and sizes of an audio-visual model.

    Attributes:
        frames: Length of a video clip, in frames.
        side: Height and width of the region around the mouth, in pixels.
        samples: Length of an audio clip, at 16 kHz.
        audio: Sizes of the audio branch.
        video: Sizes of the video branch.
        shared_tcn: One set of temporal blocks for both branches, as in the release.
        fusion: A name of `thesislib.models.fusion.FUSION_LEVELS`.
        fusion_width: Hidden size of the fusion.
        fusion_dropout: Dropout in the fusion.
    """

    frames: int
    side: int
    samples: int
    audio: MsTcnConfig
    video: MsTcnConfig
    shared_tcn: bool = False
    fusion: str = "mlp"
    fusion_width: int = 1024
    fusion_dropout: float = 0.5

    def __post_init__(self) -> None:
        if (self.audio.modality, self.video.modality) != ("audio", "video"):
            raise ValueError("audio and video must be configurations of those modalities")
        if self.audio.classes != self.video.classes:
            raise ValueError("both branches must have the same classes")
        if self.fusion not in FUSION_LEVELS:
            raise ValueError(f"fusion is {self.fusion!r}, must be in {', '.join(FUSION_LEVELS)}")
        if self.shared_tcn and _tcn_sizes(self.audio) != _tcn_sizes(self.video):
            raise ValueError("branches that share their temporal blocks must have equal sizes")


def _tcn_sizes(config: MsTcnConfig) -> tuple[object, ...]:
    return config.frame_width, config.tcn_width, config.kernels, config.blocks, config.activation


def _branches(width: int, tcn_width: int, *, pool: tuple[int, int] = (20, 0)) -> dict:
    # PReLU is what both of the authors' releases have; the text names ReLU as an example only.
    audio = MsTcnConfig(
        "audio", activation="prelu", width=width, tcn_width=tcn_width, classes=3, pool=pool
    )
    return {"audio": audio, "video": replace(audio, modality="video", colours=3)}


PRESETS: dict[str, LsnTcnConfig] = {
    "thesis": LsnTcnConfig(60, 96, 19_200, **_branches(64, 768)),
    "release": LsnTcnConfig(
        29, 88, 19_456, **_branches(64, 768, pool=(21, 1)), shared_tcn=True, fusion="linear"
    ),
    "small": LsnTcnConfig(24, 48, 19_200, **_branches(16, 192), fusion_width=256),
    "tiny": LsnTcnConfig(12, 32, 10_240, **_branches(4, 24), fusion_width=32),
}


def preset(name: str, layout: Literal["default", "official"] = "default") -> LsnTcnConfig:
    """The configuration called `name`; ``layout="official"`` computes as the public code does.

    >>> preset("thesis").video.tcn_width
    768
    """
    if name not in PRESETS:
        raise ValueError(f"preset is {name!r}, must be one of {', '.join(PRESETS)}")
    config = PRESETS[name]
    if layout == "official":
        theirs: Layout = "release" if name == "release" else "official"
        audio, video = (replace(branch, layout=theirs) for branch in (config.audio, config.video))
        return replace(config, audio=audio, video=video)
    return config


class LsnTcn(nn.Module):
    """Two branches and their fusion.

    >>> import torch
    >>> model = LsnTcn(preset("tiny")).eval()
    >>> voice, mouth = torch.zeros(2, 1, 10_240), torch.zeros(2, 3, 12, 32, 32)
    >>> model(voice, None).shape, model(voice, mouth).shape
    (torch.Size([2, 3]), torch.Size([2, 3]))
    """

    def __init__(self, config: LsnTcnConfig) -> None:
        super().__init__()
        self.config = config
        self.audio = MsTcn(config.audio, own_tcn=not config.shared_tcn)
        self.video = MsTcn(config.video)
        self.level = FUSION_LEVELS[config.fusion]
        frames = self.level == "frames"
        self.fusion = make_fusion(
            config.fusion,
            config.audio.frame_width if frames else config.audio.tcn_width,
            config.video.frame_width if frames else config.video.tcn_width,
            config.audio.classes,
            width=config.fusion_width,
            dropout=config.fusion_dropout,
        )

    def forward(
        self,
        audio: Tensor | None,
        video: Tensor | None,
        audio_lengths: Lengths = None,
        video_lengths: Lengths = None,
    ) -> Tensor:
        """Logits (B, 3) of the fusion, or of a branch's own head where only one is given.

        Args:
            audio: Waveform (B, 1, samples) at 16 kHz, or None.
            video: Frames (B, colours, T, H, W), or None.
            audio_lengths: Samples of each clip; None where all are full.
            video_lengths: Frames of each clip; None where all are full.
        """
        voice, face = self.branches(audio, video, audio_lengths, video_lengths)
        if voice is not None and face is not None:
            return self.fusion(voice, face)
        alone = voice or face
        if alone is None or alone.logits is None:
            raise ValueError("both modalities are left out: give audio, video or both")
        return alone.logits

    def branches(
        self,
        audio: Tensor | None,
        video: Tensor | None,
        audio_lengths: Lengths = None,
        video_lengths: Lengths = None,
    ) -> tuple[Branch | None, Branch | None]:
        """What the fusion sees of either modality; cache it to train a fusion alone."""
        made: list[Branch | None] = []
        for model, inputs, lengths in (
            (self.audio, audio, audio_lengths),
            (self.video, video, video_lengths),
        ):
            if inputs is None:
                made.append(None)
                continue
            features = model.embed(inputs, lengths, model.tcn or self.video.tcn)
            made.append(branch_at(self.level, features, model.head(features.embedding)))
        return made[0], made[1]


def branch_at(level: str, features: Features, logits: Tensor) -> Branch:
    """A fusion's view of a branch: ``frames`` or ``steps`` with the mask, or the ``embedding``."""
    if level == "embedding":
        return Branch(features.embedding, logits)
    return Branch(features.frames if level == "frames" else features.steps, logits, features.mask)
