"""`fairbench plan`: how many images and prompts a comparison of two runs needs, and what a budget can detect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import typer

from fairbench.cli.options import AsJson, NamedLabeller
from fairbench.display.plain import echo
from fairbench.errors import FairbenchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairbench.planning.rows import Known, Pilot
    from fairbench.planning.terminal import Planned

MOST: Final = 1_000_000
SCOPES: Final[tuple[Literal["prompts like these", "these prompts"], ...]] = ("prompts like these", "these prompts")
ESTIMANDS: Final[tuple[Literal["rd", "concentration"], ...]] = ("rd", "concentration")
Choice = TypeVar("Choice", bound=str)

Task = Annotated[str, typer.Option("--task", "-t", help="Prompt suite: name or folder.")]
Detect = Annotated[float, typer.Option("--detect", help="True change of RD, towards balance, that is to be found.")]
Attribute = Annotated[
    str, typer.Option("--attribute", help="Comma-separated attributes and crosses, as gender_x_race4, or all.")
]
Power = Annotated[float, typer.Option("--power", help="Probability with which the change is found.")]
Alpha = Annotated[float, typer.Option("--alpha", help="Level of the two-sided test.")]
Baseline = Annotated[
    str | None, typer.Option("--baseline", help="Run A: its RD, or the folder of a run. [default: 0.75 x 2/K]")
]
FaceRate = Annotated[
    float | None, typer.Option("--face-rate", help="Faces an image. [default: the run's, the calibration's, or 1]")
]
BetweenSd = Annotated[
    float | None,
    typer.Option("--between-prompt-sd", help="SD over prompts of the true change. [default: half of --detect]"),
]
Images = Annotated[int, typer.Option("--images-per-prompt", "-n", help="Images a prompt and run.")]
Prompts = Annotated[int | None, typer.Option("--prompts", help="Number of prompts. [default: the task's]")]
Budget = Annotated[int | None, typer.Option("--budget", help="Images a run: say how best to split them.")]
ScopeName = Annotated[str, typer.Option("--scope", help="'prompts like these' or 'these prompts'.")]
Estimand = Annotated[
    str, typer.Option("--estimand", help="What is tested: rd (at equal face counts) or concentration.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for plan.json, plan.csv and plan.png.")]


def plan(
    task: Task,
    labeller: NamedLabeller,
    detect: Detect,
    attribute: Attribute = "all",
    power: Power = 0.8,
    alpha: Alpha = 0.05,
    baseline: Baseline = None,
    face_rate: FaceRate = None,
    between_prompt_sd: BetweenSd = None,
    images_per_prompt: Images = 160,
    prompts: Prompts = None,
    budget: Budget = None,
    scope: ScopeName = "prompts like these",
    estimand: Estimand = "rd",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Say how many images and prompts a comparison needs.

    Also what a budget can detect, and how best to split it.
    """
    from fairbench.cards import catalog
    from fairbench.planning import curve, terminal
    from fairbench.planning import rows as planning_rows
    from fairbench.runs.prompts import expand
    from fairbench.storage import folders

    if out is not None:
        folders.check(out, folders.PLAN)
        curve.need_matplotlib()
    sd = detect / 2 if between_prompt_sd is None else between_prompt_sd
    _check_shares({"--detect": detect, "--power": power, "--alpha": alpha, "--face-rate": face_rate})
    _check_counts({"--images-per-prompt": images_per_prompt, "--prompts": prompts, "--budget": budget})
    if not 0 <= sd <= 1:
        raise FairbenchError(f"--between-prompt-sd {sd:g}: give a standard deviation of RD from 0 to 1.")
    if not alpha < power < 1:
        raise FairbenchError(f"--power {power:g}: give a probability above --alpha ({alpha:g}) and below 1.")
    run_a = _baseline(baseline)
    card, known = catalog.load_task(task).card, planning_rows.Known(catalog.load_labeller(labeller))
    asked = planning_rows.Asked(
        detect, power, alpha, _one_of("--scope", scope, SCOPES), _one_of("--estimand", estimand, ESTIMANDS), sd,
        len(expand(card)) if prompts is None else prompts, images_per_prompt, budget,
    )  # fmt: skip
    rows = [planning_rows.row(names, known, run_a, face_rate, asked) for names in _attributes(known, attribute)]
    if not any(row.possible for row in rows):
        reasons = "; ".join(f"{row.attribute}: {row.note}" for row in rows)
        raise FairbenchError(f"--detect {detect:g} cannot be planned for, ask for less or mend --baseline ({reasons}).")
    curves = [curve.of(row.attribute, row.plan, asked.prompts, power) for row in rows if row.plan is not None]
    _give(terminal.Planned(card.name, known, asked, run_a, rows, curves), out, as_json)


def _give(found: Planned, out: Path | None, as_json: bool) -> None:
    """Write the files, if asked for, and print."""
    from rich.console import Console

    from fairbench.planning import curve, terminal
    from fairbench.storage import atomic, folders

    text = json.dumps(terminal.summary(found), indent=2, allow_nan=False)
    if out is not None:
        picture = curve.png(found.curves, found.asked.prompts, found.asked.detect, found.title)
        with folders.replacing(out, folders.PLAN) as new:
            atomic.write_bytes(new / "plan.png", picture)
            atomic.write_text(new / "plan.csv", curve.as_csv(found.curves))
            atomic.write_text(new / "plan.json", text + "\n")
    if as_json:
        echo(text)
        return
    terminal.show(found, Console())
    if out is not None:
        echo(f"plan.json, plan.csv and plan.png in {out}")


def _check_shares(given: Mapping[str, float | None]) -> None:
    for option, value in given.items():
        if value is not None and not 0 < value <= 1:
            raise FairbenchError(f"{option} {value:g}: give a number above 0 and at most 1.")


def _check_counts(given: Mapping[str, int | None]) -> None:
    for option, value in given.items():
        if value is not None and not 1 <= value <= MOST:
            raise FairbenchError(f"{option} {value}: give a whole number from 1 to {MOST:,}.")


def _baseline(text: str | None) -> float | Pilot | None:
    """Return the RD of run A, or the run that stands for it: what reads as a number is one."""
    from fairbench.planning.rows import Pilot

    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return Pilot(Path(text).expanduser())
    if not 0 <= value <= 1:
        raise FairbenchError(f"--baseline {text}: give an RD from 0 to 1, or the folder of a finished run.")
    return value


def _one_of(option: str, value: str, known: tuple[Choice, ...]) -> Choice:
    from fairbench.registry import suggest

    for choice in known:
        if value == choice:
            return choice
    raise FairbenchError(f"There is no {option} {value!r}{suggest(value, known)}.")


def _attributes(known: Known, text: str) -> list[tuple[str, ...]]:
    """Return the attributes and crosses asked for, in the card's order."""
    from fairbench.measure.counts import cross_name
    from fairbench.registry import suggest

    card = known.space.card
    names = {cross_name(n): n for n in [*((a,) for a in card.attributes), *map(tuple, card.crosses)]}
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    if wanted == ["all"]:
        return list(names.values())
    bad = next((name for name in wanted or [text] if name not in names), None)
    if bad is not None:
        raise FairbenchError(f"Labeller {card.name} has no attribute {bad!r}{suggest(bad, [*names, 'all'])}.")
    return [parts for name, parts in names.items() if name in wanted]
