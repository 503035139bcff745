"""The numbers of a report, read back from the page in a browser, are those of metrics.parquet: all of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import beta

from fairbench.measure.quantities import SCOPES
from fairbench.reporting import values
from fairbench.runs.result import Run
from tests.builders.browser import Visit, until_there_are
from tests.reporting.test_browser import page_file, run

__all__ = ["page_file", "run"]
_READ = """table => [...table.tBodies[0].rows].map(row => [...row.cells].map(
    cell => [cell.textContent, cell.querySelector("data") ? cell.querySelector("data").value : ""]))"""

_MARKS = "all => all.filter(mark => mark.__data__ && mark.__data__.datum).map(mark => ({ ...mark.__data__.datum }))"


def same(shown: str, expected: Any) -> bool:
    """Whether a number of the page is that of the table, to the last bit; an empty cell is no number."""
    absent = expected is None or (isinstance(expected, float) and math.isnan(expected))
    return shown == "" if absent else shown != "" and float(shown) == float(expected)


def _part(cell: list[str], at: int) -> str:
    """Return the label of one attribute; `no face` and `no person` are of all."""
    return cell[at] if len(cell) > 1 else cell[0]


def test_every_value_of_all_prompts_stands_on_the_page_as_it_is(browser: Any, page_file: Path, run: Run) -> None:
    visit = Visit(browser, page_file)
    visit.charts()
    table = visit.page.locator(".values table")
    until_there_are(12 + 1, table.locator("thead th"))
    cells = table.evaluate(_READ)
    metrics = run.metrics
    expected = metrics[metrics["scope"] != "prompt"].to_dict("records")
    assert len(cells) == len(expected) > 100
    for row, value in zip(cells, expected, strict=True):
        words = [text for text, _ in row]
        scope = SCOPES[value["scope"]]
        attribute = value["attribute"].replace("_x_", " x ")
        assert words[:4] == [attribute, value["metric"], value["estimate"], scope], words
        for (_, exact), column in zip(row[4:-1], values.NUMBERS, strict=True):
            assert same(exact, value[column]), (words, column)
        assert words[-1] == (value["reason"] if isinstance(value["reason"], str) else "")
    defined = set(visit.page.locator(".definitions dt").all_inner_texts())
    assert defined == {value["metric"].partition("[")[0] for value in expected}
    assert all(len(text) > 30 for text in visit.page.locator(".definitions dd").all_inner_texts())
    table.locator("th button").nth(4).click()
    ordered = [float(exact) for row in table.evaluate(_READ) if (exact := row[4][1])]
    assert ordered == sorted(ordered)
    visit.close()


def test_every_mark_of_every_chart_is_drawn_of_the_runs_numbers(browser: Any, page_file: Path, run: Run) -> None:
    visit = Visit(browser, page_file)
    count = visit.charts()
    metrics, subjects = run.metrics, dict(zip(run.prompts["prompt"], run.prompts["subject"], strict=True))
    of_prompt = {
        (row["attribute"], row["metric"], subjects[row["scope_value"]]): row
        for row in metrics[(metrics["scope"] == "prompt") & (metrics["estimate"] == "raw")].to_dict("records")
    }
    of_list = {
        (row["attribute"], row["metric"]): row["value"]
        for row in metrics[(metrics["scope"] == "task") & (metrics["estimate"] == "raw")].to_dict("records")
    }
    primary = ("gender", "race4", "gender_x_race4")
    alone = {name: run.worst_prompts(name).set_index("subject") for name in primary}
    faces = run.images()
    file = json.loads((run.folder / "evidence" / "calibration.json").read_text())
    checked: dict[str, int] = {}
    for name in visit.page.eval_on_selector_all("[data-chart]", "all => all.map(c => c.dataset.chart)"):
        kind, _, attribute = name.partition("-")
        for mark in visit.page.eval_on_selector_all(f"[data-chart='{name}'] svg path", _MARKS):
            if kind == "shares" and "share" in mark:
                row = of_prompt[attribute, f"share[{mark['class']}]", mark["name"]]
                assert same(str(mark["share"]), row["value"]) and mark["faces"] == row["n_faces"]
                of_class = run.shares(attribute)
                own = of_class[(of_class["subject"] == mark["name"]) & (of_class["class"] == mark["class"])].iloc[0]
                assert (mark["low"], mark["high"]) == (own["ci_low"], own["ci_high"])
            elif kind == "concentration" and "name" in mark:
                row = of_prompt[attribute, "concentration", mark["name"]]
                assert same(str(mark["concentration"]), row["value"]) and mark["faces"] == row["n_faces"]
                own = alone[attribute].loc[mark["name"]]
                shown = [mark[name] for name in ("shrunk", "low", "high", "q", "leads")]
                assert shown == [own[name] for name in ("shrunk", "ci_low", "ci_high", "q", "leads")]
            elif kind == "plane" and "share" in mark:
                assert same(str(mark["share"]), of_list[attribute, f"share[{mark['row']} {mark['column']}]"])
            elif kind == "probabilities" and "from" in mark:
                known = faces[faces["counted"].eq(True)][f"{mark['attribute']}.prob"]
                last = math.isclose(mark["to"], 1)
                within = (known >= mark["from"]) & ((known <= mark["to"]) if last else (known < mark["to"]))
                assert mark["faces"] == int(within.sum()), mark
            elif kind == "recall" and "recall" in mark:
                at = file["attributes"].index(mark["group"].partition(":")[0])
                label = mark["group"].partition(": ")[2].partition(" (")[0]
                own = [line for row, line in zip(file["rows"], file["counts"], strict=True) if row[at] == label]
                read = sum(n for line in own for n in line[:-1])
                right = sum(
                    n for line in own for cell, n in zip(file["columns"], line, strict=True) if _part(cell, at) == label
                )
                low, high = beta.ppf([0.025, 0.975], right + 0.5, read - right + 0.5)
                assert (mark["right"], mark["read"], mark["recall"]) == (right, read, right / read)
                assert mark["group"].endswith(f"(n = {read:,})") and mark["low"] == pytest.approx(low)
                assert mark["high"] == pytest.approx(high if right < read else 1.0)
            elif kind == "calibration" and "count" in mark:
                at = file["attributes"].index(attribute)
                rows, columns = file["rows"], file["columns"]
                total = sum(
                    n
                    for row, line in zip(rows, file["counts"], strict=True)
                    for column, n in zip(columns, line, strict=True)
                    if (_part(row, at), _part(column, at)) == (mark["row"], mark["column"])
                )
                assert mark["count"] == total
            else:
                continue
            checked[name] = checked.get(name, 0) + 1
    assert len(checked) == count and min(checked.values()) >= 3, checked
    visit.close()
