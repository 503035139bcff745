"""`fairbench setup`: the commands that bring a model's environment, code and weights onto this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from fairbench.cli import complete
from fairbench.cli.options import AsJson, Plugins
from fairbench.display.plain import echo, echo_json

Model = Annotated[str, typer.Argument(help="Card name or card file.", autocompletion=complete.one("models"))]
Do = Annotated[bool, typer.Option("--do", help="Run the commands of all that is not here yet.")]


def setup(model: Model, do: Do = False, as_json: AsJson = False, plugins: Plugins = None) -> None:
    """Print or run the commands that a model needs first.

    For a model in an environment of its own they fetch its official code, make the environment, and download its
    weights; for others they download the weights, as a first run would. Without --do they are only printed.
    """
    from fairbench.doctor import setup as model_setup
    from fairbench.workers import making

    plan = model_setup.plan(model)
    if as_json:
        for step in (step for step in plan.steps if do and not step.done):
            making.do(step)
        echo_json(asdict(model_setup.plan(model) if do else plan) | {"card": plan.card.name})
        return
    for step in plan.steps:
        echo(f"# {step.what}{': here already' if step.done else ''}")
        if do and not step.done:
            making.do(step)
        elif not do:
            echo(step.text())
    if not plan.steps:
        echo(f"# {plan.card.name} needs no commands")
    for sentence in plan.notes:
        echo(f"# {sentence}")
