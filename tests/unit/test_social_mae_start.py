"""Where training of chapter 7 begins: attention by likeness, and the authors' weights."""

import pickle

import pytest
import torch

from thesislib.errors import InputError
from thesislib.learning.social_mae_start import LIKENESS, OPPOSITE, attend_to_likes, load_weights
from thesislib.models.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderConfig
from thesislib.models.transformer import Block, SelfAttention, sine_cosine_positions

SMALL = MaskedAutoencoderConfig(
    image_size=32, n_frames=2, n_mels=32, audio_frames=32, width=48, n_heads=3, modality_depth=1,
    decoder_width=32, decoder_depth=1, decoder_heads=2,
)  # fmt: skip


@pytest.fixture
def layer():
    torch.manual_seed(0)
    block = Block(48, 3)
    attend_to_likes(block)
    return block.attn


def test_query_and_key_of_a_head_are_one_projection_of_its_own(layer):
    query, key, _ = layer.qkv.weight.detach().double().chunk(3)
    assert torch.equal(query, key)
    heads = [q.T @ q / LIKENESS for q in query.split(16)]
    for head in heads:  # a projection on as many dimensions as the head is wide
        torch.testing.assert_close(head @ head, head, rtol=0, atol=1e-6)
        assert head.trace() == pytest.approx(16, abs=1e-5)
    torch.testing.assert_close(sum(heads), torch.eye(48).double(), rtol=0, atol=1e-6)


def test_what_is_found_is_taken_away(layer):
    value = layer.qkv.weight.detach()[96:]
    torch.testing.assert_close(layer.proj.weight @ value, -OPPOSITE * torch.eye(48))


def test_hidden_patches_look_at_their_neighbours_from_the_first_step_on(layer):
    positions = torch.nn.functional.layer_norm(sine_cosine_positions(48, (6, 6)), (48,))
    query, key, _ = (positions @ layer.qkv.weight.T).unflatten(1, (3, 3, 16)).permute(1, 2, 0, 3)
    weights = (query @ key.mT / 4).softmax(-1).mean(0).detach().view(6, 6, 6, 6)
    here = weights[2, 2]
    assert here[2, 2] > here[2, 3] > here[2, 5]
    assert here[2, 2] > here[3, 2] > here[5, 2]


def test_all_attention_is_drawn_again_the_rest_is_left_and_the_seed_counts():
    def drawn(seed):
        torch.manual_seed(seed)
        model = MaskedAutoencoder(SMALL)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        attend_to_likes(model)
        return model, before

    model, before = drawn(0)
    layers = {n for n, m in model.named_modules() if isinstance(m, SelfAttention)}
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {f"{n}.{part}.weight" for n in layers for part in ("qkv", "proj")}
    again, other = drawn(0)[0], drawn(1)[0]
    name = sorted(changed)[0]
    assert torch.equal(model.get_parameter(name), again.get_parameter(name))
    assert not torch.equal(model.get_parameter(name), other.get_parameter(name))


@pytest.mark.parametrize("kind", ["none", "text", "pickle", "cut"])
def test_a_file_that_is_no_checkpoint_is_refused_by_name(kind, tmp_path):
    path = tmp_path / "weights.pth"
    if kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"run": print}, protocol=2))
    elif kind == "cut":
        torch.save({"a": torch.ones(1000)}, path)
        path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"weights\.pth.*is no checkpoint"):
        load_weights(MaskedAutoencoder(SMALL), path)
