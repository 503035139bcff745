"""What `doctor` finds, as text or as JSON."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import NamedTuple

from fairbench.display.plain import echo, echo_json, shown


class Finding(NamedTuple):
    """One thing that was checked. section: the head that it stands below; name: what; text: what was found."""

    section: str
    name: str
    text: str
    fine: bool = True
    """False for what has to be fixed before anything, or this model, can run."""


def _wrapped(name: str, text: str) -> str:
    """Return a line that a terminal need not break within words; what is piped keeps whole lines."""
    if not sys.stdout.isatty():
        return name + text
    width = max(shutil.get_terminal_size().columns, len(name) + 30)
    below = " " * 27
    return textwrap.fill(
        shown(text), width, initial_indent=name, subsequent_indent=below, break_long_words=False, break_on_hyphens=False
    )


def show(findings: Iterable[Finding], *, as_json: bool) -> bool:
    """Print the findings as they come; return whether all is fine."""
    found: list[Finding] = []
    for finding in findings:
        if not as_json:
            if not found or found[-1].section != finding.section:
                echo(finding.section)
            echo(_wrapped(f"  {finding.name:<24} ", f"{'' if finding.fine else 'NO: '}{finding.text}"))
        found.append(finding)
    problems = [finding.name for finding in found if not finding.fine]
    if as_json:
        echo_json({"fine": not problems, "findings": [finding._asdict() for finding in found]})
    elif problems:
        echo(f"\nto fix: {', '.join(problems)}")
    return not problems
