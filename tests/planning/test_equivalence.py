"""`fairbench plan --equivalence`: the claims that it plans, what it prints, and what it refuses."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fairbench.planning import terminal
from fairbench.planning.design import Design
from fairbench.planning.equivalence import EquivalenceRow
from fairbench.stats.equivalence_power import Claims, EquivalencePower, equivalence_power
from fairbench.stats.power import shares_at
from tests.builders.cli import Cli
from tests.builders.plans import call, planned


@pytest.mark.long
def test_equivalence_is_planned_with_the_tasks_margins(cli: Cli) -> None:
    options = ("--attribute", "gender,race4", "--detect", 0.1, "--equivalence", "-n", 60)
    gender, race4 = planned(cli, "phantom", *options)["equivalence"]
    assert gender["claims"] == {"concentrated": 0.05, "groups": 0.05, "alpha": pytest.approx(0.05 / 3)}
    # The phantom's own labeller errs little: its table hardly moves run A's shares.
    run_a = equivalence_power(shares_at(0.56, 4)[None], Claims(0.1, 0.1, 0.05 / 3), 8, 60)
    assert race4["like_run_a"]["groups"] == pytest.approx(run_a.groups, abs=0.08)


def test_the_power_of_equivalence_is_a_table() -> None:
    design = Design(0.1, 0.8, 0.05, "this list", 3, 0.05, 8, 60)
    claims, powers = Claims(0.05, 0.1, 0.05 / 3), (EquivalencePower(0.25, 0.5), EquivalencePower(0.75, 1.0))
    printed = io.StringIO()
    table = terminal.equivalence_table([EquivalenceRow("gender_x_race4", 8, claims, *powers)], design)
    table.show(Console(width=80, file=printed))
    assert "Probability that equal models are shown to be equal, with 8 x 60 images" in printed.getvalue()
    row = next(line for line in printed.getvalue().splitlines() if line.startswith("gender x race4"))
    assert row.split("race4")[1].split() == [".05", "/", ".10", ".25", ".50", ".75", "1.00"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--scope", "other prompts", "--prompts", 20),
            "--equivalence plans claims about this list: leave out --scope",
        ),
        (("-n", 3), "--images-per-prompt 3: a comparison takes 4 faces per prompt"),
    ],
)
def test_equivalence_that_cannot_be_planned_is_refused(cli: Cli, options: tuple[object, ...], said: str) -> None:
    code, _, err = call(cli, "phantom", "--detect", 0.1, "--equivalence", *options)
    assert code == 2
    assert said in err
