"""Which part of the face each pixel of a twin's window belongs to.

Who is in a clip of a twin and how the face moves follows from the twin's seed, so that the regions
can be drawn again, without the camera. Real recordings have no known regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import interpolate

from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.config import SocialMaeConfig
from thesislib.corpora.clip import Clip
from thesislib.corpora.loading import Corpus
from thesislib.corpora.twins.clip_plans import ClipPlan, of_people, person_of
from thesislib.corpora.twins.dyads import chance
from thesislib.corpora.twins.face import FaceIdentity
from thesislib.corpora.twins.face_motion import FaceMotion
from thesislib.corpora.twins.face_render import REGIONS, region_masks
from thesislib.corpora.twins.performance import perform_clip
from thesislib.corpora.twins.recordings import TWINS
from thesislib.corpora.twins.voice import effect_scales, parse_effects
from thesislib.files import atomic_write
from thesislib.signals.audio_visual import sample_frames

CORPORA = ("crema-d", "first-impressions")
"""Corpora of single clips with a face, whose twins' regions are drawn here."""
NAMES = REGIONS


def has_regions(config: SocialMaeConfig) -> bool:
    """Whether the regions of a job's corpus are known: those of a twin, uncropped."""
    return (
        config.synthetic
        and config.corpus.removesuffix("-twin") in CORPORA
        and config.faces == "middle"
    )


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
        twin=[corpus.name, config.twin_seed, config.clips, config.duration_s, config.effects],
        view=[size, n, config.candidates],
        code=code_sha256(["thesislib.learning.social_mae_regions"]),
    )
    stored = cache_folder("regions", key) / "regions.safetensors"
    try:
        return load_file(stored)["regions"]
    except (OSError, SafetensorError, KeyError):
        pass
    plans = _plans(config)
    picked = sample_frames(config.candidates, n, 1)[0]
    found = torch.stack(
        [
            _regions(
                plans[clip.video_path.relative_to(corpus.root).as_posix()], clip, config, picked
            )
            for clip in clips
            if clip.video_path is not None
        ]
    )
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


def _regions(
    planned: tuple[ClipPlan, dict[str, float]], clip: Clip, config: SocialMaeConfig, picked: Tensor
) -> Tensor:
    plan, scales = planned
    identity, motion = motion_of(plan, scales)
    assert plan.camera is not None
    assert clip.duration_s is not None
    times = clip.start_s + (picked + 0.5) * clip.duration_s / config.candidates
    # The frame shown at a time is the last one that starts at or before it.
    shown = (times * plan.camera.fps + 1e-6).long().clamp(max=len(motion) - 1)
    parts = [motion[i : i + 1] for i in shown.tolist()]
    size = plan.camera.height_width
    masks = torch.cat([mask for part in parts for mask in region_masks(identity, part, size)])
    side = min(size)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    middle = masks[:, top : top + side, left : left + side]
    small = interpolate(middle[:, None].float(), (config.image_size,) * 2, mode="nearest-exact")
    return small[:, 0].byte()
