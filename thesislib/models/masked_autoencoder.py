"""Masked autoencoding of face and voice: CAV-MAE (one frame) and Social-MAE (eight frames).

One model in two uses. `MaskedAutoencoder` learns without labels: it cuts a log-mel spectrogram
and a few frames into patches, hides most of them, encodes the rest, one encoder a modality and
then one for both, and is judged by how well it draws what was hidden and by whether the audio and
the video of a clip end up close. `FineTunedModel` keeps the encoder, sees every patch, and puts a
linear head on the mean token.

Read from top to bottom: sizes, patches, encoder, decoder, the two models. Attention, block,
positions and masking are in `thesislib.models.transformer`. Weights of the authors load and
export through `thesislib.models.masked_autoencoder_checkpoints`.

Source: gong2023cavmae; bohy2024socialmae; chapter 7 and notes 1 to 11.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.learning.losses import (
    Direction,
    classification_loss,
    contrastive_loss,
    denormalise_patches,
    reconstruction_loss,
    regression_loss,
)
from thesislib.models.transformer import (
    MLP,
    Block,
    Masking,
    SelfAttention,
    random_masking,
    sine_cosine_positions,
    take,
    visible_tokens,
)

Pass = Literal["audio", "video", "both"]
Mode = Literal["both", "audio", "video", "missing_audio", "missing_video"]
Layout = Literal["consistent", "official"]
COLOURS = 3

# ---------------------------------------------------------------------------------------- sizes


def _check_divides(config: MaskedAutoencoderConfig, whole: str, part: str) -> None:
    n, k = getattr(config, whole), getattr(config, part)
    if n % k:
        raise InputError(
            f"{whole}, {part}", f"{n} is not a multiple of {k}", f"change {whole} or {part}"
        )


@dataclass(frozen=True, kw_only=True)
class MaskedAutoencoderConfig:
    """Sizes and choices of the model; the defaults are Social-MAE as the thesis has it.

    Attributes:
        image_size: Height and width of a frame, in pixels.
        n_frames: Frames of a clip; 1 makes the model CAV-MAE.
        tubelet_frames: Frames that one video patch spans.
        n_mels: Mel bins of the spectrogram.
        audio_frames: Columns of the spectrogram, 10 ms each.
        patch_size: Side of a patch, in pixels and in bins.
        width: Features of a token in the encoders.
        n_heads: Attention heads of the encoders.
        modality_depth: Layers of each modality's encoder.
        joint_depth: Layers of the joint encoder.
        decoder_width: Features of a token in the decoder.
        decoder_depth: Layers of the decoder.
        decoder_heads: Attention heads of the decoder.
        mlp_ratio: Hidden width of an MLP over its width.
        mask_ratio: Share of the patches that are hidden in pre-training, of each modality.
        norm_pix_loss: Reconstruct patches of zero mean and unit variance each (note 4).
        temperature: Of the contrastive loss.
        direction: Of the contrastive loss (note 5).
        contrastive_weight: Of the contrastive loss in the total; 0 leaves it out.
        reconstruction_weight: Of the reconstruction losses in the total.
        trainable_positions: Learn the positions instead of keeping the sine-cosine table.
        layout: ``consistent`` numbers tokens, positions and targets alike: (time, height, width).
            ``official`` numbers video tokens (height, width, time) but targets (time, height,
            width), with the authors' table of positions, for their checkpoints (notes 2 and 3).
    """

    image_size: int = 224
    n_frames: int = 8
    tubelet_frames: int = 2
    n_mels: int = 128
    audio_frames: int = 1024
    patch_size: int = 16
    width: int = 768
    n_heads: int = 12
    modality_depth: int = 11
    joint_depth: int = 1
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    mlp_ratio: int = 4
    mask_ratio: float = 0.75
    norm_pix_loss: bool = False
    temperature: float = 0.05
    direction: Direction = "v2a"
    contrastive_weight: float = 0.01
    reconstruction_weight: float = 1.0
    trainable_positions: bool = False
    layout: Layout = "consistent"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (not isinstance(value, int) or value < 1):
                raise InputError(field.name, f"{value!r} is no size", "use a whole number >= 1")
        for size in ("image_size", "n_mels", "audio_frames"):
            _check_divides(self, size, "patch_size")
        _check_divides(self, "n_frames", "tubelet_frames")
        _check_divides(self, "width", "n_heads")
        _check_divides(self, "decoder_width", "decoder_heads")
        for name, choices in ("direction", get_args(Direction)), ("layout", get_args(Layout)):
            if getattr(self, name) not in choices:
                problem = f"{getattr(self, name)!r} is unknown"
                raise InputError(name, problem, f"use {' or '.join(choices)}")
        if not self.temperature > 0:
            raise InputError("temperature", f"{self.temperature} is not above 0", "try 0.05")
        for name in ("contrastive_weight", "reconstruction_weight"):
            if not getattr(self, name) >= 0:
                raise InputError(name, f"{getattr(self, name)} is negative", "use 0 or more")
        for tokens in (self.n_audio_tokens, self.n_video_tokens):
            visible_tokens(tokens, self.mask_ratio)

    @property
    def audio_grid(self) -> tuple[int, int]:
        """Patches along (mel bins, time): (8, 64) at full size."""
        return self.n_mels // self.patch_size, self.audio_frames // self.patch_size

    @property
    def video_grid(self) -> tuple[int, int, int]:
        """Patches along (time, height, width): (4, 14, 14) at full size."""
        side = self.image_size // self.patch_size
        return self.n_frames // self.tubelet_frames, side, side

    @property
    def n_audio_tokens(self) -> int:
        """Audio patches of a clip: 512 at full size."""
        return math.prod(self.audio_grid)

    @property
    def n_video_tokens(self) -> int:
        """Video patches of a clip: 784 at full size, 196 with one frame."""
        return math.prod(self.video_grid)

    @property
    def audio_patch_values(self) -> int:
        """Values in an audio patch."""
        return self.patch_size**2

    @property
    def video_patch_values(self) -> int:
        """Values in a video patch, colours included."""
        return self.tubelet_frames * self.patch_size**2 * COLOURS


SOCIAL_MAE = MaskedAutoencoderConfig()
"""Social-MAE at the size of the thesis: eight frames, 192.8 M parameters in its checkpoint."""

CAV_MAE = MaskedAutoencoderConfig(n_frames=1, tubelet_frames=1)
"""CAV-MAE, one frame, 191.0 M. Its scale+ weights were trained with `norm_pix_loss` (note 4)."""


# -------------------------------------------------------------------------------------- patches


def patchify_audio(log_mel: Tensor, patch_size: int = 16) -> Tensor:
    """Spectrogram `(B, T, M)` to patches `(B, N, patch_size**2)`, low bins first, then in time.

    Within a patch, values run in time first.

    >>> patchify_audio(torch.arange(8.0).view(1, 4, 2), 2).tolist()
    [[[0.0, 2.0, 1.0, 3.0], [4.0, 6.0, 5.0, 7.0]]]
    """
    batch, n_frames, n_mels = log_mel.shape
    p, f, t = patch_size, n_mels // patch_size, n_frames // patch_size
    patches = log_mel.transpose(1, 2).reshape(batch, f, p, t, p)
    return patches.transpose(2, 3).reshape(batch, f * t, p * p)


def unpatchify_audio(patches: Tensor, config: MaskedAutoencoderConfig) -> Tensor:
    """The inverse of `patchify_audio`: `(B, N, patch_size**2)` to `(B, T, M)`."""
    (f, t), p = config.audio_grid, config.patch_size
    spectrogram = patches.reshape(-1, f, t, p, p).transpose(2, 3)
    return spectrogram.reshape(-1, f * p, t * p).transpose(1, 2)


def patchify_video(frames: Tensor, patch_size: int = 16, tubelet_frames: int = 2) -> Tensor:
    """Frames `(B, 3, T, H, W)` to patches `(B, N, values)`, in the order (time, height, width).

    Within a patch, colour runs fastest, then width, height and time.
    """
    batch, colours, n_frames, height, width = frames.shape
    p, s = patch_size, tubelet_frames
    t, h, w = n_frames // s, height // p, width // p
    patches = frames.reshape(batch, colours, t, s, h, p, w, p).permute(0, 2, 4, 6, 3, 5, 7, 1)
    return patches.reshape(batch, t * h * w, s * p * p * colours)


def unpatchify_video(patches: Tensor, config: MaskedAutoencoderConfig) -> Tensor:
    """The inverse of `patchify_video`: `(B, N, values)` to `(B, 3, T, H, W)`."""
    (t, h, w), p, s = config.video_grid, config.patch_size, config.tubelet_frames
    frames = patches.reshape(-1, t, h, w, s, p, p, COLOURS).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return frames.reshape(-1, COLOURS, t * s, h * p, w * p)


def time_last(rows: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Reorder `(B, N, …)` from (time, height, width) to the authors' (height, width, time)."""
    return rows.unflatten(1, grid).movedim(1, 3).flatten(1, 3)


def time_first(rows: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """The inverse of `time_last`; `grid` is (time, height, width) for both."""
    t, h, w = grid
    return rows.unflatten(1, (h, w, t)).movedim(3, 1).flatten(1, 3)


# -------------------------------------------------------------------------------------- encoder


class ModalityEncoder(nn.Module):
    """Patches of one modality to tokens: linear embedding, position, modality, transformer."""

    def __init__(
        self, patch_values: int, positions: Tensor, config: MaskedAutoencoderConfig
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(patch_values, config.width)
        self.positions = nn.Parameter(positions, requires_grad=config.trainable_positions)
        self.modality = nn.Parameter(torch.empty(1, 1, config.width))
        self.blocks = nn.ModuleList(
            Block(config.width, config.n_heads, config.mlp_ratio)
            for _ in range(config.modality_depth)
        )

    def forward(self, patches: Tensor, visible: Tensor | None = None) -> Tensor:
        """Patches `(B, N, values)` to tokens `(B, K, width)` of the `visible` ones, else of all."""
        positions: Tensor = self.positions
        if visible is not None:  # before the embedding, so that hidden patches cost nothing
            patches, positions = take(patches, visible), take(positions, visible)
        tokens = self.embed(patches) + positions + self.modality
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


class JointBlock(nn.Module):
    """A transformer layer shared by three passes, each with layer norms of its own."""

    def __init__(self, width: int, n_heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = _norms(width)
        self.attn = SelfAttention(width, n_heads)
        self.norm2 = _norms(width)
        self.mlp = MLP(width, mlp_ratio * width)

    def forward(self, tokens: Tensor, which: Pass) -> Tensor:
        """`(B, N, width)` to `(B, N, width)` with the norms of one pass."""
        tokens = tokens + self.attn(self.norm1[which](tokens))
        return tokens + self.mlp(self.norm2[which](tokens))


def _norms(width: int) -> nn.ModuleDict:
    return nn.ModuleDict({which: nn.LayerNorm(width) for which in get_args(Pass)})


class JointEncoder(nn.Module):
    """The encoder on top of both modalities: audio alone, video alone, or the two in a row."""

    def __init__(self, config: MaskedAutoencoderConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            JointBlock(config.width, config.n_heads, config.mlp_ratio)
            for _ in range(config.joint_depth)
        )
        self.norm = _norms(config.width)

    def forward(self, tokens: Tensor, which: Pass, *, last_block_only: bool = False) -> Tensor:
        """`(B, N, width)` to `(B, N, width)`; see `MaskedAutoencoder.encode` for the keyword."""
        for block in self.blocks[-1:] if last_block_only else self.blocks:
            tokens = block(tokens, which)
        return self.norm[which](tokens)


class AudioVisualEncoder(nn.Module):
    """Both modality encoders and the joint encoder: what pre-training hands on.

    Args:
        config: Sizes.
    """

    def __init__(self, config: MaskedAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        audio_positions, video_positions = position_tables(config, config.width)
        self.audio = ModalityEncoder(config.audio_patch_values, audio_positions, config)
        self.video = ModalityEncoder(config.video_patch_values, video_positions, config)
        self.joint = JointEncoder(config)

    def audio_patches(self, log_mel: Tensor) -> Tensor:
        """Spectrogram `(B, T, M)` to patches in token order `(B, N, values)`.

        Raises:
            InputError: The spectrogram is not of the configured size.
        """
        expected = (self.config.audio_frames, self.config.n_mels)
        if log_mel.ndim != 3 or log_mel.shape[1:] != expected:
            raise InputError(
                "audio",
                f"shape {tuple(log_mel.shape)} is not (B, audio_frames, n_mels) = (B, %d, %d)"
                % expected,
                "pad or crop it, or change audio_frames or n_mels",
            )
        return patchify_audio(log_mel, self.config.patch_size)

    def video_patches(self, frames: Tensor) -> Tensor:
        """Frames `(B, 3, T, H, W)` to patches in target order `(B, N, values)`.

        Raises:
            InputError: The frames are not of the configured number or size.
        """
        config = self.config
        expected = (COLOURS, config.n_frames, config.image_size, config.image_size)
        if frames.ndim != 5 or frames.shape[1:] != expected:
            raise InputError(
                "video",
                f"shape {tuple(frames.shape)} is not (B, 3, n_frames, image_size, image_size) ="
                " (B, %d, %d, %d, %d)" % expected,
                "resize or sample the frames, or change n_frames or image_size",
            )
        return patchify_video(frames, config.patch_size, config.tubelet_frames)

    def in_token_order(self, video_patches: Tensor) -> Tensor:
        """Video patches `(B, N, …)` in the order of the tokens, which differs in `official`."""
        if self.config.layout == "official":
            return time_last(video_patches, self.config.video_grid)
        return video_patches

    def pooled(self, audio: Tensor | None, video: Tensor | None, mode: Mode = "both") -> Tensor:
        """The mean token of whole clips, `(B, width)`: the input of a head or a probe.

        Args:
            audio: Spectrograms `(B, T, M)`; unused, and may be None, where `mode` leaves them out.
            video: Frames `(B, 3, T, H, W)`, likewise.
            mode: ``both``; ``audio`` or ``video`` for one modality with its own layer norms; and
                ``missing_video`` or ``missing_audio`` for a model that was trained on both and now
                gets one: the mean of the joint and of the single-modality pass, as in CAV-MAE.

        Raises:
            InputError: The mode is unknown, or needs a modality that is None.
        """
        if mode not in get_args(Mode):
            raise InputError("mode", f"{mode!r} is unknown", f"use {', '.join(get_args(Mode))}")
        streams: dict[Pass, Tensor] = {}
        if mode in ("both", "audio", "missing_video"):
            streams["audio"] = self.audio(self.audio_patches(_present("audio", audio, mode)))
        if mode in ("both", "video", "missing_audio"):
            patches = self.video_patches(_present("video", video, mode))
            streams["video"] = self.video(self.in_token_order(patches))
        tokens = torch.cat(list(streams.values()), dim=1)
        passes: list[Pass] = [] if mode in ("audio", "video") else ["both"]
        if mode != "both":
            passes += list(streams)
        means = [self.joint(tokens, which).mean(dim=1) for which in passes]
        return torch.stack(means).mean(dim=0)


def _present(name: str, values: Tensor | None, mode: str) -> Tensor:
    if values is None:
        raise InputError(
            name, f"is None, but mode {mode!r} needs it", f"give it, or use mode missing_{name}"
        )
    return values


def position_tables(config: MaskedAutoencoderConfig, width: int) -> tuple[Tensor, Tensor]:
    """Fixed positions of the audio and video tokens, `(1, N, width)` each.

    A single frame has two axes and, so, the table of CAV-MAE; several have three (note 3).
    """
    t, h, w = config.video_grid
    if config.n_frames == 1 or config.layout == "consistent":
        audio = sine_cosine_positions(width, config.audio_grid)
        video = sine_cosine_positions(width, (h, w) if t == 1 else (t, h, w))
    else:
        audio = _official_positions(width, config.n_audio_tokens, config.audio_grid[1])
        n_tokens = config.n_video_tokens
        video = _official_positions(width, n_tokens, math.isqrt(n_tokens))
    return audio.unsqueeze(0), video.unsqueeze(0)


def _official_positions(width: int, n_tokens: int, n_columns: int) -> Tensor:
    # As Social-MAE's code has it: the column twice, the row never, at rates that grow linearly.
    rates = torch.arange(width // 4) / (width / 4) / 1000
    angles = (torch.arange(n_tokens) % n_columns).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()] * 2, dim=1)


# -------------------------------------------------------------------------------------- decoder


class JointDecoder(nn.Module):
    """Visible tokens of both modalities to predictions of every patch."""

    def __init__(self, config: MaskedAutoencoderConfig) -> None:
        super().__init__()
        width, learned = config.decoder_width, config.trainable_positions
        audio_positions, video_positions = position_tables(config, width)
        self.embed = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.audio_modality = nn.Parameter(torch.empty(1, 1, width))
        self.video_modality = nn.Parameter(torch.empty(1, 1, width))
        self.audio_positions = nn.Parameter(audio_positions, requires_grad=learned)
        self.video_positions = nn.Parameter(video_positions, requires_grad=learned)
        self.blocks = nn.ModuleList(
            Block(width, config.decoder_heads, config.mlp_ratio)
            for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(width)
        self.predict_audio = nn.Linear(width, config.audio_patch_values)
        self.predict_video = nn.Linear(width, config.video_patch_values)

    def forward(
        self, latent: Tensor, audio_mask: Masking, video_mask: Masking
    ) -> tuple[Tensor, Tensor]:
        """Latent tokens `(B, Ka + Kv, width)` to patches `(B, Na, values)`, `(B, Nv, values)`."""
        n_visible = [audio_mask.visible.shape[1], video_mask.visible.shape[1]]
        audio, video = self.embed(latent).split(n_visible, dim=1)
        audio = self._with_mask_tokens(audio, audio_mask.restore)
        video = self._with_mask_tokens(video, video_mask.restore)
        audio = audio + self.audio_positions + self.audio_modality
        video = video + self.video_positions + self.video_modality
        tokens = torch.cat([audio, video], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        audio, video = self.norm(tokens).split([audio.shape[1], video.shape[1]], dim=1)
        return self.predict_audio(audio), self.predict_video(video)

    def _with_mask_tokens(self, visible: Tensor, restore: Tensor) -> Tensor:
        n_hidden = restore.shape[1] - visible.shape[1]
        masked = self.mask_token.to(visible.dtype).expand(len(visible), n_hidden, -1)
        return take(torch.cat([visible, masked], dim=1), restore)


# ----------------------------------------------------------------------------------- the models


class Latents(NamedTuple):
    """Tokens `(B, K, width)` after the three passes of the joint encoder."""

    both: Tensor
    audio: Tensor
    video: Tensor


class PretrainingOutput(NamedTuple):
    """What a pre-training step yields; losses and accuracy are scalars.

    Attributes:
        loss: Weighted sum, to be minimised.
        audio_loss: Reconstruction of the hidden audio patches, unweighted.
        video_loss: Reconstruction of the hidden video patches, unweighted.
        contrastive_loss: Unweighted; 0 where it was left out.
        retrieval_accuracy: Share of clips whose other half is found in the batch.
        predicted_audio: `(B, Na, values)`.
        predicted_video: `(B, Nv, values)`, in target order.
        audio_hidden: True where an audio token was hidden, `(B, Na)`.
        video_hidden: True where a video token was hidden, `(B, Nv)`, in token order.
    """

    loss: Tensor
    audio_loss: Tensor
    video_loss: Tensor
    contrastive_loss: Tensor
    retrieval_accuracy: Tensor
    predicted_audio: Tensor
    predicted_video: Tensor
    audio_hidden: Tensor
    video_hidden: Tensor


class Pictures(NamedTuple):
    """Predictions and masks in the shape of the inputs: `(B, T, M)` and `(B, 3, T, H, W)`."""

    audio: Tensor
    video: Tensor
    audio_hidden: Tensor
    video_hidden: Tensor


class MaskedAutoencoder(nn.Module):
    """CAV-MAE or Social-MAE in self-supervised pre-training.

    Args:
        config: Sizes and losses.
        generator: Draws the initial weights; the global one if None.

    Source: sections 7.4.2 and 7.4.3.
    """

    def __init__(
        self, config: MaskedAutoencoderConfig, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = AudioVisualEncoder(config)
        self.decoder = JointDecoder(config)
        initialise(self, generator)

    def mask(
        self,
        batch_size: int,
        *,
        noise: tuple[Tensor, Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Masking, Masking]:
        """Masks for a batch, audio and video drawn apart.

        Args:
            batch_size: Number of clips.
            noise: `(B, Na)` and `(B, Nv)`, in token order, for masks that are known beforehand.
            generator: Draws the noise if none is given; the model's device, or the CPU's.

        Raises:
            InputError: The noise does not fit the batch and the tokens.
        """
        device = self.encoder.audio.positions.device
        sizes = (self.config.n_audio_tokens, self.config.n_video_tokens)
        if noise is None:
            source = generator.device if generator else device
            first, second = (
                torch.rand(batch_size, n, generator=generator, device=source) for n in sizes
            )
            noise = (first, second)
        for values, n_tokens in zip(noise, sizes, strict=True):
            if values.shape != (batch_size, n_tokens):
                raise InputError(
                    "noise",
                    f"shape {tuple(values.shape)} is not {(batch_size, n_tokens)}",
                    "give one number a clip and token, audio first",
                )
        audio, video = (random_masking(n.to(device), self.config.mask_ratio) for n in noise)
        return audio, video

    def encode(
        self, audio_patches: Tensor, video_patches: Tensor, masks: tuple[Masking, Masking]
    ) -> Latents:
        """Encode the visible patches, then pass them three times through the joint encoder."""
        encoder = self.encoder
        audio = encoder.audio(audio_patches, masks[0].visible)
        video = encoder.video(encoder.in_token_order(video_patches), masks[1].visible)
        # The official pre-training code, were its joint encoder deeper than the one layer that it
        # has, would put a single modality through the last layer only.
        last = self.config.layout == "official"
        return Latents(
            encoder.joint(torch.cat([audio, video], dim=1), "both"),
            encoder.joint(audio, "audio", last_block_only=last),
            encoder.joint(video, "video", last_block_only=last),
        )

    def forward(
        self,
        audio: Tensor,
        video: Tensor,
        *,
        noise: tuple[Tensor, Tensor] | None = None,
        generator: torch.Generator | None = None,
        gather: Callable[[Tensor], Tensor] | None = None,
        contrast: bool = True,
    ) -> PretrainingOutput:
        """Mask, encode, decode, and score a batch.

        Args:
            audio: Standardised log-mel spectrograms `(B, T, M)`.
            video: Standardised RGB frames `(B, 3, T, H, W)` of the same clips.
            noise: See `mask`.
            generator: See `mask`.
            gather: Collects the mean tokens `(B, width)` of all processes, with gradients, for
                the contrastive loss.
            contrast: False scores the reconstruction alone, which a batch of one allows.

        Raises:
            InputError: Sizes do not fit the config, or the contrastive loss has a batch of one.
        """
        config = self.config
        audio_patches = self.encoder.audio_patches(audio)
        video_patches = self.encoder.video_patches(video)
        if len(audio) != len(video):
            raise InputError(
                "audio, video", f"{len(audio)} and {len(video)} clips", "give both of each clip"
            )
        masks = self.mask(len(audio), noise=noise, generator=generator)
        latents = self.encode(audio_patches, video_patches, masks)
        predicted_audio, predicted_video = self.decoder(latents.both, *masks)
        audio_loss = reconstruction_loss(
            predicted_audio, audio_patches, masks[0].hidden, norm_pix_loss=config.norm_pix_loss
        )
        # In the official layout the mask counts tokens but the target counts patches in another
        # order, so that some of what it asks for was visible (note 2).
        video_loss = reconstruction_loss(
            predicted_video, video_patches, masks[1].hidden, norm_pix_loss=config.norm_pix_loss
        )
        loss = config.reconstruction_weight * (audio_loss + video_loss)
        contrastive = accuracy = loss.new_zeros(())
        if contrast and config.contrastive_weight > 0:
            means = [latents.audio.mean(dim=1), latents.video.mean(dim=1)]
            if gather is not None:
                means = [gather(mean) for mean in means]
            contrastive, accuracy = contrastive_loss(
                *means, temperature=config.temperature, direction=config.direction
            )
            loss = loss + config.contrastive_weight * contrastive
        return PretrainingOutput(
            loss,
            audio_loss,
            video_loss,
            contrastive,
            accuracy,
            predicted_audio,
            predicted_video,
            masks[0].hidden,
            masks[1].hidden,
        )

    @torch.no_grad()
    def pictures(self, output: PretrainingOutput, audio: Tensor, video: Tensor) -> Pictures:
        """Predictions back in the shape and units of the inputs, with what was hidden.

        The hidden parts of `audio` and `video` lend their mean and deviation, patch by patch,
        where the model predicts normalised patches: a drawing, not a measurement.
        """
        config = self.config
        audio_patches, video_patches = output.predicted_audio, output.predicted_video
        if config.norm_pix_loss:
            audio_patches = denormalise_patches(audio_patches, self.encoder.audio_patches(audio))
            video_patches = denormalise_patches(video_patches, self.encoder.video_patches(video))
        audio_hidden, video_hidden = output.audio_hidden, output.video_hidden
        if config.layout == "official":
            video_hidden = time_first(video_hidden, config.video_grid)
        return Pictures(
            unpatchify_audio(audio_patches, config),
            unpatchify_video(video_patches, config),
            unpatchify_audio(_spread(audio_hidden, audio_patches), config),
            unpatchify_video(_spread(video_hidden, video_patches), config),
        )


def _spread(hidden: Tensor, patches: Tensor) -> Tensor:
    return hidden.unsqueeze(-1).expand(patches.shape)


class FineTunedModel(nn.Module):
    """The encoder with a head in the decoder's place: layer norm and one linear layer.

    Args:
        config: Sizes; the authors fine-tune with `trainable_positions`.
        n_outputs: Classes, or values to regress.
        task: ``classification`` (cross-entropy) or ``regression`` (mean absolute error, note 10).
        generator: Draws the initial weights; the global one if None.

    Source: section 7.5.
    """

    def __init__(
        self,
        config: MaskedAutoencoderConfig,
        n_outputs: int,
        task: Literal["classification", "regression"] = "classification",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if n_outputs < 1:
            raise InputError("n_outputs", f"{n_outputs} is no size", "use a whole number >= 1")
        if task not in ("classification", "regression"):
            raise InputError("task", f"{task!r} is unknown", "use classification or regression")
        self.config, self.task = config, task
        self.encoder = AudioVisualEncoder(config)
        self.head = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, n_outputs))
        initialise(self, generator)

    def forward(self, audio: Tensor | None, video: Tensor | None, mode: Mode = "both") -> Tensor:
        """Logits or values `(B, n_outputs)`; arguments as in `AudioVisualEncoder.pooled`."""
        return self.head(self.encoder.pooled(audio, video, mode))

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The task's loss; see `classification_loss` and `regression_loss` for what they refuse."""
        if self.task == "classification":
            return classification_loss(outputs, target)
        return regression_loss(outputs, target)


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw weights: Xavier for linear layers, normal (0.02) for single tokens, biases 0.

    The model may be a single layer, whose weight has no module's name before it.

    Source: the reference code of masked autoencoders, which CAV-MAE follows.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        kind = name.rpartition(".")[2]
        if kind.endswith(("modality", "mask_token")):
            nn.init.normal_(parameter, std=0.02, generator=generator)
        elif kind == "weight" and parameter.ndim == 2:
            nn.init.xavier_uniform_(parameter, generator=generator)
        elif kind == "bias":
            nn.init.zeros_(parameter)
