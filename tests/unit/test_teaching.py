import re

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from thesislib.config import Experiment
from thesislib.errors import InputError
from thesislib.figures import plt, teaching, thesis_map
from thesislib.teaching import attention, convolution, descent, networks, robustness, toy_data


class TestToyData:
    def test_a_seed_fixes_the_points_and_leaves_torch_alone(self):
        before = torch.random.get_rng_state()
        for make in (toy_data.blobs, toy_data.spirals):
            first, second, other = make(20, seed=1), make(20, seed=1), make(20, seed=2)
            assert torch.equal(first.x, second.x)
            assert not torch.equal(first.x, other.x)
            assert first.y.bincount().tolist() == [20, 20]
        assert torch.equal(before, torch.random.get_rng_state())

    def test_spirals_without_noise_mirror_each_other(self):
        x, y = toy_data.spirals(4000, noise=0.0, seed=0)
        radius = x.norm(dim=1)
        angle = torch.atan2(x[:, 1], x[:, 0])
        turns = 1.25 * 2 * torch.pi * radius / 2 + torch.pi * y
        torch.testing.assert_close(torch.cos(angle - turns), torch.ones(8000), atol=1e-4, rtol=0)
        assert radius.max() <= 2

    def test_plane_runs_as_pictures_do(self):
        grid = toy_data.plane(1.0, 3)
        assert grid[:3].tolist() == [[-1, -1], [0, -1], [1, -1]]
        assert grid.shape == (9, 2)

    def test_chosen_digits_are_relabelled_in_the_order_given(self):
        everything, chosen = toy_data.digits(), toy_data.digits(7, 3)
        assert everything.x.min() == 0
        assert everything.x.max() == 1
        assert torch.equal(chosen.x[chosen.y == 0], everything.x[everything.y == 7])
        assert torch.equal(chosen.x[chosen.y == 1], everything.x[everything.y == 3])

    @pytest.mark.parametrize("classes", [(10,), (1, 1), (-1,)])
    def test_what_is_no_digit_is_refused(self, classes):
        with pytest.raises(InputError, match="classes"):
            toy_data.digits(*classes)

    def test_parts_are_disjoint_and_keep_the_shares(self):
        data = toy_data.Labelled(torch.arange(100.0), torch.arange(2).repeat_interleave(50))
        parts = toy_data.split(data, 40, 20, seed=3)
        assert sorted(torch.cat([part.x for part in parts]).tolist()) == list(range(100))
        assert [part.y.bincount().tolist() for part in parts] == [[20, 20], [10, 10], [20, 20]]
        with pytest.raises(InputError, match="empty part"):
            toy_data.split(data, 100, seed=0)

    def test_few_of_each_refuses_more_than_there_are(self):
        data = toy_data.blobs(3, seed=0)
        assert toy_data.few_of_each(data, 3, seed=0).y.tolist() == [0, 0, 0, 1, 1, 1]
        with pytest.raises(InputError, match="class 0 has 3"):
            toy_data.few_of_each(data, 4, seed=0)

    def test_flipped_labels_are_wrong_and_as_many_as_asked(self):
        data = toy_data.digits()
        flipped = toy_data.flip_labels(data, 0.25, seed=0)
        assert int((flipped.y != data.y).sum()) == round(0.25 * len(data.y))
        assert set(flipped.y.tolist()) == set(range(10))
        with pytest.raises(InputError, match="no share"):
            toy_data.flip_labels(data, 1.5, seed=0)

    def test_photograph_is_a_square_in_range(self):
        picture = toy_data.photograph()
        assert picture.shape == (256, 256, 3)
        assert 0 <= picture.min() < picture.max() <= 1


class TestNetworks:
    def test_mlp_has_the_layers_that_its_widths_say(self):
        model = networks.mlp([3, 5, 2], seed=0, activation=nn.Tanh)
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        first, second = model[1], model[3]
        torch.testing.assert_close(model(x), second(torch.tanh(first(x))))
        with pytest.raises(InputError, match="too few"):
            networks.mlp([3], seed=0)

    def test_training_is_reproducible_and_learns(self):
        data = toy_data.blobs(60, distance=6, seed=0)
        histories = []
        for _ in range(2):
            model = networks.mlp([2, 8, 2], seed=0, dropout=0.2)
            histories.append(networks.train(model, data, epochs=8, validation=data, seed=4))
        pd.testing.assert_frame_equal(*histories)
        last = histories[0].iloc[-1]
        assert last.train_accuracy > 0.98
        assert last.train_loss == last.validation_loss  # both without dropout
        assert networks.accuracy(model, data) == last.train_accuracy

    def test_one_full_batch_step_is_that_of_adamw(self):
        data = toy_data.blobs(10, seed=0)
        model, reference = networks.mlp([2, 2], seed=0), networks.mlp([2, 2], seed=0)
        networks.train(model, data, epochs=1, batch_size=20, weight_decay=0.1)
        optimiser = torch.optim.AdamW(reference.parameters(), lr=1e-2, weight_decay=0.1)
        F.cross_entropy(reference(data.x), data.y).backward()
        optimiser.step()
        for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)

    @pytest.mark.parametrize(
        ("mode", "moving"),
        [
            ("from scratch", {"lower", "upper", "head"}),
            ("feature extraction", {"head"}),
            ("hybrid", {"upper", "head"}),
            ("fine-tuning", {"lower", "upper", "head"}),
        ],
    )
    def test_a_mode_moves_what_it_says_and_never_the_pretrained_network(self, mode, moving):
        pretrained = networks.digit_cnn(3, seed=0)
        kept = {name: value.clone() for name, value in pretrained.state_dict().items()}
        model = networks.adapt(pretrained, mode, 2, seed=1)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        if mode != "from scratch":
            assert torch.equal(before["lower.0.weight"], kept["lower.0.weight"])
            assert torch.equal(before["upper.0.weight"], kept["upper.0.weight"])
        networks.train(model, toy_data.few_of_each(toy_data.digits(0, 1), 5, seed=0), epochs=2)
        moved = {
            name.split(".")[0]
            for name, value in model.state_dict().items()
            if not torch.equal(value, before[name])
        }
        assert moved == moving
        assert all(torch.equal(value, kept[n]) for n, value in pretrained.state_dict().items())

    def test_an_unknown_mode_is_refused(self):
        with pytest.raises(InputError, match="mode: cannot be 'all'"):
            networks.adapt(networks.digit_cnn(2, seed=0), "all", 2, seed=0)


class TestDescent:
    def test_batch_descent_ends_at_least_squares(self):
        x, y = descent.noisy_line(50, seed=0)
        path = descent.descend(x, y, batch_size=50, learning_rate=0.2, epochs=200)
        np.testing.assert_allclose(path[-1], np.polyfit(x, y, 1), atol=1e-6)

    def test_a_step_follows_the_slope_that_autograd_finds(self):
        x, y = descent.noisy_line(20, seed=1)
        path = descent.descend(x, y, batch_size=20, learning_rate=0.1, epochs=1)
        parameters = torch.tensor(path[0], requires_grad=True)
        line = parameters[0] * torch.tensor(x) + parameters[1]
        ((line - torch.tensor(y)) ** 2).mean().backward()
        np.testing.assert_allclose(path[1], path[0] - 0.1 * parameters.grad.numpy())

    def test_every_example_is_used_once_an_epoch(self):
        x, y = descent.noisy_line(10, seed=0)
        assert len(descent.descend(x, y, batch_size=4, learning_rate=0.1, epochs=3)) == 10
        with pytest.raises(InputError, match="batch_size"):
            descent.descend(x, y, batch_size=11, learning_rate=0.1, epochs=1)

    def test_squared_error_takes_grids(self):
        x, y = descent.noisy_line(10, seed=0)
        grid = np.array([[[1.0, 0.0], [0.0, 1.0]]])
        expected = [[((x - y) ** 2).mean(), ((1 - y) ** 2).mean()]]
        np.testing.assert_allclose(descent.squared_error(grid, x, y), expected)


class TestConvolution:
    @pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 0), (3, 2)])
    def test_agrees_with_torch(self, stride, padding):
        generator = torch.Generator().manual_seed(0)
        picture = torch.randn(3, 11, 9, generator=generator)
        kernel = torch.randn(3, 3, 2, generator=generator)
        ours = convolution.convolve(picture, kernel, stride=stride, padding=padding)
        theirs = F.conv2d(picture[None], kernel[None], stride=stride, padding=padding)[0, 0]
        torch.testing.assert_close(ours, theirs)
        sizes = [
            convolution.output_size(n, k, stride=stride, padding=padding)
            for n, k in ((11, 3), (9, 2))
        ]
        assert list(ours.shape) == sizes

    def test_what_does_not_fit_is_refused(self):
        with pytest.raises(InputError, match="do not fit"):
            convolution.convolve(torch.zeros(1, 2, 2), torch.zeros(1, 3, 3))
        with pytest.raises(InputError, match="kernel"):
            convolution.convolve(torch.zeros(2, 4, 4), torch.zeros(1, 3, 3))
        with pytest.raises(InputError, match="do not fit"):
            convolution.output_size(8, 3, stride=0)

    def test_edge_kernels_see_edges_of_their_own_direction(self):
        picture = torch.zeros(1, 6, 6)
        picture[:, :, 3:] = 1
        upright, level = (
            convolution.convolve(picture, torch.tensor([convolution.KERNELS[name]]).float())
            for name in ("vertical edges", "horizontal edges")
        )
        assert upright.max() == 4
        assert level.abs().max() == 0


class TestAttention:
    def test_weights_are_those_that_the_block_applies(self):
        reader = networks.seeded(lambda: attention.Reader(5, 4, 8, positions=True), 0)
        tokens = torch.tensor([[0, 1, 2, 3], [4, 4, 1, 0]])
        weights = reader.attention_weights(tokens)
        normed = reader.block.norm1(reader.embed(tokens))
        value = reader.block.attn.qkv(normed).chunk(3, dim=-1)[2]
        mixed = reader.block.attn.proj(weights @ value)
        torch.testing.assert_close(mixed, reader.block.attn(normed))
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4))

    def test_without_positions_order_does_not_matter(self):
        reader = networks.seeded(lambda: attention.Reader(5, 4, 8, positions=False), 0)
        tokens = torch.tensor([[0, 1, 2, 3]])
        torch.testing.assert_close(reader(tokens.flip(1)), reader(tokens).flip(1))

    def test_positions_are_needed_to_read_backwards(self):
        knowing = attention.train_reader(positions=True, steps=120, seed=0, length=4)[1]
        guessing = attention.train_reader(positions=False, steps=120, seed=0, length=4)[1]
        assert len(knowing) == 12
        assert knowing[-1] > 0.9 > 0.6 > guessing[-1]


class TestRobustness:
    def test_a_step_raises_the_loss_and_stays_small(self):
        data = toy_data.digits(0, 1)
        model = networks.mlp([64, 2], seed=0)
        moved = robustness.adversarial_step(model, data, 0.05)
        assert (moved - data.x).abs().max() <= 0.05 + 1e-6
        assert moved.min() >= 0
        assert moved.max() <= 1
        before = F.cross_entropy(model(data.x), data.y)
        assert F.cross_entropy(model(moved), data.y) > before
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_on_a_linear_model_the_step_follows_the_weights(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        with torch.no_grad():
            model[1].weight.copy_(torch.tensor([[1.0, -1, 0, 2], [0, 0, 0, 0]]))
        data = toy_data.Labelled(torch.full((1, 1, 2, 2), 0.5), torch.tensor([0]))
        moved = robustness.adversarial_step(model, data, 0.1).flatten()
        torch.testing.assert_close(moved, torch.tensor([0.4, 0.6, 0.5, 0.4]))

    def test_noise_has_the_size_that_was_asked_for(self):
        noisy = robustness.add_noise(torch.full((40_000,), 0.5), 0.1, seed=0)
        assert abs(float(noisy.std()) - 0.1) < 0.002
        with pytest.raises(InputError, match="strength"):
            robustness.add_noise(torch.zeros(1), -0.1, seed=0)

    def test_confidence_is_the_highest_probability(self):
        scores = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
        expected = torch.tensor([0.5, 1 / (1 + float(np.exp(-3)))])
        torch.testing.assert_close(robustness.confidence(nn.Identity(), scores), expected)

    def test_prototypes_are_scikit_learns_centroids(self):
        from sklearn.neighbors import NearestCentroid

        data = toy_data.blobs(30, seed=0)
        centres = robustness.prototypes(data.x, data.y)
        oracle = NearestCentroid().fit(data.x.numpy(), data.y.numpy())
        np.testing.assert_allclose(centres, oracle.centroids_, rtol=1e-5)
        found = robustness.nearest_prototype(data.x, centres).tolist()
        assert found == oracle.predict(data.x.numpy()).tolist()


class TestFigures:
    """Each figure draws what it was given, narrow enough for a phone."""

    @pytest.fixture(autouse=True)
    def _close(self):
        yield
        plt.close("all")

    def test_counts_name_the_cells_as_the_chosen_class_sees_them(self):
        names = ["none", "smile", "laugh"]
        table = pd.DataFrame([[66, 4, 0], [9, 10, 1], [2, 5, 3]], index=names, columns=names)
        figure = teaching.counts(table, of="smile")
        roles = [text.get_text() for text in figure.axes[0].texts[1::2]]
        assert roles == ["TN", "FP", "TN", "FN", "TP", "FN", "TN", "FP", "TN"]

    def test_no_figure_is_wider_than_a_phone_can_show(self):
        history = pd.DataFrame({"train_loss": [2, 1.0], "validation_loss": [1, 2.0]}, index=[1, 2])
        field = np.linspace(0, 1, 16).reshape(4, 4)
        line = {"a": ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])}
        points, classes = np.zeros((2, 2)), np.array([0, 1])
        drawn = [
            teaching.network([2, 3, 1], ["in", "hidden", "out"]),
            teaching.curves(line, xlabel="x", ylabel="y", markers=True, xscale="linear"),
            teaching.decisions({"one": field, "two": field}, points, classes, extent=1),
            teaching.learning_curves({"one": history}),
            teaching.descents({"one": np.zeros((3, 2)), "two": np.ones((2, 2))}, field, extent=1),
            teaching.pictures({"one": field, "two": field - 0.5}, signed=True),
            teaching.matrices({"one": field}, xlabel="x", ylabel="y", label="weight"),
            teaching.scatter_of_scores({"one": field[0]}, xlabel="accuracy"),
            teaching.histograms({"one": field[0]}, bins=[0, 0.5, 1], xlabel="p"),
        ]
        for figure in drawn:
            assert figure.get_size_inches()[0] <= 4.8
            assert any(axes.has_data() for axes in figure.axes)

    def test_the_best_epoch_is_marked_where_validation_is_lowest(self):
        history = pd.DataFrame(
            {"train_loss": [3.0, 2, 1], "validation_loss": [2.0, 1, 1.5]}, index=[1, 2, 3]
        )
        marked = teaching.learning_curves({"one": history}).axes[0].lines[2]
        assert marked.get_xydata().tolist() == [[2, 1]]


class TestMap:
    def test_links_come_from_manifests_and_experiments(self):
        class Extra(Experiment):
            CHAPTER, CORPORA = "06", ("ifadv", "emodb")

        found = thesis_map.links(experiments=(Extra,))
        assert ("6", "ifadv", False, False) in found
        assert ("6", "emodb", True, False) in found
        assert ("8", "librispeech", False, False) in found
        assert "ib" not in {link.corpus for link in found}

    def test_pre_training_comes_from_parameters_and_grids(self):
        learnt = {link[:3] for link in thesis_map.links() if link.pretraining}
        assert learnt == {
            ("6", "crema-d", True),
            ("7", "librispeech", True),
            ("7", "sound-events", False),
            ("7", "voxceleb2", False),
            ("8", "librispeech", False),
            ("8", "sound-events", False),
            ("8", "voxceleb2", False),
        }

    def test_what_a_system_is_also_tested_on_is_not_for_pre_training_only(self):
        class Laugh(Experiment):
            CHAPTER, CORPORA, pretext, zero_shot = "07", ("ndc-me",), "ccdb-twin", "none"

        class SocialMae(Experiment):
            CHAPTER, CORPORA, pretraining = "07", ("ccdb", "emodb"), "none"

        found = thesis_map.links([], (Laugh, SocialMae))
        assert ("7", "ccdb", True, False) in found
        assert ("7", "crema-d", True, True) in found  # in the grid of laughs
        assert "none" not in {link.corpus for link in found}

    def test_words_say_what_is_for_pre_training_and_what_is_added(self):
        uses = [("emodb", True, True), ("sound-events", False, True), ("ndc-me", False, False)]
        told = thesis_map.in_words([thesis_map.Link("7", *use) for use in uses])
        assert told == (
            "Chapter 7, Social-MAE: pre-trained on AudioSet (here: sound events), in this edition "
            "also EmoDB; trained or tested on NDC-ME."
        )

    def test_every_link_is_a_line_and_every_corpus_a_box(self):
        from xml.etree.ElementTree import fromstring

        found = thesis_map.links()
        root = fromstring(thesis_map.thesis_map(found))
        lines, boxes = list(root.iter("path")), list(root.iter("rect"))
        drawn = [line for line in lines if line.get("class") == "link"]
        assert len(drawn) == len(found)
        assert len(lines) == len(found) + len(thesis_map.SYSTEMS) + len(thesis_map.LINES)
        assert len(boxes) == len({link.corpus for link in found}) + 2 * len(thesis_map.SYSTEMS)
        assert [line.get("stroke-dasharray", "") for line in drawn] == [
            thesis_map.DASHES[link.pretraining, link.added] for link in found
        ]
        ends = [end for line in drawn for end in re.findall(r"M\S+ \S+|\S+ \S+$", line.get("d"))]
        assert len(set(ends)) == 2 * len(found)  # no two lines fall together
        assert root.find(".//desc").text == thesis_map.in_words(found)
