"""What `doctor` finds, as text or as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fairbench.display.plain import echo, echo_json


class Finding(NamedTuple):
    """One thing that was checked. section: the head that it stands below; name: what; text: what was found."""

    section: str
    name: str
    text: str
    fine: bool = True
    """False for what has to be fixed before anything, or this model, can run."""


def show(findings: Iterable[Finding], *, as_json: bool) -> bool:
    """Print the findings as they come; return whether all is fine."""
    shown: list[Finding] = []
    for finding in findings:
        if not as_json:
            if not shown or shown[-1].section != finding.section:
                echo(finding.section)
            echo(f"  {finding.name:<24} {'' if finding.fine else 'NO: '}{finding.text}")
        shown.append(finding)
    problems = [finding.name for finding in shown if not finding.fine]
    if as_json:
        echo_json({"fine": not problems, "findings": [finding._asdict() for finding in shown]})
    elif problems:
        echo(f"\nto fix: {', '.join(problems)}")
    return not problems
