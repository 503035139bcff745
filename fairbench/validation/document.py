"""The results as tables: on the terminal, in Markdown, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fairbench import __version__
from fairbench.display import tables
from fairbench.display.plain import say
from fairbench.storage import atomic
from fairbench.validation.cells import SLACK, VERSION, Cell, Measure, Result
from fairbench.validation.runner import STUDIES

NOTATION = (
    "0.951(5) is 0.951 with a Monte Carlo standard error of 0.005. NO marks a figure that misses its bar by more than "
    f"{SLACK:g} of these errors; a share, by more than its exact interval (Clopper and Pearson) of the same level."
)
_INTRO = """\
# Validation

Everything that fairbench estimates is simulated here from truths that are known, and the estimates, intervals and tests
are held against them. The tables are written by

    {command}

which simulates {cells} cells. It can be stopped and started again. `fairbench validate --quick` prints the same tables
from fewer cells and replicates.

## How to read the tables

- A row is a cell: one combination of settings, simulated as often as the table's text says. {notation}
- `bias` is the mean error of an estimate, `rmse` the root of its mean squared error. `cover` is the share of nominal
  95 % intervals that hold the truth, `width` their mean width. A bias is only as bad as it is large beside the width.
- `K`: classes. `n`: images, each with one face, of every prompt. `n0`: the number of faces at which RD is taken.
- `truth`: `fair`, all classes equal in every prompt; `mild`, one class leads, RD .3 of its largest value; `mix`, from
  near balance to near one class, prompt by prompt, mean RD .75 / .40 / .24 / .20 for K = 2 / 4 / 7 / 8, as in published
  models; `one-sided`, one class alone in every prompt.
- Bars: intervals of this list for `mild` and `mix` with n >= 50 cover .93 to .97, those of other prompts and those for
  `fair` and `one-sided` at least .93. Other bars stand in the text of their table. Figures without a bar are there to
  be known.

"""


def write(results: Sequence[Result], command: str, folder: Path) -> None:
    """Write validation.md and validation.json. Raises StoreError."""
    atomic.write_text(folder / "validation.md", markdown(results, command))
    atomic.write_text(folder / "validation.json", json.dumps(record(results, command), indent=1) + "\n")


def record(results: Sequence[Result], command: str) -> dict[str, Any]:
    """Return all results as plain data."""
    barred = [m for r in results for m in r.measures if m.barred]
    return {
        "fairbench": __version__,
        "version": VERSION,
        "command": command,
        "bars": len(barred),
        "shortfalls": [sentence(cell, m) for cell, m in shortfalls(results)],
        "results": [r.record() for r in results],
    }


def shortfalls(results: Sequence[Result]) -> list[tuple[Cell, Measure]]:
    """Return every figure that misses its bar."""
    return [(r.cell, m) for r in results for m in r.measures if not m.holds]


def sentence(cell: Cell, measure: Measure) -> str:
    """Return a shortfall in words."""
    where = ", ".join(f"{name} {value}" for name, value in cell.settings.items())
    return f"{cell.study} ({where}): {measure.name} {number(measure)}, must be {measure.demand}"


def conclusion(results: Sequence[Result]) -> str:
    """Return how many bars are met, in a sentence."""
    bars = sum(m.barred for r in results for m in r.measures)
    missed = len(shortfalls(results))
    return f"{bars - missed} of {bars} bars are met." if missed else f"All {bars} bars are met."


def number(measure: Measure) -> str:
    """Return a figure with its Monte Carlo error in units of its last digit."""
    small = measure.name.split()[0] in ("bias", "rmse", "width")
    digits, sign = (4 if small else 3), ("+" if measure.name.startswith("bias") else "")
    text = f"{measure.value:{sign}.{digits}f}"
    return f"{text}({measure.error * 10**digits:.0f})" if measure.error else text


def markdown(results: Sequence[Result], command: str) -> str:
    """Return the document."""
    lines = [_INTRO.format(command=command, notation=NOTATION, cells=len(results)), "## Bars", "", conclusion(results)]
    lines += ["", *(f"- {sentence(*missed)}" for missed in shortfalls(results))]
    for title, about, settings, names, rows in sections(results):
        lines += ["", f"## {title}", "", about, ""]
        lines += [f"| {' | '.join([*settings, *names])} |", f"|{'---|' * len([*settings, *names])}"]
        for row in rows:
            figures = {m.name: number(m) + (" **NO**" if not m.holds else "") for m in row.measures}
            cells = [*(str(row.cell.settings[s]) for s in settings), *(figures.get(n, "") for n in names)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def show(results: Sequence[Result], console: Any) -> None:
    """Print the tables and the conclusion."""
    for title, about, settings, names, rows in sections(results):
        heads = (name.replace(" ", "\n") for name in names)
        table = tables.Table([*map(tables.Column, settings), *tables.numbers(*heads)])
        for row in rows:
            figures = {
                m.name: number(m) if m.holds else tables.Cell(f"{number(m)} NO", "reverse") for m in row.measures
            }
            table.add(*(str(row.cell.settings[s]) for s in settings), *(figures.get(n, "") for n in names))
        say(console, title, "bold")
        say(console, about, "dim")
        table.show(console)
        console.print()
    say(console, NOTATION, "dim")
    for missed in shortfalls(results):
        say(console, sentence(*missed), lead="not met: ")
    say(console, conclusion(results))


def sections(results: Sequence[Result]) -> Iterator[tuple[str, str, list[str], list[str], list[Result]]]:
    """Yield of every study that has results its title, text, names of settings and of measures, and results."""
    for study in STUDIES:
        rows = [r for r in results if r.cell.study == study.name]
        if rows:
            times = " or ".join(f"{t:,}" for t in sorted({r.cell.replicates for r in rows}))
            measures = dict.fromkeys(m.name for r in rows for m in r.measures)
            about = f"{study.about} Replicates per cell: {times}."
            yield study.title, about, list(rows[0].cell.settings), list(measures), rows
