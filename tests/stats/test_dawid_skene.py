"""Dawid and Skene's EM, against a slow one of its own, and people whose errors are declared."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairbench.stats import dawid_skene


def slow(answers: list[list[int]], groups: list[int], classes: int, kinds: int, steps: int) -> list[list[float]]:
    """Return the posterior after so many steps: counts and products written out."""
    people = len(answers[0])
    named = [k for k in range(classes) if any(k in row for row in answers)]
    votes = [[(row.count(k) + 1 / len(named)) if k in named else 0.0 for k in range(classes)] for row in answers]
    post = [[v / sum(row) for v in row] for row in votes]
    for _ in range(steps):
        table = [
            [[1 / kinds + (10 if m == k else 0) for m in range(kinds)] for k in range(classes)] for _ in range(people)
        ]
        for row, p in zip(answers, post, strict=True):
            for a, answer in enumerate(row):
                for k in range(classes):
                    if answer >= 0:
                        table[a][k][answer] += p[k]
        overall = [sum(p[k] for p in post) + (1 / len(named) if k in named else 0) for k in range(classes)]
        new = []
        for row, g in zip(answers, groups, strict=True):
            members = [p for p, other in zip(post, groups, strict=True) if other == g]
            likely = []
            for k in range(classes):
                prior = (sum(p[k] for p in members) + 5 * overall[k] / sum(overall)) / (len(members) + 5)
                terms = [table[a][k][x] / sum(table[a][k]) for a, x in enumerate(row) if x >= 0]
                likely.append(prior * math.prod(terms))
            new.append([v / sum(likely) for v in likely])
        post = new
    return post


def people(
    rng: np.random.Generator, truth: np.ndarray, errors: list[float], classes: int, missing: float = 0.0
) -> np.ndarray:
    """Return the answers (U, A) of people who name another class in a declared share of images."""
    other = (truth[:, None] + rng.integers(1, classes, size=(len(truth), len(errors)))) % classes
    answers = np.where(rng.random(other.shape) < errors, other, truth[:, None])
    return np.where(rng.random(answers.shape) < missing, dawid_skene.MISSING, answers)


@pytest.mark.parametrize(("classes", "kinds"), [(2, 2), (2, 4), (4, 5), (7, 8)])
def test_as_a_slow_em(classes: int, kinds: int) -> None:
    rng = np.random.default_rng(classes * kinds)
    answers = people(rng, rng.integers(classes, size=30), [0.1, 0.3, 0.2], kinds, missing=0.2)
    groups = rng.integers(4, size=30)
    done = dawid_skene.fit(answers, groups, classes, kinds)
    expected = slow(answers.tolist(), groups.tolist(), classes, kinds, done.steps)
    assert done.steps < dawid_skene.MAX_STEPS
    np.testing.assert_allclose(done.posterior, expected, atol=1e-9)
    np.testing.assert_allclose(done.confusion.sum(axis=2), 1)
    np.testing.assert_allclose(done.prior.sum(axis=1), 1)


@pytest.mark.parametrize("classes", [2, 4])
def test_declared_errors_are_found_and_a_bad_annotator_outvoted(classes: int) -> None:
    rng, declared = np.random.default_rng(1), [0.03, 0.10, 0.35]
    groups = np.repeat(np.arange(40), 15)
    leaning = rng.dirichlet(np.full(classes, 0.5), size=40)  # every prompt leans its own way
    truth = np.array([rng.choice(classes, p=leaning[g]) for g in groups])
    answers = people(rng, truth, declared, classes, missing=0.05)
    done = dawid_skene.fit(answers, groups, classes, classes)
    np.testing.assert_allclose(done.errors, declared, atol=0.03)
    votes = (answers[:, :, None] == np.arange(classes)).sum(axis=1)
    assert (done.posterior.argmax(axis=1) == truth).mean() > (votes.argmax(axis=1) == truth).mean()


@pytest.mark.parametrize("stray", [0.0, 0.003])
def test_a_class_that_hardly_anybody_names_is_not_what_people_differ_on(stray: float) -> None:
    """Two labels, and "no person" that is named by mistake alone: EM without smoothing takes it for all disputes."""
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(50), 10)
    truth = (rng.random(500) < 0.88).astype(int)
    answers = people(rng, truth, [0.03, 0.08, 0.3], 2)
    answers[rng.random(answers.shape) < stray] = 2
    done = dawid_skene.fit(answers, groups, 3, 4)
    assert (done.posterior.argmax(axis=1) == truth).mean() > 0.95
    np.testing.assert_allclose(done.errors, (answers != truth[:, None]).mean(axis=0), atol=0.03)
    assert done.posterior[:, 2].sum() < 5


def test_a_prior_per_group_decides_where_people_do_not() -> None:
    """Two people who contradict each other: the prompt's other images say which of them is more likely right."""
    answers = np.array([[0, 0]] * 9 + [[0, 1]] + [[1, 1]] * 9 + [[0, 1]])
    done = dawid_skene.fit(answers, np.repeat([0, 1], 10), 2, 2)
    assert done.posterior[9, 0] > 0.7 and done.posterior[19, 1] > 0.7


def test_cannot_tell_is_an_answer_that_no_image_shows() -> None:
    answers = np.array([[0, 0, 2], [1, 1, 2], [0, 0, 0], [2, 2, 2], [-1, -1, -1]])
    done = dawid_skene.fit(answers, np.zeros(5, dtype=int), 2, 3)
    assert done.posterior.shape == (5, 2) and done.confusion.shape == (3, 2, 3)
    assert done.posterior.argmax(axis=1)[:3].tolist() == [0, 1, 0]
    assert done.errors[2] < 0.2
    assert np.isnan(dawid_skene.fit([[2], [2]], [0, 0], 2, 3).errors).all()


def test_no_images() -> None:
    assert dawid_skene.fit(np.zeros((0, 3), dtype=int), [], 2, 2).posterior.shape == (0, 2)
