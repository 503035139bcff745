"""What an audit prints and draws, from made-up evidence."""

from __future__ import annotations

import io
import os
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
from fairbench.display.tables import Table
from tests.builders.folders import ROOT

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


def printed(found: Audit, width: int = 80) -> str:
    out = io.StringIO()
    terminal.show(found, Path("out"), Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_golden_texts(found: Audit, width: int) -> None:
    """Without the encoder, whose numbers come from a fit. REWRITE_GOLDEN=1 writes the texts again."""
    golden = ROOT / "tests" / "golden" / "audit" / f"{width}.txt"
    lines = printed(replace(found, encoder=Skipped("no probe images")), width).splitlines()
    text = "".join(f"{line.rstrip()}\n" for line in lines)
    if "REWRITE_GOLDEN" in os.environ:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_every_table_with_intervals_names_their_design(found: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[Table] = []
    monkeypatch.setattr(Table, "show", lambda table, console: tables.append(table))
    printed(found)

    def has_interval(table: Table) -> bool:
        return any(re.search(r"\[-?[.\d]", cell.text) for row in table.rows if row is not None for cell in row[1:])

    with_intervals = [table for table in tables[1:] if has_interval(table)]  # the first has the verdicts
    assert len(with_intervals) == len(tables) - 2  # and one has plain counts
    for table in with_intervals:
        assert re.search("Brackets(:|,) 95 %.* for (other|this|these) ", table.note), table.title


def test_estimates_carry_their_design(found: Audit) -> None:
    """Shares of answers hold for these occupations: over others they vary more than answers do."""
    part, language = found.understanding, found.language
    assert isinstance(part, Understanding)
    designs = {e.design for answers in part.answers for e in (*answers.shares.values(), answers.committed)}
    assert designs | {f.between.design for f in part.flips} == {"this list"}
    assert {answers.gap.design for answers in part.answers} == {"other prompts"}
    assert {d.hits.design for d in language.divergences} == {"other prompts"}
    assert {b.rd.design for b in language.log_probs} == {"this list"}
    assert isinstance(found.encoder, Encoder) and isinstance(found.tokenizer, list)
    assert {p.accuracy.design for p in found.encoder.probes} | {p.gap.design for p in found.tokenizer} == {
        "other images"
    }


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
    assert "for the error of drawing images alone, not that of the premise" in shown
    assert "RD of the committed .143, 5 occupations .143, 5 occupations" in shown
    assert "[yes]" in shown
    assert "Answers about a picture change with the group shown: competence with race4" in shown


def test_pictures_are_of_what_was_measured(found: Audit, tmp_path: Path) -> None:
    plots.write(replace(found, tokenizer=Skipped("no images")), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"language_model.png", "understanding.png"}
    plots.write(found, tmp_path)
    assert np.asarray(Image.open(tmp_path / "tokenizer.png")).std() > 5
