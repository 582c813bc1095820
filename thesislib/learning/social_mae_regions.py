"""Which part of the face each pixel of a twin's window belongs to.

Who is in a recording of a twin and how the face moves follows from the twin's seed, so that the
regions can be drawn again, without the camera. Real recordings have no known regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import interpolate

from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.config import SocialMaeConfig
from thesislib.corpora import dyadic
from thesislib.corpora.clip import Clip
from thesislib.corpora.loading import Corpus
from thesislib.corpora.twins import conversations, dyads, people
from thesislib.corpora.twins.clip_plans import ClipPlan, of_people, person_of
from thesislib.corpora.twins.dyads import chance
from thesislib.corpora.twins.face import FaceIdentity
from thesislib.corpora.twins.face_motion import FaceMotion
from thesislib.corpora.twins.face_render import REGIONS, region_masks
from thesislib.corpora.twins.film import Camera
from thesislib.corpora.twins.people import sample_person
from thesislib.corpora.twins.performance import perform_clip, perform_dyad
from thesislib.corpora.twins.recordings import TWINS
from thesislib.corpora.twins.voice import effect_scales, parse_effects
from thesislib.files import atomic_write
from thesislib.learning.social_mae_data import Windows
from thesislib.signals.audio_visual import sample_frames

CORPORA = ("crema-d", "first-impressions", "ndc-me")
"""Corpora of faces, whose twins' regions are drawn here."""
NAMES = REGIONS


class Filmed(NamedTuple):
    """What stood before the camera of a recording.

    Attributes:
        identity: The face.
        motion: Every frame of it.
        camera: Its rate and the size of its pictures.
    """

    identity: FaceIdentity
    motion: FaceMotion
    camera: Camera


def has_regions(config: SocialMaeConfig) -> bool:
    """Whether the regions of a job's corpus are known: those of a twin, uncropped."""
    return (
        config.synthetic
        and config.corpus.removesuffix("-twin") in CORPORA
        and config.faces == "middle"
    )


def window_regions(
    config: SocialMaeConfig, corpus: Corpus, windows: Windows, rows: Tensor
) -> Tensor | None:
    """`clip_regions` of some windows, or None where they are not known.

    Args:
        config: Of the job.
        corpus: Of the task.
        windows: Of it.
        rows: `(n,)`, which of them.
    """
    if not has_regions(config):
        return None
    return clip_regions(config, corpus, [windows.clips[row] for row in rows.tolist()])


def clip_regions(config: SocialMaeConfig, corpus: Corpus, clips: Sequence[Clip]) -> Tensor:
    """Regions in the frames that evaluation takes of each clip.

    Args:
        config: Of the job; its corpus is one of those that `has_regions` knows.
        corpus: The twin.
        clips: B clips with the start and length of their windows.

    Returns:
        `(B, n_frames, S, S)` uint8, indices of `NAMES`, kept on disk.
    """
    size, n = config.image_size, config.n_frames
    key = cache_key(
        clips=[[clip.clip_id, clip.start_s, clip.duration_s] for clip in clips],
        twin=[corpus.name, config.twin_seed, config.duration_s, config.effects],
        size=[config.clips, config.dyads],
        view=[size, n, config.candidates],
        code=code_sha256(["thesislib.learning.social_mae_regions"]),
    )
    stored = cache_folder("regions", key) / "regions.safetensors"
    try:
        return load_file(stored)["regions"]
    except (OSError, SafetensorError, KeyError):
        pass
    picked = sample_frames(config.candidates, n, 1)[0]
    names = [
        clip.video_path.relative_to(corpus.root).as_posix()
        for clip in clips
        if clip.video_path is not None
    ]
    filmed = _filmed(config, set(names))
    pairs = zip(names, clips, strict=True)
    found = torch.stack([_regions(filmed[name], clip, config, picked) for name, clip in pairs])
    with atomic_write(stored) as temporary:
        save_file({"regions": found}, temporary)
    return found


def _plans(config: SocialMaeConfig) -> dict[str, tuple[ClipPlan, dict[str, float]]]:
    """Every plan of the twin, by its file, with the strengths of the effects."""
    name = config.corpus.removesuffix("-twin")
    twin = TWINS[name]
    scales = dict(effect_scales(twin.effects, parse_effects(config.effects.split())))
    duration_s = (config.duration_s or None) if name == "first-impressions" else None
    plans = twin.plan(config.clips or twin.whole, config.twin_seed, scales, duration_s)
    return {plan.files[0]: (plan, scales) for plan in plans if isinstance(plan, ClipPlan)}


def motion_of(plan: ClipPlan, scales: dict[str, float]) -> tuple[FaceIdentity, FaceMotion]:
    """Who is seen in a clip, and every frame of the motion, as they were filmed."""
    assert plan.camera is not None
    person = person_of(plan.corpus, plan.person, plan.sex, plan.seed, scales)
    generator = chance(plan.seed, f"clip {plan.name}")
    play = int(generator.integers(2**62, size=3)[0])
    performance = perform_clip(
        person,
        plan.syllables,
        emotion=plan.emotion,
        intensity=plan.intensity,
        events=plan.events,
        duration_s=plan.duration_s,
        language=plan.language,
        fps=plan.camera.fps,
        seed=play,
        effects=of_people(scales),
    )
    return replace(person.identity, **plan.setting), performance.motion


def _filmed(config: SocialMaeConfig, names: set[str]) -> dict[str, Filmed]:
    """What was filmed, by the file's name, of some files of the twin."""
    if config.corpus.removesuffix("-twin") in dyadic.CORPORA:
        return _conversations(config, names)
    found = {}
    for name, (plan, scales) in _plans(config).items():
        if name in names:
            assert plan.camera is not None
            found[name] = Filmed(*motion_of(plan, scales), plan.camera)
    return found


def _conversations(config: SocialMaeConfig, names: set[str]) -> dict[str, Filmed]:
    """What was filmed of conversations, which are performed again as a whole."""
    corpus, seed = config.corpus.removesuffix("-twin"), config.twin_seed
    scales = effect_scales(conversations.EFFECTS, parse_effects(config.effects.split()))
    timeline, acting = (
        {name: scales[name] for name in module.EFFECTS if name in scales}
        for module in (dyads, people)
    )
    camera = conversations.CAMERAS[corpus]
    found = {}
    for number in range(1, config.dyads + 1):
        dyad = dyads.simulate_dyad(
            corpus, number, seed=seed, duration_s=config.duration_s or None, effects=timeline
        )
        files = [f"{participant.name}.mp4" for participant in dyad.participants]
        if names.isdisjoint(files):
            continue
        first, second = (
            sample_person(
                f"{corpus} {conversations.speaker_name(participant, corpus, number)}",
                participant.sex, seed=seed, effects=acting,
            )
            for participant in dyad.participants
        )  # fmt: skip
        (block,) = perform_dyad(
            dyad, (first, second), fps=camera.fps, leakage_db=None, seed=seed,
            block_s=dyad.duration_ms / 1000, effects=acting,
        )  # fmt: skip
        for name, person, performance in zip(files, (first, second), block, strict=True):
            found[name] = Filmed(person.identity, performance.motion, camera)
    return found


def _regions(filmed: Filmed, clip: Clip, config: SocialMaeConfig, picked: Tensor) -> Tensor:
    identity, motion, camera = filmed
    assert clip.duration_s is not None
    times = clip.start_s + (picked + 0.5) * clip.duration_s / config.candidates
    # The frame shown at a time is the last one that starts at or before it.
    shown = (times * camera.fps + 1e-6).long().clamp(max=len(motion) - 1)
    parts = [motion[i : i + 1] for i in shown.tolist()]
    size = camera.height_width
    masks = torch.cat([mask for part in parts for mask in region_masks(identity, part, size)])
    side = min(size)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    middle = masks[:, top : top + side, left : left + side]
    small = interpolate(middle[:, None].float(), (config.image_size,) * 2, mode="nearest-exact")
    return small[:, 0].byte()
