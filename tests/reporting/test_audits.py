"""An audit beside a run: its findings and figures stand on the pages of the runs of its model."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest

import fairbench
from fairbench.display.numbers import number
from fairbench.errors import FairbenchError
from fairbench.reporting import audits
from fairbench.runs.result import Run
from tests.builders.cli import Cli, make_run

HOSTILE = "<script>alert(1)</script> [/red]"


def of(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 9, "design": "this list"}


HELD: dict[str, Any] = {
    "model": "phantom-exact",
    "task": "occupations-mini",
    "labeller": "phantom",
    "images_per_prompt": 8,
    "image_key": "0" * 32,
    "note": "Labels are perceived presentation in pictures, never anyone's identity.",
    "summary": "What is drawn is biased.",
    "cannot_be_concluded": ["Shares of blame are not identified.", HOSTILE],
    "verdicts": [{"component": "generation", "finding": "biased", "words": f"gender RD .62 {HOSTILE}"}],
    "encoder": {"probes": [{"attribute": "gender", "accuracy": of(0.91, 0.85, 0.95), "shuffled": of(0.48, 0.4, 0.56)}]},
    "tokenizer": [
        {
            "attribute": "../gender",
            "labels": ["female", "male"],
            "groups": [{"label": "female", "agreement": of(0.7, 0.6, 0.8)}, {"label": "male", "agreement": of(None)}],
            "confusion": [[7, 2, 1], [0, 0, 0]],
        }
    ],
    "language": {
        "divergences": [
            {"attribute": "gender", "kind": "position", "null": of(0.9), "groups": []},
            {"attribute": "gender", "kind": "histogram", "null": of(0.3, 0.2, 0.4), "groups": []},
        ],
        "log_probs": [{"attribute": "gender", "rd": of(0.62, 0.55, 0.69), "labelled_rd": None, "floor": 0.125}],
    },
    "understanding": {"reason": "the adapter answers no questions"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    args = ("--model", "phantom-exact", "--task", "occupations-mini", "--limit-prompts", "2", "-n", "2")
    return fairbench.load(make_run(tmp_path_factory.mktemp("audits") / "run", *args))


def written(folder: Path, **changed: Any) -> Path:
    folder.mkdir()
    (folder / "audit.json").write_text(json.dumps({**HELD, **changed}))
    return folder


def test_the_page_shows_what_the_audit_found(run: Run, tmp_path: Path, cli: Cli) -> None:
    audit = written(tmp_path / "audit")
    cli("report", run.folder, audit, "--out", tmp_path / "out", "--quiet").succeeded()
    page = (tmp_path / "out" / "index.html").read_text()
    text = html.unescape(page)
    assert "What is drawn is biased. It was done with other settings than this run" in text
    assert "Shares of blame are not identified." in text and HELD["note"] in text
    assert "<script>alert" not in page and HOSTILE in text
    for value in (0.91, 0.85, 0.48, 0.7, 0.3, 0.62, 0.125):
        assert number(value) in text[text.index('id="audit"') :], value
    names = ["encoder", "tokenizer", "tokenizer-0", "tokens", "log-probabilities"]
    assert [f"audit-{name}" for name in names] == [chart.name for chart in audits.read(audit).charts]
    for name in names:
        assert f'charts/audit-{name}.svg" alt="' in page
        assert (tmp_path / f"out/report/charts/audit-{name}.svg").read_text().startswith("<svg")


def test_several_runs_lead_to_it(run: Run, tmp_path: Path) -> None:
    args = ("--model", "phantom-exact", "--task", "occupations-mini", "--limit-prompts", "2", "-n", "3")
    other = make_run(tmp_path / "other", *args)
    page = fairbench.report(run, other, written(tmp_path / "audit"), out=tmp_path / "out")
    links = [f"{each.id[:8]}/index.html#audit" for each in (run, fairbench.load(other))]
    assert all(f'href="{link}"' in page.read_text() for link in links)
    assert all('id="audit"' in (page.parent / link.partition("#")[0]).read_text() for link in links)


def test_charts_hold_the_numbers_and_leave_out_what_is_absent(tmp_path: Path) -> None:
    charts = {chart.name: chart for chart in audits.read(written(tmp_path / "audit")).charts}
    tokens = charts["audit-tokens"].spec["data"]["values"]
    assert [(v["name"], v["value"], v["low"], v["high"]) for v in tokens] == [
        ("gender: two neutral sets", 0.3, 0.2, 0.4)
    ]
    assert [v["row"] for v in charts["audit-tokenizer"].spec["data"]["values"]] == ["../gender female"]
    biases = {v["what"]: v["value"] for v in charts["audit-log-probabilities"].spec["data"]["values"]}
    assert biases == {"by log-probabilities": 0.62, "what chance makes of equal shares": 0.125}
    assert "gender, accuracy: .910 [.850, .950]; gender, labels shuffled: .480" in charts["audit-encoder"].alt


def test_an_audit_stands_beside_runs_of_its_model_only(run: Run, tmp_path: Path) -> None:
    one, two = written(tmp_path / "one"), written(tmp_path / "two")
    other = written(tmp_path / "other", model="janus")
    cases = [
        ((run, other), "is an audit of janus"),
        ((run, one, two), "are audits of one model"),
        ((one,), "Name the runs"),
    ]
    for named, words in cases:
        with pytest.raises(FairbenchError, match=words):
            fairbench.report(*named, out=tmp_path / "out")
    with pytest.raises(FairbenchError, match="the run's own folder"):
        fairbench.report(run, one, out=run.folder)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "is not as an audit writes it"),
        (json.dumps({**HELD, "language": {}}), "is not as an audit writes it"),
        (json.dumps({**HELD, "encoder": {"probes": [{"attribute": 3}]}}), "is not as an audit writes it"),
        (
            json.dumps({**HELD, "language": {"divergences": [], "log_probs": [{"attribute": "x", "rd": "high"}]}}),
            "not as",
        ),
    ],
)
def test_a_damaged_audit_costs_a_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(FairbenchError, match=f"audit.json .*{words}.*: do the audit again"):
        audits.read(tmp_path)
