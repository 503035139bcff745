"""Write the pages that follow from the code: `python docs/generate.py`. A test holds the pages equal to it."""

from __future__ import annotations

from pathlib import Path

from fairbench.display.glossary import GLOSSARY

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py: change the code that it reads, and run it again. -->"


def pages() -> dict[str, str]:
    """Return file below docs -> its text."""
    return {"glossary.md": glossary()}


def glossary() -> str:
    """Return the page of terms, one row each."""
    rows = [f"| {term} | {entry.definition} | {entry.source} |" for term, entry in GLOSSARY.items()]
    return "\n".join(
        [
            "# Glossary",
            "",
            NOTE,
            "",
            "`fairbench glossary TERM` prints one of these.",
            "",
            "| term | meaning | source |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
