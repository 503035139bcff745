"""Methods: what each makes of a prompt, what randomness it may use, and what it refuses."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fairbench import keys, registry
from fairbench.cards.cards import ModelCard
from fairbench.errors import FairbenchError
from fairbench.methods import chain_of_thought, common, verbalized_sampling
from fairbench.methods.balanced_prompting import BalancedPrompting, deal
from fairbench.phantom import planted, text
from fairbench.protocols import Method, MethodContext, PromptSample
from fairbench.types import Prompt
from tests.builders.folders import ROOT

NEUTRAL = "A photo of the face of a nurse, a person"
CARD = ModelCard(name="some-model", title="Some model", adapter="diffusers")


def prompt(words: str = NEUTRAL, subject: str = "nurse") -> Prompt:
    pid = keys.prompt_id(words)
    return Prompt(pid, pid, "some-task", 1, "neutral", words, subject)


def samples(count: int, *prompts: Prompt, run_seed: int = 0) -> list[PromptSample]:
    asked = prompts or (prompt(),)
    return [PromptSample(p, j, keys.sample_seed(p.neutral_id, j, run_seed)) for p in asked for j in range(count)]


def method(target: str) -> Method:
    name, _, argument = target.partition(":")
    found: Method = registry.resolve("methods", name)(argument or None)
    return found


class Scripted:
    """A text model that answers by a function of question and seed, and counts what it was asked."""

    def __init__(self, answer: Callable[[str, int], str]) -> None:
        self.answer, self.asked = answer, list[tuple[str, int]]()

    def complete(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        self.asked += list(zip(prompts, seeds, strict=True))
        return [self.answer(p, s) for p, s in zip(prompts, seeds, strict=True)]


def rewritten(target: str, asked: Sequence[PromptSample], model: Scripted | None = None) -> tuple[list[str], list[str]]:
    """Return texts and warnings."""
    ctx = MethodContext(CARD, 0, model)
    return list(method(target).rewrite(asked, ctx)), ctx.warnings


@pytest.mark.parametrize(
    ("target", "becomes"),
    [
        ("any-gender-suffix", f"{NEUTRAL}, any gender"),
        ("any-race-suffix", f"{NEUTRAL}, any race"),
        ("any-mix-suffix", f"{NEUTRAL}, any gender and any race"),
        (
            "ethical-intervention",
            f"{NEUTRAL} if all individuals can be a nurse irrespective of their gender or skin color",
        ),
        ("ethical-intervention:, and anybody: a {subject}", f"{NEUTRAL}, and anybody: a nurse"),
        ("balanced-prompting:gender=female:1+race=Asian:1", "A photo of the face of a female Asian nurse, a person"),
        ("balanced-prompting:race=WMELH:1", "A photo of the face of a White nurse, a person"),
        ("balanced-prompting:race=Asian:1", "A photo of the face of a Asian nurse, a person"),  # "a" never becomes "an"
    ],
)
def test_what_a_prompt_becomes(target: str, becomes: str) -> None:
    assert rewritten(target, samples(2)) == ([becomes, becomes], [])


def test_methods_leave_the_card_alone() -> None:
    built_in = [name for name in registry.BUILTIN["methods"] if name not in ("lora", "fair-cot")]  # these need a file
    assert len(built_in) >= 8
    assert all(method(name).adapt(CARD) is CARD for name in built_in)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("any-gender-suffix:loud", "takes no argument"),
        ("any-race-suffix:loud", "takes no argument"),
        ("any-mix-suffix:loud", "takes no argument"),
        ("balanced-prompting:age", "'age' is no attribute"),
        ("balanced-prompting:gender=femal:0.5,male:0.5", "'femal' is no gender"),
        ("balanced-prompting:gender=female:0.5,female:0.5", "'female' stands twice"),
        ("balanced-prompting:race=WMELH:0.5,White:0.5", "'White' stands twice"),
        ("balanced-prompting:gender=female:0.5,male:0.4", "shares of gender sum to 0.9"),
        ("balanced-prompting:gender=female:nan,male:1", "'nan' is no share"),
        ("balanced-prompting:gender=female:0,male:1", "'0' is no share"),
        ("balanced-prompting:gender=female", "'' is no share"),
        ("balanced-prompting:gender+gender", "names an attribute twice"),
        ("balanced-prompting:quotagender", "'quotagender' is no attribute"),
        ("chain-of-thought:Say it nicely", r"must hold \{prompt\} exactly once"),
        ("verbalized-sampling:many", "2 to 99"),
        ("verbalized-sampling:1", "2 to 99"),
        ("verbalized-sampling:²", "2 to 99"),
    ],
)
def test_bad_arguments_are_told_in_one_sentence(target: str, why: str) -> None:
    with pytest.raises(FairbenchError, match=why) as caught:
        method(target)
    assert str(caught.value).count("\n") == 0
    assert str(caught.value).startswith(f"--method {target.partition(':')[0]}")


# --- balanced prompting ---


def groups(texts: Sequence[str]) -> list[str]:
    found = [re.fullmatch(r"A photo of the face of a (.+) nurse, a person", t) for t in texts]
    assert all(found)
    return [m[1] for m in found if m]


def test_groups_are_uniform_and_independent_from_sample_to_sample() -> None:
    asked = samples(4000)
    drawn = groups(rewritten("balanced-prompting", asked)[0])
    cells = {f"{g} {r}" for g in ("female", "male") for r in ("White", "Asian", "Black", "Indian")}
    counts = Counter(drawn)
    assert set(counts) == cells
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3
    pairs = Counter(zip(drawn[::2], drawn[1::2], strict=True))
    assert stats.chi2_contingency([[pairs[a, b] for b in cells] for a in cells]).pvalue > 1e-3


def test_shares_are_those_of_the_argument() -> None:
    spec = "balanced-prompting:race=Asian:0.5,Black:0.3,WMELH:0.2+gender=female:0.9,male:0.1"
    counts = Counter(groups(rewritten(spec, samples(4000))[0]))
    expected = {
        f"{g} {r}": 4000 * p * q
        for g, p in (("female", 0.9), ("male", 0.1))
        for r, q in (("Asian", 0.5), ("Black", 0.3), ("White", 0.2))
    }
    assert set(counts) == set(expected)
    assert stats.chisquare([counts[k] for k in expected], list(expected.values())).pvalue > 1e-3


def test_a_group_depends_on_the_samples_own_seed_alone() -> None:
    other = prompt("A photo of the face of a doctor, a person", "doctor")
    alone = rewritten("balanced-prompting", samples(20))[0]
    assert rewritten("balanced-prompting", samples(40))[0][:20] == alone
    assert rewritten("balanced-prompting", samples(20, other, prompt()))[0][20:] == alone
    assert rewritten("balanced-prompting", samples(20, run_seed=1))[0] != alone


def test_a_group_is_independent_of_the_images_noise() -> None:
    """The image's noise comes from the sample's seed itself; its first number must not tell the group."""
    asked = samples(2000)
    noise = [np.random.default_rng(s.seed).random() for s in asked]
    is_female = [g == "female" for g in groups(rewritten("balanced-prompting:gender", asked)[0])]
    assert (
        stats.mannwhitneyu(
            [n for n, f in zip(noise, is_female, strict=True) if f],
            [n for n, f in zip(noise, is_female, strict=True) if not f],
        ).pvalue
        > 1e-3
    )


def test_quotas_are_exact_marked_and_can_be_extended() -> None:
    drawn = groups(rewritten("balanced-prompting:quota", samples(24))[0])
    assert set(Counter(drawn).values()) == {3}
    assert all(len(set(drawn[i : i + 8])) == 8 for i in (0, 8, 16))  # it cycles
    assert groups(rewritten("balanced-prompting:quota", samples(11))[0]) == drawn[:11]
    uneven = groups(rewritten("balanced-prompting:quota-gender=female:0.6,male:0.4", samples(10))[0])
    assert Counter(uneven) == {"female": 6, "male": 4}
    assert BalancedPrompting("quota").quota
    assert BalancedPrompting("quota-race").quota
    assert not BalancedPrompting(None).quota
    assert not getattr(method("any-gender-suffix"), "quota", False)


def test_the_remainder_of_a_quota_does_not_go_to_one_group_everywhere() -> None:
    prompts = [prompt(f"A photo of the face of a nurse, a person{'!' * i}") for i in range(60)]
    texts = rewritten("balanced-prompting:quota-gender", samples(1, *prompts))[0]
    female = sum("female" in t for t in texts)
    assert 10 < female < 50


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.integers(1, 90))
def test_dealt_counts_stay_within_one_of_their_shares(weights: list[int], count: int) -> None:
    shares = np.array(weights) / sum(weights)
    given_so_far = np.cumsum(np.eye(len(shares))[deal(shares, count)], axis=0)
    due = np.arange(1, count + 1)[:, None] * shares
    bound = 1 - 1 / max(2 * len(shares) - 2, 2)
    assert np.abs(given_so_far - due).max() <= bound + 1e-6


def test_the_words_are_those_that_the_phantom_knows() -> None:
    for label, word in {**common.GENDERS, **common.RACES}.items():
        assert planted.WORDS[word.lower()] == label
        assert text.SPOKEN.get(label, (label,))[0] == word


@pytest.mark.parametrize(
    ("words", "subject", "becomes"),
    [
        ("the face of an ace, a person", "ace", "the face of an X, a person"),  # whole words, not a part of "face"
        ("a person at work, a person", "person", "a X at work, a person"),  # only the first
        ("a (C++) coder", "(C++) coder", "a X"),
        ("一张护士的脸", "护士", "一张X的脸"),
    ],
)
def test_the_place_of_the_subject(words: str, subject: str, becomes: str) -> None:
    assert common.instead_of_subject(prompt(words, subject), "X") == becomes


def test_a_prompt_without_its_subject_is_refused() -> None:
    with pytest.raises(FairbenchError, match="does not hold its subject 'nurse'"):
        rewritten("balanced-prompting", samples(1, prompt("A photo of a doctor")))


# --- methods that ask a text model ---


@pytest.mark.parametrize("name", ["chain-of-thought", "verbalized-sampling"])
def test_a_model_without_a_text_side_is_refused(name: str) -> None:
    with pytest.raises(FairbenchError, match=r"'diffusers' of some-model answers no questions, .* no text_model;"):
        rewritten(name, samples(1))


def test_chain_of_thought_takes_the_models_prompt() -> None:
    model = Scripted(lambda question, seed: f' "A photo of a tall nurse\n number {seed}" ')
    asked = samples(3)
    texts, warnings = rewritten("chain-of-thought", asked, model)
    assert texts == [f"A photo of a tall nurse number {seed}" for _, seed in model.asked]
    assert warnings == []
    assert {q for q, _ in model.asked} == {f"{text.REWRITE.removesuffix('{prompt}')}{NEUTRAL}"}
    seeds = [seed for _, seed in model.asked]
    assert len({*seeds, *(s.seed for s in asked)}) == 6  # its own randomness a sample, never the image's noise
    own = Scripted(lambda question, seed: question)
    assert rewritten("chain-of-thought:Be fair: {prompt}", samples(1), own)[0] == [f"Be fair: {NEUTRAL}"]


def test_unusable_rewrites_fall_back_to_the_neutral_prompt_and_are_counted() -> None:
    longest = " ".join(["word"] * chain_of_thought.MAX_WORDS)
    answers = iter(["", " \n", '""', f"{longest} more", longest])
    texts, warnings = rewritten("chain-of-thought", samples(5), Scripted(lambda *_: next(answers)))
    assert texts == [NEUTRAL] * 4 + [longest]
    assert len(warnings) == 1
    assert "chain-of-thought: 4 of 5 answers" in warnings[0]


LISTED = """Here they are:
1. 30%: A female Asian nurse.
- .1: male nurse
**0.6**: "an old Nurse"
2.5: a nurse
0.2: a cook"""


def test_listed_people_are_read() -> None:
    found = verbalized_sampling.parse(LISTED, "nurse")
    assert found == [(0.3, "female Asian nurse"), (0.1, "male nurse"), (0.6, "old Nurse")]


def test_one_of_the_listed_people_is_drawn_by_its_probability() -> None:
    texts, warnings = rewritten("verbalized-sampling", samples(3000), Scripted(lambda *_: LISTED))
    counts = Counter(groups([t.replace("Nurse", "nurse") for t in texts]))
    expected = {"female Asian": 900, "male": 300, "old": 1800}
    assert set(counts) == set(expected)
    assert stats.chisquare([counts[k] for k in expected], list(expected.values())).pvalue > 1e-3
    assert warnings == []


def test_an_answer_that_lists_nobody_falls_back_and_is_counted() -> None:
    model = Scripted(lambda question, seed: "a person" if seed % 2 else "0.5: a young nurse")
    texts, warnings = rewritten("verbalized-sampling:7", samples(40), model)
    odd = sum(seed % 2 for _, seed in model.asked)
    assert texts.count(NEUTRAL) == odd
    assert texts.count("A photo of the face of a young nurse, a person") == 40 - odd
    assert f"verbalized-sampling: {odd} of 40 answers" in warnings[0]
    assert all("Name 7 different people" in q and 'end in "nurse"' in q and NEUTRAL in q for q, _ in model.asked)


@pytest.mark.parametrize("name", ["method", "hook"])
def test_the_guide_shows_the_examples_as_they_are(name: str) -> None:
    source = (ROOT / f"tests/plugin_package/src/fairbench_example/{name}.py").read_text()
    assert source.partition("\n\n")[2] in (ROOT / "docs/methods.md").read_text()


def test_the_published_example_draws_its_words_from_the_samples_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "plugin_package" / "src")
    politely = importlib.import_module("fairbench_example.method").Politely
    context = MethodContext(CARD, 0)
    assert politely(None).rewrite(samples(1), context) == [f"{NEUTRAL}, please"]
    texts = politely("please,kindly").rewrite(samples(40), context)
    assert set(texts) == {f"{NEUTRAL}, please", f"{NEUTRAL}, kindly"}
    assert politely("please,kindly").rewrite(samples(50), context)[:40] == texts
    with pytest.raises(FairbenchError, match="give words"):
        politely("please, now")
