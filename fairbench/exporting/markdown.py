"""A run for a README: verdicts, notices, tables and how it was measured, as Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fairbench.display.page import in_markdown
from fairbench.exporting.job import Job
from fairbench.reporting import paper
from fairbench.storage import atomic

FILE: Final = "results.md"


def text(job: Job) -> str:
    """Return the whole document; all that comes from outside is escaped."""
    content = job.content
    verdicts = [f"- **{in_markdown(v['attribute'])}**: {in_markdown(v['sentence'])}" for v in content.verdicts()]
    notices = [f"- {in_markdown(n['code'])}: {in_markdown(n['sentence'])}" for n in content.notices()]
    parts = [
        f"# {in_markdown(content.name)}: how even are its pictures?",
        "\n".join(verdicts),
        f"*{in_markdown(job.label_note)}*",
        *(["## Notices", "\n".join(notices)] if notices else []),
        "## Results",
        *(table["markdown"].strip() for table in content.tables()),
        "## How it was measured",
        in_markdown(paper.methods(content)),
        "## To cite",
        fenced(paper.bibtex(content), "bibtex"),
    ]
    return "\n\n".join(parts) + "\n"


def fenced(code: str, language: str) -> str:
    """Return a block of code, fenced by more backticks than stand in a row within it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"


def write(job: Job) -> Path:
    """Write results.md and return its path."""
    with job.writing(r"results\.md") as folder:
        atomic.write_text(folder / FILE, text(job))
    return job.folder / FILE
