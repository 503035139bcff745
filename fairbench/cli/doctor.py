"""`fairbench doctor`: what is installed, and what could run here."""

from __future__ import annotations

from typing import Annotated

import typer

from fairbench.cli import complete
from fairbench.cli.options import Plugins

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        autocompletion=complete.one("models"),
        help="Check only this model: access, disk and memory. Downloads nothing.",
    ),
]


def doctor(model: Model = None, plugins: Plugins = None) -> None:
    """Check what is installed and what could run here.

    Packages, devices and caches; which models and labellers could run, and why not. With --model: whether that model's
    files can be read, and whether disk and memory are large enough.
    """
    from fairbench.doctor import machine
    from fairbench.doctor import model as doctor_model

    well = not machine.show() if model is None else doctor_model.check(model)
    if not well:
        raise typer.Exit(1)
