"""What an audit prints and draws, from made-up evidence."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fairbench.audit import logprob, plots, probe, terminal, tokens, transparency, understanding
from fairbench.audit.counterfactual import Flips
from fairbench.audit.estimates import Estimate, Skipped, share
from fairbench.audit.generation import Generated
from fairbench.audit.groups import Attribute
from fairbench.audit.run import Audit, Encoder, LanguageModel, Understanding

RACE = Attribute("race4", ("WMELH", "Black", "Indian", "Asian"))


@pytest.fixture
def found() -> Audit:
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(4), [80, 40, 40, 40])
    read = probe.probe(rng.normal(size=(200, 6)) + 2 * np.eye(6)[codes], codes, RACE, 0)
    assert isinstance(read, probe.AttributeProbe)
    after = codes.copy()
    after[80:87], after[120:122] = 0, -1
    counts = rng.multinomial(40, [0.7, 0.1, 0.1, 0.1], size=5)
    found = tokens.divergences(rng.integers(0, 9, (5, 20, 6)), rng.integers(0, 9, (5, 4, 10, 6)), counts, RACE, 0)
    plain = rng.normal(-9, 0.2, (5, 4, 10))
    bias = logprob.bias(plain, plain - np.log(0.25), 6, RACE, [f"n{i}" for i in range(5)], counts, 0)
    asked = np.array([[20, 15, 10, 5]] * 5)
    said = [understanding.summary(c, list("abcde"), asked, 0) for c in understanding.CONDITIONS]
    flips = [Flips("race4", "competence", "?", share(30, 100), share(5, 100), "[yes]")]
    plan: Any = SimpleNamespace(
        card=SimpleNamespace(name="m"),
        task="t",
        prompts=[None] * 5,
        labeller=SimpleNamespace(card=SimpleNamespace(name="l")),
    )
    return Audit(
        plan,
        "200 images, faces.csv",
        [Generated("race4", 200, 200, 0.3, 0.1, Estimate(0.1, 0.05, 0.2, 5))],
        Encoder([read], []),
        [transparency.passage(RACE, codes, codes, after, 4)],
        LanguageModel({"race4": share(39, 40)}, found, [bias]),
        Understanding(said, dict.fromkeys(understanding.CONDITIONS), flips, None),
    )


def printed(found: Audit) -> str:
    out = io.StringIO()
    terminal.show(found, Path("out"), Console(file=out, width=80))
    return out.getvalue()


def test_eighty_columns_hold_every_interval_on_one_line(found: Audit) -> None:
    lines = [line.rstrip() for line in printed(found).splitlines()]
    assert max(map(len, lines)) <= 80
    tables = lines[lines.index("Vision encoder") : lines.index("What cannot be concluded")]
    intervals = re.findall(r"\[-?\d?\.\d+, -?\d?\.\d+\]", "\n".join(tables))
    assert len(intervals) == sum(line.count("[") - line.count("[yes]") for line in tables) > 40


def test_what_is_unbalanced_mistaken_or_beside_the_interval_is_said(found: Audit) -> None:
    shown = " ".join(printed(found).split())
    assert "race4 is not balanced: read its accuracy against chance." in shown
    assert "Black 40 1.000 .825 WMELH, 7" in shown
    assert "Indian 40 1.000 .950 no face, 2" in shown
    assert "interval of RD holds the error of drawing images alone, not that of the premise" in shown
    assert "RD of the committed .143, 5 occupations .143, 5 occupations" in shown
    assert "[yes]" in shown
    assert "Answers about a picture change with the group shown: competence with race4" in shown


def test_pictures_are_of_what_was_measured(found: Audit, tmp_path: Path) -> None:
    plots.write(replace(found, tokenizer=Skipped("no images")), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"language_model.png", "understanding.png"}
    plots.write(found, tmp_path)
    assert np.asarray(Image.open(tmp_path / "tokenizer.png")).std() > 5
