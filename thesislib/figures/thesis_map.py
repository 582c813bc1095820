"""The map of the thesis as a drawing in a page: systems, chapters and corpora.

Which corpus feeds which chapter is read from the manifests (``thesis:usedIn``), from the
experiments of this edition and from their grids, so the map cannot fall behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

import yaml

from thesislib import files
from thesislib.config import EXPERIMENTS, Experiment, evaluated, experiment_name
from thesislib.corpora.manifest import TWIN_SUFFIX, Manifest, list_manifests

SYSTEMS = {
    "5": ("IB annotations", "roles, smiles, laughs", "Datasets", "#0072b2"),
    "6": ("LSN-TCN", "mouth and voice", "Smiles and laughs", "#d55e00"),
    "7": ("Social-MAE", "face and voice", "Face and voice", "#009e73"),
    "8": ("Dual-branch network", "frozen and auxiliary", "Affect disentanglement", "#b0578d"),
}
"""What each chapter brings: system, what it works on, the chapter's title, its colour."""
SHORT = {"crema-d": "CREMA-D", "ib": "IB", "ifadv": "IFADV", "ndc-me": "NDC-ME"}
SHORT |= {"ccdb": "CCDB", "emodb": "EmoDB", "voxceleb2": "VoxCeleb2"}
SHORT |= {"librispeech": "Librispeech", "first-impressions": "First Impressions"}
SHORT |= {"sound-events": "AudioSet"}
HERE = {"sound-events": "here: sound events"}
"""What this edition has in place of a corpus that the thesis knows as weights to start from."""
PRETRAINING = {"laugh": "pretext", "social_mae": "pretraining", "disentanglement": "corpus"}
"""The parameter of an experiment that names what its system is pre-trained on."""
EVALUATION = {"laugh": "zero_shot", "disentanglement": "evaluate"}
"""The parameter that names corpora to be tested on, beside those that are trained on."""
ROW, TOP = 54, 30  # pixels
DASHES = {
    (False, False): "",
    (True, False): "9 5",
    (False, True): "2 4",
    (True, True): "9 4 2 4",
}
"""How a line is broken: by whether it is for pre-training, and whether this edition added it."""
LINES = {
    (False, False): "trained or tested on, annotated",
    (True, False): "pre-trained on",
    (False, True): "trained or tested on, in this edition only",
    (True, True): "pre-trained on, in this edition only",
}


class Link(NamedTuple):
    """That a corpus feeds a chapter.

    Attributes:
        chapter: Number, without a leading zero.
        corpus: Name of the manifest.
        added: Whether this edition uses it there and the thesis did not.
        pretraining: Whether it is there for pre-training only.
    """

    chapter: str
    corpus: str
    added: bool
    pretraining: bool = False


def links(
    manifests: Iterable[Manifest] | None = None,
    experiments: Sequence[type[Experiment]] = EXPERIMENTS,
) -> list[Link]:
    """Which corpora feed which chapters, in order of chapter and corpus.

    Args:
        manifests: All corpora by default, and what stands for the corpus of other people's weights.
        experiments: The experiments of this edition.

    >>> [link.corpus for link in links() if link.chapter == "6" and not link.pretraining]
    ['ccdb', 'ifadv', 'ndc-me']
    """
    if manifests is None:
        manifests = [*list_manifests("corpus"), *list_manifests("twin")]
    thesis: set[tuple[str, str]] = set()
    pretrained: set[tuple[str, str]] = set()
    tested: set[tuple[str, str]] = set()
    for manifest in manifests:
        uses = {(chapter, manifest.name) for chapter in manifest.document.get("thesis:usedIn", [])}
        thesis |= uses
        # What exists as a twin only stands for what published weights were trained on.
        pretrained |= uses if manifest.about("kind") == "twin" else set()
    for kind in experiments:
        chapter, name = kind.CHAPTER.lstrip("0"), experiment_name(kind)
        learnt = _named(kind, PRETRAINING.get(name, ""))
        other = _named(kind, EVALUATION.get(name, "")) | set(kind.CORPORA)
        pretrained |= {(chapter, corpus) for corpus in learnt}
        tested |= {(chapter, corpus) for corpus in other - learnt}
    # The annotations are chapter 5's own product and stand on the left of the map.
    return sorted(
        Link(*use, added=use not in thesis, pretraining=use in pretrained - tested)
        for use in thesis | pretrained | tested
        if use[1] != "ib" and use[0] in SYSTEMS
    )


def _named(kind: type[Experiment], parameter: str) -> set[str]:
    """Corpora that a parameter of an experiment names: as its default and in the grids."""
    if not parameter:
        return set()
    values = [getattr(kind, parameter), *_in_grids(kind, parameter)]
    items = {evaluated(item)[0] for value in values for item in value.split()}
    return {item.removesuffix(TWIN_SUFFIX) for item in items} - {"none"}


def _in_grids(kind: type[Experiment], parameter: str) -> Iterator[str]:
    """Values of a parameter in the grids of an experiment, of all profiles."""
    for path in sorted((files.project_root() / "experiments").glob("*.yaml")):
        grid = yaml.safe_load(path.read_text(encoding="utf-8"))
        if grid.get("experiment") != experiment_name(kind):
            continue
        for entry in (entry for entries in grid["profiles"].values() for entry in entries):
            value = entry.get(parameter, [])
            yield from [value] if isinstance(value, str) else value


def thesis_map(found: Sequence[Link], pages: Mapping[str, str] | None = None) -> str:
    """The map as an HTML fragment with one drawing, legible in light and dark pages.

    Args:
        found: What :func:`links` gives.
        pages: Address of each chapter's page, where its box shall lead there.

    Returns:
        A ``div`` with an ``svg`` that carries a title and a description for screen readers.
    """
    corpora = _in_order_of_first_use(found)
    bottom = TOP + ROW * max(len(corpora), len(SYSTEMS))
    step = (bottom - TOP) / len(SYSTEMS)
    centre = {chapter: TOP + step * (n + 0.5) for n, chapter in enumerate(SYSTEMS)}
    middle = {corpus: TOP + ROW * (n + 0.5) for n, corpus in enumerate(corpora)}
    parts = [
        f'<text class="head" x="{x}" y="18">{name}</text>'
        for x, name in ((100, "System"), (350, "Chapter"), (630, "Corpus"))
    ]
    parts += [_line(link, found, centre, middle) for link in found]
    for chapter, (system, about, title, colour) in SYSTEMS.items():
        y = centre[chapter]
        parts.append(f'<path d="M196 {y:.0f}H240" style="stroke:{colour}"/>')
        parts.append(_box(4, y - 28, 192, 56, colour, (system, about)))
        box = _box(240, y - 28, 220, 56, colour, (f"{chapter} · {title}",))
        href = escape((pages or {}).get(chapter, ""))
        parts.append(f'<a href="{href}">{box}</a>' if href else box)
    for name, y in middle.items():
        parts.append(_box(550, y - 21, 160, 42, "", (SHORT[name], HERE.get(name, ""))))
    # A drawing with links is no single picture.
    role = "group" if pages else "img"
    return (
        '<div class="thesis-map" role="region" aria-label="Map of the thesis" tabindex="0">'
        f'<svg viewBox="0 0 714 {bottom + 62}" role="{role}" '
        'aria-labelledby="map-01-title map-01-text">'
        f"{_STYLE}"
        '<title id="map-01-title">Map of the thesis</title>'
        f'<desc id="map-01-text">{escape(in_words(found))}</desc>'
        f"{''.join(parts)}{_legend(bottom + 18)}</svg></div>"
    )


def in_words(found: Sequence[Link]) -> str:
    """The map as one sentence a chapter.

    >>> in_words([Link("6", "ifadv", False), Link("6", "emodb", True)])
    'Chapter 6, LSN-TCN: trained or tested on IFADV, in this edition also EmoDB.'
    """
    sentences = []
    for chapter, (system, *_) in SYSTEMS.items():
        own = [link for link in found if link.chapter == chapter]
        told = [_used_for("pre-trained on", [link for link in own if link.pretraining])]
        verb = "annotates" if chapter == "5" else "trained or tested on"
        told.append(_used_for(verb, [link for link in own if not link.pretraining]))
        if own:
            sentences.append(f"Chapter {chapter}, {system}: {'; '.join(filter(None, told))}.")
    return " ".join(sentences)


def _used_for(verb: str, found: Sequence[Link]) -> str:
    """What a system does with corpora, in words; nothing without any."""
    names = {
        added: ", ".join(_named_in_words(x.corpus) for x in found if x.added == added)
        for added in (False, True)
    }
    if not names[False]:
        return f"in this edition {verb} {names[True]}" if found else ""
    return f"{verb} {names[False]}" + (f", in this edition also {names[True]}" * bool(names[True]))


def _named_in_words(corpus: str) -> str:
    return SHORT[corpus] + (f" ({HERE[corpus]})" if corpus in HERE else "")


def _line(
    link: Link, found: Sequence[Link], centre: Mapping[str, float], middle: Mapping[str, float]
) -> str:
    """From a chapter to a corpus; lines that share a box end at different heights of it."""
    corpora = [other.corpus for other in found if other.chapter == link.chapter]
    chapters = [other.chapter for other in found if other.corpus == link.corpus]
    y0 = centre[link.chapter] + _offset(link.corpus, sorted(corpora, key=middle.__getitem__), 7)
    y1 = middle[link.corpus] + _offset(link.chapter, sorted(chapters), 8)
    dashes = DASHES[link.pretraining, link.added]
    return (
        f'<path class="link" d="M460 {y0:.1f}C510 {y0:.1f} 500 {y1:.1f} 550 {y1:.1f}" '
        f'style="stroke:{SYSTEMS[link.chapter][3]}"'
        + (f' stroke-dasharray="{dashes}"' if dashes else "")
        + "/>"
    )


def _offset(item: str, items: Sequence[str], step: int) -> float:
    """Where one of several lines ends, from the middle of the box."""
    return step * (items.index(item) - (len(items) - 1) / 2)


def _legend(top: int) -> str:
    """What each kind of line means, in two columns."""
    parts = []
    for n, (key, told) in enumerate(LINES.items()):
        x, y = 4 + 320 * (n // 2), top + 22 * (n % 2)
        dashes = f' stroke-dasharray="{DASHES[key]}"' if DASHES[key] else ""
        parts.append(f'<path class="key" d="M{x} {y}h48"{dashes}/>')
        parts.append(f'<text class="told" x="{x + 58}" y="{y + 4}">{told}</text>')
    return "".join(parts)


def _in_order_of_first_use(found: Sequence[Link]) -> list[str]:
    """Corpora such that lines cross little: by the mean chapter that they feed."""
    chapters: dict[str, list[int]] = {}
    for link in found:
        chapters.setdefault(link.corpus, []).append(int(link.chapter))
    return sorted(chapters, key=lambda name: (sum(chapters[name]) / len(chapters[name]), name))


def _box(x: float, y: float, width: int, height: int, colour: str, lines: Sequence[str]) -> str:
    stroke = f' style="stroke:{colour}"' if colour else ""
    lines = [line for line in lines if line]
    text = "".join(
        f'<text class="{kind}" x="{x + width / 2:.0f}" '
        f'y="{y + height / 2 + 5 + 18 * (n - (len(lines) - 1) / 2):.0f}">{escape(line)}</text>'
        for n, (line, kind) in enumerate(zip(lines, ("name", "small"), strict=False))
    )
    return (
        f'<rect class="box" x="{x:.0f}" y="{y:.0f}" width="{width}" height="{height}" '
        f'rx="6"{stroke}/>{text}'
    )


# The theme's colours where there are any (the book), JupyterLab's or plain ones elsewhere.
_STYLE = (
    "<style>.thesis-map svg{display:block;width:100%;min-width:38rem;max-width:48rem;"
    "margin:auto}"
    ".thesis-map{overflow-x:auto}"
    ".thesis-map .box{fill:var(--pst-color-surface,var(--jp-layout-color1,#fff));"
    "stroke:var(--pst-color-border,#999);stroke-width:2}"
    ".thesis-map path{fill:none;stroke-width:2}"
    ".thesis-map text{fill:var(--pst-color-text-base,var(--jp-content-font-color1,#111));"
    "text-anchor:middle;font-family:sans-serif;font-size:15px}"
    ".thesis-map .key{stroke:var(--pst-color-text-muted,#777)}"
    ".thesis-map .head{font-weight:700}.thesis-map .small,.thesis-map .told{font-size:13px}"
    ".thesis-map .told{text-anchor:start}"
    ".thesis-map a .name{fill:var(--pst-color-link,#0072b2);text-decoration:underline}</style>"
)
