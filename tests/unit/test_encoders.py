import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from thesislib.errors import InputError
from thesislib.models.encoders import (
    EncoderConfig,
    WhisperEncoder,
    build_encoder,
    freeze,
    load_hugging_face,
)

SIZES = {"n_mels": 5, "n_positions": 7, "width": 6, "heads": 2, "layers": 2, "ffn_width": 9}


def random_encoder(seed=0):
    encoder = WhisperEncoder(EncoderConfig(**SIZES))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return freeze(encoder)


def write_hugging_face(folder, encoder, **changes):
    config = encoder.config
    values = {
        "num_mel_bins": config.n_mels,
        "max_source_positions": config.n_positions,
        "d_model": config.width,
        "encoder_attention_heads": config.heads,
        "encoder_layers": config.layers,
        "encoder_ffn_dim": config.ffn_width,
        "activation_function": "gelu",
    } | changes
    (folder / "config.json").write_text(json.dumps(values))
    state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    save_file(state | {"decoder.unused": torch.zeros(2)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "4", None])
def test_config_names_the_field_at_fault(name, value):
    with pytest.raises(ValueError, match=name):
        EncoderConfig(**SIZES | {name: value})


def test_config_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="heads=4 does not divide width=6"):
        EncoderConfig(**SIZES | {"heads": 4})


def layer_norm(x, state, name):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def convolve(x, weight, bias, stride):
    """(time, in) -> (time / stride, out), one frame of zeros at either end."""
    padded = np.pad(x, ((1, 1), (0, 0)))
    windows = np.stack([padded[t : t + 3] for t in range(0, len(x), stride)])
    return np.einsum("tki,oik->to", windows, weight) + bias


def test_hidden_states_against_numpy():
    encoder = random_encoder()
    log_mel = torch.randn(2, 5, 14, generator=torch.Generator().manual_seed(3))
    state = {name: value.double().numpy() for name, value in encoder.state_dict().items()}
    states = encoder.hidden_states(log_mel)
    assert len(states) == 3
    for clip in range(2):
        x = log_mel[clip].double().numpy().T
        x = gelu(convolve(x, state["conv1.weight"], state["conv1.bias"], 1))
        x = gelu(convolve(x, state["conv2.weight"], state["conv2.bias"], 2))
        x = x + state["embed_positions.weight"]
        expected = [x]
        for layer in ("layers.0", "layers.1"):
            y = layer_norm(x, state, f"{layer}.self_attn_layer_norm")
            q, k, v = (linear(y, state, f"{layer}.self_attn.{p}_proj") for p in "qkv")
            heads = []
            for head in (slice(0, 3), slice(3, 6)):
                scores = np.exp(q[:, head] @ k[:, head].T / math.sqrt(3))
                heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, head])
            x = x + linear(np.concatenate(heads, -1), state, f"{layer}.self_attn.out_proj")
            y = layer_norm(x, state, f"{layer}.final_layer_norm")
            x = x + linear(gelu(linear(y, state, f"{layer}.fc1")), state, f"{layer}.fc2")
            expected.append(x)
        expected[-1] = layer_norm(x, state, "layer_norm")
        for ours, oracle in zip(states, expected, strict=True):
            np.testing.assert_allclose(ours[clip].numpy(), oracle, atol=1e-4)
    assert torch.equal(encoder(log_mel), states[-1])


@pytest.mark.parametrize("shape", [(2, 5, 13), (2, 4, 14), (5, 14), (1, 2, 5, 14)])
def test_other_input_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="n_mels=5, 2 \\* n_positions=14"):
        random_encoder()(torch.zeros(shape))


def test_freeze_and_build():
    encoder = WhisperEncoder(EncoderConfig(**SIZES))
    assert encoder.training
    assert freeze(encoder) is encoder
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())

    before = torch.get_rng_state()
    state = encoder.half().state_dict()
    rebuilt = build_encoder(encoder.config, state)
    assert torch.equal(torch.get_rng_state(), before)
    assert rebuilt(torch.zeros(1, 5, 14)).dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in rebuilt.parameters())
    with pytest.raises(RuntimeError, match=r"conv1\.weight"):
        build_encoder(encoder.config, {k: v for k, v in state.items() if k != "conv1.weight"})


def test_hugging_face_round_trip(tmp_path):
    encoder = random_encoder()
    loaded = load_hugging_face(write_hugging_face(tmp_path, encoder))
    assert loaded.config == encoder.config
    log_mel = torch.randn(1, 5, 14, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(log_mel), encoder(log_mel))


def shorten(path):
    path.write_bytes(path.read_bytes()[:-40])


DAMAGE = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json: cannot be read"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "config.json"),
    "config is cut": (lambda f: shorten(f / "config.json"), "config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "neither model.safetensors"),
    "weights are cut": (lambda f: shorten(f / "model.safetensors"), "model.safetensors: is miss"),
    "weights are text": (
        lambda f: (f / "model.safetensors").write_text("no weights"),
        "model.safetensors: is miss",
    ),
    "index leads out": (
        lambda f: (f / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "../model.safetensors"}})
        ),
        "names a file outside its folder",
    ),
    "index is empty": (
        lambda f: (f / "model.safetensors.index.json").write_text("{}"),
        "is not a shard index",
    ),
    "shard is absent": (
        lambda f: (f / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "one.safetensors"}})
        ),
        "one.safetensors: is missing",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_folder_is_one_clear_line(case, tmp_path):
    damage, message = DAMAGE[case]
    damage(write_hugging_face(tmp_path, random_encoder()))
    with pytest.raises(InputError, match=message) as caught:
        load_hugging_face(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_function": "relu"}, "activation_function='relu'"),
        ({"encoder_layers": 3}, "weights and config.json disagree"),
        ({"d_model": 0}, "width=0"),
        ({"encoder_attention_heads": 4}, "heads=4 does not divide"),
    ],
)
def test_config_that_does_not_fit(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_hugging_face(write_hugging_face(tmp_path, random_encoder(), **changes))


def test_missing_config_key(tmp_path):
    folder = write_hugging_face(tmp_path, random_encoder())
    values = json.loads((folder / "config.json").read_text())
    del values["d_model"]
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="lacks 'd_model'"):
        load_hugging_face(folder)


class Payload:
    def __reduce__(self):
        return print, ("code from a pickle ran",)


def test_pickled_code_does_not_run(tmp_path, capsys):
    folder = write_hugging_face(tmp_path, random_encoder())
    (folder / "model.safetensors").unlink()
    torch.save({"encoder.conv1.bias": Payload()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin"):
        load_hugging_face(folder)
    assert "ran" not in capsys.readouterr().out
