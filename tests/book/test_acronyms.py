"""First uses of acronyms and terms become links; the rest of a page stays as it is."""

import importlib
import re
from pathlib import Path

import pytest
from docutils import nodes

ROOT = Path(__file__).resolve().parents[2]
LINKS = {"CNN": "acronyms.html#term-CNN", "MAE": "acronyms.html#term-MAE", "fps": "a#fps"}


@pytest.fixture
def extension(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book/_ext"))
    return importlib.import_module("acronyms")


def paragraph(*children):
    document = nodes.section()
    document += nodes.paragraph(
        "", "", *(nodes.Text(c) if isinstance(c, str) else c for c in children)
    )
    return document


def linked(document):
    return [(node.astext(), node["refuri"]) for node in document.findall(nodes.reference)]


def test_the_first_use_is_linked_and_only_that(extension):
    document = paragraph("A CNN and another CNN, and CNNs, at 25 fps.")
    extension.link_first_uses(document, LINKS)
    assert linked(document) == [("CNN", LINKS["CNN"]), ("fps", LINKS["fps"])]
    assert document.astext() == "A CNN and another CNN, and CNNs, at 25 fps."


def test_a_plural_is_a_use_and_part_of_a_name_is_not(extension):
    document = paragraph("Social-MAE and CAV-MAE are MAEs; CNN2 is none.")
    extension.link_first_uses(document, LINKS)
    assert linked(document) == [("MAEs", LINKS["MAE"])]


def test_what_is_linked_already_counts_as_the_first_use(extension):
    own = nodes.reference("", "CNN", refuri="elsewhere")
    document = paragraph(own, " is a CNN.")
    extension.link_first_uses(document, LINKS)
    assert linked(document) == [("CNN", "elsewhere")]


@pytest.mark.parametrize("kind", [nodes.literal, nodes.title, nodes.math])
def test_code_headings_and_formulas_stay_as_they_are(extension, kind):
    document = paragraph(kind("", "CNN"), " and CNN")
    extension.link_first_uses(document, LINKS)
    assert len(linked(document)) == 1
    assert next(document.findall(nodes.reference)).parent.astext() == "CNN and CNN"


@pytest.mark.parametrize(
    ("term", "text", "use"),
    [
        ("learning rate", "Learning\nrates fall, a learning rate too.", "Learning\nrates"),
        ("personality", "Two personalities.", "personalities"),
        ("patch", "All patches of a patch.", "patches"),
        ("embedding", "A sum. Embeddings are vectors.", "Embeddings"),
        ("spectrogram", "The Audio Spectrogram Transformer sees a spectrogram.", "spectrogram"),
        ("Cohen's kappa", "By Cohen’s kappa.", "Cohen’s kappa"),
        ("Whisper", "They whisper, and Whisper listens.", "Whisper"),
        ("mean+std pooling", "By mean+std pooling.", "mean+std pooling"),
    ],
)
def test_a_term_is_found_as_it_is_written(extension, term, text, use):
    document = paragraph(text)
    extension.link_first_uses(document, {term: "glossary.html#term"})
    assert linked(document) == [(use, "glossary.html#term")]
    assert document.astext() == text


def test_the_longest_term_wins(extension):
    links = {"twin": "a#twin", "null twin": "a#null", "probe": "a#probe"}
    document = paragraph("A null twin is a twin; a twins-like probed thing is none.")
    extension.link_first_uses(document, links)
    assert linked(document) == [("null twin", "a#null"), ("twin", "a#twin")]


def test_a_link_of_the_author_in_other_words_is_the_first_use(extension):
    own = nodes.reference("", "", nodes.inline("", "pretrained"), refuri="g#pre-training")
    document = paragraph("They are ", own, " by pre-training.")
    extension.link_first_uses(document, {"pre-training": "g#pre-training"})
    assert linked(document) == [("pretrained", "g#pre-training")]


def test_every_term_is_taken_but_a_short_list_of_common_words(extension):
    names = ("UAR", "F0", "fps", "t-SNE", "epoch", "EmoDB", "macro F1", "Librispeech", "window")
    objects = {("term", name): ("book/glossary", f"term-{name}") for name in names}
    objects["label", "ABC"] = ("x", "y")
    assert set(extension.terms(objects)) == set(names) - {"window"}
    glossary = (ROOT / "book/glossary.md").read_text().splitlines()
    assert set(glossary) >= extension.COMMON
    assert len(extension.COMMON) <= 20


def test_the_list_has_all_acronyms_of_the_thesis_in_order():
    text = (ROOT / "book/acronyms.md").read_text() + (ROOT / "book/glossary.md").read_text()
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", text, re.S)
    listed = [line for line in blocks[0].splitlines() if line and not line.startswith(" ")]
    assert listed == sorted(listed, key=str.lower)
    terms = {line for block in blocks for line in block.splitlines() if line and line[0] != " "}
    of_the_thesis = """AC AE AI ASD ASR AST AU CNN DCT DL DNN ECG EEG EMG FACS FC FFN FFT FN FP fps
        GAP GDPR GSR HRI HOG ML MLP MSE NLP OOD ReLU ROI SGD STFT TP TTS ViT WER XAI"""
    assert set(of_the_thesis.split()) <= terms
    assert len(listed) == len(set(listed))
    assert not set(listed) & {t for b in blocks[1:] for t in b.splitlines() if t and t[0] != " "}
