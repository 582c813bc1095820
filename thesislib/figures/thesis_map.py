"""The map of the thesis as a drawing in a page: systems, chapters and corpora.

Which corpus feeds which chapter is read from the manifests (``thesis:usedIn``) and from the
experiments of this edition, so the map cannot fall behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from thesislib.config import EXPERIMENTS, Experiment
from thesislib.corpora.manifest import Manifest, list_manifests

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
ROW = 58  # pixels


class Link(NamedTuple):
    """That a corpus feeds a chapter.

    Attributes:
        chapter: Number, without a leading zero.
        corpus: Name of the manifest.
        added: Whether this edition uses it there and the thesis did not.
    """

    chapter: str
    corpus: str
    added: bool


def links(
    manifests: Iterable[Manifest] | None = None,
    experiments: Sequence[type[Experiment]] = EXPERIMENTS,
) -> list[Link]:
    """Which corpora feed which chapters, in order of chapter and corpus.

    Args:
        manifests: All corpora by default.
        experiments: The experiments of this edition.

    >>> [link.corpus for link in links() if link.chapter == "6"]
    ['ccdb', 'ifadv', 'ndc-me']
    """
    found: dict[tuple[str, str], bool] = {}
    for manifest in list_manifests("corpus") if manifests is None else manifests:
        for chapter in manifest.document.get("thesis:usedIn", []):
            found[chapter, manifest.name] = False
    for experiment in experiments:
        for corpus in experiment.CORPORA:
            found.setdefault((experiment.CHAPTER.lstrip("0"), corpus), True)
    # The annotations are chapter 5's own product and stand on the left of the map.
    kept = [Link(*key, added) for key, added in found.items() if key[1] != "ib"]
    return sorted(link for link in kept if link.chapter in SYSTEMS)


def thesis_map(found: Sequence[Link]) -> str:
    """The map as an HTML fragment with one drawing, legible in light and dark pages.

    Args:
        found: What :func:`links` gives.

    Returns:
        A ``div`` with an ``svg`` that carries a title and a description for screen readers.
    """
    corpora = _in_order_of_first_use(found)
    height = 40 + ROW * max(len(corpora), len(SYSTEMS)) + 8
    step = (height - 40) / len(SYSTEMS)
    centre = {chapter: 30 + step * (n + 0.5) for n, chapter in enumerate(SYSTEMS)}
    middle = {corpus: 30 + ROW * (n + 0.5) for n, corpus in enumerate(corpora)}
    parts = [
        f'<text class="head" x="{x}" y="18">{name}</text>'
        for x, name in ((100, "System"), (350, "Chapter"), (610, "Corpus"))
    ]
    for link in found:
        colour = SYSTEMS[link.chapter][3]
        dash = ' stroke-dasharray="3 5"' if link.added else ""
        y0, y1 = centre[link.chapter], middle[link.corpus]
        parts.append(
            f'<path d="M460 {y0:.0f}C500 {y0:.0f} 500 {y1:.0f} 530 {y1:.0f}" '
            f'style="stroke:{colour}"{dash}/>'
        )
    for chapter, (system, about, title, colour) in SYSTEMS.items():
        y = centre[chapter]
        parts.append(f'<path d="M196 {y:.0f}H240" style="stroke:{colour}"/>')
        parts.append(_box(4, y - 28, 192, 56, colour, (system, about)))
        parts.append(_box(240, y - 22, 220, 44, colour, (f"{chapter} · {title}",)))
    parts += [_box(530, y - 20, 160, 40, "", (SHORT[name],)) for name, y in middle.items()]
    return (
        '<div class="thesis-map" role="region" aria-label="Map of the thesis" tabindex="0">'
        f'<svg viewBox="0 0 694 {height:.0f}" role="img" '
        'aria-labelledby="map-01-title map-01-text">'
        f"{_STYLE}"
        '<title id="map-01-title">Map of the thesis</title>'
        f'<desc id="map-01-text">{escape(in_words(found))}</desc>{"".join(parts)}</svg></div>'
    )


def in_words(found: Sequence[Link]) -> str:
    """The map as one sentence a chapter.

    >>> in_words([Link("6", "ifadv", False), Link("6", "emodb", True)])
    'Chapter 6, LSN-TCN: IFADV; in this edition also EmoDB.'
    """
    sentences = []
    for chapter, (system, *_) in SYSTEMS.items():
        own = [SHORT[x.corpus] for x in found if x.chapter == chapter and not x.added]
        added = [SHORT[x.corpus] for x in found if x.chapter == chapter and x.added]
        if own or added:
            also = f"; in this edition also {', '.join(added)}" if added else ""
            sentences.append(f"Chapter {chapter}, {system}: {', '.join(own)}{also}.")
    return " ".join(sentences)


def _in_order_of_first_use(found: Sequence[Link]) -> list[str]:
    """Corpora such that lines cross little: by the mean chapter that they feed."""
    chapters: dict[str, list[int]] = {}
    for link in found:
        chapters.setdefault(link.corpus, []).append(int(link.chapter))
    return sorted(chapters, key=lambda name: (sum(chapters[name]) / len(chapters[name]), name))


def _box(x: float, y: float, width: int, height: int, colour: str, lines: Sequence[str]) -> str:
    stroke = f' style="stroke:{colour}"' if colour else ""
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
    "<style>.thesis-map svg{display:block;width:100%;min-width:36rem;max-width:46rem;margin:auto}"
    ".thesis-map{overflow-x:auto}"
    ".thesis-map .box{fill:var(--pst-color-surface,var(--jp-layout-color1,#fff));"
    "stroke:var(--pst-color-border,#999);stroke-width:2}"
    ".thesis-map path{fill:none;stroke-width:2}"
    ".thesis-map text{fill:var(--pst-color-text-base,var(--jp-content-font-color1,#111));"
    "text-anchor:middle;font-family:sans-serif;font-size:15px}"
    ".thesis-map .head{font-weight:700}.thesis-map .small{font-size:13px}</style>"
)
