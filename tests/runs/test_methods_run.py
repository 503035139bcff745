"""Methods through the command line, on the phantom: what they change, what is remembered, what is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fairbench.adapters.janus import JanusAdapter
from fairbench.networks import weights
from tests.builders.cli import Cli

RUN = ("run", "--model", "phantom", "--no-sheets", "--scorers", "none", "--device", "cpu", "--limit-prompts")
pytestmark = [pytest.mark.slow]


def run(cli: Cli, method: str, prompts: int = 4, count: int = 8, out: str = "out") -> dict[str, Any]:
    """Run a method in the store of the current folder; return run.json, with RD and what went to stderr."""
    found = cli(*RUN, str(prompts), "-n", str(count), "--method", method, "--store", "store", "--out", out, "--json")
    assert found.code == 0, found.err
    raw = [
        m for m in json.loads(found.out)["metrics"] if (m["metric"], m["estimate"], m["scope"]) == ("rd", "raw", "task")
    ]
    return {
        **json.loads(Path(out, "run.json").read_text()),
        "rd": {m["attribute"]: m["value"] for m in raw},
        "err": " ".join(found.err.split()),
    }


def stored_texts() -> dict[str, list[str]]:
    """Method -> the texts of the images that were made for it."""
    texts: dict[str, list[str]] = {}
    for path in Path("store/images").glob("*/part-*.parquet"):
        for row in pq.read_table(path, columns=["method", "text"]).to_pylist():
            texts.setdefault(row["method"], []).append(row["text"])
    return texts


def test_balanced_prompting_lowers_rd_and_keeps_the_pairing(cli: Cli) -> None:
    none = run(cli, "none", out="a")
    drawn = run(cli, "balanced-prompting", out="b")
    dealt = run(cli, "balanced-prompting:quota-gender", out="c")
    # The four prompts' planted RD is .91; eight balanced draws have .27 by chance (standard deviation .10 over four).
    assert none["rd"]["gender"] > 0.75
    assert drawn["rd"]["gender"] < 0.60
    assert drawn["rd"]["gender_x_race4"] < none["rd"]["gender_x_race4"]
    # Four of eight ask for each gender, and the phantom draws what it is asked for in 98 of 100 images.
    assert dealt["rd"]["gender"] < 0.15
    assert [r["task"]["prompts"] for r in (drawn, dealt)] == [none["task"]["prompts"]] * 2
    assert [r["quota"] for r in (none, drawn, dealt)] == [False, False, True]
    assert len({r["run_id"] for r in (none, drawn, dealt)}) == 3
    assert not any(n["code"] == "quota" for n in none["notices"] + drawn["notices"])
    assert any(n["code"] == "quota" and "no multinomial sample" in n["text"] for n in dealt["notices"])
    assert "no multinomial sample" in dealt["err"]
    for text in stored_texts()["balanced-prompting"]:
        assert text.split(" of a ")[1].split()[0] in {"female", "male"}


def test_the_phantom_rewrites_its_prompts_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(cli, "chain-of-thought", prompts=2, count=6, out="a")
    texts = stored_texts()["chain-of-thought"]
    named = [t for t in texts if {"female", "male"} & set(t.split())]
    assert len(texts) == 12
    assert len(named) >= 10  # it was taught to
    assert len(set(named)) > 4
    (file,) = (weights.cache_dir() / "rewrites").glob("*.jsonl")
    assert len(file.read_text().split("\n")) - 1 == 12
    asked: list[int] = []
    answer = JanusAdapter.answer
    monkeypatch.setattr(
        JanusAdapter, "answer", lambda self, q, *a, **k: asked.append(len(q)) or answer(self, q, *a, **k)
    )
    again = run(cli, "chain-of-thought", prompts=2, count=6, out="b")
    assert asked == []
    assert again["run_id"] == first["run_id"]
    assert again["made_in_this_process"]["images"] == 0
    assert again["notices"] == first["notices"]
    more = run(cli, "chain-of-thought", prompts=2, count=8, out="c")
    assert sum(asked) == 4
    assert more["made_in_this_process"]["images"] == 4


def test_where_the_model_lists_nobody_the_neutral_prompt_is_used_and_told(cli: Cli) -> None:
    none = run(cli, "none", prompts=2, count=4, out="a")
    listed = run(cli, "verbalized-sampling", prompts=2, count=4, out="b")
    assert any("verbalized-sampling: 8 of 8 answers" in n["text"] for n in listed["notices"])
    assert "8 of 8 answers" in listed["err"]
    assert listed["made_in_this_process"]["images"] == 0  # the same prompts and seeds as without a method
    assert listed["rd"] == none["rd"]


@pytest.mark.parametrize(
    ("model", "method", "told"),
    [
        ("phantom", "balanced-prompting:age", "'age' is no attribute"),
        ("phantom", "any-gender-suffix:x", "takes no argument"),
        ("phantom-exact", "chain-of-thought", "needs a model that writes text"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(cli: Cli, model: str, method: str, told: str) -> None:
    found = cli("run", "--model", model, "--method", method, "-n", "1", "--limit-prompts", "1", "--out", "out")
    assert found.code == 2
    assert told in " ".join(found.err.split())
    assert "Traceback" not in found.err
    assert not Path("out").exists()


def test_planning_loads_the_model_only_for_a_method_that_asks_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = JanusAdapter._load
    monkeypatch.setattr(JanusAdapter, "_load", lambda self: loaded.append("model") or load(self))
    for method, loads in (
        ("none", []),
        ("any-mix-suffix", []),
        ("balanced-prompting", []),
        ("chain-of-thought", ["model"]),
    ):
        assert cli(*RUN, "1", "-n", "2", "--method", method, "--dry-run").code == 0
        assert loaded == loads, method
