"""The probes of the frozen main branch as one job, on a tiny encoder and few clips."""

import pytest
import torch

from thesislib import cli
from thesislib.config import MainBranchConfig
from thesislib.learning import main_branch
from thesislib.models.encoders import EncoderConfig, WhisperEncoder
from thesislib.records.record import read_records
from thesislib.reproduce.staleness import experiment_of, read_documents, verdict

FEW = {"clips": 70, "window_s": 0.5, "replicates": 10}  # a clip a speaker and emotion


def encoder(name):
    sizes = EncoderConfig(n_mels=16, n_positions=32, width=8, heads=2, layers=4, ffn_width=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WhisperEncoder(sizes).eval()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder of results after the command, as it is typed."""
    folder = tmp_path_factory.mktemp("results")
    words = [word for name, value in FEW.items() for word in ("-p", name, str(value))]
    words = ["train", "08", "--experiment", "main_branch", *words, "--out", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_branch, "load_encoder", encoder)
        patch.setattr("sys.argv", ["thesis", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code
    return folder


def test_the_command_leaves_a_record_of_the_voices_and_one_of_each_probe(results):
    (voices,) = read_records(results, experiment="voices")
    assert (voices.kind, voices.configuration) == ("embedding", {})
    probes = read_records(results, experiment="main-only")
    features = ["mfcc", *(f"layer_{number}" for number in range(5))]
    asked = {("emotion", name) for name in (*features, "nested")}
    asked |= {("speaker", name) for name in features}
    assert {(r.configuration["task"], r.configuration["features"]) for r in probes} == asked
    assert len(probes) == len(asked) == 13
    for record in (voices, *probes):
        assert record.synthetic
        assert record.measure_again(results) == record.metrics
    assert {len(record.load_predictions(results)) for record in probes} == {70}


def test_its_records_are_fresh_and_lead_back_to_it(results):
    documents = read_documents(results)
    assert len(documents) == 14
    for document in documents:
        assert experiment_of(document) is MainBranchConfig
        assert not verdict(document).stale
