"""Chapter 6 on a licensed copy, by the command that the chapter names, without a change of code.

The copy is a freshly written twin under the name of the corpus: nothing on the way from the mp4
over face, mouth region and window to the model's record may tell the two apart.
"""

import nbformat
import pytest

from thesislib import cli
from thesislib.corpora import dyadic
from thesislib.corpora.twins.conversations import write_twin
from thesislib.errors import InputError
from thesislib.models.face_detector import load_face_detector
from thesislib.records.record import read_records

# By this seed two of three conversations of 5 s have laughs, smiles and neither.
SEED, HOP_S = 146, 0.305


@pytest.fixture
def licensed_copy(tmp_path, monkeypatch):
    try:
        load_face_detector()
    except InputError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("THESISLIB_DATA_ROOT", str(tmp_path / "corpora"))
    effects = {"turn_end": 3, "mimicry": 2}
    copy = tmp_path / "corpora" / "ndc-me"
    return write_twin(
        "ndc-me", copy, dyads=3, duration_s=5.0, seed=SEED, effects=effects, workers=1
    )


def test_chapter_6_runs_on_a_licensed_copy(licensed_copy, tmp_path, monkeypatch, capsys):
    parameters = {
        "corpus": "ndc-me", "zero_shot": "none", "fusions": "mlp", "hop_s": HOP_S,
        "epochs": 1, "fusion_epochs": 1, "replicates": 20,
    }  # fmt: skip
    words = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    monkeypatch.setattr(
        "sys.argv", ["thesis", "run", "06", *words, "--out", str(tmp_path / "results")]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code, capsys.readouterr().err
    records = read_records(tmp_path / "results")
    assert {r.configuration["model"] for r in records} == {"audio", "video", "mlp"}
    windows = {c.clip_id: c for c in dyadic.load_clips(licensed_copy, "ndc-me", hop_s=HOP_S)}
    for record in records:
        assert (record.corpus, record.config["corpus"]) == ("ndc-me", "ndc-me")
        assert not record.synthetic, "taken for the corpus itself"
        frame = record.load_predictions(tmp_path / "results")
        assert set(frame["target"]) == {"Laughs", "Smiles", "None"}
        told = {windows[name].labels["expression"] for name in frame["clip_id"]}
        assert told == {"laugh", "smile", "none"}
        again = record.measure_again(tmp_path / "results")
        assert again["f1_harmonic"] == record.metrics["f1_harmonic"]
    (notebook,) = (tmp_path / "results" / "notebooks").glob("06_*.ipynb")
    cells = nbformat.read(notebook, as_version=4).cells
    assert all(c.execution_count for c in cells if c.cell_type == "code" and c.source.strip())
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
