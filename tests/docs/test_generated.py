"""Pages that follow from the code are as the code has them."""

from __future__ import annotations

import re

from docs import generate
from fairbench.display.glossary import GLOSSARY


def test_generated_pages_are_current() -> None:
    for name, text in generate.pages().items():
        current = (generate.DOCS / name).read_text(encoding="utf-8")
        assert current == text, f"docs/{name} is not current: run `python docs/generate.py`"


def test_terms_are_in_order_and_fit_a_table() -> None:
    assert list(GLOSSARY) == sorted(GLOSSARY, key=str.casefold)
    for term, entry in GLOSSARY.items():
        assert not re.search(r"[|\n]", term + entry.definition + entry.source)
        assert entry.definition[-1] not in ".;,"
