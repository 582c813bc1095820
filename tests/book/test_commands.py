"""Commands that pages, chapters and the help quote can be given as they stand."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from thesislib import cli
from thesislib.config import EXPERIMENTS, PROFILES, experiment, for_profile
from thesislib.corpora.loading import TWIN_MODULES
from thesislib.corpora.manifest import list_manifests
from thesislib.models.checkpoints import list_weights
from thesislib.notebooks import find_notebook
from thesislib.reproduce.grids import load_jobs

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [
    ROOT / "README.md",
    *sorted((ROOT / "book").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
    ROOT / "thesislib/cli.py",
]
QUOTED = re.compile(r"`thesis ([^`{]+)`")
LISTED = re.compile(r"^\$ (?:\.venv/bin/)?(?:thesis|torchrun .+? -m thesislib\.cli) (.+)$", re.M)
PLACEHOLDERS = ("CORPUS", "NAME")


def text(path):
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def commands(words):
    """What follows ``thesis`` in each command of a text."""
    words = words.replace("\\\n", " ")
    listed = (command.partition("#")[0] for command in LISTED.findall(words))
    return {" ".join(command.split()) for command in (*QUOTED.findall(words), *listed)}


COMMANDS = sorted(set().union(*(commands(text(path)) for path in TEXTS)))


def read(command):
    """The verb of a command and the values of its options; what cannot be read raises."""
    words, found = cli._joined_parameters(shlex.split(command)), get_command(cli.app)
    verb = []
    while hasattr(found, "commands"):
        verb.append(words.pop(0))
        found = found.commands[verb[-1]]
    if not words or words == ["--help"]:  # it is spoken of, or asked for its help
        return " ".join(verb), {}
    return " ".join(verb), found.make_context(verb[-1], words).params


def parameters(path):
    """Names in the parameter cell of a chapter."""
    cells = json.loads(path.read_text())["cells"]
    (cell,) = (c for c in cells if "parameters" in c["metadata"].get("tags", []))
    return set(re.findall(r"^(\w+) =", "".join(cell["source"]), re.M))


def check_run(chapter, given, profile):
    assert given.keys() <= parameters(find_notebook(chapter))
    assert profile in PROFILES


def check_train(chapter, given, profile, name):
    assert for_profile(experiment(chapter, trained=True, name=name), profile, **given)


def check_corpus(corpus, *, twin):
    known = TWIN_MODULES if twin else {m.name for m in list_manifests("corpus")}
    assert corpus in PLACEHOLDERS or corpus in known


def check(command):
    verb, options = read(command)
    if not options:
        return
    given = dict(cli._name_and_value(pair) for pair in options.get("parameter") or [])
    if verb == "run":
        check_run(options["chapter"], given, options["profile"])
    elif verb == "train":
        check_train(options["chapter"], given, options["profile"], options["name"])
    elif verb == "reproduce":
        assert load_jobs(
            ROOT / "experiments",
            profile=options["profile"],
            out=ROOT / "results",
            only=options["only"],
        )
    elif verb.startswith("data ") and "corpus" in options:
        check_corpus(options["corpus"], twin=verb == "data twin")
    elif verb == "weights get":
        assert options["name"] in {weights.name for weights in list_weights()}


def test_pages_quote_commands_of_every_kind():
    verbs = {read(command)[0] for command in COMMANDS}
    root = get_command(cli.app).commands
    known = {name for name, command in root.items() if not hasattr(command, "commands")}
    known |= {f"data {name}" for name in root["data"].commands}
    known |= {f"weights {name}" for name in root["weights"].commands}
    assert verbs == known


@pytest.mark.parametrize("command", COMMANDS)
def test_a_quoted_command_can_be_given(command):
    check(command)


@pytest.mark.parametrize(
    "command",
    [
        "train 07 -p no_such_parameter 1",
        "run 08 -p no_such_parameter 1",
        "run 08 --no-such-option 1",
        "reproduce --only 99",
        "data get no-such-corpus",
        "weights get no-such-weights",
        "forget 08",
    ],
)
def test_a_command_that_cannot_be_given_is_found(command):
    with pytest.raises(Exception, match=r"no.such|99|forget"):
        check(command)


def test_options_and_parameters_quoted_by_themselves_are_there():
    def options(command):
        parts = getattr(command, "commands", {}).values()
        own = {name for option in command.params for name in option.opts}
        return own.union(*(options(part) for part in parts))

    words = "\n".join(text(path) for path in TEXTS)
    quoted = set(re.findall(r"`(--[a-z-]+)[^`]*`", words))
    assert "--cores" in quoted
    assert quoted <= options(get_command(cli.app))
    named = set(re.findall(r"`-p (\w+)[^`]*`", words))
    assert "kept_drawings" in named
    known = {field.name for kind in EXPERIMENTS for field in fields(kind)}
    assert named - set(PLACEHOLDERS) <= known


def test_quoted_targets_are_in_the_makefile():
    quoted = {
        target
        for path in TEXTS
        for target in re.findall(r"(?:`|^\$ )make (?:[A-Z]+=\S+ )?([a-z]+)\b", text(path), re.M)
    }
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"book", "test"} < quoted <= targets


def test_the_grid_that_is_explained_stands_for_four_runs(tmp_path):
    page = (ROOT / "book/grids.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.S | re.M)
    assert "this one has four runs" in " ".join(page.split())
    (tmp_path / "grid.yaml").write_text(block)
    assert len(load_jobs(tmp_path, profile="small", out=tmp_path)) == 4
    assert yaml.safe_load(block).keys() == {"chapter", "experiment", "records", "profiles"}
