"""Contrasts between poles: what pandas counts, how often the intervals hold, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fairbench
from fairbench.measure.contrasts import of_attribute, poles
from fairbench.measure.estimates import row_of
from fairbench.measure.quantities import OTHER_PROMPTS, THIS_LIST, Attribute
from tests.builders.cli import Cli, make_run

SUBJECTS = ("senator", "violinist", "citizen", "legal secretary", "researcher", "cosmetologist")


class _Table(Attribute):
    """Counts (P, K) of images with one face each, without a run around them."""

    def __init__(self, counts: np.ndarray) -> None:  # type: ignore[type-arg]
        super(Attribute, self).__init__("race4", counts, [1, 2])
        self.classes = [f"c{i}" for i in range(counts.shape[1])]


def test_poles_need_both_ends() -> None:
    assert poles(["a: low", "b: high", "neutral", ""]) == {}
    (name, (low, high)), *rest = poles(["x: y: low", "x: y: high", "x: y: low"]).items()
    assert (name, low.tolist(), high.tolist(), rest) == ("x: y", [True, False, True], [False, True, False], [])


def test_values_are_differences_of_mean_shares_whatever_the_numbers_of_prompts_and_faces() -> None:
    counts = np.array([[6, 2, 0], [1, 0, 3], [0, 0, 0], [2, 2, 4], [0, 9, 1]])
    dimensions = poles(["w: low", "w: low", "w: low", "w: high", "w: high"])
    found = {
        q.metric: row_of(_Table(counts), q) for q in of_attribute(_Table(counts), dimensions) if q.scope == THIS_LIST
    }
    assert list(found) == ["contrast[w: c0]", "contrast[w: c1]", "contrast[w: c2]"]
    shares = counts[[0, 1, 3, 4]] / counts[[0, 1, 3, 4]].sum(axis=1, keepdims=True)
    expected = shares[:2].mean(axis=0) - shares[2:].mean(axis=0)
    assert [row.value for row in found.values()] == pytest.approx(expected)
    assert all(row.low <= row.value <= row.high and row.prompts == 4 for row in found.values())


def test_two_classes_have_one_contrast_and_few_prompts_say_nothing_of_others() -> None:
    counts = np.tile([[5, 3]], (24, 1))
    quantities = list(of_attribute(_Table(counts), poles([f"d: {'low' if i % 2 else 'high'}" for i in range(24)])))
    assert [(q.metric, q.scope) for q in quantities] == [
        ("contrast[d: c0]", THIS_LIST),
        ("contrast[d: c0]", OTHER_PROMPTS),
    ]
    assert row_of(_Table(counts), quantities[1]).value == 0
    few = list(of_attribute(_Table(counts[:8]), poles([f"d: {'low' if i % 2 else 'high'}" for i in range(8)])))
    assert "prompts" in str(few[1].columns["reason"])


@pytest.mark.parametrize("images", [6, 24])
def test_intervals_hold_for_this_list_and_for_other_prompts(images: int) -> None:
    rng = np.random.default_rng(images)
    dimensions = poles(["d: low"] * 12 + ["d: high"] * 12)
    within = {THIS_LIST: 0, OTHER_PROMPTS: 0}
    repeats = 300
    for _ in range(repeats):
        p = np.vstack([rng.dirichlet([2, 1, 1], 12), rng.dirichlet([1, 1, 2], 12)])
        counts = np.stack([rng.multinomial(images, row) for row in p])
        truth = {THIS_LIST: p[:12, 0].mean() - p[12:, 0].mean(), OTHER_PROMPTS: 0.5 - 0.25}
        table = _Table(counts)
        for quantity in (q for q in of_attribute(table, dimensions) if q.metric == "contrast[d: c0]"):
            row = row_of(table, quantity)
            within[quantity.scope] += row.low <= truth[quantity.scope] <= row.high
    assert 0.92 <= within[THIS_LIST] / repeats <= 0.985
    assert within[OTHER_PROMPTS] / repeats >= 0.95


def test_a_run_says_which_groups_a_pole_draws(cli: Cli, tmp_path: Path) -> None:
    lines = [
        f'"A photo of the face of a {s}, a person",{s},rank: {"low" if i < 3 else "high"}'
        for i, s in enumerate(SUBJECTS)
    ]
    (tmp_path / "ranks.csv").write_text("\n".join(["prompt,subject,category", *lines]) + "\n", encoding="utf-8")
    run = fairbench.load(
        make_run(tmp_path / "run", "--model", "phantom-exact", "--task", tmp_path / "ranks.csv", "-n", "24")
    )
    table = run.metrics
    rows = table[
        table["metric"].str.startswith("contrast[") & (table["scope"] == "task") & (table["attribute"] == "race4")
    ]
    images = run.images()
    images["pole"] = np.where(images["subject"].isin(SUBJECTS[:3]), "low", "high")
    shares = images.groupby(["pole", "subject"])["race4"].value_counts(normalize=True).unstack(fill_value=0)
    expected = shares.loc["low"].mean() - shares.loc["high"].mean()
    assert len(rows) == 4
    for _, row in rows.iterrows():
        label = row["metric"].removeprefix("contrast[rank: ").removesuffix("]")
        assert row["value"] == pytest.approx(expected.get(label, 0.0), abs=1e-9)
    said = " ".join(cli("show", tmp_path / "run").succeeded().out.split())
    assert "Low minus high pole of the prompts' dimensions, on this list:" in said
    assert "contrasts" in cli("show", tmp_path / "run", "--full").succeeded().out
    assert "share of a class at the low pole" in cli("show", "metric", "contrast[rank: female]").succeeded().out
