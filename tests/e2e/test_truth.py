"""The truth that is known, beside what a whole run measured; and that the exact phantom draws the planted table."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench.cards import catalog
from fairbench.phantom import planted
from fairbench.phantom.equivalence import equivalence
from fairbench.runs.prompts import expand
from tests.conftest import Result

Cli = Callable[..., Result]
RUN = ("run", "--task", "occupations-mini", "--no-sheets", "--out", "out", "--model")
ATTRIBUTES = ("gender", "race4", "gender_x_race4")


def subjects() -> list[str]:
    return [p.subject for p in expand(catalog.load_task("occupations-mini").card)]


def planted_rd(attribute: str) -> float:
    """Task-mean RD of the planted table, by the formula's own sum over pairs."""
    values = []
    for subject in subjects():
        joint = planted.table()[subject]
        shares = {"gender": joint.sum(axis=1), "race4": joint.sum(axis=0), "gender_x_race4": joint.ravel()}[attribute]
        values.append(np.mean([abs(a - b) for a, b in itertools.combinations(shares, 2)]))
    return float(np.mean(values))


def card(folder: Path, change: Callable[[str], str]) -> Path:
    """Write a copy of the phantom-exact card elsewhere, changed."""
    text = catalog.find("models")["phantom-exact"].read_text()
    path = folder / "copy.yaml"
    path.write_text(change(text.replace("name: phantom-exact", "name: copy")))
    return path


def run_json(cli: Cli, *args: str | Path) -> dict[str, Any]:
    found = cli(*RUN, *args, "--json")
    assert found.code == 0, found.err
    summary: dict[str, Any] = json.loads(found.out)
    assert summary["truth"] == json.loads(Path("out/run.json").read_text())["truth"]
    return summary


def test_a_run_prints_the_planted_values(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = cli(*RUN, "phantom-exact", "-n", "64")
    assert found.code == 0, found.err
    summary = run_json(cli, "phantom-exact", "-n", "64")
    raw = [m for m in summary["metrics"] if (m["metric"], m["estimate"], m["scope"]) == ("rd", "raw", "task")]
    measured = {m["attribute"]: m["value"] for m in raw}
    ((truth,),) = (summary["truth"],)
    assert (truth["name"], truth["note"]) == ("planted", None)
    assert [v["attribute"] for v in truth["values"]] == list(ATTRIBUTES)
    table = found.out.split("known truth")[1]
    for value in truth["values"]:
        assert value["prompts"] == 8
        assert value["truth"] == pytest.approx(planted_rd(value["attribute"]), abs=1e-9)
        assert value["truth"] < value["expected"] < value["truth"] + 0.05
        assert value["measured"] == measured[value["attribute"]]
        assert 0 < value["spread"] < 0.05
        assert abs(value["measured"] - value["expected"]) < 4 * value["spread"]
        numbers = [re.escape(f"{value[k]:.3f}".removeprefix("0")) for k in ("measured", "truth", "expected")]
        assert re.search(rf"^{value['attribute'].replace('_x_', ' x ')} +rd +{' +'.join(numbers)} *$", table, re.M)


def test_two_truths_stand_side_by_side_in_80_columns(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`realised` lies beside the card, has a column more, and knows one attribute only."""
    rows = [f"{s},{a:.4f},{b:.4f},999" for s, (a, b) in ((s, j.sum(axis=1)) for s, j in planted.table().items())]
    (tmp_path / "realised.csv").write_text("\n".join(["subject,female,male,n", *rows]) + "\n")
    more = "truth:\n  - {name: realised, file: realised.csv, attributes: [gender]}\n"
    path = card(tmp_path, lambda text: text.replace("truth:\n", more))
    monkeypatch.setenv("COLUMNS", "80")
    found = cli(*RUN, path, "-n", "8")
    assert found.code == 0, found.err
    table = found.out.split("known truth")[1].split("rd at these n")[0]
    assert max(map(len, table.splitlines())) <= 80
    (gender,) = re.findall(r"^gender +rd +([\d. ]+)$", table, re.M)
    measured, realised, realised_n, own, own_n = map(float, gender.split())
    assert (realised, own) == pytest.approx((planted_rd("gender"), planted_rd("gender")), abs=1e-3)
    assert (realised_n, measured) == pytest.approx((own_n, own_n), abs=0.2)
    (race,) = re.findall(r"^race4 +rd +([\d. ]+)$", table, re.M)
    assert len(race.split()) == 3  # measured, planted, and planted at these n; nothing under `realised`
    assert len(re.findall(r"inside|outside", table)) == 2 * (2 + 1 + 1)  # raw and corrected sq against each truth


def test_prompts_without_a_face_are_left_out(cli: Cli, tmp_path: Path) -> None:
    path = card(tmp_path, lambda text: text.replace("no_head_rate: 0.03", "no_head_rate: 1.0"))
    ((truth,),) = (run_json(cli, path, "-n", "2")["truth"],)
    for value in truth["values"]:
        assert value["prompts"] == 0
        assert {value[k] for k in ("measured", "truth", "expected", "spread")} == {None}
    assert "none" in cli(*RUN, path, "-n", "2").out.split("known truth")[1]


def test_a_card_without_truth_shows_nothing(cli: Cli, tmp_path: Path) -> None:
    path = card(tmp_path, lambda text: re.sub(r"truth:\n(  .*\n)+", "", text))
    assert run_json(cli, path, "-n", "2")["truth"] == []
    assert "known truth" not in cli(*RUN, path, "-n", "2").out


@pytest.mark.slow
def test_the_exact_phantom_reproduces_the_planted_table(cli: Cli) -> None:
    """Rendered, detected and classified: every joint share of every prompt is within 0.10 of the table, at alpha 0.05.

    The same counts must not pass against a table that is off by more, nor a twentieth of them against the right one.
    """
    run_json(cli, "phantom-exact", "-n", "800")
    with Path("out/prompts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [f"gender_x_race4.share {gender} {race}" for gender, race in planted.CELLS]
    shares = np.array([[float(row[c]) for c in columns] for row in rows])
    n = np.array([[int(row["gender_x_race4.n"])] for row in rows])
    counts = np.round(shares * n).astype(np.int64)
    assert (counts.sum(axis=1, keepdims=True) == n).all()
    truth = np.array([planted.table()[row["subject"]].ravel() for row in rows])
    found = equivalence(counts, truth, margin=0.10, alpha=0.05)
    assert found.overall, dict(zip(subjects(), found.reach.round(3), strict=True))
    other_genders = np.roll(truth, len(planted.RACES), axis=1)
    assert not equivalence(counts, other_genders).equivalent.any()
    assert not equivalence(np.round(counts / 20).astype(np.int64), truth).overall
