"""An audit beside a run: which part of the model the evidence points to, read from audit.json."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fairbench.display.labels import spaced
from fairbench.display.tables import Column, Table
from fairbench.errors import FairbenchError
from fairbench.pages.chart import Chart
from fairbench.reporting import values
from fairbench.reporting.charts import audited, fields
from fairbench.storage import jsonfile

FILE: Final = "audit.json"
_AGAIN: Final = "do the audit again"
_DOTS: Final = "Dots: what is measured; rings: what it is held against; lines: 95 % intervals"
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Audit:
    """What a page shows of an audit. model, image_key: whose, and of which images. table: its findings in all forms."""

    folder: Path
    model: str
    image_key: str
    note: str
    summary: str
    cannot_be_concluded: list[str]
    table: dict[str, str]
    charts: list[Chart]


def by_model(audits: Sequence[Audit], models: Collection[str]) -> dict[str, Audit]:
    """Return model -> its audit. Raises FairbenchError for an audit of another model, and for two of one."""
    found: dict[str, Audit] = {}
    for audit in audits:
        if audit.model not in models:
            raise FairbenchError(
                f"{audit.folder} is an audit of {audit.model}, and no run here is of that model: name it with runs "
                "of its model."
            )
        if audit.model in found:
            folders = f"{found[audit.model].folder} and {audit.folder}"
            raise FairbenchError(f"{folders} are audits of one model, {audit.model}: name one of them.")
        found[audit.model] = audit
    return found


def is_audit(folder: Path) -> bool:
    """Whether a folder is that of an audit."""
    return (folder / FILE).is_file()


def read(folder: Path) -> Audit:
    """Read the folder of an audit. Raises FairbenchError that names the file where it is none, or is damaged."""
    path = folder / FILE
    held = jsonfile.read(path, unreadable=_AGAIN, broken=_AGAIN)
    try:
        return Audit(
            folder,
            str(held["model"]),
            str(held["image_key"]),
            str(held["note"]),
            str(held["summary"]),
            [str(sentence) for sentence in held["cannot_be_concluded"]],
            values.written(_table(held), str(held["note"])),
            [chart for chart in _charts(held) if chart is not None],
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as err:  # anybody may have written it
        raise FairbenchError(f"{path} is not as an audit writes it ({type(err).__name__}: {err}): {_AGAIN}.") from err


def _table(held: Json) -> Table:
    title = (
        f"{held['model']} · {held['task']} · labelled by {held['labeller']} · {held['images_per_prompt']} per prompt"
    )
    table = Table(
        [Column("component", wraps=True), Column("finding", wraps=True), Column("evidence", wraps=True)], title
    )
    for verdict in held["verdicts"]:
        table.add(*(str(verdict[name]) for name in ("component", "finding", "words")))
    return table


def _measured(held: Json, part: str) -> Any:
    """Return a part of the audit; None where it was not measured, as its verdict says."""
    found = held[part]
    return None if isinstance(found, Mapping) and "reason" in found else found


def _charts(held: Json) -> Iterator[Chart | None]:
    encoder, tokenizer = _measured(held, "encoder"), _measured(held, "tokenizer")
    understanding = _measured(held, "understanding")
    if encoder is not None:
        yield _probes(encoder)
    if tokenizer is not None:
        yield from _passages(tokenizer)
    yield from _language(held["language"])
    if understanding is not None:
        yield from _answers(understanding)


def _probes(encoder: Json) -> Chart | None:
    shown = [
        point
        for probe in encoder["probes"]
        for what, beside in (("accuracy", False), ("shuffled", True))
        for point in audited.points(spaced(probe["attribute"]), _PROBES[what], probe[what], beside=beside)
    ]
    words = f"{_DOTS}, for other images like these. That an attribute can be read does not say that it is used."
    return audited.chart("encoder", "Vision encoder: what a linear probe reads", words, "accuracy", shown)


_PROBES: Final = {"accuracy": "accuracy", "shuffled": "labels shuffled"}


def _passages(tokenizer: Any) -> Iterator[Chart | None]:
    shown = [
        point
        for part in tokenizer
        for group in part["groups"]
        for point in audited.points(
            f"{spaced(part['attribute'])} {group['label']}", "read as before", group["agreement"]
        )
    ]
    words = (
        f"Faces that are read as before, after the image was encoded and decoded. {_DOTS}, for other images like these."
    )
    yield audited.chart("tokenizer", "Image tokenizer: labels before and after", words, "share of faces", shown)
    for number, part in enumerate(tokenizer):
        labels = [str(label) for label in part["labels"]]
        yield fields.confusion(
            f"audit-tokenizer-{number}",
            f"Image tokenizer: {spaced(part['attribute'])} before and after",
            "Numbers of faces; colour: the share of the row.",
            ("read before", "read after"),
            (labels, [*labels, "no face"]),
            part["confusion"],
        )


def _language(language: Json) -> Iterator[Chart | None]:
    tokens = [
        point
        for part in language["divergences"]
        if part["kind"] == "histogram"
        for point in (
            *(p for g in part["groups"] for p in audited.points(spaced(part["attribute"]), g["label"], g["jsd"])),
            *audited.points(spaced(part["attribute"]), "two neutral sets", part["null"], beside=True),
        )
    ]
    words = f"How far each group's prompt leads the tokens from the neutral prompt's. {_DOTS}, for other prompts."
    yield audited.chart("tokens", "Language model: distance of tokens", words, "JSD of token histograms, bits", tokens)
    biases = [
        point
        for part in language["log_probs"]
        for what, name, beside in (
            ("by log-probabilities", "rd", False),
            ("by labels of what is drawn", "labelled_rd", True),
            ("what chance makes of equal shares", "floor", True),
        )
        for point in audited.points(spaced(part["attribute"]), what, part[name], beside=beside)
    ]
    words = f"RD under the neutral prompt, without a labeller. {_DOTS}, of the error of drawing images alone."
    yield audited.chart("log-probabilities", "Language model: bias by its own log-probabilities", words, "RD", biases)


def _answers(understanding: Json) -> Iterator[Chart | None]:
    shares = [
        point
        for part in understanding["answers"]
        for kind, share in part["shares"].items()
        for point in audited.points(str(part["condition"]), str(kind), share)
    ]
    words = f"Share of all answers to which gender an occupation has. {_DOTS}, for these occupations alone."
    yield audited.chart("answers", "Understanding: the gender of an occupation", words, "share of all answers", shares)
    flips = [
        point
        for part in understanding["flips"]
        for what, name, beside in (("two groups", "between", False), ("one group, other noise", "within", True))
        for point in audited.points(f"{spaced(part['attribute'])}, {part['about']}", what, part[name], beside=beside)
    ]
    words = f"Pairs of images of one occupation whose answers differ. {_DOTS}, for these occupations alone."
    yield audited.chart(
        "flips", "Understanding: answers that differ between two images", words, "share of pairs", flips
    )
