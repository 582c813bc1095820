"""Two branches: a frozen encoder, and a copy of it that is trained on what is masked.

Both read the tokens of one frozen tokeniser. The main branch is the pretrained encoder as it is.
The auxiliary branch starts from its layers, sees a quarter of the tokens, and learns. A decoder
gets the outputs of both, side by side, and draws the patches that were hidden.

A Whisper token spans 20 ms and all mel bands, so the patches that stand for tokens are blocks in
time cut into as many bands as there are tokens in a block: 10 frames x 16 bins at 80 mel bins
(note 24). A visible token so shows hidden bands of its own frames, and a little of the frames
beside them: what is masked is a token, and a patch is what has to be drawn for it.
`DualBranchConfig.blank_hidden` is the control that blanks hidden patches before they become
tokens. AST patches do not overlap and show nothing that is hidden.

Source: section 8.2; notes 24 to 28.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.models.ast import ASTEncoder
from thesislib.models.encoders import WhisperEncoder
from thesislib.models.masked_autoencoder import initialise
from thesislib.models.transformer import (
    Block,
    Masking,
    random_masking,
    sine_cosine_positions,
    take,
    visible_tokens,
)

Encoder = WhisperEncoder | ASTEncoder
Inputs = Literal["both", "main", "auxiliary", "shuffled"]
WHISPER_PATCH_MELS = 16
FRAMES_PER_TOKEN = 2  # of a Whisper encoder, whose second convolution halves the frame rate
BLANK = 0.0  # in the middle of Whisper's log-mel, which runs from about -1 to 1.5

# -------------------------------------------------------------------------------------- patches


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """How a spectrogram is cut into patches, one for each token.

    Attributes:
        blocks: Patches along time.
        bands: Patches along the mel bins.
        frames: Frames of a patch.
        mels: Mel bins of a patch.
        whisper: Spectrograms are `(B, M, T)` and patches run in time first (five bands to a
            block); else they are `(B, T, M)` and patches run in frequency first.
    """

    blocks: int
    bands: int
    frames: int
    mels: int
    whisper: bool

    @property
    def n_tokens(self) -> int:
        """Patches of a window."""
        return self.blocks * self.bands

    @property
    def values(self) -> int:
        """Values of a patch: 160 for Whisper's, 256 for AST's."""
        return self.frames * self.mels

    @property
    def axes(self) -> tuple[int, int]:
        """The grid in the order of the tokens, the last axis running fastest."""
        return (self.blocks, self.bands) if self.whisper else (self.bands, self.blocks)

    def cut(self, spectrogram: Tensor) -> Tensor:
        """Spectrogram, of the window or longer, to patches `(B, n_tokens, values)`.

        >>> grid = PatchGrid(blocks=2, bands=1, frames=2, mels=1, whisper=True)
        >>> grid.cut(torch.arange(5.0).view(1, 1, 5)).tolist()
        [[[0.0, 1.0], [2.0, 3.0]]]
        """
        picture = spectrogram.transpose(1, 2) if self.whisper else spectrogram
        picture = picture[:, : self.blocks * self.frames, : self.bands * self.mels]
        cells = picture.unflatten(2, (self.bands, self.mels)).unflatten(
            1, (self.blocks, self.frames)
        )  # (B, blocks, frames, bands, mels)
        order = (0, 1, 3, 2, 4) if self.whisper else (0, 3, 1, 2, 4)
        return cells.permute(order).flatten(3, 4).flatten(1, 2)

    def join(self, patches: Tensor) -> Tensor:
        """The inverse of `cut`, for the window alone."""
        cells = patches.unflatten(2, (self.frames, self.mels)).unflatten(1, self.axes)
        order = (0, 1, 3, 2, 4) if self.whisper else (0, 2, 3, 1, 4)
        picture = cells.permute(order).flatten(3, 4).flatten(1, 2)  # (B, T, M)
        return picture.transpose(1, 2) if self.whisper else picture


def patch_grid(encoder: Encoder, n_frames: int = 0) -> PatchGrid:
    """The patches of an encoder's tokens.

    Args:
        encoder: Either kind.
        n_frames: Frames from the start of the window that count; 0 for all. An AST encoder has
            the window that it was built or loaded with.

    Raises:
        InputError: the window is shorter than one patch or longer than the encoder's, the mel
            bins are no multiple of 16 (Whisper), or patches overlap (AST).

    Source: notes 24 and 25.

    >>> from thesislib.models.encoders import EncoderConfig
    >>> sizes = EncoderConfig(
    ...     n_mels=80, n_positions=1500, width=8, heads=2, layers=1, ffn_width=8
    ... )
    >>> grid = patch_grid(WhisperEncoder(sizes))
    >>> grid.axes, grid.frames, grid.mels, grid.n_tokens
    ((300, 5), 10, 16, 1500)
    """
    if isinstance(encoder, ASTEncoder):
        config = encoder.config
        if n_frames not in (0, config.n_frames):
            raise InputError(
                "n_frames",
                f"{n_frames} is not the encoder's {config.n_frames}",
                "build or load the encoder with this window",
            )
        if config.stride != config.patch_size or config.special_tokens:
            raise InputError(
                "encoder",
                "has overlapping patches or special tokens",
                "load it with the stride of its patches, without special tokens",
            )
        bands, blocks = config.grid
        return PatchGrid(blocks, bands, config.patch_size, config.patch_size, whisper=False)
    n_mels, longest = encoder.config.n_mels, FRAMES_PER_TOKEN * encoder.config.n_positions
    if n_mels % WHISPER_PATCH_MELS:
        raise InputError(
            "encoder", f"has {n_mels} mel bins, no multiple of {WHISPER_PATCH_MELS}", "use another"
        )
    bands = n_mels // WHISPER_PATCH_MELS
    frames = FRAMES_PER_TOKEN * bands  # so that a block has as many patches as tokens
    blocks = (n_frames or longest) // frames
    if blocks < 1 or n_frames > longest:
        raise InputError(
            "n_frames",
            f"{n_frames} frames of 10 ms are not in {frames} (one patch) to {longest}",
            "use a longer window, or cut it into several",
        )
    return PatchGrid(blocks, bands, frames, WHISPER_PATCH_MELS, whisper=True)


# ------------------------------------------------------------------------------- the two branches


@dataclass(frozen=True, kw_only=True)
class DualBranchConfig:
    """Choices of the model; the defaults are the thesis's where it says, note 26's where not.

    Attributes:
        mask_ratio: Share of the tokens hidden from the auxiliary branch in training.
        n_frames: Frames of a Whisper encoder's window that count; 0 for all of them.
        decoder_width: Features of a token in the decoder; 0 for the encoder's.
        decoder_depth: Layers of the decoder.
        decoder_heads: Attention heads of the decoder.
        auxiliary_layers: Layers of the auxiliary branch, the first of the main branch's; 0 for as
            many as it has.
        inputs: What the decoder gets: ``both`` branches, ``main`` or ``auxiliary`` alone, or
            ``shuffled``: both, but the auxiliary output of another clip of the batch.
        mask_main: Hide the same tokens from the main branch, too.
        blank_hidden: Also blank hidden patches in the spectrogram that visible tokens of a Whisper
            encoder are made of. Evaluation, without masks, then differs more from training.
    """

    mask_ratio: float = 0.75
    n_frames: int = 0
    decoder_width: int = 0
    decoder_depth: int = 4
    decoder_heads: int = 8
    auxiliary_layers: int = 0
    inputs: Inputs = "both"
    mask_main: bool = False
    blank_hidden: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("n_frames", 0), ("decoder_width", 0), ("decoder_depth", 1), ("decoder_heads", 1),
            ("auxiliary_layers", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise InputError(name, f"cannot be {getattr(self, name)}", f"use {least} or more")
        if self.inputs not in get_args(Inputs):
            raise InputError(
                "inputs", f"{self.inputs!r} is unknown", f"use {', '.join(get_args(Inputs))}"
            )


class DualBranchOutput(NamedTuple):
    """What a training step yields.

    Attributes:
        prediction: Patches drawn by the decoder `(B, N, values)`.
        target: True patches `(B, N, values)`.
        hidden: True where a patch was hidden `(B, N)`.
        main: Main branch at the visible tokens `(B, K, width)`.
        auxiliary: Auxiliary branch at the same tokens `(B, K, width)`.
        main_mean: Main branch, mean over what it saw `(B, width)`.
        auxiliary_mean: Auxiliary branch, mean over the visible tokens `(B, width)`.
    """

    prediction: Tensor
    target: Tensor
    hidden: Tensor
    main: Tensor
    auxiliary: Tensor
    main_mean: Tensor
    auxiliary_mean: Tensor


class DualBranch(nn.Module):
    """The frozen main branch, the auxiliary branch and the joint decoder.

    Args:
        main: The pretrained encoder. It is frozen, and is no part of the state dictionary: what is
            saved is what was trained.
        config: Choices.
        generator: Draws the decoder's initial weights; the global one if None.

    Raises:
        InputError: sizes do not fit.

    Source: section 8.2.
    """

    def __init__(
        self, main: Encoder, config: DualBranchConfig, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.grid = patch_grid(main, config.n_frames)
        visible_tokens(self.grid.n_tokens, config.mask_ratio)  # refuses a ratio of no use
        # In a tuple, so that torch does not count frozen weights among this model's own.
        self._main = (main.requires_grad_(False).eval(),)
        depth = config.auxiliary_layers or len(main.layers)
        if depth > len(main.layers):
            raise InputError(
                "auxiliary_layers", f"{depth} exceed the main branch's", "use no more than it has"
            )
        width = main.config.width
        self.auxiliary_layers = copy.deepcopy(main.layers[:depth]).requires_grad_(True)
        self.auxiliary_norm = copy.deepcopy(last_norm(main)).requires_grad_(True)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.main_mask_token = nn.Parameter(torch.zeros(1, 1, width)) if config.mask_main else None
        with torch.random.fork_rng(devices=[]):  # torch draws initial values, which are overwritten
            self._build_decoder(width, config)
        for part in (self.fuse, self.decoder, self.predict):
            initialise(part, generator)
        for token in (self.mask_token, self.main_mask_token):
            if token is not None:
                nn.init.normal_(token, std=0.02, generator=generator)

    def _build_decoder(self, width: int, config: DualBranchConfig) -> None:
        decoder_width = config.decoder_width or width
        n_inputs = 1 if config.inputs in ("main", "auxiliary") else 2
        self.fuse = nn.Linear(n_inputs * width, decoder_width)
        positions = sine_cosine_positions(decoder_width, self.grid.axes)
        self.register_buffer("positions", positions, persistent=False)
        self.decoder = nn.ModuleList(
            Block(decoder_width, config.decoder_heads) for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(decoder_width)
        self.predict = nn.Linear(decoder_width, self.grid.values)

    @property
    def main(self) -> Encoder:
        """The frozen encoder, on the device of the trained parts."""
        return self._main[0].to(self.mask_token.device)

    @torch.no_grad()
    def main_features(self, spectrogram: Tensor) -> Tensor:
        """The main branch's last output without masking, which can be computed once and kept.

        It reads the very tokens that the auxiliary branch reads, of the window that counts and
        without padding, so that before training the branches agree.

        Args:
            spectrogram: Of that window or a longer one: `(B, n_mels, T)` for a Whisper encoder,
                `(B, T, n_mels)` for an AST.

        Returns:
            `(B, N, width)`, at the N tokens that count.
        """
        return encode(self.main, embed(self.main, spectrogram, self.grid))

    def auxiliary_features(self, spectrogram: Tensor) -> Tensor:
        """The auxiliary branch without masking, as it is evaluated: `(B, N, width)`."""
        return self.auxiliary(embed(self.main, spectrogram, self.grid))

    def auxiliary(self, tokens: Tensor) -> Tensor:
        """Tokens with positions through the auxiliary layers: `(B, K, width)` to the same."""
        for layer in self.auxiliary_layers:
            tokens = layer(tokens)
        return self.auxiliary_norm(tokens)

    def mask(self, batch_size: int, generator: torch.Generator) -> Masking:
        """Masks for a batch, drawn on the generator's device and moved to the model's."""
        noise = torch.rand(
            batch_size, self.grid.n_tokens, generator=generator, device=generator.device
        )
        return random_masking(noise.to(self.mask_token.device), self.config.mask_ratio)

    def forward(
        self, spectrogram: Tensor, masking: Masking, main: Tensor | None = None
    ) -> DualBranchOutput:
        """Encode with both branches, decode, and give back what the losses need.

        Args:
            spectrogram: As in `main_features`.
            masking: From `mask`.
            main: `main_features` of these windows, where they are at hand.

        Raises:
            InputError: `main` does not fit, or auxiliary outputs cannot be shuffled in a batch
                of one.
        """
        grid = self.grid
        target = grid.cut(spectrogram)
        with torch.no_grad():
            blanks = self.config.blank_hidden
            seen = blank(spectrogram, masking.hidden, grid) if blanks else spectrogram
            tokens = take(embed(self.main, seen, grid), masking.visible)
        encoded = self.auxiliary(tokens)
        auxiliary = fill(encoded, self.mask_token, masking)
        if self.main_mask_token is not None:
            with torch.no_grad():
                main_visible = encode(self.main, tokens)
            main = fill(main_visible, self.main_mask_token, masking)
            main_mean = main_visible.mean(dim=1)
        else:
            main = self.main_features(spectrogram) if main is None else main
            if main.shape != auxiliary.shape:
                raise InputError(
                    "main", f"{tuple(main.shape)} is not {tuple(auxiliary.shape)}",
                    "give the features of these windows by this encoder",
                )  # fmt: skip
            main = main.to(auxiliary.dtype)
            main_visible, main_mean = take(main, masking.visible), main.mean(dim=1)
        prediction = self.decode(main, auxiliary)
        return DualBranchOutput(
            prediction,
            target,
            masking.hidden,
            main_visible,
            encoded,
            main_mean,
            encoded.mean(dim=1),
        )

    def decode(self, main: Tensor, auxiliary: Tensor) -> Tensor:
        """Outputs of both branches `(B, N, width)` to patches `(B, N, values)`."""
        if self.config.inputs == "shuffled":
            if len(auxiliary) < 2:
                raise InputError("batch_size", "1 leaves nothing to shuffle", "use 2 or more")
            auxiliary = auxiliary.roll(1, dims=0)  # nobody keeps their own
        parts = {"main": [main], "auxiliary": [auxiliary]}.get(
            self.config.inputs, [main, auxiliary]
        )
        # Mask tokens carry no position of their own (note 24): the decoder gives them one.
        tokens = self.fuse(torch.cat(parts, dim=-1)) + self.positions
        for block in self.decoder:
            tokens = block(tokens)
        return self.predict(self.norm(tokens))


# ---------------------------------------------------------------------------- parts of an encoder


def last_norm(encoder: Encoder) -> nn.LayerNorm:
    """The layer norm after an encoder's last layer."""
    return encoder.layernorm if isinstance(encoder, ASTEncoder) else encoder.layer_norm


def embed(encoder: Encoder, spectrogram: Tensor, grid: PatchGrid) -> Tensor:
    """The frozen tokeniser: spectrogram to tokens with positions `(B, N, width)`."""
    if isinstance(encoder, ASTEncoder):
        return encoder.embed(spectrogram)
    window = spectrogram[..., : grid.blocks * grid.frames]
    x = F.gelu(encoder.conv1(window))
    x = F.gelu(encoder.conv2(x)).transpose(1, 2)
    return (x + encoder.embed_positions.weight[: x.shape[1]])[:, : grid.n_tokens]


def encode(encoder: Encoder, tokens: Tensor) -> Tensor:
    """Any of an encoder's tokens `(B, K, width)` through its layers and last norm."""
    for layer in encoder.layers:
        tokens = layer(tokens)
    return last_norm(encoder)(tokens)


def blank(spectrogram: Tensor, hidden: Tensor, grid: PatchGrid) -> Tensor:
    """The window of a spectrogram with hidden patches at a constant, if tokens would show them."""
    if not grid.whisper:
        return spectrogram
    covered = grid.join(hidden.unsqueeze(-1).expand(-1, -1, grid.values))
    return spectrogram[..., : covered.shape[-1]].masked_fill(covered, BLANK)


def fill(visible: Tensor, mask_token: Tensor, masking: Masking) -> Tensor:
    """Visible tokens `(B, K, width)` at their places among mask tokens: `(B, N, width)`."""
    n_hidden = masking.restore.shape[1] - visible.shape[1]
    masked = mask_token.to(visible.dtype).expand(len(visible), n_hidden, -1)
    return take(torch.cat([visible, masked], dim=1), masking.restore)
