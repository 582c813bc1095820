"""Parameters of the experiments: one frozen dataclass an experiment, three sizes each.

A notebook's parameters are the fields of its dataclass; a name that is no field raises. A profile
changes sizes only: ``tiny`` is what tests and notebooks run, ``small`` is what the book reports,
``paper`` is the size of the thesis.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml

from thesislib.errors import InputError

PROFILES = ("tiny", "small", "paper")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What every experiment takes.

    Attributes:
        corpus: Name of a corpus, with ``-twin`` for its synthetic twin.
        profile: ``tiny``, ``small`` or ``paper``.
        seed: Seed of the twin and of every bootstrap.
        out: Folder for records and predictions.
        replicates: Bootstrap replicates.
        threads: CPU threads.

    A subclass also says where the code begins that makes its predictions (`CODE`, modules), and
    which module runs it with ``run(config, *, say=...) -> list[RunRecord]`` (`RUN`). Without the
    latter the steps stand in the chapter's notebook: its cells tagged ``train`` and ``evaluate``
    then count as code too, and the notebook is what is run. A chapter has at most one of these. Of
    several that modules run, the first in `EXPERIMENTS` is what ``thesis train`` takes, and the
    others are asked for by name.
    """

    CODE: ClassVar[tuple[str, ...]]
    RUN: ClassVar[str] = ""
    CHAPTER: ClassVar[str]
    CORPORA: ClassVar[tuple[str, ...]]
    SIZES: ClassVar[dict[str, dict[str, Any]]]

    corpus: str = ""
    profile: str = "tiny"
    seed: int = 0
    out: str = "data/results"
    replicates: int = 500
    threads: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value, wanted = getattr(self, field.name), type(field.default)
            fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
            _check(
                fits and isinstance(value, bool) == (wanted is bool),
                field.name,
                value,
                f"give a value of type {wanted.__name__}",
            )
        corpora = [name for corpus in self.CORPORA for name in (corpus, f"{corpus}-twin")]
        _check(self.profile in PROFILES, "profile", self.profile, f"choose {', '.join(PROFILES)}")
        _check(self.corpus in corpora, "corpus", self.corpus, f"choose {', '.join(corpora)}")
        _check(self.seed >= 0, "seed", self.seed, "give 0 or more")
        _check(self.replicates >= 1, "replicates", self.replicates, "give 1 or more")
        _check(self.threads >= 1, "threads", self.threads, "give 1 or more")

    @property
    def synthetic(self) -> bool:
        """Whether the corpus is a twin."""
        return self.corpus.endswith("-twin")

    def command(self) -> str:
        """The command that makes this run again."""
        options = "".join(
            f" -p {name} {shlex.quote(spelled(value))}" for name, value in self.changed().items()
        )
        verb = "train" if self.RUN else "run"
        name = f" --experiment {experiment_name(type(self))}" if self._to_be_named() else ""
        return f"thesis {verb} {self.CHAPTER}{name}{options} --profile {self.profile}"

    def _to_be_named(self) -> bool:
        """Whether a module runs it and another one is what the chapter trains by default."""
        trained = [kind for kind in EXPERIMENTS if kind.RUN and kind.CHAPTER == self.CHAPTER]
        return type(self) in trained[1:]

    def changed(self) -> dict[str, Any]:
        """The parameters that differ from those of the profile."""
        values, defaults = self.as_dict(), for_profile(type(self), self.profile).as_dict()
        return {name: value for name, value in values.items() if value != defaults[name]}

    def as_dict(self) -> dict[str, Any]:
        """Every parameter but the folder that results go to."""
        return {name: value for name, value in asdict(self).items() if name != "out"}


@dataclass(frozen=True, kw_only=True)
class AgreementConfig(Experiment):
    """Chapter 5: how far annotators agree, and what roles are for.

    Attributes:
        dyads: Number of simulated conversations of a twin.
        duration_s: Length of each, in seconds.
        shuffles: Shuffled pairings of the mimicry and role tests.
        effects: Strengths of a twin's planted effects that differ from 1, such as
            ``mimicry=0 noise=0.5``.
    """

    CODE = ("thesislib.corpora.ib", "thesislib.evaluation.annotation_sets")
    CHAPTER = "05"
    CORPORA = ("ifadv", "ndc-me", "ccdb")
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {},
        "small": {"dyads": 24, "replicates": 2000, "shuffles": 999},
        "paper": {"dyads": 100, "duration_s": 600.0, "replicates": 10_000, "shuffles": 999},
    }

    corpus: str = "ifadv-twin"
    dyads: int = 8
    duration_s: float = 240.0
    shuffles: int = 199
    effects: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.dyads >= 4, "dyads", self.dyads, "give 4 or more, to shuffle them")
        _check(self.duration_s >= 60, "duration_s", self.duration_s, "give 60 s or more")
        _check(self.shuffles >= 1, "shuffles", self.shuffles, "give 1 or more")


@dataclass(frozen=True, kw_only=True)
class MainBranchConfig(Experiment):
    """Chapter 8, first half: what the frozen main branch already knows.

    Attributes:
        encoder: ``speech-encoder``, or the folder of a Hugging Face Whisper model.
        clips: How many clips to use, balanced over speakers and emotions; 0 means all.
        window_s: Length of the analysed window from the start of a clip, in seconds.
        regularisation_c: Inverse strength of the probe's L2 penalty.
    """

    CODE = ("thesislib.learning.main_branch", "thesislib.corpora.twins.emodb")
    RUN = "thesislib.learning.main_branch"
    CHAPTER = "08"
    CORPORA = ("emodb",)
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {},
        "small": {"clips": 0, "replicates": 2000},
        "paper": {"clips": 0, "replicates": 10_000},
    }

    corpus: str = "emodb-twin"
    encoder: str = "speech-encoder"
    clips: int = 140
    window_s: float = 2.0
    regularisation_c: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.clips >= 0, "clips", self.clips, "give 0 for all, or a number")
        _check(self.window_s >= 0.1, "window_s", self.window_s, "give 0.1 s or more")
        _check(self.regularisation_c > 0, "regularisation_c", self.regularisation_c, "be positive")


@dataclass(frozen=True, kw_only=True)
class LaughConfig(Experiment):
    """Chapter 6: laughs, smiles or none, from the voice, the mouth, or both.

    Attributes:
        zero_shot: Corpus that the models are tested on without having seen it, or ``none``.
        dyads: Conversations of the training corpus's twin.
        zero_shot_dyads: Those of the other twin.
        duration_s: Length of each conversation of a twin, in seconds.
        twin_seed: Seed of both twins, so that runs of several seeds share what is cached.
        effects: Strengths of the twins' planted effects that differ from 1, such as
            ``laugh_voice=0 smile_face=0.5``.
        hop_s: From one window to the next; 0 for windows that do not overlap.
        clips: Most clips of one class; 0 for all.
        preset: Structure and inputs of the model, see `thesislib.models.lsn_tcn.PRESETS`.
        width: Channels of a branch's first stage; 0 for the preset's.
        detect_every_s: Time from one face detection to the next; 0 for every frame.
        start: ``scratch``, or ``pretrained`` on the pretext task.
        scope: What a pretrained branch trains: ``chapter`` (note 37: of the voice the temporal
            blocks and the head, of the face all), ``full``, or ``head``.
        split: ``speaker`` or ``random`` (note 21).
        epochs: Of each branch.
        fusion_epochs: Of each fusion.
        batch_size: Clips in a step.
        learning_rate: At the start.
        precision: ``32-true`` or ``bf16-mixed``.
        pretext: Corpus of the pretext task, with a label ``sentence``.
        pretext_clips: How many of its clips; 0 for all.
        pretext_epochs: Of each branch on the pretext task.
        fusions: ``all``, or ``mlp`` for the chapter's alone.
        end_to_end: Also train one mid fusion with both branches.
        analyses: Also record embeddings, the occlusion map and the band ablation.
    """

    CODE = (
        "thesislib.learning.laugh_training",
        "thesislib.learning.laugh_analyses",
        "thesislib.corpora.twins.conversations",
        "thesislib.corpora.twins.recordings",
    )
    RUN = "thesislib.learning.laughs"
    CHAPTER = "06"
    CORPORA = ("ndc-me", "ifadv", "ccdb")
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {},
        "small": {
            "dyads": 12,
            "zero_shot_dyads": 6,
            "duration_s": 24.0,
            "clips": 120,
            "preset": "small",
            "width": 8,
            "detect_every_s": 0.8,
            "epochs": 5,
            "fusion_epochs": 12,
            "pretext_clips": 240,
            "precision": "bf16-mixed",
            "pretext_epochs": 4,
            "replicates": 2000,
        },
        "paper": {
            "dyads": 17,
            "zero_shot_dyads": 23,
            "duration_s": 300.0,
            "hop_s": 0.0,
            "clips": 0,
            "preset": "thesis",
            "detect_every_s": 0.0,
            "epochs": 80,
            "fusion_epochs": 30,
            "batch_size": 16,
            "learning_rate": 3e-6,
            "precision": "bf16-mixed",
            "pretext_clips": 0,
            "pretext_epochs": 80,
            "replicates": 10_000,
        },
    }

    corpus: str = "ndc-me-twin"
    zero_shot: str = "ifadv-twin"
    dyads: int = 6
    zero_shot_dyads: int = 2
    duration_s: float = 12.0
    twin_seed: int = 0
    effects: str = "turn_end=3 mimicry=2"
    hop_s: float = 0.305
    clips: int = 40
    preset: str = "tiny"
    width: int = 0
    detect_every_s: float = 0.3
    start: str = "scratch"
    scope: str = "chapter"
    split: str = "speaker"
    epochs: int = 8
    fusion_epochs: int = 10
    batch_size: int = 16
    learning_rate: float = 1e-3
    precision: str = "32-true"
    pretext: str = "crema-d-twin"
    pretext_clips: int = 24
    pretext_epochs: int = 2
    fusions: str = "all"
    end_to_end: bool = False
    analyses: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [name for corpus in self.CORPORA for name in (corpus, f"{corpus}-twin")]
        choices = {
            "zero_shot": ("none", *(name for name in names if name != self.corpus)),
            "preset": ("tiny", "small", "thesis", "release"),
            "start": ("scratch", "pretrained"),
            "scope": ("chapter", "full", "head"),
            "split": ("speaker", "random"),
            "fusions": ("all", "mlp"),
            "precision": ("32-true", "bf16-mixed"),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            mend = f"choose {', '.join(repr(choice) for choice in allowed)}"
            _check(value in allowed, name, value, mend)
        for name in ("dyads", "epochs", "fusion_epochs", "batch_size", "pretext_epochs"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "give 1 or more")
        for name in ("twin_seed", "hop_s", "clips", "width", "detect_every_s", "pretext_clips"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "give 0 or more")
        _check(self.learning_rate > 0, "learning_rate", self.learning_rate, "be positive")
        _check(self.duration_s >= 5, "duration_s", self.duration_s, "give 5 s or more")


@dataclass(frozen=True, kw_only=True)
class DisentanglementConfig(Experiment):
    """Chapter 8, second half: an auxiliary branch beside the frozen one.

    `corpus` is what the auxiliary branch is trained on.

    Attributes:
        encoder: ``speech-encoder``, ``ast-twin`` (trained here on the twin of sound events), or
            the folder of a Hugging Face Whisper model or AST.
        losses: ``all``, ``reconstruction``, or ``no-`` and the term that is left out:
            ``no-reconstruction``, ``no-contrast``, ``no-information``.
        information: Estimate of the mutual information: ``histogram`` or ``club``.
        weight: The lambda of equation 8.1.
        inputs: What the decoder gets: ``both`` branches, ``main`` or ``auxiliary`` alone, or
            ``shuffled`` auxiliary outputs.
        mask_main: Mask the main branch, too.
        blank_hidden: Blank hidden patches before they become tokens of a Whisper encoder.
        auxiliary_layers: Layers of the auxiliary branch; 0 for as many as the main branch has.
        evaluate: Corpora that the branches are probed on, separated by blanks. A twin in `PLANTED`
            may name the strength of what is planted in it: ``emodb-twin@0`` is a null twin, without
            effects of emotion, and plain ``emodb-twin`` has the documented size.
        clips: Of the training corpus; 0 for all.
        windows: Most windows of it.
        eval_clips: Most clips of a corpus that is probed; 0 for all.
        event_clips: Of the sound events that ``ast-twin`` is trained on.
        twin_seed: Seed of all twins, so that runs of several seeds share what is cached.
        window_s: Length of a window, in seconds.
        epochs: Of the auxiliary branch.
        batch_size: Windows in a step.
        learning_rate: At the start.
        precision: ``32-true`` or ``bf16-mixed``.
        decoder_width: Features of the decoder; 0 for the encoder's.
        folds: Most folds of a probe; groups share them where there are more.
        regularisation_c: Inverse strength of the probe's L2 penalty.
    """

    CODE = (
        "thesislib.learning.disentanglement",
        "thesislib.corpora.twins.conversations",
        "thesislib.corpora.twins.emodb",
        "thesislib.corpora.twins.recordings",
    )
    RUN = "thesislib.learning.disentanglement"
    CHAPTER = "08"
    CORPORA = ("voxceleb2", "librispeech")
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {},
        "small": {
            "precision": "bf16-mixed",
            "evaluate": "emodb emodb-twin crema-d-twin ndc-me-twin",
            "clips": 192,
            "windows": 192,
            "eval_clips": 200,
            "event_clips": 400,
            "epochs": 3,
            "batch_size": 8,
            "decoder_width": 128,
            "folds": 10,
            "replicates": 2000,
        },
        "paper": {
            "evaluate": "emodb crema-d ndc-me",
            "clips": 0,
            "windows": 1_000_000,
            "eval_clips": 0,
            "event_clips": 1200,
            "window_s": 10.0,
            "epochs": 10,
            "batch_size": 4,
            "decoder_width": 0,
            "folds": 10,
            "replicates": 10_000,
        },
    }

    corpus: str = "librispeech-twin"
    encoder: str = "speech-encoder"
    losses: str = "all"
    information: str = "histogram"
    weight: float = 0.01
    inputs: str = "both"
    mask_main: bool = False
    blank_hidden: bool = False
    auxiliary_layers: int = 0
    evaluate: str = "emodb-twin"
    clips: int = 20
    windows: int = 20
    eval_clips: int = 140
    event_clips: int = 40
    twin_seed: int = 0
    window_s: float = 2.0
    epochs: int = 2
    batch_size: int = 16
    learning_rate: float = 1e-3
    precision: str = "32-true"
    decoder_width: int = 64
    folds: int = 5
    regularisation_c: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        omitted = ("no-reconstruction", "no-contrast", "no-information")
        choices = {
            "losses": ("all", "reconstruction", *omitted),
            "information": ("histogram", "club"),
            "inputs": ("both", "main", "auxiliary", "shuffled"),
            "precision": ("32-true", "bf16-mixed"),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            _check(value in allowed, name, value, f"choose {', '.join(allowed)}")
        known = ("emodb", "crema-d", "librispeech", "voxceleb2", "ndc-me", "ifadv", "ccdb")
        for item in self.evaluate.split() or [""]:
            corpus, strength = evaluated(item)
            fits = corpus.removesuffix("-twin") in known
            if "@" in item:  # in one spelling, since records are named by it
                fits &= corpus in PLANTED and strength != 1 and item == f"{corpus}@{strength:g}"
            _check(fits, "evaluate", self.evaluate, f"choose from {', '.join(known)}, or twins")
        for name in ("weight", "auxiliary_layers", "clips", "eval_clips", "twin_seed"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "give 0 or more")
        for name in ("epochs", "event_clips"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "give 1 or more")
        for name in ("batch_size", "folds"):
            _check(getattr(self, name) >= 2, name, getattr(self, name), "give 2 or more")
        _check(self.windows >= 8, "windows", self.windows, "give 8 or more")
        for name in ("learning_rate", "regularisation_c"):
            _check(getattr(self, name) > 0, name, getattr(self, name), "be positive")
        _check(self.window_s >= 0.2, "window_s", self.window_s, "give 0.2 s or more")
        _check(self.decoder_width % 8 == 0, "decoder_width", self.decoder_width, "multiple of 8")


@dataclass(frozen=True, kw_only=True)
class SocialMaeConfig(Experiment):
    """Chapter 7: pre-train on faces and voices, reconstruct, and tell emotions, traits, laughs.

    `corpus` is that of the task; `seed` is also that of the pre-training.

    Attributes:
        model: ``mae``, or one of the baselines: ``auxformer``, ``uavm``, ``vavl``, ``resnet``
            (in the way of DCC), ``lstm`` (evolgen), ``average`` (NJU-LAMDA), ``functionals`` (of
            MFCC), ``egemaps`` (needs openSMILE).
        n_frames: Frames of a clip: 1 is CAV-MAE, 8 is Social-MAE.
        pretraining: Corpus that the encoder learns from without labels, or ``none``.
        weights: File with a checkpoint of the authors that pre-training starts from; empty for
            none. One of a single frame is inflated to `n_frames`.
        normalisation: Of sound and pictures: ``cav-mae``, ``social-mae`` (note 6), ``ast``, or a
            file of ``thesis data statistics``. Social-MAE's deviation of the sound is so large that
            its reconstruction hardly counts beside that of the pictures.
        attention_start: ``random`` as in the authors' code, or ``likes``: every token begins by
            looking at those that are like it, which small models need many epochs to find.
        scope: ``full`` trains the encoder, too; ``probe`` trains the head alone.
        modes: What tasks are trained on, separated by blanks: ``audio``, ``video``, ``both``.
        rates: ``own``: `learning_rate` and `head_rate`; ``thesis``: those of its text (note 9).
        clips: Of the task's corpus (of conversations: most windows of one class); 0 for all.
        dyads: Conversations of a twin that consists of such.
        duration_s: Length of each, and of a clip of the twin of First Impressions, in seconds;
            0 for that of the corpus.
        hop_s: From one window of a conversation to the next; 0 for windows that do not overlap.
        effects: Strengths of the task's twin's planted effects that differ from 1.
        twin_seed: Seed of all twins, so that runs of several seeds share what is cached.
        labelled_speakers: Most speakers of the training part; 0 for all (few-shot curve).
        folds: Speaker-disjoint test parts; 1 for one split, the corpus's own where it has one.
        reconstructed: Most clips that are reconstructed.
        kept_drawings: Clips of a twin whose reconstruction is kept as pictures; 0 for none.
        shards: Folder of `thesis data shard PRETRAINING`, or a pattern such as ``DIR/*-00*.tar``:
            what pre-training reads instead of decoding the corpus; empty for none.
        pretraining_clips: Of the corpus of pre-training; 0 for all.
        pretraining_windows: Windows of these clips, as equally many of each as can be.
        pretraining_epochs: Passes over them.
        pretraining_batch: Windows in a step.
        pretraining_rate: Learning rate at the start; halved every five epochs (note 8).
        faces: ``middle`` takes the middle square of a picture, ``face`` the face in it.
        image_size: Height and width of a frame, in pixels.
        audio_frames: Columns of the spectrogram, 10 ms each; they are the length of a window.
        candidates: Frames that are decoded of a window.
        patch_size: Side of a patch.
        width: Features of a token.
        depth: Layers of each modality's encoder.
        decoder_width: Features of the decoder.
        decoder_depth: Layers of it.
        decoder_heads: Attention heads of it.
        head_width: Features of an attention head of the encoders.
        mask_ratio: Share of the patches that are hidden.
        norm_pix_loss: Reconstruct patches of zero mean and unit variance (note 4).
        contrastive_weight: Of the contrastive loss.
        epochs: Of the task.
        batch_size: Clips in a step of the task.
        learning_rate: Of the encoder.
        head_rate: Of the head.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        strategy: Of pre-training in several processes: ``auto``, ``ddp`` (a copy of the model in
            each) or ``fsdp`` (sharded).
        devices: Processes of pre-training, one a device. With more than 1 a run only pre-trains,
            and a run with 1 finds the result; start it by ``torchrun --nproc-per-node N``.
        accumulate: Micro-batches of a step of pre-training. More take less memory; the
            contrastive loss then compares within one of them, and a short last batch is cut into
            as many as the processes allow.
        clip_norm: Largest norm of the gradient, of the task's, too; 0 leaves it as it is.
        checkpointed: Compute activations again when gradients ask for them: about a third more
            time for much less memory.
        compile: Train through ``torch.compile``.
        checkpoint_every: Steps of pre-training between checkpoints; 0: one an epoch.
    """

    CODE = (
        "thesislib.learning.social_mae",
        "thesislib.corpora.twins.conversations",
        "thesislib.corpora.twins.emodb",
        "thesislib.corpora.twins.recordings",
    )
    RUN = "thesislib.learning.social_mae"
    CHAPTER = "07"
    CORPORA = ("crema-d", "first-impressions", "ndc-me", "emodb")
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {},
        "small": {
            "clips": 480,
            "dyads": 12,
            "duration_s": 24.0,
            "reconstructed": 60,
            "pretraining_clips": 96,
            "pretraining_windows": 600,
            "pretraining_epochs": 10,
            "pretraining_batch": 8,
            "pretraining_rate": 2e-3,
            "image_size": 80,
            "audio_frames": 208,
            "candidates": 16,
            "width": 96,
            "depth": 4,
            "decoder_width": 64,
            "decoder_depth": 2,
            "epochs": 8,
            "precision": "bf16-mixed",
            "replicates": 2000,
        },
        "paper": {
            "clips": 0,
            "dyads": 17,
            "duration_s": 0.0,
            "hop_s": 0.0,
            "reconstructed": 1000,
            "pretraining_clips": 0,
            "pretraining_windows": 0,
            "pretraining_epochs": 25,
            "pretraining_batch": 36,
            "pretraining_rate": 1e-4,
            "normalisation": "social-mae",
            "attention_start": "random",
            "faces": "face",
            "image_size": 224,
            "audio_frames": 1024,
            "candidates": 16,
            "width": 768,
            "depth": 11,
            "decoder_width": 512,
            "decoder_depth": 8,
            "decoder_heads": 16,
            "head_width": 64,
            "epochs": 20,
            "batch_size": 8,
            "learning_rate": 1e-4,
            "head_rate": 1e-4,
            "precision": "bf16-mixed",
            "checkpoint_every": 1000,
            "replicates": 10_000,
        },
    }

    corpus: str = "crema-d-twin"
    model: str = "mae"
    n_frames: int = 8
    pretraining: str = "voxceleb2-twin"
    weights: str = ""
    normalisation: str = "cav-mae"
    attention_start: str = "likes"
    scope: str = "full"
    modes: str = "audio video both"
    rates: str = "own"
    clips: int = 36
    dyads: int = 6
    duration_s: float = 12.0
    hop_s: float = 0.305
    effects: str = ""
    twin_seed: int = 0
    labelled_speakers: int = 0
    folds: int = 1
    reconstructed: int = 12
    kept_drawings: int = 0
    shards: str = ""
    pretraining_clips: int = 16
    pretraining_windows: int = 64
    pretraining_epochs: int = 10
    pretraining_batch: int = 16
    pretraining_rate: float = 1e-3
    faces: str = "middle"
    image_size: int = 64
    audio_frames: int = 160
    candidates: int = 8
    patch_size: int = 16
    width: int = 64
    depth: int = 2
    decoder_width: int = 64
    decoder_depth: int = 1
    decoder_heads: int = 2
    head_width: int = 32
    mask_ratio: float = 0.75
    norm_pix_loss: bool = False
    contrastive_weight: float = 0.01
    epochs: int = 6
    batch_size: int = 8
    learning_rate: float = 5e-4
    head_rate: float = 1e-3
    precision: str = "32-true"
    strategy: str = "auto"
    devices: int = 1
    accumulate: int = 1
    clip_norm: float = 0.0
    checkpointed: bool = False
    compile: bool = False
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        learnt = ("voxceleb2", "sound-events", "librispeech")
        choices = {
            "model": ("mae", *SOCIAL_MAE_BASELINES),
            "pretraining": ("none", *(n for name in learnt for n in (name, f"{name}-twin"))),
            "attention_start": ("random", "likes"),
            "scope": ("full", "probe"),
            "rates": ("own", "thesis"),
            "faces": ("middle", "face"),
            "precision": ("32-true", "bf16-mixed", "16-mixed"),
            "strategy": ("auto", "ddp", "fsdp"),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            mend = f"choose {', '.join(repr(choice) for choice in allowed)}"
            _check(value in allowed, name, value, mend)
        mend = "name cav-mae, social-mae, ast or ndc-me, or a file of `thesis data statistics`"
        told = self.normalisation in ("cav-mae", "social-mae", "ast", "ndc-me")
        told = told or Path(self.normalisation).is_file()
        _check(told, "normalisation", self.normalisation, mend)
        modes = self.modes.split()
        known = {"audio", "video", "both"}
        fits = bool(modes) and set(modes) <= known and len(set(modes)) == len(modes)
        if fits and self.corpus.startswith("emodb"):
            fits = modes == ["audio"]
        _check(fits, "modes", self.modes, "name audio, video and both once each; emodb has audio")
        for name in (
            "dyads",
            "folds",
            "reconstructed",
            "pretraining_epochs",
            "epochs",
            "devices",
            "accumulate",
            "head_width",
        ):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "give 1 or more")
        for name in ("pretraining_batch", "batch_size"):
            _check(getattr(self, name) >= 2, name, getattr(self, name), "give 2 or more")
        whole = (
            "clips",
            "duration_s",
            "hop_s",
            "twin_seed",
            "labelled_speakers",
            "clip_norm",
            "checkpoint_every",
        )
        for name in (*whole, "kept_drawings", "pretraining_clips", "pretraining_windows"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "give 0 or more")
        for name in ("pretraining_rate", "learning_rate", "head_rate"):
            _check(getattr(self, name) > 0, name, getattr(self, name), "be positive")
        _check(
            1 <= self.n_frames <= self.candidates,
            "n_frames",
            self.n_frames,
            f"give 1 to {self.candidates}, which is what `candidates` says are decoded",
        )
        mend = "give bf16-mixed, or another strategy"
        half = self.strategy == "fsdp" and self.precision == "16-mixed"
        _check(not half, "precision", self.precision, mend)
        learns = self.pretraining != "none"
        for name in ("shards", "weights"):  # nothing else would read them
            given = getattr(self, name)
            _check(learns or not given, name, given, "name the corpus in pretraining")
        alone = self.devices == 1 or learns
        _check(alone, "devices", self.devices, "give 1, or something to pre-train on")
        parts = 2 * self.devices * self.accumulate
        mend = f"give {parts} or more: two windows for each of the devices and micro-batches"
        _check(self.pretraining_batch >= parts, "pretraining_batch", self.pretraining_batch, mend)
        drawable = self.synthetic and self.pretraining != "none"
        mend = "give 0, or a twin and a pre-training: pictures of people are not handed on"
        _check(drawable or not self.kept_drawings, "kept_drawings", self.kept_drawings, mend)
        plain = self.model == "mae" or (self.pretraining == "none" and self.scope == "full")
        _check(plain, "model", self.model, "baselines have pretraining none and scope full")


SOCIAL_MAE_BASELINES = (
    "auxformer", "uavm", "vavl", "resnet", "lstm", "average", "functionals",
    "egemaps",
)  # fmt: skip
"""What Social-MAE is compared with in chapter 7, see `thesislib.baselines`."""


EXPRESSIONS = ("laugh_face", "laugh_voice", "smile_face", "smile_voice")
"""Effects that are scaled together: what laughs and smiles do to face and voice."""
PLANTED = {"emodb-twin": "emotion", "crema-d-twin": "emotion", "ndc-me-twin": "expression"}
"""Twins that chapter 8 also probes with weaker effects, and of what these are."""


def evaluated(item: str) -> tuple[str, float]:
    """A corpus to be probed, and the strength of what is planted in it, see `PLANTED`.

    What is no number becomes -1, which no corpus takes.

    >>> evaluated("emodb-twin@0.5"), evaluated("emodb")
    (('emodb-twin', 0.5), ('emodb', 1.0))
    """
    corpus, _, strength = item.partition("@")
    number = re.fullmatch(r"\d+(\.\d+)?", strength or "1")
    return corpus, float(number[0]) if number else -1.0


def read_value(text: str) -> Any:  # noqa: ANN401 - any YAML scalar
    """A value as the command line spells it, which is how YAML does; ``1e-05`` is a number too.

    Raises:
        yaml.YAMLError: the text is no value.

    >>> [read_value(text) for text in ("3", "1e-05", "emodb", "true")]
    [3, 1e-05, 'emodb', True]
    """
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):  # YAML 1.1 wants a full stop in it
        return float(text)
    return yaml.safe_load(text)


def spelled(value: object) -> str:
    """A value as the command line spells it, quoted where YAML would take it for another one.

    >>> spelled(24), spelled("emodb"), spelled("no")
    ('24', 'emodb', '"no"')
    """
    text = str(value)
    try:
        if read_value(text) == value:
            return text
    except yaml.YAMLError:
        pass  # a colon or a bracket in a text
    return json.dumps(value)


EXPERIMENTS: tuple[type[Experiment], ...] = (
    AgreementConfig,
    DisentanglementConfig,
    LaughConfig,
    MainBranchConfig,
    SocialMaeConfig,
)
"""All experiments; the first of a chapter's trained ones is its default."""
Kind = TypeVar("Kind", bound=Experiment)


def experiment_name(kind: type[Experiment]) -> str:
    """Name of an experiment as grids and ``--experiment`` spell it: that of its class.

    >>> experiment_name(MainBranchConfig)
    'main_branch'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__.removesuffix("Config")).lower()


def for_profile(kind: type[Kind], profile: str, **given: Any) -> Kind:  # noqa: ANN401
    """The configuration of a profile, with given parameters in place of its sizes.

    A parameter that is None keeps the profile's value.

    Raises:
        InputError: an unknown profile, an unknown parameter, or a value that cannot be.

    >>> for_profile(MainBranchConfig, "small", seed=3).clips
    0
    """
    _check(profile in PROFILES, "profile", profile, f"choose {', '.join(PROFILES)}")
    known = {field.name for field in fields(kind)}
    for name in given.keys() - known:
        _check(False, name, given[name], f"the parameters are {', '.join(sorted(known))}")
    chosen = {name: value for name, value in given.items() if value is not None}
    return kind(**{**kind.SIZES[profile], **chosen, "profile": profile})


def experiment(chapter: str, *, trained: bool, name: str = "") -> type[Experiment]:
    """The experiment of a chapter that a module runs (`trained`), or that its notebook runs.

    Args:
        chapter: Two digits.
        trained: Which of the two.
        name: Of the experiment, see `experiment_name`; the chapter's first without it.

    Raises:
        InputError: the chapter has none of this sort, or none of this name.

    >>> experiment("05", trained=False).__name__
    'AgreementConfig'
    >>> experiment("08", trained=True, name="main_branch").__name__
    'MainBranchConfig'
    """
    sort = [kind for kind in EXPERIMENTS if bool(kind.RUN) == trained]
    known = {experiment_name(kind): kind for kind in sort if chapter == kind.CHAPTER}
    if not known:
        chapters = ", ".join(sorted({kind.CHAPTER for kind in sort})) or "none yet"
        verb = "train" if trained else "run"
        raise InputError(
            f"chapter {chapter}",
            f"has nothing for `thesis {verb}`",
            f"the chapters are: {chapters}",
        )
    if name and name not in known:
        raise InputError("option --experiment", f"cannot be {name!r}", f"choose {', '.join(known)}")
    return known[name or next(iter(known))]


def from_notebook(kind: type[Kind], namespace: dict[str, Any]) -> Kind:
    """The configuration that a notebook's parameters describe, one a field.

    Args:
        kind: The experiment.
        namespace: The notebook's ``globals()``.

    Raises:
        InputError: a value that cannot be.
    """
    return for_profile(kind, **{field.name: namespace[field.name] for field in fields(kind)})


def _check(holds: bool, name: str, value: object, mend: str) -> None:
    if not holds:
        raise InputError(f"parameter {name}", f"cannot be {value!r}", mend)
