"""`fairbench doctor`: what is installed, and what could run here."""

from __future__ import annotations

from typing import Annotated

import typer

from fairbench.cli.options import AsJson, Plugins, model_option

Model = Annotated[
    str | None,
    model_option("Check only this model: access, disk and memory. Downloads nothing."),
]

Reach = Annotated[bool, typer.Option("--reach", help="With --model: ask the server of a served model.")]


def doctor(model: Model = None, reach: Reach = False, as_json: AsJson = False, plugins: Plugins = None) -> None:
    """Check what is installed and what could run here.

    Packages, devices and caches; which models and labellers could run, and why not. With --model: whether that model's
    files can be read, its environment or key is there, and disk and memory are large enough.
    """
    from fairbench.doctor import findings, machine
    from fairbench.doctor import model as doctor_model

    all_findings = machine.findings() if model is None else doctor_model.findings(model, reach=reach)
    if not findings.show(all_findings, as_json=as_json):
        raise typer.Exit(1)
