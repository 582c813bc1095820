"""What the explorers in the book's pages know: a trained fusion head, and the geometry of a face.

The pages compute in JavaScript, with no network and no Python behind them. `write` exports the
numbers that they compute with to ``book/assets``; tests hold the committed files against today's
export, and what the scripts compute against torch. `fusion_controls` and `face_controls` are the
same two explorers as controls for JupyterLab, computed in Python.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor

from thesislib.corpora.twins import face
from thesislib.corpora.twins.face_canvas import (
    IRIS_STOPS,
    SKIN_STOPS,
    Colour,
    between,
    hair_colour,
)
from thesislib.corpora.twins.face_motion import ACTION_UNITS, action_units, face_motion
from thesislib.corpora.twins.face_render import render
from thesislib.files import atomic_write, project_root
from thesislib.models.fusion import Branch, Gating
from thesislib.teaching import fusing
from thesislib.teaching.affect import UNIT_NAMES
from thesislib.teaching.networks import seeded

if TYPE_CHECKING:
    import ipywidgets

CLASSES = ("both warm", "both cold", "one of each")
WIDTH = 12  # of the fusion head: small enough to stand in a page
DRAWS = 4  # of the noise, between which a reader can change
DIGITS = 6  # decimals of the exported weights
NAMES = ("voice", "face")
CUE = 2.0  # length of a cue, twice that of chapter 3, so that one clip tells what it is

FACES: Mapping[str, Mapping[int, float]] = {
    "at rest": {},
    "smile of the lips alone": {12: 0.8, 25: 0.4},
    "smile that reaches the eyes": {6: 0.8, 12: 0.8, 25: 0.4},
    "laugh": {6: 0.9, 12: 0.9, 25: 0.9, 26: 0.6, 43: 0.2},
    "surprise": {1: 0.9, 2: 0.9, 25: 1.0, 26: 0.8},
    "sadness": {1: 0.9, 4: 0.6, 15: 0.9, 43: 0.2},
}
"""Settings of the face that have a name: action units and their strengths."""

SETTINGS = (
    (1.0, 1.0, 0.0, 0.0, True, True),
    (-1.0, 1.0, 0.0, 0.0, True, True),
    (-1.0, 1.0, 4.0, 0.0, True, True),
    (-1.0, 1.0, 0.0, 0.0, True, False),
    (-1.0, 1.0, 0.0, 0.0, False, True),
)
"""Settings of the fusion head that are shown as a table: warmth of voice and face, noise on voice
and face, and whether the head is given either."""


def draw_world(seed: int) -> fusing.World:
    """The cues of `thesislib.teaching.fusing.draw_world`, of length `CUE`."""
    sound, look = fusing.draw_world(seed)
    return fusing.World(CUE * sound, CUE * look)


def train_head(*, seed: int = 0, epochs: int = 25) -> Gating:
    """The fusion head of the page: a gated unit that has met noise, and either modality alone.

    Trained in double precision, so that its rounded weights do not depend on the machine, on the
    task ``conflict`` of `thesislib.teaching.fusing`; either modality is noisy to a degree that
    varies from clip to clip, and each step counts both modalities, the voice alone, and the face
    alone alike, so that a head with one modality left out says what one can know without it.

    Args:
        seed: Of the world, the clips, the initial weights and their order.
        epochs: Passes over the 1600 clips, in batches of 100.

    Returns:
        The head in double precision, for features of `thesislib.teaching.fusing.pooled`.
    """
    world = draw_world(seed)
    train = fusing.encounters(world, 1600, task="conflict", noise=None, seed=seed + 50)
    generator = torch.Generator().manual_seed(seed)
    level = fusing.NOISIEST * torch.rand(len(train.label), 1, 1, generator=generator)
    look = train.look + level * torch.randn(train.look.shape, generator=generator)
    voices, faces = fusing.pooled(train.sound.double()), fusing.pooled(look.double())
    size = voices.shape[1]
    head = seeded(lambda: Gating(size, size, len(CLASSES), WIDTH, dropout=0.0), seed).double()
    optimiser = torch.optim.AdamW(head.parameters(), lr=5e-3, weight_decay=0.01)
    for _ in range(epochs):
        for rows in torch.randperm(len(train.label), generator=generator).split(100):
            voice, look_at, label = Branch(voices[rows]), Branch(faces[rows]), train.label[rows]
            given = ((voice, look_at), (voice, None), (None, look_at))
            loss = torch.stack([F.cross_entropy(head(*pair), label) for pair in given]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return head.eval()


def load_head(document: Mapping) -> Gating:
    """The head whose weights an exported document holds (its part ``fusion``)."""
    weights = {
        name: torch.tensor(values, dtype=torch.float64)
        for name, values in document["weights"].items()
    }
    width, size = weights["audio.weight"].shape
    head = Gating(size, size, len(document["classes"]), width, dropout=0.0).double()
    head.load_state_dict(weights)
    return head.eval()


def features(document: Mapping, modality: str, warmth: float, noise: float, draw: int) -> Tensor:
    """What the head gets of one modality, `(1, 16)` float64.

    Args:
        document: Part ``fusion`` of an exported document.
        modality: ``sound`` or ``look``.
        warmth: -1 (cold) to 1 (warm); between them the two prototypes are mixed.
        noise: Standard deviation of the further noise.
        draw: Which of the exported draws of noise is added.
    """
    drawn, cues = document["draws"][draw][modality], document[modality]
    cold, warm, own, further = (
        torch.tensor(values, dtype=torch.float64)
        for values in (cues["cold"], cues["warm"], drawn["own"], drawn["further"])
    )
    steps = 0.5 * (1 + warmth) * warm + 0.5 * (1 - warmth) * cold + own + noise * further
    return fusing.pooled(steps[None])


@torch.no_grad()
def probabilities(
    document: Mapping,
    head: Gating,
    *,
    warmth: tuple[float, float],
    noise: tuple[float, float] = (0.0, 0.0),
    given: tuple[bool, bool] = (True, True),
    draw: int = 0,
) -> list[float]:
    """Probabilities of `CLASSES`; each pair is of the voice, then of the face.

    Raises:
        ValueError: neither modality is given.
    """
    voice, look = (
        Branch(features(document, name, warmth[i], noise[i], draw)) if given[i] else None
        for i, name in enumerate(("sound", "look"))
    )
    shown: list[float] = head(voice, look).softmax(1)[0].tolist()
    return shown


def fusion_document() -> dict:
    """The trained head, what voice and face may say, draws of noise, and results to show."""
    world = draw_world(0)
    generator = torch.Generator().manual_seed(1)
    shape = (fusing.STEPS, fusing.FEATURES)

    def draw() -> dict[str, list]:
        parts = {part: torch.randn(shape, generator=generator) for part in ("own", "further")}
        return {part: _rounded(value, 3) for part, value in parts.items()}

    document: dict = {
        "classes": list(CLASSES),
        "noisiest": fusing.NOISIEST,
        "sound": {"warm": _rounded(world.sound[0]), "cold": _rounded(world.sound[1])},
        "look": {"warm": _rounded(world.look[0]), "cold": _rounded(world.look[1])},
        "draws": [{"sound": draw(), "look": draw()} for _ in range(DRAWS)],
        "weights": {name: _rounded(v) for name, v in train_head().state_dict().items()},
    }
    head = load_head(document)
    document["examples"] = [
        {
            "warmth": [voice, look],
            "noise": [on_voice, on_look],
            "given": [hears, sees],
            "probabilities": [
                round(p, 4)
                for p in probabilities(
                    document,
                    head,
                    warmth=(voice, look),
                    noise=(on_voice, on_look),
                    given=(hears, sees),
                )
            ],
        }
        for voice, look, on_voice, on_look, hears, sees in SETTINGS
    ]
    return document


def face_document() -> dict:
    """The average face, the constants of its geometry, its colours, and settings with a name."""
    person = face.FaceIdentity()
    return {
        "identity": asdict(person),
        "units": [{"number": n, "name": UNIT_NAMES[n]} for n in ACTION_UNITS],
        "landmarks": list(face.LANDMARKS),
        "presets": [{"name": name, "units": dict(units)} for name, units in FACES.items()],
        "axes": list(face.AXES),
        "pivot": list(face.PIVOT),
        "outline_depth": list(face.OUTLINE_DEPTH),
        "gaze_reach": list(face.GAZE_REACH),
        "nose_height": face.NOSE_HEIGHT,
        "unit_share": face.UNIT_SHARE,
        "centre_share": face.CENTRE_SHARE,
        "colours": {
            "skin": _hex(between(SKIN_STOPS, person.skin_tone)),
            "hair": _hex(hair_colour(person)),
            "iris": _hex(between(IRIS_STOPS, person.eye_tone)),
        },
    }


def face_pictures(size: int = 144) -> Image.Image:
    """The settings of `FACES` side by side, as the renderer of the twins draws them."""
    unit = torch.zeros(1)
    rows = [
        action_units({number: unit + level for number, level in units.items()} or {12: unit})
        for units in FACES.values()
    ]
    frames = torch.cat(list(render(face.FaceIdentity(), face_motion(torch.cat(rows)), size=size)))
    return Image.fromarray(torch.cat(list(frames), 1).numpy())


def exported(part: str) -> dict[str, Any]:
    """What the book's page of explorers computes with, from ``book/assets/explorers.json``.

    Args:
        part: ``fusion`` or ``face``.
    """
    path = project_root() / "book" / "assets" / "explorers.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))[part]
    return found


def examples_table(document: Mapping) -> pd.DataFrame:
    """The settings of the head that the page shows as a table, with their probabilities.

    Args:
        document: Part ``fusion`` of an exported document.
    """
    rows = [
        {
            "voice": _in_words(entry, 0),
            "face": _in_words(entry, 1),
            **dict(zip(document["classes"], entry["probabilities"], strict=True)),
        }
        for entry in document["examples"]
    ]
    return pd.DataFrame(rows).set_index(["voice", "face"])


def _in_words(entry: Mapping, place: int) -> str:
    if not entry["given"][place]:
        return "left out"
    noise = entry["noise"][place]
    return ("warm" if entry["warmth"][place] > 0 else "cold") + (f", noise {noise:g}" * bool(noise))


def fusion_controls(document: Mapping) -> ipywidgets.VBox:
    """The fusion head with sliders: what voice and face say, noise, and either left out.

    Args:
        document: Part ``fusion`` of an exported document.

    Returns:
        Controls and, below them, the probabilities of the classes as HTML.
    """
    import ipywidgets

    head = load_head(document)
    warm = [ipywidgets.FloatSlider(1, min=-1, max=1, description=f"{w} warm") for w in NAMES]
    noise = [
        ipywidgets.FloatSlider(0, min=0, max=document["noisiest"], description=f"{w} noise")
        for w in NAMES
    ]
    given = [ipywidgets.Checkbox(value=True, description=f"with the {name}") for name in NAMES]
    draw = ipywidgets.Dropdown(options=range(len(document["draws"])), description="draw")
    answer = ipywidgets.HTML()

    def look(_: object) -> None:
        has = (given[0].value, given[1].value)
        found = any(has) and probabilities(
            document,
            head,
            warmth=(warm[0].value, warm[1].value),
            noise=(noise[0].value, noise[1].value),
            given=has,
            draw=draw.value,
        )
        lines = zip(document["classes"], found or [], strict=False)
        told = "<br>".join(f"{name}: {share:.2f}" for name, share in lines)
        answer.value = told or "Without voice and face there is nothing to judge."

    controls = [*warm, *noise, *given, draw]
    for control in controls:
        control.observe(look, "value")
    look(None)
    return ipywidgets.VBox([*controls, answer])


def face_controls() -> ipywidgets.VBox:
    """The average face with a slider for each action unit, and the settings that have a name.

    Returns:
        Controls and, below them, the face as an HTML image with a text alternative.
    """
    import ipywidgets

    names = ipywidgets.Dropdown(options=list(FACES), description="setting")
    sliders = {
        number: ipywidgets.FloatSlider(0, min=0, max=1, description=f"AU{number}")
        for number in ACTION_UNITS
    }
    picture = ipywidgets.HTML()

    def choose(_: object) -> None:
        for number, slider in sliders.items():
            slider.value = FACES[names.value].get(number, 0.0)

    def look(_: object) -> None:
        units = {number: slider.value for number, slider in sliders.items() if slider.value}
        stream = io.BytesIO()
        face_picture(units).save(stream, format="PNG")
        encoded = base64.b64encode(stream.getvalue()).decode()
        told = ", ".join(f"AU{n} {level:.1f}" for n, level in units.items()) or "at rest"
        picture.value = f'<img src="data:image/png;base64,{encoded}" alt="A drawn face: {told}">'

    names.observe(choose, "value")
    for slider in sliders.values():
        slider.observe(look, "value")
    look(None)
    return ipywidgets.VBox([names, ipywidgets.VBox(list(sliders.values())), picture])


def face_picture(units: Mapping[int, float], size: int = 240) -> Image.Image:
    """The average face with some action units, each from 0 to 1; others are at rest."""
    unit = torch.zeros(1)
    rows = action_units({number: unit + level for number, level in units.items()} or {12: unit})
    frame = next(iter(render(face.FaceIdentity(), face_motion(rows), size=size)))
    return Image.fromarray(frame[0].numpy())


def write(folder: Path) -> list[Path]:
    """Export everything; returns the files: ``explorers.json`` and ``explorer_faces.png``.

    Raises:
        InputError: the folder cannot be written.
    """
    numbers, strip = folder / "explorers.json", folder / "explorer_faces.png"
    document = {"fusion": fusion_document(), "face": face_document()}
    with atomic_write(numbers) as temporary:
        temporary.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    with atomic_write(strip) as temporary:
        face_pictures().quantize(64).save(temporary, format="PNG", optimize=True)
    return [numbers, strip]


def _rounded(values: Tensor, digits: int = DIGITS) -> list:
    listed: list = torch.round(values.double(), decimals=digits).tolist()
    return listed


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in colour)


if __name__ == "__main__":
    for path in write(project_root() / "book" / "assets"):
        sys.stdout.write(f"{path.name}: {path.stat().st_size} bytes\n")
