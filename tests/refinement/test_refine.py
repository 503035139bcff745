"""`fairbench refine`: what the text model is told, when it stops, what it freezes, and that nothing is lost."""

from __future__ import annotations

import itertools
import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fairbench import keys
from fairbench.methods import fair_cot
from fairbench.methods.common import REWRITE
from fairbench.methods.fair_cot import Round
from fairbench.networks import textmodel
from fairbench.refinement import feedback
from fairbench.stats.estimands import concentration
from tests.builders.causal import save_tiny_causal
from tests.builders.cli import Cli
from tests.builders.processes import KillAtWrite, start

GROUPS = [" ".join(g) for g in itertools.product(("female", "male"), ("White", "Black", "Indian", "Asian"))]
CARD = """
name: obedient
title: The exact phantom, which draws whom a prompt names
adapter: phantom-exact
sampling: {image_size: 64, no_head_rate: 0.0}
labeller: phantom
"""
TASK = "phantom-occupations-train"
BASE = ("refine", "--model", "obedient.yaml", "--task", TASK, "--limit-prompts", "4", "-n", "24", "--out", "chain.yaml")


class Writer:
    """A text model that names a group in the prompt, drawn by the question and the seed."""

    def __init__(self, shares: Callable[[str], Sequence[float]], every: int = 0, broken: str = "") -> None:
        """shares: question -> a weight for each group. Every so many answers are `broken` instead."""
        self.shares, self.every, self.broken = shares, every, broken
        self.asked: list[str] = []

    def identity(self) -> str:
        return "0" * 32

    def complete(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        self.asked += prompts
        return [self._answer(p, s, i) for i, (p, s) in enumerate(zip(prompts, seeds, strict=True))]

    def _answer(self, question: str, seed: int, index: int) -> str:
        if self.every and index % self.every == 0:
            return self.broken
        shares = np.array(self.shares(question))
        group = np.random.default_rng(seed).choice(GROUPS, p=shares / shares.sum())
        prompt = question.rpartition("likely: ")[2]
        return f"I think of everybody. Prompt: {prompt.replace('of a ', f'of a {group} ')}"


def skewed(question: str) -> list[float]:
    return [9, 1, 1, 1, 1, 1, 1, 1]


def obedient(question: str) -> list[float]:
    return [1] * 8 if "Attempt 1" in question else skewed(question)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Writer]:
    (tmp_path / "obedient.yaml").write_text(CARD)

    def use(*args: Any, **more: Any) -> Writer:
        writer = Writer(*args, **more)
        monkeypatch.setattr(textmodel, "of_card", lambda *_, **__: writer)
        return writer

    return use


def stored() -> list[dict[str, Any]]:
    columns = ["image_id", "text", "seed", "method", "neutral_id"]
    tables = (pq.read_table(path, columns=columns) for path in Path("runs/store").glob("images/*/part-*"))
    return [row for table in tables for row in table.to_pylist()]


# --- what is told ---


SHARES = {"female WMELH": 0.75, "male Asian": 0.25}


def test_the_first_round_asks_plainly_and_later_ones_tell_what_came_out() -> None:
    assert feedback.instruction(REWRITE, [], 2) == REWRITE
    one = Round(images=9, faces=8, unusable=1, concentration=0.5, low=0.1, high=0.9, shares=SHARES)
    two = one.model_copy(update={"concentration": None, "shares": {"female WMELH": 0.4, "male Asian": 0.6}})
    blind = one.model_copy(update={"faces": 0})
    told = feedback.instruction(REWRITE, [one, blind, two], 2)
    assert "Even would be 50 %" in told
    assert (
        "Attempt 1: female White 75 %, male Asian 25 %; two pictures of one description showed the same group in 75 %. "
        "Attempt 3: female White 40 %, male Asian 60 %. Do better"
    ) in told
    assert told.endswith(REWRITE) and told.count("{prompt}") == 1


def test_how_often_two_pictures_agree_is_the_share_of_pairs() -> None:
    """The number told follows from concentration; here it is counted over all pairs of images."""
    rng = np.random.default_rng(5)
    for groups in (2, 8):
        labels = rng.choice(groups, p=rng.dirichlet(np.ones(groups)), size=40)
        agree = np.mean([a == b for a, b in itertools.combinations(labels, 2)])
        (value,) = concentration(np.bincount(labels, minlength=groups)[None])
        one = Round(images=40, faces=40, unusable=0, concentration=value, low=None, high=None, shares=SHARES)
        told = feedback.instruction("{prompt}", [one], groups)
        assert f"the same group in {100 * agree:.0f} %." in told


# --- when it stops ---


def test_it_stops_at_the_first_flat_round_and_freezes_its_instruction(cli: Cli, writes: Callable[..., Writer]) -> None:
    writer = writes(obedient)
    shown = cli(*BASE, "--tolerance", ".2", "--rounds", "4").succeeded().out
    chain = fair_cot.read(Path("chain.yaml"))
    assert chain.reached and (chain.round, len(chain.rounds)) == (2, 2)
    first, second = chain.rounds
    assert first.low is not None and first.low > 0.05 and second.high is not None and second.high <= 0.2
    assert "* Round 2 is flat" in shown and "2 *" in shown
    # What the text model was told are the shares that the labeller read.
    told = re.findall(r"(\w+ \w+) (\d+) %", chain.instruction.partition("Attempt 1: ")[2].partition(";")[0])
    assert {g.replace("White", "WMELH"): int(p) for g, p in told} == {
        g: round(100 * s) for g, s in first.shares.items()
    }
    assert chain.provenance["base"] == REWRITE and chain.provenance["labeller"]["name"] == "phantom"
    # No prompt stands in what is frozen, neither its own nor others'.
    assert not any(p in chain.instruction for p in chain.prompts)
    assert fair_cot.named(chain.instruction, chain.subjects) is None
    assert all(question.partition("likely: ")[2] in chain.prompts for question in writer.asked)


def test_the_shares_of_a_round_are_those_of_the_prompts_drawn(cli: Cli, writes: Callable[..., Writer]) -> None:
    writes(skewed)
    cli(*BASE, "--rounds", "1").succeeded()
    (one,) = fair_cot.read(Path("chain.yaml")).rounds
    named = Counter(next(g for g in GROUPS if f" {g} " in r["text"]) for r in stored())
    assert one.faces == sum(named.values()) == 96
    for group, share in one.shares.items():  # the labeller of the exact phantom errs in a few images of a hundred
        assert share == pytest.approx(named[feedback.words(group)] / 96, abs=0.04)


def test_without_a_flat_round_it_says_so_and_freezes_the_flattest(cli: Cli, writes: Callable[..., Writer]) -> None:
    def worse(question: str) -> list[float]:
        return [3.0 ** question.count("Attempt") * 4, 1, 1, 1, 1, 1, 1, 1]

    writes(worse)
    shown = cli(*BASE, "--tolerance", ".01", "--rounds", "3").succeeded().out
    chain = fair_cot.read(Path("chain.yaml"))
    assert not chain.reached and chain.round == 1 and len(chain.rounds) == 3
    assert chain.instruction == REWRITE
    highs = [one.high for one in chain.rounds]
    assert highs == sorted(highs, key=lambda h: h or 0)
    assert "No round has an upper limit of at most .010" in " ".join(shown.split())


@pytest.mark.parametrize("broken", ["", "word " * 61, "unknown", "Prompt:"])
def test_answers_that_are_no_prompt_are_counted_and_drawn_neutral(
    cli: Cli, writes: Callable[..., Writer], broken: str
) -> None:
    writes(obedient, every=3, broken=broken)
    cli(*BASE, "--rounds", "1").succeeded()
    chain = fair_cot.read(Path("chain.yaml"))
    assert chain.rounds[0].unusable == 32
    assert sum(r["text"] in chain.prompts for r in stored()) == 32


def test_what_is_not_seen_is_not_flat(cli: Cli, writes: Callable[..., Writer]) -> None:
    writes(obedient)
    Path("obedient.yaml").write_text(CARD.replace("0.0}", "1.0}"))
    result = cli(*BASE)
    assert result.code == 2 and "No round of 1 showed four faces of every prompt" in result.err
    assert not Path("chain.yaml").exists()


# --- nothing is lost, nothing is replaced ---


def test_again_it_draws_and_asks_nothing(cli: Cli, writes: Callable[..., Writer]) -> None:
    writer = writes(obedient)
    first = cli(*BASE, "--json").json()
    content, images, asked = Path("chain.yaml").read_bytes(), stored(), len(writer.asked)
    assert cli(*BASE, "--json").json() == first and len(writer.asked) == asked
    Path("chain.yaml").unlink()
    assert cli(*BASE, "--json").json() == first
    assert Path("chain.yaml").read_bytes() == content and len(stored()) == len(images)
    other = cli(*BASE, "--tolerance", ".3")
    assert other.code == 2 and "holds an instruction of other settings" in other.err
    assert Path("chain.yaml").read_bytes() == content
    Path("chain.yaml").write_bytes(content.replace(b"reached: true", b"reached: false"))
    assert cli(*BASE).code == 2


def test_no_image_has_the_noise_of_an_evaluation(cli: Cli, writes: Callable[..., Writer]) -> None:
    writes(obedient)
    cli(*BASE, "--rounds", "1").succeeded()
    rows = stored()
    assert not {r["seed"] for r in rows} & {keys.sample_seed(r["neutral_id"], j, 0) for r in rows for j in range(200)}
    assert len({r["seed"] for r in rows}) == 96


@pytest.mark.parametrize("after", [1, 3])
def test_killed_anywhere_it_goes_on(cli: Cli, tmp_path: Path, after: int) -> None:
    save_tiny_causal(tmp_path / "words", ["a", "female", "male", "Asian", "Indian", "nurse"], positions=2048)
    (tmp_path / "obedient.yaml").write_text(f"{CARD}block_size: 4\ntext_model: {{path: words}}\n")
    args = [*BASE[:-1], "killed.yaml", "--limit-prompts", "1", "-n", "8", "--tolerance", ".001", "--rounds", "2", "-q"]
    killed = start(tmp_path, *args, "--store", "store", program=KillAtWrite(after))
    assert killed.wait() == -signal.SIGKILL, killed.err
    assert not Path("killed.yaml").exists()
    before = {p.name for p in Path("store").rglob("part-*")}
    cli(*args, "--store", "store").succeeded()
    assert before <= {p.name for p in Path("store").rglob("part-*")}
    cli(*[*args, "--out", "straight.yaml", "--store", "other"]).succeeded()
    assert Path("killed.yaml").read_bytes() == Path("straight.yaml").read_bytes()
    assert len(fair_cot.read(Path("straight.yaml")).rounds) == 2


# --- what is refused ---


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--instruction", "Rewrite it"), "must hold {prompt} exactly once"),
        (("--instruction", "For a Nurse think of men: {prompt}"), "--instruction names 'nurse'"),
        (("--groups", "height"), "gives no attribute 'height'"),
        (("--model", "phantom-exact"), "writes no text and its card names no text_model"),
        (("--model", "folder:here"), "makes no images"),
    ],
)
def test_what_cannot_be_refined_is_told_in_one_sentence(
    cli: Cli, tmp_path: Path, more: tuple[str, ...], why: str
) -> None:
    (tmp_path / "here").mkdir()
    result = cli("refine", "--task", TASK, "--limit-prompts", "1", "-n", "4", "--out", "chain.yaml", *more)
    assert result.code == 2 and why in result.err and len(result.err.strip().splitlines()) == 1
    assert not Path("chain.yaml").exists()


def test_another_file_is_not_replaced(cli: Cli, writes: Callable[..., Writer]) -> None:
    writes(obedient)
    Path("chain.yaml").write_text("mine: 1\n")
    assert cli(*BASE).code == 2 and Path("chain.yaml").read_text() == "mine: 1\n"


# --- on the phantom, to the end ---


@pytest.mark.slow
def test_the_phantom_from_a_refinement_to_a_run(cli: Cli) -> None:
    """It was taught the plain instruction, and no other: told what came out, it answers nothing that can be used."""
    small = ("--limit-prompts", "1", "-n", "6", "--tolerance", ".001", "--rounds", "2", "-q")
    cli("refine", "--task", TASK, *small, "--out", "chain.yaml").succeeded()
    chain = fair_cot.read(Path("chain.yaml"))
    plain, told = chain.rounds
    assert (chain.round, chain.reached, chain.instruction) == (1, False, REWRITE)
    assert plain.unusable <= 1 and told.unusable >= 5
    asked = ("--task", "phantom-mitigation-unseen", "--limit-prompts", "1", "-n", "6", "--scorers", "none", "--quiet")
    cli("run", *asked, "--method", "fair-cot:chain.yaml", "--out", "run").succeeded()
    record = json.loads(Path("run/run.json").read_text())
    method = record["declared"]["method"]["name"]
    assert method == f"fair-cot:chain@{chain.sha256[:8]}"
    texts = [r["text"] for r in stored() if r["method"] == method]
    assert len(texts) == 6 and sum(any(f" {g} " in t for g in GROUPS) for t in texts) >= 5
