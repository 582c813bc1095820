"""EmoDB, the Berlin Database of Emotional Speech: reading, checking and fetching it.

Source: burkhardt2005emodb; layout and vocabularies in ``data_manifests/emodb.json``.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pooch
import requests
import soundfile

from thesislib import files
from thesislib.corpora.clip import Clip
from thesislib.corpora.manifest import load_manifest
from thesislib.errors import InputError

NAME = re.compile(
    r"(?P<speaker>\d{2})(?P<sentence>[ab]\d{2})(?P<emotion>[WLEAFTN])(?P<version>[a-z])\.wav"
)
EMOTIONS = ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")


def load_clips(root: Path) -> list[Clip]:
    """All utterances under `root`, in order of name, with labels from the file names.

    Labels are ``emotion`` and ``sentence``; the score ``listener_recognition`` is the share of
    listeners, in [0, 1], who recognised the emotion, where ``erkennung.txt`` gives it.

    Raises:
        InputError: there is no recording, a name breaks the scheme, or the speaker is unknown.
    """
    manifest = load_manifest("emodb")
    sexes = {row["speaker"]: row["sex"] for row in manifest.records("speakers")}
    emotions = {row["code"]: row["emotion"] for row in manifest.records("emotions")}
    recognition = read_listeners(root / "erkennung.txt")
    clips = []
    for path in sorted((root / "wav").glob("*.wav")):
        match = NAME.fullmatch(path.name)
        if match is None or match["speaker"] not in sexes:
            raise InputError(
                path,
                "is not named like an EmoDB recording (speaker, sentence, emotion, version)",
                "rename it as in 03a01Fa.wav, or move it out of the folder",
            )
        scores = {}
        if path.name in recognition:
            scores["listener_recognition"] = recognition[path.name]
        clips.append(
            Clip(
                clip_id=path.stem,
                corpus="emodb",
                speaker=match["speaker"],
                sex=sexes[match["speaker"]],
                audio_path=path,
                labels={"emotion": emotions[match["emotion"]], "sentence": match["sentence"]},
                scores=scores,
            )
        )
    if not clips:
        raise InputError(root / "wav", "holds no recording", "run `thesis data check emodb`")
    return clips


def read_listeners(path: Path) -> dict[str, float]:
    """File name to the share of listeners, in [0, 1], who recognised the emotion.

    The file is Latin-1, tab-separated, with decimal commas and padded with non-breaking spaces.
    Without the file the result is empty: not every copy of the corpus carries it.

    Raises:
        InputError: a row cannot be read.
    """
    if not path.is_file():
        return {}
    shares = {}
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines()[1:], start=2):
        cells = [cell.strip("\u00a0 ") for cell in line.split("\t")]
        if not any(cells):
            continue
        try:
            shares[cells[1]] = float(cells[2].replace(",", ".")) / 100
        except (IndexError, ValueError):
            raise InputError(
                path,
                f"cannot read {line.strip()!r} as number, file, recognised, natural",
                "restore the original file",
                where=f"line {number}",
            ) from None
    return shares


def detect_variant(root: Path) -> str:
    """``release``, ``cut-2s`` or ``twin``, by the marker of a twin or the first sampling rate.

    Raises:
        InputError: no recording can be opened.
    """
    if (root / "twin.json").is_file():
        return "twin"
    rates = {
        row["sample_rate_hz"]: row["variant"] for row in load_manifest("emodb").records("variants")
    }
    for path in sorted((root / "wav").glob("*.wav")):
        try:
            return str(rates.get(soundfile.info(path).samplerate, "unknown"))
        except soundfile.LibsndfileError:
            continue
    raise InputError(root, "holds no readable recording", "run `thesis data get emodb`")


def check(root: Path) -> list[InputError]:
    """Every missing, truncated, unreadable or unexpected file; an empty list means complete."""
    manifest = load_manifest("emodb")
    expected = _expected_names(root)
    present = (
        {path.name: path for path in sorted((root / "wav").iterdir())}
        if (root / "wav").is_dir()
        else {}
    )
    problems = [
        InputError(root / "wav" / name, "is missing", "restore it, or run `thesis data get emodb`")
        for name in sorted(expected - present.keys())
    ]
    problems += [
        InputError(present[name], "does not belong to the corpus", "move it out of the folder")
        for name in sorted(present.keys() - expected)
    ]
    known = [present[name] for name in sorted(expected & present.keys())]
    try:
        variant = detect_variant(root)
    except InputError:
        variant = "unknown"
    layouts = {row["variant"]: row for row in manifest.records("variants")}
    if known and variant == "unknown":
        rates = ", ".join(f"{row['sample_rate_hz']} Hz" for row in layouts.values())
        problems.append(InputError(known[0], "has an unknown sampling rate", f"expected {rates}"))
    layout = layouts.get(variant, {"frames": 0, "sample_rate_hz": 0})
    for path in known:
        problems += _check_recording(path, layout["frames"], layout["sample_rate_hz"])
    return problems


def _expected_names(root: Path) -> set[str]:
    """Names in the manifest; a twin has a file list of its own."""
    if (root / "twin.json").is_file():
        try:
            about = json.loads((root / "twin.json").read_text(encoding="utf-8"))
            return {Path(row["file"]).name for row in about["clips"]}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                root / "twin.json", f"cannot be read ({error})", "write the twin again"
            ) from error
    return {row["file"] for row in load_manifest("emodb").records("utterances")}


def _check_recording(path: Path, frames: int, sample_rate: int) -> list[InputError]:
    from thesislib.signals.media import read_waveform

    try:
        read_waveform(path)
        found = soundfile.info(path)
    except InputError as error:
        return [error]
    if sample_rate and found.samplerate != sample_rate:
        return [InputError(path, f"is at {found.samplerate} Hz, not {sample_rate}", "restore it")]
    if frames and found.frames != frames:
        return [InputError(path, f"holds {found.frames} samples, not {frames}", "restore it")]
    return []


def get(
    destination: Path,
    *,
    archive: Path | None = None,
    known_hash: str | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Path:
    """Fetch the release, check it against its published checksum, and unpack its recordings.

    The checksum comes from the archive's own record (its DOI), not from the server that hands
    out the file. An `archive` fetched by hand is held to the same checksum, or, where there is no
    network, to a `known_hash` such as ``md5:…`` that the caller read from the record; without
    either it is not opened.

    Raises:
        InputError: there is no network, the checksum differs, or the archive is not the corpus.
    """
    source = load_manifest("emodb").about("archive")
    with tempfile.TemporaryDirectory() as folder:
        store = pooch.create(path=folder, base_url=f"doi:{source['doi']}/", registry=None)
        if archive is None:
            progress(f"fetching {source['file']} of doi:{source['doi']}")
            try:
                store.load_registry_from_doi()
                archive = Path(store.fetch(source["file"]))
            except ValueError as error:  # pooch: the checksum differs, or no such file
                raise InputError(source["file"], str(error), "fetch it again later") from error
            except (ConnectionError, requests.RequestException) as error:
                raise InputError(
                    "emodb",
                    "cannot be fetched without a network",
                    f"by hand: download {source['file']} from https://doi.org/{source['doi']} "
                    f"elsewhere, then run `thesis data get emodb --from {source['file']}`",
                ) from error
        else:
            _check_archive(archive, store, source, known_hash)
        return unpack(archive, destination)


def _check_archive(
    archive: Path, store: pooch.Pooch, source: dict[str, str], known_hash: str | None
) -> None:
    """Hold an archive fetched by hand to its checksum, before anything opens it."""
    if not archive.is_file():
        raise InputError(archive, "is not a file", "give the archive that you fetched")
    if known_hash is None:
        try:
            store.load_registry_from_doi()
        except (ConnectionError, requests.RequestException) as error:
            raise InputError(
                archive,
                "cannot be checked without a network",
                f"read its checksum at https://doi.org/{source['doi']} and add --hash md5:…",
            ) from error
        known_hash = store.registry[source["file"]]
    algorithm, _, wanted = known_hash.rpartition(":")
    try:
        found = pooch.file_hash(str(archive), alg=algorithm or "sha256")
    except ValueError as error:
        raise InputError("option --hash", str(error), "write md5:… or sha256:…") from error
    if found != wanted.lower():
        raise InputError(archive, f"is not the published {source['file']}", "fetch it again")


def unpack(archive: Path, destination: Path) -> Path:
    """Unpack the recordings of a release archive into ``destination/wav``, all or nothing.

    Raises:
        InputError: not an archive, a link or ``..`` inside it, a missing recording, or a
            destination that already holds recordings.
    """
    expected = {row["file"] for row in load_manifest("emodb").records("utterances")}
    if (destination / "wav").exists():
        raise InputError(destination / "wav", "is already there", "remove it first")
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with (
            zipfile.ZipFile(archive) as bundle,
            tempfile.TemporaryDirectory(dir=destination, prefix=".unpack-") as folder,
        ):
            staging = Path(folder) / "wav"
            staging.mkdir()
            for member in bundle.infolist():
                files.refuse_unsafe_member(archive, member)
                name = PurePosixPath(member.filename).name
                if name in expected or name == "erkennung.txt":
                    target = staging / name if name in expected else Path(folder) / name
                    with bundle.open(member) as source, target.open("wb") as sink:
                        shutil.copyfileobj(source, sink)
            missing = sorted(expected - {path.name for path in staging.iterdir()})
            if missing:
                raise InputError(
                    archive,
                    f"lacks {len(missing)} recordings, the first is {missing[0]}",
                    "fetch the whole release",
                )
            staging.rename(destination / "wav")
            listeners = Path(folder) / "erkennung.txt"
            if listeners.exists():
                listeners.replace(destination / "erkennung.txt")
    except zipfile.BadZipFile as error:
        raise InputError(archive, f"is not a zip archive ({error})", "fetch it again") from error
    except OSError as error:
        raise InputError(
            destination, f"cannot be written ({error.strerror})", "choose another --data-root"
        ) from error
    return destination
