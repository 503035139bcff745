"""`fairbench compare`: what differs between finished runs, and what is shown to be alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import AsJson, Plugins
from fairbench.display.plain import echo_json

Runs = Annotated[list[Path], typer.Argument(metavar="RUN_A RUN_B [RUN_C ...]", help="Run folders; A is the baseline.")]
Out = Annotated[Path | None, typer.Option("--out", help="Report folder. [default: runs/compare-<run ids>]")]
Alpha = Annotated[float, typer.Option("--alpha", help="Level of each family of tests; intervals hold at 1 - alpha.")]
Select = Annotated[
    bool | None,
    typer.Option(
        "--select/--no-select",
        help="Choose the best run on half of the prompts, judge it on the rest. [default: with three runs or more]",
    ),
]


Registered = Annotated[
    Path | None, typer.Option("--registered", metavar="FILE", help="Hold the comparison against a file of `plan`.")
]
RdMargins = Annotated[bool, typer.Option("--rd-margins", help="Test RD for equivalence, too.")]
Forms = Annotated[
    str | None,
    typer.Option(
        "--forms",
        metavar="FORM,FORM,...",
        help="Grammatical form of each run's prompts that is compared, - for a run without forms; pairs by concept.",
    ),
]
Hacking = Annotated[
    bool,
    typer.Option("--hacking", help="Does a run please its labeller alone? Name all runs as a judge read them, too."),
]
Full = Annotated[bool, typer.Option("--full", help="Print every effect of the primary attributes.")]


def compare(
    runs: Runs,
    out: Out = None,
    as_json: AsJson = False,
    alpha: Alpha = 0.05,
    select: Select = None,
    registered: Registered = None,
    rd_margins: RdMargins = False,
    forms: Forms = None,
    hacking: Hacking = False,
    full: Full = False,
    plugins: Plugins = None,
) -> None:
    """Compare runs, or two labellers of the same images.

    Runs are compared prompt by prompt: effects, equivalence, ranks.
    """
    from fairbench import api
    from fairbench.cli.logs import start

    start()
    form_of = None if forms is None else ["" if form.strip() == "-" else form.strip() for form in forms.split(",")]
    comparison = api.compare(
        *runs,
        alpha=alpha,
        select=select,
        registered=registered,
        rd_margins=rd_margins,
        forms=form_of,
        audit_hacking=hacking,
    )
    comparison.write(out)
    if as_json:
        echo_json(comparison.record)
    else:
        comparison.show(full=full)
