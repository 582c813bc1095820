"""The directive ``explorer``: a form that computes in the page, with a static form beside it.

``{explorer} fusion`` or ``{explorer} face`` prints controls, which stay hidden until the script in
``book/assets`` runs, the numbers that it computes with, and a table or picture of some settings
that needs no script. `thesislib.teaching.explorers` exports the numbers.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ASSETS = Path(__file__).parents[1] / "assets"
UNITS = (1, 2, 4, 6, 12, 15, 25, 26, 43)  # those with a slider
POSE = {"yaw": "turn to the right", "pitch": "chin up", "roll": "tilt clockwise"}
CAPTIONS = {
    "fusion": "What the fusion head makes of a voice and a face, with either left out or noisy.",
    "face": "A face moved by action units; below, six settings of the twins' renderer.",
}
NO_SCRIPT = "<noscript><p>The controls of this explorer need JavaScript; {instead}.</p></noscript>"


class Explorer(SphinxDirective):
    """``{explorer} fusion`` or ``{explorer} face``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Controls, numbers and static form; nothing where the output is not HTML."""
        kind = directives.choice(self.arguments[0], ("fusion", "face"))
        for name in ("explorers.json", "explorer_faces.png"):
            self.env.note_dependency(str(ASSETS / name))
        if self.env.app.builder.format != "html":
            return []
        document = json.loads((ASSETS / "explorers.json").read_text(encoding="utf-8"))[kind]
        name = f"explorer-{kind}-{self.env.new_serialno('explorer')}"
        made = {"fusion": fusion, "face": face}[kind](document, name)
        # A JSON script ends at the first "</"; there is none in numbers and names.
        data = json.dumps(document, separators=(",", ":")).replace("</", "<\\/")
        text = (
            f'<div class="explorer" id="{name}" data-explorer="{kind}">{made}'
            f'<script type="application/json">{data}</script></div>'
        )
        figure = nodes.figure("", nodes.raw("", text, format="html"))
        figure += nodes.caption("", CAPTIONS[kind])
        figure["names"] = [f"fig-explorer-{kind}"]
        self.state.document.note_explicit_target(figure, figure)
        return [figure]


def slider(name: str, label: str, *, low: float, high: float, step: float, extra: str) -> str:
    """A labelled slider; its row is left open for the value, which the slider itself says aloud."""
    return (
        f'<div class="explorer-row"><label for="{name}">{html.escape(label)}</label>'
        f'<input type="range" id="{name}" min="{low:g}" max="{high:g}" step="{step:g}" '
        f'autocomplete="off" {extra}>'
    )


def fusion(document: dict, name: str) -> str:
    """Two modalities, each with a cue, noise, and a box to leave it out; three probabilities."""
    groups = ""
    for modality, start in (("voice", -1), ("face", 1)):
        own = f"{name}-{modality}"
        warmth = slider(
            f"{own}-warmth", "cold to warm", low=-1, high=1, step=0.1,
            extra=f'name="{modality}-warmth" value="{start}"',
        )  # fmt: skip
        noise = slider(
            f"{own}-noise", "noise", low=0, high=document["noisiest"], step=0.1,
            extra=f'name="{modality}-noise" value="0"',
        )  # fmt: skip
        groups += (
            f"<fieldset><legend>The {modality}</legend>"
            f'<div class="explorer-row"><label><input type="checkbox" name="{modality}-given" '
            f'checked autocomplete="off"> given to the head</label></div>'
            f'{warmth}<span class="shown" data-shows="{modality}-warmth"></span></div>'
            f'{noise}<span class="shown" data-shows="{modality}-noise"></span></div>'
            "</fieldset>"
        )
    bars = "".join(
        f'<div class="explorer-row" data-class><span>{html.escape(label)}</span>'
        '<span class="track"><span class="bar"></span></span><span class="share"></span></div>'
        for label in document["classes"]
    )
    return (
        f'<form hidden><div class="explorer-groups">{groups}</div>'
        f'<div class="explorer-bars">{bars}</div><p role="status"></p>'
        '<div class="explorer-buttons"><button type="button" name="draw">another draw of the noise'
        '</button><button type="reset">start again</button></div></form>'
        f"{NO_SCRIPT.format(instead='the table shows what the head says to some settings')}"
        f"{examples(document)}"
    )


def examples(document: dict) -> str:
    """What the head says to some settings, as a table."""
    head = "".join(
        f'<th scope="col">{html.escape(title)}</th>'
        for title in ("voice", "face", *document["classes"])
    )
    rows = ""
    for example in document["examples"]:
        cells = ""
        for warmth, noise, given in zip(
            example["warmth"], example["noise"], example["given"], strict=True
        ):
            cue = ("warm" if warmth > 0 else "cold") + (f", noise {noise:g}" if noise else "")
            cells += f"<td>{cue if given else 'left out'}</td>"
        cells += "".join(f"<td>{100 * share:.0f} %</td>" for share in example["probabilities"])
        rows += f"<tr>{cells}</tr>"
    return (
        '<div class="pst-scrollable-table-container" tabindex="0" role="region" '
        'aria-label="What the head says to some settings"><table class="table">'
        "<caption>What the head says to some settings, computed with torch</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def face(document: dict, name: str) -> str:
    """Sliders for action units and the pose, a drawing, and pictures of the named settings."""
    names = {unit["number"]: unit["name"] for unit in document["units"]}
    units = "".join(
        slider(
            f"{name}-au{number}", f"AU{number} {names[number]}", low=0, high=100, step=5,
            extra=f'data-unit="{number}" value="0"',
        ) + '<span class="shown"></span></div>'
        for number in UNITS
    )  # fmt: skip
    pose = "".join(
        slider(
            f"{name}-{axis}", label, low=-30, high=30, step=1,
            extra=f'data-pose="{axis}" value="0"',
        ) + '<span class="shown"></span></div>'
        for axis, label in POSE.items()
    )  # fmt: skip
    presets = "".join(
        f'<button type="button" data-preset="{i}">{html.escape(preset["name"])}</button>'
        for i, preset in enumerate(document["presets"])
    )
    picture = base64.b64encode((ASSETS / "explorer_faces.png").read_bytes()).decode()
    listed = ", ".join(preset["name"] for preset in document["presets"])
    return (
        '<form hidden><div class="explorer-face"><svg viewBox="0 0 240 240" role="img" '
        'aria-label="Drawn face"></svg>'
        f"<div><fieldset><legend>Action units</legend>{units}</fieldset>"
        f"<fieldset><legend>Head</legend>{pose}</fieldset></div></div>"
        f'<p role="status"></p><div class="explorer-buttons">{presets}'
        '<button type="reset">start again</button></div></form>'
        f"{NO_SCRIPT.format(instead='the pictures show six settings')}"
        f'<figure><img src="data:image/png;base64,{picture}" '
        f'alt="Six pictures of one drawn face: {html.escape(listed)}.">'
        f"<figcaption>The same person as the renderer of the twins draws it: {html.escape(listed)}."
        "</figcaption></figure>"
    )


def add_scripts(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Load the scripts on the pages that have an explorer, and on no other."""
    for kind in ("fusion", "face"):
        if f'data-explorer="{kind}"' in context.get("body", ""):
            app.add_js_file(f"explorer_{kind}.js", loading_method="defer")


def setup(app: Sphinx) -> dict:
    """Register the directive."""
    app.add_directive("explorer", Explorer)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
