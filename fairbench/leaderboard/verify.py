"""Verify a leaderboard: compute every measured row again from its evidence, and name each cell that differs.

This shows that the numbers follow from the published label tables. That the labels follow from the images, it cannot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

import pyarrow as pa

from fairbench.cards import csvfile
from fairbench.errors import FairbenchError
from fairbench.leaderboard import board, evidence
from fairbench.leaderboard.columns import COLUMNS, STEPS, VALUES, Row
from fairbench.leaderboard.row import EVIDENCE, RUN_ID, beyond_evidence, row
from fairbench.runs.evidence import FinishedRun

NOT_CHECKED: Final = ("fairbench", "date", "published_in", "note")
"""Columns that say something of the row, not of the run."""
Seen = TypeVar("Seen")
Verdict = Literal["agrees", "differs", "damaged", "unverifiable"]
_RELATIVE: Final = 1e-5
"""Cells have six digits, of which the last can be rounded otherwise on another machine."""
_ABSOLUTE: Final = 1e-9
_MALFORMED = (pa.ArrowException, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)
"""What reading evidence can raise beside a FairbenchError: anybody may have written it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell that differs: what the CSV states, and what its evidence gives."""

    column: str
    stated: str
    recomputed: str


@dataclass(frozen=True, slots=True)
class Check:
    """The verdict on one measured row. line: of the CSV file; reason: why it is damaged or unverifiable.

    not_checked: scores that the evidence does not hold. earlier: whether an earlier version wrote the row, so that
    what is computed otherwise since was not compared.
    """

    line: int
    run_id: str
    model: str
    method: str
    verdict: Verdict
    differences: tuple[Difference, ...] = ()
    reason: str | None = None
    not_checked: tuple[str, ...] = ()
    earlier: bool = False


def verify(path: Path, labels: Path | None = None) -> list[Check]:
    """Check every row of a leaderboard that is a run's, or claims to be, against labels/RUN_ID/.

    labels: None for evidence/ beside the file. Ranks are checked with all rows as their evidence gives them. Raises
    CardError where `path` is no leaderboard; what is wrong with a row's evidence is a row's verdict.
    """
    return [check for check, _ in verify_and_look(path, lambda run: None, labels)]


def verify_and_look(
    path: Path, look: Callable[[FinishedRun], Seen], labels: Path | None = None
) -> list[tuple[Check, Seen | None]]:
    """Check as `verify` does; beside each check what `look` returns of the run whose evidence was read.

    None where the evidence gives no row. One run at a time is in memory.
    """
    rows = board.read(path)
    folder = path.resolve().parent / EVIDENCE if labels is None else labels
    if labels is not None and not labels.is_dir():
        raise FairbenchError(f"--labels {labels} is no folder: name the one that holds a folder per run.")
    measured = [(line, r) for line, r in enumerate(rows, 2) if _claims_a_run(r)]
    recomputed = [_recompute(line, r, folder, look) for line, r in measured]
    ranks = board.rank([again or stated for (again, _, _), (_, stated) in zip(recomputed, measured, strict=True)])
    parts = zip(measured, recomputed, ranks, strict=True)
    return [(_compared(stated, again, of_row, c), seen) for (_, stated), (again, c, seen), of_row in parts]


def _claims_a_run(stated: Row) -> bool:
    """Whether a row is to be checked: it says so, or it names a run, or it says nowhere what it was copied from."""
    return stated["source"] == "measured" or bool(stated["run_id"]) or not stated["published_in"]


def _recompute(
    line: int, stated: Row, evidence_folder: Path, look: Callable[[FinishedRun], Seen]
) -> tuple[Row | None, Check, Seen | None]:
    """Compute a row again from its evidence, None where that cannot be done; the check has no differences yet."""
    run_id = stated["run_id"]
    check = partial(Check, line, run_id, stated["model"], stated["method"])
    folder = evidence_folder / run_id
    try:
        if not RUN_ID.fullmatch(run_id):
            return None, check("unverifiable", reason=f"{run_id!r} is no run_id"), None
        if not folder.is_dir():
            return None, check("unverifiable", reason=f"{folder} is not there"), None
        run = evidence.open_run(folder)
        if run.run_id != run_id:
            return None, check("damaged", reason=f"{folder / 'run.json'} is that of run {run.run_id}"), None
        beyond = tuple(beyond_evidence(run))
        found = check("agrees", not_checked=beyond)
        if run.unbound:
            unbound = " and ".join(run.unbound)
            reason = f"{unbound}: the plug-ins that are installed here cannot confirm what run.json says"
            found = check("unverifiable", reason=reason, not_checked=beyond)
        return row(run), found, look(run)
    except FairbenchError as err:
        return None, check("damaged", reason=str(err)), None
    except _MALFORMED as err:
        what = str(err).splitlines() or [""]
        return None, check("damaged", reason=f"{folder} cannot be read ({type(err).__name__}: {what[0]})"), None


def _compared(stated: Row, computed: Row | None, ranks: Row, check: Check) -> Check:
    # What neither the row nor its evidence states, no upgrade brings.
    since = [s for s in STEPS if s.is_after(stated) and (computed is None or not s.is_after(computed))]
    check = replace(check, earlier=bool(since))
    skipped = {column for step in since for column in step.not_comparable}
    wrong = [] if computed is None else _differences(stated, {**computed, **ranks}, check.not_checked, skipped)
    return replace(check, verdict="differs", differences=tuple(wrong)) if wrong else check


def _differences(stated: Row, computed: Row, scores: Sequence[str], earlier: Set[str]) -> list[Difference]:
    left_out = {*NOT_CHECKED, *scores, *(f"{s}.n" for s in scores), *earlier}
    wrong = [c for c in COLUMNS if c not in left_out and not _same(stated[c], computed[c], number=c in VALUES)]
    return [Difference(c, stated[c], computed[c]) for c in wrong]


def _same(stated: str, computed: str, *, number: bool) -> bool:
    if stated == computed or not number:
        return stated == computed
    return math.isclose(csvfile.number(stated), csvfile.number(computed), rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
