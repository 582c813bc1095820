"""Our AST against transformers' (random weights): outputs, files, names, positions."""

import pytest
import torch
from transformers import ASTConfig as HuggingFaceConfig
from transformers import ASTFeatureExtractor, ASTForAudioClassification, ASTModel

from thesislib.errors import InputError
from thesislib.models.ast import ASTConfig, interpolate_positions, load_ast
from thesislib.signals.audio import AST, kaldi_log_mel

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "num_mel_bins": 32,
    "max_length": 64,
}


def random_ast(cls=ASTModel, **sizes):
    model = cls(HuggingFaceConfig(**{**SIZES, **sizes})).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_gain = "layernorm" in name and name.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if is_gain else 0.1 * noise)
    return model


@pytest.mark.parametrize("strides", [(10, 10), (16, 16)])
@pytest.mark.parametrize("cls", [ASTModel, ASTForAudioClassification])
def test_outputs_equal_transformers(strides, cls, tmp_path):
    model = random_ast(cls, frequency_stride=strides[0], time_stride=strides[1])
    model.save_pretrained(tmp_path)
    ours = load_ast(tmp_path, stride=strides[0], special_tokens=True)
    log_mel = torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        body = model if cls is ASTModel else model.audio_spectrogram_transformer
        theirs = body(log_mel).last_hidden_state
    torch.testing.assert_close(ours(log_mel), theirs, atol=1e-5, rtol=1e-5)
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_names_of_older_checkpoints_load_too(tmp_path):
    model = random_ast(frequency_stride=16, time_stride=16)
    model.save_pretrained(tmp_path)
    new = load_ast(tmp_path)
    old = {}
    for name, tensor in model.state_dict().items():
        for now, then in (
            (".attention.q_proj.", ".attention.attention.query."),
            (".attention.k_proj.", ".attention.attention.key."),
            (".attention.v_proj.", ".attention.attention.value."),
            (".attention.o_proj.", ".attention.output.dense."),
            (".mlp.fc1.", ".intermediate.dense."),
            (".mlp.fc2.", ".output.dense."),
        ):
            name = name.replace(now, then)
        old["audio_spectrogram_transformer." + name.replace("layers.", "encoder.layer.")] = tensor
    (tmp_path / "model.safetensors").unlink()
    torch.save(old, tmp_path / "pytorch_model.bin")
    log_mel = torch.randn(1, 64, 32)
    assert torch.equal(load_ast(tmp_path)(log_mel), new(log_mel))


def test_positions_of_the_published_grid_become_chapter_8s():
    assert ASTConfig(stride=10).grid == (12, 101)
    rows = torch.linspace(0, 1, 12)[:, None] + torch.linspace(0, 3, 101)
    positions = interpolate_positions(rows.reshape(1, -1, 1), (12, 101), ASTConfig().grid)
    assert positions.shape == (1, 8 * 64, 1)
    # Bilinear sampling at the centres of the new cells, away from the edges, keeps a plane a plane.
    bins = ((torch.arange(8) + 0.5) * 12 / 8 - 0.5) / 11
    frames = ((torch.arange(64) + 0.5) * 101 / 64 - 0.5) * 3 / 100
    expected = bins[:, None] + frames
    ours = positions.view(8, 64)
    torch.testing.assert_close(ours[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-5, rtol=0)


def test_a_shorter_window_keeps_the_beginning_of_the_positions(tmp_path):
    random_ast(frequency_stride=10, time_stride=10).save_pretrained(tmp_path)
    whole, half = load_ast(tmp_path), load_ast(tmp_path, n_frames=32)
    bins, frames = half.config.grid
    positions = whole.embeddings.position_embeddings.view(*whole.config.grid, -1)
    expected = positions[:bins, :frames].flatten(0, 1)
    assert torch.equal(half.embeddings.position_embeddings[0], expected)


def test_front_end_equals_the_feature_extractor():
    waveform = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0))
    extractor = ASTFeatureExtractor(max_length=1024)
    theirs = extractor(waveform.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    ours = kaldi_log_mel(waveform[None], preset=AST)
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)


def test_folders_that_hold_no_ast_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_ast(tmp_path)
    random_ast().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(InputError, match="lacks"):
        load_ast(tmp_path)


def test_weights_of_another_size_are_refused(tmp_path):
    random_ast().save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        config.replace('"intermediate_size": 40', '"intermediate_size": 48')
    )
    with pytest.raises(InputError, match="weights and config"):
        load_ast(tmp_path)
