"""Targets: what is typed becomes shares per prompt, and what is trained comes up by them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fairbench.errors import FairbenchError
from fairbench.synthesis import balanced
from fairbench.training import target
from fairbench.training.order import Order


@pytest.fixture
def data(balanced_manifest: Path) -> balanced.Balanced:
    return balanced.read(balanced_manifest)


def shares_of(text: str, data: balanced.Balanced, row: int = 0) -> dict[str, float]:
    found = target.shares(text, data)
    assert found.shape == (len(data.rows), len(data.groups))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    return {" ".join(group): float(share) for group, share in zip(data.groups, found[row], strict=True)}


def test_what_is_not_named_is_equal(data: balanced.Balanced) -> None:
    found = shares_of("female=.6, Black=.4", data)
    for race in data.attributes["race4"]:
        of_race = {"Black": 0.4, "WMELH": 0.6}[race]
        assert found[f"female {race}"] == pytest.approx(0.6 * of_race)
        assert found[f"male {race}"] == pytest.approx(0.4 * of_race)


def test_a_file_has_shares_per_subject(data: balanced.Balanced, tmp_path: Path) -> None:
    subjects = dict.fromkeys(row.subject for row in data.rows)
    file = tmp_path / "shares.csv"
    lines = [f"{s},{0.9 - 0.2 * i:.1f},{0.1 + 0.2 * i:.1f}" for i, s in enumerate(subjects)]
    file.write_text("subject,female,male\n" + "\n".join(lines) + "\n")
    for i, subject in enumerate(subjects):
        row = next(n for n, r in enumerate(data.rows) if r.subject == subject)
        women = sum(v for k, v in shares_of(f"gender={file}", data, row).items() if k.startswith("female "))
        assert women == pytest.approx(0.9 - 0.2 * i)
    file = tmp_path / "others.csv"
    file.write_text("subject,female,male\nsomebody else,.5,.5\n")
    with pytest.raises(FairbenchError, match="of the balanced set needs a line of shares above 0"):
        target.shares(f"gender={file}", data)
    with pytest.raises(FairbenchError, match="by a file and by shares"):
        target.shares(f"gender={file},female=.5", data)
    file = tmp_path / "words.csv"
    file.write_text("subject,women,men\nnurse,.5,.5\n")
    with pytest.raises(FairbenchError, match="needs a column for each of female, male"):
        target.shares(f"gender={file}", data)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("female=0", "give a share above 0 and below 1"),
        ("female=much", "give a share above 0 and below 1"),
        ("female", "give a share above 0 and below 1"),
        ("female=.6,male=.5", "the shares of gender must sum to 1"),
        ("blue=.5", "name a label of the balanced set"),
        ("gender=.6", "name a label of the balanced set"),
        ("female=.6,female=.2", "--target names female twice"),
        (" , ", "--target is empty"),
    ],
)
def test_what_is_no_target_is_one_sentence(data: balanced.Balanced, text: str, sentence: str) -> None:
    with pytest.raises(FairbenchError, match=sentence):
        target.shares(text, data)


def test_the_order_of_groups_is_the_sets(data: balanced.Balanced) -> None:
    """Of a set whose manifest lists them otherwise, or that is balanced by its attributes in another order."""
    turned = balanced.Balanced(data.attributes, data.groups[::-1], data.rows)
    assert shares_of("female=.6,Black=.4", turned) == pytest.approx(shares_of("female=.6,Black=.4", data))
    crossed = data.margin(["race4", "gender"])
    assert shares_of("female=.6", crossed)["WMELH female"] == pytest.approx(0.3)


def test_groups_that_are_not_all_combinations_are_refused(data: balanced.Balanced) -> None:
    some = balanced.Balanced(data.attributes, data.groups[:-1], data.rows)
    with pytest.raises(FairbenchError, match="some combinations of labels and not all"):
        target.shares("female=.6", some)


def test_examples_come_up_by_their_shares(data: balanced.Balanced) -> None:
    """Prompts equally often, groups by the target of their prompt; the order is a function of the step alone."""
    wanted = target.shares("female=.9", data)
    wanted[[i for i, row in enumerate(data.rows) if row.prompt == data.rows[0].prompt]] = np.eye(len(data.groups))[0]
    order = Order(data, 3, together=False, target=wanted)
    drawn = np.concatenate([order.examples(step, 50) for step in range(80)])[:, 0]
    prompts = Counter(data.rows[i].prompt for i in drawn)
    assert max(prompts.values()) - min(prompts.values()) <= order.epoch_size
    elsewhere = [data.rows[i].group for i in drawn if data.rows[i].prompt != data.rows[0].prompt]
    women = np.mean([group[0] == "female" for group in elsewhere])
    assert abs(women - 0.9) < 4 * np.sqrt(0.09 / len(elsewhere))
    assert {data.rows[i].group for i in drawn if data.rows[i].prompt == data.rows[0].prompt} == {data.groups[0]}
    np.testing.assert_array_equal(order.examples(7, 50), Order(data, 3, together=False, target=wanted).examples(7, 50))
