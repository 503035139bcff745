"""`fairbench audit`: the phantom's planted bias is located, and a random checkpoint gets no verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fairbench.cards import catalog, truth_table
from fairbench.metrics._rd import relative_diversity
from fairbench.phantom import planted, text
from fairbench.reporting import audits
from tests.builders.cli import Cli

REALISED = catalog.find("models")["phantom"].parent / "phantom" / "realised.csv"


def audited(cli: Cli, *args: str | Path) -> dict[str, Any]:
    found = cli("audit", *args, "--json", "--store", "store", "--out", "out")
    assert found.code == 0, found.err
    record: dict[str, Any] = json.loads(found.out)
    assert record == json.loads(Path("out/audit.json").read_text())
    assert audits.read(Path("out")).summary == record["summary"]  # what is written is what a report reads
    return record


@pytest.mark.long
def test_the_phantoms_bias_is_located(cli: Cli) -> None:
    record = audited(cli, "--model", "phantom", "-n", "20", "--limit-prompts", "6", "--samples", "10")
    findings = {v["component"]: v["finding"] for v in record["verdicts"]}
    assert findings == {
        "generation": "biased",
        "vision encoder": "reads",
        "image tokenizer": "neutral",
        "language model": "biased",
        "understanding": "answers unknown",
    }
    assert "A bias of its own is found in the language model: that of the pictures may come from" in record["summary"]
    assert "The image tokenizer adds a bias of a few points at most." in record["summary"]
    assert record["summary"].endswith("Partial alignment: the model's answers are less biased than its pictures.")
    for probe in record["encoder"]["probes"]:
        assert probe["accuracy"]["low"] > 0.9
        assert probe["shuffled"]["value"] < probe["chance"] + 0.15
        assert 0.9 < probe["pairwise"]["low"] < 1
        assert 0.9 < probe["pairwise_f1"]["low"] < 1
        assert probe["balanced"]
    for part in record["tokenizer"]:
        assert max(part["gap"]["high"], part["arrivals_gap"]["high"]) < 0.05
        given = np.array(part["against_given"])
        assert given.sum() == 512
        assert given.trace() > 0.97 * 512
    assert all(f["low"] > 0.8 for f in record["language"]["following"].values())
    for answers in record["understanding"]["answers"]:
        assert answers["shares"]["unknown"]["value"] > 0.9
        assert record["understanding"]["alignment"][answers["condition"]]["low"] > 0
    assert {p.name for p in Path("out").glob("*.png")} == {
        "tokenizer.png",
        "language_model.png",
        "understanding.png",
    }
    assert all(np.asarray(Image.open(p)).std() > 5 for p in Path("out").glob("*.png"))
    agrees_with_the_realised_truth(record)


def agrees_with_the_realised_truth(record: dict[str, Any]) -> None:
    """Bias by log-probabilities alone: its RD and its shares are the model's own, measured once at large n."""
    rows = truth_table.read(REALISED, planted.COLUMNS)
    joint = np.stack([rows[subject] for subject in text.EVALUATED[:6]]).reshape(6, 2, 4)
    for bias, margin in zip(record["language"]["log_probs"], (joint.sum(axis=2), joint.sum(axis=1)), strict=True):
        truth = float(relative_diversity(margin).mean())
        slack = 0.05  # what the two prompts' distributions may differ in
        assert bias["rd"]["low"] - slack < truth < bias["rd"]["high"] + slack, bias["attribute"]
        estimated = np.array([list(row.values()) for row in bias["shares"].values()])
        assert np.abs(estimated - margin).sum(axis=1).mean() / 2 < 0.1
        assert bias["rd"]["low"] > bias["floor"]


@pytest.mark.long
@pytest.mark.slow
def test_a_random_checkpoint_gets_no_verdict(cli: Cli, tiny_janus: Path) -> None:
    args = ("--model", tiny_janus, "--task", "occupations-mini", "--limit-prompts", "2", "-n", "4", "--samples", "2")
    record = audited(cli, *args, "--labeller", "phantom")
    findings = {v["component"]: v["finding"] for v in record["verdicts"]}
    assert findings["vision encoder"] == "reads"  # random features of clear marks are still features
    del findings["vision encoder"]
    assert set(findings.values()) == {"not concluded"}
    doubts = " ".join(record["cannot_be_concluded"])
    assert "Shares of blame are not identified" in doubts
    assert "No face was found" in doubts
    assert "Prompts that name a gender group show it in 0% of images" in doubts
    shown = cli("audit", *args, "--labeller", "phantom", "--store", "store", "--out", "out")
    assert shown.code == 0, shown.err
    assert "What cannot be concluded" in shown.out
    assert "not concluded" in shown.out
    assert "never anyone's identity" in " ".join(shown.out.split())


def test_a_model_without_tokens_is_one_sentence(cli: Cli) -> None:
    found = cli("audit", "--model", "phantom-exact")
    assert found.code == 2
    assert "offers no image tokens" in found.err
    assert "Traceback" not in found.err
    assert not Path("runs").exists()
