"""Worst contexts of a planted table: one bad context is found by its test, four or more move CA_.1; its intervals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fairbench
from fairbench.measure import composite
from fairbench.measure.estimates import Estimate, row_of
from fairbench.measure.quantities import OTHER_PROMPTS, THIS_LIST, Attribute
from fairbench.phantom import planted
from fairbench.phantom.renderer import GENDERS, RACES
from fairbench.runs import single_prompts as of_prompts
from fairbench.stats import composite as stats
from fairbench.stats.multiplicity import benjamini_hochberg
from fairbench.stats.shrinkage import balance_p
from fairbench.stats.single_prompts import single_prompts
from tests.builders.cli import Cli, make_run

SIZES = [len(GENDERS), len(RACES)]
CONTEXTS, IMAGES, NO_HEAD = 32, 32, 0.03
NAMES = ("id", "ca-0.1", "ca-mean", "mgbi")
BAD = np.outer([0.05, 0.95], [0.88, 0.04, 0.04, 0.04]).ravel()
"""A bad context: 95 of 100 show men, 88 of 100 one race."""


class _Table(Attribute):
    """Joint counts (P, K) of images with one face each, read without errors, without a run around them."""

    def __init__(self, counts: np.ndarray, seed: int = 0) -> None:  # type: ignore[type-arg]
        super(Attribute, self).__init__("gender_x_race4", counts, [1, seed])
        self.classes = [f"c{i}" for i in range(counts.shape[1])]
        self.read = self.groups = None  # type: ignore[misc, assignment]


def _planted(bad: int, contexts: int = CONTEXTS) -> np.ndarray:  # type: ignore[type-arg]
    """Return joint shares (P, 8): the first contexts are bad, the others fair."""
    shares = np.full((contexts, 8), 1 / 8)
    shares[:bad] = BAD
    return shares


def _counts(shares: np.ndarray, rng: np.random.Generator, images: int = IMAGES) -> np.ndarray:  # type: ignore[type-arg]
    return rng.multinomial(rng.binomial(images, 1 - NO_HEAD, len(shares)), shares)


def _rows(counts: np.ndarray, categories: list[str], seed: int = 0) -> dict[tuple[str, str], Estimate]:  # type: ignore[type-arg]
    table = _Table(counts, seed)
    quantities = composite.of_attribute(table, SIZES, composite.split(categories))
    return {(q.metric, q.scope): row_of(table, q) for q in quantities}


@pytest.mark.parametrize("attribute", range(2))
def test_one_bad_context_among_32_is_found_by_its_test(attribute: int) -> None:
    rng, repeats = np.random.default_rng(attribute), (300, 30)[attribute]
    shares = np.full(SIZES[attribute], 1 / SIZES[attribute])
    found = false = 0.0
    for _ in range(repeats):
        counts = stats.margins(_counts(_planted(1), rng), SIZES)[attribute]
        said = benjamini_hochberg(balance_p(counts, shares, rng)) <= of_prompts.LEVEL
        found += said[0]
        false += said[1:].sum() / max(said.sum(), 1)
    assert found / repeats >= 0.95
    assert false / repeats <= of_prompts.LEVEL + 0.03


@pytest.mark.long
@pytest.mark.parametrize("attribute", range(3))
def test_of_all_that_is_said_of_single_prompts_the_bad_context_is_part(attribute: int) -> None:
    """The same with what a run says: its test, the worst by one half of the images, and its value on the other."""
    rng, repeats = np.random.default_rng(attribute), 200
    found, false, first, judged = 0, 0.0, 0, []
    for _ in range(repeats):
        halves = [_counts(_planted(1), rng, IMAGES // 2) for _ in range(2)]
        tables = [half if attribute == 2 else stats.margins(half, SIZES)[attribute] for half in halves]
        values = single_prompts(tables[0] + tables[1], (tables[0], tables[1]))
        said = values.q <= of_prompts.LEVEL
        found += int(said[0])
        false += said[1:].sum() / max(said.sum(), 1)
        first += int(values.order[0] == 0)
        judged.append(values.judged[0])
    assert found / repeats >= 0.95 and first / repeats >= 0.95
    assert false / repeats <= of_prompts.LEVEL + 0.02
    p = BAD if attribute == 2 else BAD.reshape(SIZES).sum(axis=1 - attribute)
    truth = (len(p) * (p**2).sum() - 1) / (len(p) - 1)
    assert np.mean(judged) == pytest.approx(truth, abs=0.03)  # not flattered by the choice


def test_ca_moves_with_four_bad_contexts_and_not_with_one() -> None:
    rng, everything = np.random.default_rng(9), stats.Split(np.zeros(CONTEXTS, bool), np.ones(CONTEXTS, bool))

    def expected(bad: int) -> float:
        runs = np.stack([_counts(_planted(bad), rng) for _ in range(200)])
        return float(stats.indices(runs, SIZES, everything).worst.mean())

    none, one, four, six = (expected(bad) for bad in (0, 1, 4, 6))
    assert none - one < 0.02
    assert none - four > 0.3 and four - six > 0.05


def test_the_interval_of_ca_covers_what_is_expected() -> None:
    assert _coverage(_planted(4), repeats=100, draws=120) >= 0.93


@pytest.mark.long
@pytest.mark.parametrize(
    ("bad", "images"), [(0, 24), (0, 160), (4, 24), (4, 32), (4, 160), (5, 32), (6, 160), (10, 24)]
)
def test_the_interval_of_ca_covers_in_every_world(bad: int, images: int) -> None:
    assert _coverage(_planted(bad), repeats=500, draws=400, images=images) >= 0.93


def _coverage(shares: np.ndarray, repeats: int, draws: int, images: int = IMAGES) -> float:  # type: ignore[type-arg]
    """Return how often value -+ 1.96 errors holds the expected CA_.1, of runs that have an interval."""
    rng, everything = np.random.default_rng(3), stats.Split(np.zeros(len(shares), bool), np.ones(len(shares), bool))
    runs = np.stack([_counts(shares, rng, images) for _ in range(1500)])
    worst = stats.indices(runs, SIZES, everything).worst
    held = []
    for counts, value in zip(runs[:repeats], worst[:repeats], strict=True):
        error = stats.redrawn(counts, SIZES, everything, draws, rng).worst.std(ddof=1)
        if value > 0:
            held.append(abs(value - worst.mean()) <= 1.96 * error)
    return float(np.mean(held))


@pytest.mark.long
def test_all_intervals_hold_for_this_list_and_for_other_prompts() -> None:
    """Neutral prompts lean less than contexts; for the other scope every run has new prompts."""
    rng, images, repeats = np.random.default_rng(11), 40, 250
    categories = ["neutral"] * 40 + ["d: low"] * 60

    def shares() -> np.ndarray:  # type: ignore[type-arg]
        return np.vstack([rng.dirichlet(np.full(8, 3.0), 40), rng.dirichlet(np.full(8, 1.0), 60)])

    split = composite.split(categories)
    fixed = shares()
    runs = np.stack([rng.multinomial(images, fixed) for _ in range(1500)])
    this_list = [float(v.mean()) for v in stats.indices(runs, SIZES, split)]
    large = rng.multinomial(images, rng.dirichlet(np.full(8, 1.0), 60_000))
    every = stats.diversity(stats.margins(large, SIZES))
    mean_share = np.full(8, 1 / 8)
    inter = float(stats.diversity(stats.margins((mean_share * 1e9).astype(np.int64), SIZES)))
    worst = float(np.quantile(every, 0.1))
    truths = {THIS_LIST: this_list, OTHER_PROMPTS: [inter, worst, float(every.mean()), (inter * worst) ** 0.5]}
    within = dict.fromkeys([(name, scope) for name in NAMES for scope in truths], 0)
    for repeat in range(repeats):
        for scope, p in ((THIS_LIST, fixed), (OTHER_PROMPTS, shares())):
            rows = _rows(rng.multinomial(images, p), categories, repeat)
            for name, truth in zip(NAMES, truths[scope], strict=True):
                row = rows[name, scope]
                within[name, scope] += row.low <= truth <= row.high
    assert {key: count / repeats for key, count in within.items() if count / repeats < 0.93} == {}


def test_rows_of_a_table_count_the_prompts_and_faces_of_each_index() -> None:
    rng = np.random.default_rng(2)
    counts = np.vstack([_counts(_planted(0, 12), rng), _counts(_planted(3, 14), rng)])
    counts[13] = 0
    categories = ["neutral"] * 12 + ["warmth: low"] * 14
    rows = _rows(counts, categories)
    assert list(rows) == [(name, scope) for name in NAMES for scope in (THIS_LIST, OTHER_PROMPTS)]
    faces = counts.sum(axis=1)
    expected = {"id": faces[:12], "ca-0.1": faces[12:], "ca-mean": faces[12:], "mgbi": faces}
    for name in NAMES:
        row = rows[name, THIS_LIST]
        assert (row.counted and row.counted["n_faces"], row.prompts) == (
            expected[name].sum(),
            (expected[name] > 0).sum(),
        )
        assert 0 < row.low < row.value < row.high <= 1 and row.low < row.floor < 1
        assert rows[name, OTHER_PROMPTS].value == row.value
        assert (row.reason is None) == (name == "id")
    values = {name: rows[name, THIS_LIST].value for name in NAMES}
    assert values["mgbi"] == pytest.approx((values["id"] * values["ca-0.1"]) ** 0.5)


def test_what_has_no_value_or_no_interval_says_why() -> None:
    rng = np.random.default_rng(3)

    def reasons(counts: np.ndarray, categories: list[str]) -> dict[str, str | None]:  # type: ignore[type-arg]
        rows = _rows(counts, categories)
        return {name: rows[name, THIS_LIST].reason for name in NAMES}

    fair, few = _counts(_planted(0), rng), _counts(_planted(0), rng, 8)
    none = {"id": composite.NO_NEUTRAL, "ca-0.1": None, "ca-mean": None, "mgbi": composite.NO_NEUTRAL}
    assert reasons(fair, [""] * CONTEXTS) == none
    alone = {"id": None, **dict.fromkeys(NAMES[1:], composite.NO_CONTEXT)}
    assert reasons(fair, ["neutral"] * CONTEXTS) == alone
    both = ["neutral"] * 10 + ["x"] * 22
    assert reasons(few, both) == {
        "id": None,
        "ca-mean": None,
        "ca-0.1": composite.FEW_IMAGES,
        "mgbi": composite.FEW_IMAGES,
    }
    one_sided = fair.copy()
    one_sided[10:20] = [30, 0, 0, 0, 0, 0, 0, 0]
    assert reasons(one_sided, both)["ca-0.1"] == composite.ALL_ZERO
    assert reasons(np.zeros_like(fair), both) == dict.fromkeys(NAMES, composite.NO_FACES)
    assert _rows(fair, both)["id", OTHER_PROMPTS].low < 1
    assert "10 prompts" in str(_rows(fair[:12], both[:12])["ca-0.1", OTHER_PROMPTS].reason)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Let `phantom-exact` draw from another table: neutral texts are fair, and four of 32 contexts bad."""
    path = tmp_path / "planted.csv"
    lines = ["subject," + ",".join(planted.COLUMNS), "*," + ",".join(["0.125"] * 8)]
    lines += [f"trade {i}," + ",".join(f"{v:.6f}" for v in BAD) for i in range(1, 5)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    caches = (planted.table, planted.subject_of, planted.cumulative)
    monkeypatch.setattr(planted, "TABLE_PATH", path)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


def test_a_run_of_the_planted_table_shows_its_worst_contexts(cli: Cli, plant: Path) -> None:
    rows = [f'"A picture of person {i:02}",person {i:02},neutral' for i in range(4)]
    rows += [f'"A picture of trade {i}.",trade {i},work: {"low" if i % 2 else "high"}' for i in range(1, 33)]
    (plant / "work.csv").write_text("\n".join(["prompt,subject,category", *rows]) + "\n", encoding="utf-8")
    folder = make_run(
        plant / "run", "--model", "phantom-exact", "--task", plant / "work.csv", "-n", 24, "--scorers", "none"
    )
    run = fairbench.load(folder)
    worst = run.worst_prompts("gender")
    bad = {f"trade {i}" for i in range(1, 5)}
    leaning = worst[worst["q"] <= of_prompts.LEVEL]
    assert bad <= set(leaning["subject"]) and len(leaning) <= 6
    assert leaning[leaning["subject"].isin(bad)]["judged"].mean() > 0.6
    table = run.metrics
    row_of_metric = {
        name: table[(table["metric"] == name) & (table["attribute"] == "gender_x_race4")].set_index("scope")
        for name in NAMES
    }
    split = stats.Split(np.zeros(CONTEXTS, bool), np.ones(CONTEXTS, bool))
    rng = np.random.default_rng(1)
    drawn = stats.indices(np.stack([_counts(_planted(4), rng, 24) for _ in range(300)]), SIZES, split)
    ca = row_of_metric["ca-0.1"].loc["task"]
    assert ca["ci_low"] <= drawn.worst.mean() <= ca["ci_high"] < ca["floor"]
    images = run.images()
    counted = images[images["subject"].str.startswith("person")]
    entropies = [
        -sum(p * np.log(p) for p in counted[name].value_counts(normalize=True)) / np.log(k)
        for name, k in (("gender", 2), ("race4", 4))
    ]
    inter = row_of_metric["id"].loc["task"]
    assert (
        inter["value"] == pytest.approx(np.prod(entropies) ** 0.5)
        and inter["n_faces"] == counted["gender"].notna().sum()
    )
    mgbi = row_of_metric["mgbi"]["value"]["task"]
    assert mgbi == pytest.approx((inter["value"] * ca["value"]) ** 0.5)
    said = " ".join(cli("show", folder).succeeded().out.split())
    assert "HoloFair's indices of gender x race4 (if fair): ID " in said and "MGBI" in said
    assert "composite indices (HoloFair)" in cli("show", folder, "--full").succeeded().out
