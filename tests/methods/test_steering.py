"""The method steering: directions, who gets which, and that exactly the declared states are shifted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from fairbench import keys
from fairbench.adapters.janus import JanusAdapter
from fairbench.adapters.token_adapter import TokenAdapter
from fairbench.cards import catalog
from fairbench.cards.cards import ModelCard
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.methods import steering
from fairbench.methods.steering import DRAWS, TEMPLATE, WHO, Steering, directions, drawn_group
from fairbench.networks.sampling import gumbel
from fairbench.protocols import MethodContext, Steerable
from fairbench.runs import spec
from fairbench.runs.prompts import expand
from fairbench.types import ImageRequest
from tests.builders.emu3 import emu3_adapter
from tests.builders.janus import janus_adapter

CTX = MethodContext(ModelCard(name="tiny", title="Tiny", adapter="janus"), 0)
TEXTS = ("A photo of the face of a nurse, a person", "A chef", "A very long description of many words, " * 4)
FEW = "attributes=gender"
"""Two groups, of which directions are found sooner than of eight."""


def requests(count: int) -> list[ImageRequest]:
    ids = b"\0" * 16
    return [ImageRequest(ids, ids, ids, TEXTS[i % len(TEXTS)], i, 2**61 + 1000 * i) for i in range(count)]


def steered(adapter: TokenAdapter, argument: str | None) -> TokenAdapter:
    Steering(argument).wrap(adapter, CTX)
    return adapter


# --- directions, from a model whose states are known ---


class Known:
    """A model of three layers and two positions, with made-up states of unequal lengths that vary from draw to draw."""

    def __init__(self) -> None:
        self.decoder_shift: Any = None
        self.asked: list[tuple[str, int, tuple[int, ...]]] = []

    def decoder_layers(self) -> int:
        return 3

    def state(self, text: str, seed: int, layer: int) -> np.ndarray[Any, Any]:
        """Of (positions, hidden) = (2, 5)."""
        words = sum(10.0 ** (3 * (word in text.split())) * i for i, word in enumerate(("female", "Black", "Asian"), 1))
        noise = np.random.default_rng([seed, layer]).normal(size=(2, 5))
        return np.asarray(words * np.outer([1, -2], np.arange(5) + layer) + 100 * len(text) + noise)

    def token_states(self, texts: Sequence[str], seeds: Sequence[int], layers: Sequence[int]) -> np.ndarray[Any, Any]:
        self.asked += [(t, s, tuple(layers)) for t, s in zip(texts, seeds, strict=True)]
        states = [[self.state(t, s, layer) for layer in layers] for t, s in zip(texts, seeds, strict=True)]
        return np.array(states, dtype=np.float32)


@pytest.mark.parametrize("positions", ["each", "mean"])
def test_a_shift_is_strength_times_the_groups_mean_minus_the_mean_over_groups(positions: str) -> None:
    method, model = Steering(f"strength=2.5,layers=2+0,positions={positions}"), Known()
    method.wrap(model, CTX)
    seeds = list(range(40))
    shifts = model.decoder_shift(seeds)
    assert list(shifts) == [0, 2] and len(method.groups) == 8
    # Once more from each draw alone, in another order: no array operation of the method is used.
    of_text: dict[str, list[int]] = {}
    for text, seed, layers in model.asked:
        assert layers == (0, 2)
        of_text.setdefault(text, []).append(seed)
    assert len(of_text) == 8 * len(WHO) and {len(set(own)) for own in of_text.values()} == {DRAWS}
    for layer in (0, 2):
        mean_of = {}
        for group in method.groups:
            total = np.zeros((2, 5))
            for who in WHO:
                text = f"A photo of the face of a {group} {who}, a person"
                for seed in of_text[text]:
                    total += model.state(text, seed, layer).astype(np.float32).astype(np.float64)
            mean_of[group] = total / (len(WHO) * DRAWS)
        middle = sum(mean_of.values()) / 8
        for i, seed in enumerate(seeds):
            expected = 2.5 * (mean_of[method.groups[drawn_group(seed, 8)]] - middle)
            if positions == "mean":
                expected = np.tile(expected.mean(axis=0), (2, 1))
            np.testing.assert_allclose(shifts[layer][i], expected, rtol=1e-4, atol=1e-2)
        assert np.ptp([np.linalg.norm(mean_of[g] - middle) for g in method.groups]) > 1000
    assert shifts[0].dtype == np.float32
    before = len(model.asked)
    model.decoder_shift([5])
    assert len(model.asked) == before  # directions are found once


def test_directions_sum_to_zero_and_do_not_weight_groups_by_their_draws() -> None:
    rng = np.random.default_rng(0)
    means = [rng.normal(scale=10.0**i, size=(2, 3)) for i in range(4)]
    found = directions(means)
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(found[1] - found[3], means[1] - means[3], rtol=1e-9)


def test_groups_are_uniform_independent_of_the_noise_and_of_nothing_but_the_seed() -> None:
    seeds = [keys.sample_seed(b"prompt", i, 0) for i in range(4000)]
    groups = np.array([drawn_group(seed, 8) for seed in seeds])
    assert stats.chisquare(np.bincount(groups, minlength=8)).pvalue > 1e-3
    noise = np.array([np.random.Generator(np.random.PCG64(seed)).standard_exponential() for seed in seeds])
    assert stats.kruskal(*(noise[groups == g] for g in range(8))).pvalue > 1e-3
    pairs = np.zeros((8, 8))
    np.add.at(pairs, (groups[::2], groups[1::2]), 1)
    assert stats.chi2_contingency(pairs).pvalue > 1e-3
    model = Known()
    Steering("attributes=gender").wrap(model, CTX)
    both, alone = model.decoder_shift(seeds[:9])[1], model.decoder_shift(seeds[4:5])[1]
    np.testing.assert_array_equal(both[4], alone[0])


def test_prompts_name_each_group_and_no_occupation() -> None:
    model = Known()
    Steering("attributes=race4").wrap(model, CTX)
    model.decoder_shift([1])
    texts = {text for text, _, _ in model.asked}
    assert texts == {TEMPLATE.format(group=g, who=w) for g in ("White", "Asian", "Black", "Indian") for w in WHO}
    for task in ("occupations", "phantom-occupations", "phantom-mitigation-unseen"):
        assert not {p.subject for p in expand(catalog.load_task(task).card)} & set(WHO)


# --- what is shifted, against a pass through the whole sequence, without cache, batch and hooks ---


def random_shift(adapter: JanusAdapter, layers: Sequence[int], rows: int, scale: float) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(7)
    hidden = adapter.model.net.config.text_config.hidden_size
    return {n: rng.normal(scale=scale, size=(rows, 16, hidden)).astype(np.float32) for n in layers}


@torch.no_grad()
def passed(adapter: JanusAdapter, ids: Any, tokens: list[int], shift: Mapping[int, Any]) -> tuple[Any, list[Any]]:
    """Return the logits of the next token, and each layer's output (positions, hidden) from the text's end on."""
    net, first = adapter.model.net, len(ids) - 1
    decoder = net.model.language_model
    state = net.get_input_embeddings()(ids[None])
    if tokens:
        drawn = torch.tensor(tokens)[:, None]
        state = torch.cat(
            [state, net.prepare_embeddings_for_image_generation(drawn).reshape(1, len(tokens), -1)], dim=1
        )
    positions = torch.arange(state.shape[1])[None]
    mask = torch.full((state.shape[1],) * 2, -torch.inf).triu(1)[None, None]
    rotation = decoder.rotary_emb(state, positions)
    outputs = []
    for index, layer in enumerate(decoder.layers):
        state = layer(state, attention_mask=mask, position_ids=positions, position_embeddings=rotation)
        if index in shift:
            state[0, first:] += torch.from_numpy(shift[index][: len(tokens) + 1])
        outputs.append(state[0, first:].clone())
    return net.model.generation_head(decoder.norm(state)[0, -1]), outputs


def drawn_by_hand(
    adapter: JanusAdapter, request: ImageRequest, shift: Mapping[int, Any], blank_shift: Mapping[int, Any]
) -> list[int]:
    model, guidance = adapter.model, adapter.params.guidance
    ids = torch.tensor(model.prompt_ids(request.text))
    noise = np.concatenate(list(gumbel([request.seed], 16, model.vocabulary)))[:, 0]
    tokens: list[int] = []
    for step in range(16):
        stated, _ = passed(adapter, ids, tokens, shift)
        blank, _ = passed(adapter, model.blanked(ids), tokens, blank_shift)
        guided = blank + guidance * (stated - blank) if guidance != 1 else stated
        tokens.append(int((guided.numpy() + noise[step]).argmax()))
    return tokens


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("layers", [(0,), (0, 1)])
def test_the_stated_rows_are_shifted_where_tokens_are_drawn_and_nothing_else(
    tiny_janus: Path, guidance: float, layers: tuple[int, ...]
) -> None:
    adapter, asked = janus_adapter(tiny_janus, {"guidance": guidance}), requests(3)
    plain = adapter.tokens(asked)
    shift = random_shift(adapter, layers, len(asked), scale=0.6)
    order = [r.seed for r in asked]
    adapter.decoder_shift = lambda seeds: {n: s[[order.index(seed) for seed in seeds]] for n, s in shift.items()}
    found = adapter.tokens(asked)
    assert ((found != plain).mean(axis=1) > 0.2).all()
    for i, request in enumerate(asked):
        own = {n: s[i] for n, s in shift.items()}
        np.testing.assert_array_equal(found[i], drawn_by_hand(adapter, request, own, {}))
        if guidance != 1:  # on both rows, guidance would not raise it: other tokens
            assert (found[i] != drawn_by_hand(adapter, request, own, own)).any()


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_states_are_those_of_the_stated_rows_while_an_image_is_drawn(tiny_janus: Path, guidance: float) -> None:
    adapter, asked = janus_adapter(tiny_janus, {"guidance": guidance}), requests(3)
    tokens = adapter.tokens(asked)
    steered(adapter, None)  # states are found without a shift, also where there is one
    texts, seeds = [r.text for r in asked], [r.seed for r in asked]
    found = adapter.token_states(texts, seeds, [1, 0])
    assert found.shape[:3] == (3, 2, 16) and found.dtype == np.float32
    for i, request in enumerate(asked):
        ids = torch.tensor(adapter.model.prompt_ids(request.text))
        _, outputs = passed(adapter, ids, [int(t) for t in tokens[i, :-1]], {})
        np.testing.assert_allclose(found[i, 0], outputs[1], atol=2e-4)
        np.testing.assert_allclose(found[i, 1], outputs[0], atol=2e-4)


def hooks(adapter: TokenAdapter) -> int:
    return sum(len(layer._forward_hooks) for layer in adapter.language_model().layers)


def test_without_strength_nothing_is_changed_and_hooks_do_not_stay(
    tiny_janus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests(4)
    plain = janus_adapter(tiny_janus).tokens(asked)
    np.testing.assert_array_equal(steered(janus_adapter(tiny_janus), "strength=0").tokens(asked), plain)
    adapter = steered(janus_adapter(tiny_janus), f"{FEW},strength=1")
    assert (adapter.tokens(asked) != plain).any(axis=1).all()
    assert hooks(adapter) == 0
    assert (steered(janus_adapter(tiny_janus), f"{FEW},strength=1e-7").tokens(asked) == plain).all()
    seen: list[int] = []

    def fails(*_: object, **__: object) -> None:
        seen.append(hooks(adapter))
        raise RuntimeError("no memory")

    monkeypatch.setattr(adapter.model, "sample", fails)
    with pytest.raises(RuntimeError):
        adapter.tokens(asked)
    with pytest.raises(RuntimeError):
        adapter.token_states(["A nurse"], [1], [0, 1])
    assert seen == [1, 2] and hooks(adapter) == 0


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_in_float32_an_image_depends_on_nothing_else(tiny_janus: Path, guidance: float) -> None:
    asked = requests(6)
    fresh = [steered(janus_adapter(tiny_janus, {"guidance": guidance}, block_size=b), FEW) for b in (6, 1)]
    together = fresh[0].tokens(asked)
    np.testing.assert_array_equal(fresh[0].tokens(asked[::-1])[::-1], together)
    np.testing.assert_array_equal(np.concatenate([fresh[1].tokens([r]) for r in asked]), together)


def test_in_reduced_precision_the_rest_of_the_block_does_not_matter(tiny_janus: Path) -> None:
    asked = requests(5)
    adapter = steered(janus_adapter(tiny_janus, dtype="bfloat16", block_size=4), FEW)
    together = adapter.tokens(asked)
    np.testing.assert_array_equal(np.concatenate([adapter.tokens([r]) for r in asked]), together)


def test_emu3_is_steered_over_its_line_ends_too(emu3_card: Path) -> None:
    folder, asked = emu3_card.parent / "emu3", requests(3)
    adapter = emu3_adapter(folder)
    assert isinstance(adapter, Steerable)
    states = adapter.token_states([r.text for r in asked], [r.seed for r in asked], [1])
    assert states.shape == (3, 1, 4 * 6 + 3, 64)  # after the last row no line end is read
    plain = adapter.tokens(asked)
    found = steered(adapter, f"{FEW},layers=0,strength=2").tokens(asked)
    assert (found != plain).any(axis=1).all() and hooks(adapter) == 0
    np.testing.assert_array_equal(adapter.tokens(asked[1:2])[0], found[1])


# --- as a run has it ---


def planned(card: object, method: str) -> spec.RunSpec:
    settings = spec.RunSettings(str(card), "occupations", method, images_per_prompt=1, limit_prompts=1, device="cpu")
    return spec.make(settings)


def test_the_image_key_covers_all_settings_with_their_defaults(tiny_card: Path) -> None:
    arguments = ("", ":strength=1", ":layers=0", ":attributes=gender", ":positions=mean", ":strength=0")
    of = {a: planned(tiny_card, f"steering{a}").image_key for a in arguments}
    assert len({*of.values(), planned(tiny_card, "none").image_key}) == len(arguments) + 1
    spelled_out = "steering:positions=each,attributes=race4+gender,strength=1.50"
    assert planned(tiny_card, spelled_out).image_key == of[""]
    made = planned(tiny_card, "steering")
    assert made.hooks is not None and set(made.hooks["settings"]) >= {"prompts", "groups", "draws", "strength"}
    assert [r.text for r in made.requests] == [p.text for p in made.prompts]


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("strength=-1", "'-1' is no strength"),
        ("strength=nan", "'nan' is no strength"),
        ("strength=inf", "'inf' is no strength"),
        ("strength", "'' is no strength"),
        ("layers=", "'' are no layers"),
        ("layers=1+1", "'1+1' are no layers"),
        ("layers=-1", "'-1' are no layers"),
        ("layers=²", "'²' are no layers"),
        ("layers=" + "1" * 5000, "are no layers, different whole numbers from 0 on, of nine digits at most"),
        ("attributes=age", "attributes are some of gender, race4"),
        ("attributes=gender+gender", "each once"),
        ("positions=some", "'some' is neither each nor mean"),
        ("strength=1,strength=2", "can be set, each once"),
        ("power=1", "strength, layers, attributes and positions can be set"),
        ("layers=0+2", "the decoder has the layers 0 to 1"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence_before_anything_is_loaded(
    tiny_card: Path, argument: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JanusAdapter, "_load", lambda self: pytest.fail("it loads"))
    with pytest.raises(FairbenchError, match=re.escape(why)) as caught:
        planned(tiny_card, f"steering:{argument}")
    assert str(caught.value).startswith(f"--method steering:{argument}: ") and "\n" not in str(caught.value)


def test_a_model_without_a_decoder_is_refused() -> None:
    with pytest.raises(FairbenchError) as caught:
        spec.make(spec.RunSettings("phantom-exact", method="steering", device="cpu"))
    assert str(caught.value) == (
        "--method steering needs a decoder whose hidden states can be shifted (protocol Steerable), which the adapter "
        "'phantom-exact' of phantom-exact does not offer: use another model or another method."
    )


def test_layers_that_only_the_loaded_decoder_can_tell_are_refused_then(
    tiny_janus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairbench.adapters.token_adapter.config_of", lambda folder: {})
    adapter = janus_adapter(tiny_janus)
    assert adapter.decoder_layers() is None
    steered(adapter, "layers=2")
    with pytest.raises(FairbenchError, match="the decoder has the layers 0 to 1"):
        adapter.tokens(requests(1))


def test_states_that_are_not_finite_are_refused() -> None:
    model = Known()
    Steering(None).wrap(model, CTX)
    model.state = lambda *_: np.full((2, 5), np.nan)  # type: ignore[method-assign]
    with pytest.raises(FairbenchError, match="are not finite numbers, so there is no direction"):
        model.decoder_shift([1])


@pytest.mark.slow
def test_the_phantom_draws_the_groups_that_it_is_steered_to() -> None:
    """Subjects of one-sided truths; without a method about one image in eight shows the group that would be drawn."""
    task = "phantom-mitigation-unseen"
    made = spec.make(spec.RunSettings("phantom", task, "steering", images_per_prompt=24, limit_prompts=2))
    pixels = [result.pixels for result in made.adapter.generate(made.requests)]
    labeller = Labeller(catalog.load_labeller("phantom"), "cpu")
    read = labeller.read([p for p in pixels if p is not None], one_per_image=True)
    words = [
        f"{labeller.declared.labels['gender'][g]} {steering.RACES[labeller.declared.labels['race4'][r]]}"
        for g, r in zip(read.codes["gender"], read.codes["race4"], strict=True)
    ]
    groups = Steering(None).groups
    drawn = [groups[drawn_group(made.requests[i].seed, 8)] for i in read.image]
    assert len(words) >= 44
    assert np.mean([w == d for w, d in zip(words, drawn, strict=True)]) > 0.6
