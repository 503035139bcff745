"""Write the pages that follow from the code: `python docs/generate.py`. A test holds the pages equal to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fairbench.cards import catalog
from fairbench.cards.cards import TaskCard
from fairbench.cli.app import COMMANDS, HELP, app, command
from fairbench.display.dictionary import TABLES
from fairbench.display.estimates import ESTIMATES
from fairbench.display.glossary import GLOSSARY
from fairbench.listing import models
from fairbench.runs.prompts import expand

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py from the code: change the code, and run it again. -->"
WIDTH = 88


def pages() -> dict[str, str]:
    """Return file below docs -> its text."""
    return {
        "glossary.md": _page("Glossary", _glossary()),
        "reference/columns.md": _page("Columns", _columns()),
        "reference/command-line.md": _page("Command line", _commands()),
        "reference/models.md": _page("Models", _models()),
        "reference/tasks.md": _page("Tasks", _tasks()),
        "reference/languages.md": _page("The occupations in other languages", _languages()),
    }


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", NOTE, "", *lines, ""])


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _glossary() -> Iterator[str]:
    rows = ((term, entry.definition, entry.source) for term, entry in GLOSSARY.items())
    yield from _table(("term", "meaning", "source"), rows)


def _columns() -> Iterator[str]:
    yield "`fairbench show columns` prints these. ATTRIBUTE and CLASS stand for those of the labeller."
    yield (
        "In every CSV that fairbench writes, text that begins with `= + - @` or a tab, which a spreadsheet would take "
        "for a formula, stands behind an apostrophe. Reading it, fairbench takes the apostrophe off."
    )
    for table, (sentence, columns) in TABLES.items():
        yield from ("", f"## {table}", "", sentence, "")
        yield from _table(("column", "what it holds"), ((f"`{name}`", text) for name, text in columns.items()))
    yield from ("", "## Names in the column `metric`", "")
    yield "Every metric of [metrics](../metrics.md), every scorer, and:"
    yield ""
    yield from _table(("name", "what it is"), ((f"`{name}`", summary) for name, (summary, _) in ESTIMATES.items()))


_MODELS = """
The model cards that come with fairbench. `fairbench list models` prints them, and `fairbench show model NAME` says how
to get one running; [Add a model](../howto/add-a-model.md) says which way in suits another one.

**Tried** is the strongest check that a card passed: *real weights*; a *tiny checkpoint* of the same classes with random
weights, saved in the same format and run from end to end; a *local server* that speaks the service's dialect and
refuses any field that it does not document; or *signatures*: every call of the card's recipe is held against the
signatures of the official code at the pinned commit. **Not verified** is what none of us ran or could look up. GiB:
device memory for one block, mostly estimates.
"""
_WAYS = {
    "native": "Models of transformers that fairbench draws with itself, token by token; also for `audit` and `train`.",
    "diffusers": "Pipelines of diffusers, in this process.",
    "endpoint": "Served and commercial models, over HTTP: [how](../endpoints.md).",
    "worker": "Models that need an environment of their own: [how](../workers.md).",
}


def _models() -> Iterator[str]:
    yield _MODELS.strip()
    fields = ("title", "parameters", "memory_gb", "licence", "verified", "unverified")
    for way, sentence in _WAYS.items():
        cards = {name: model for name, model in models.overview().items() if model["way_in"] == way}
        yield from ("", f"## {way.capitalize()}", "", sentence, "")
        rows = ((f"`{name}`", *(_cell(card[field]) for field in fields)) for name, card in cards.items())
        yield from _table(("card", "model", "size", "GiB", "licence", "tried", "not verified"), rows)


_TASKS = """
The prompt suites that come with fairbench. `fairbench list tasks` prints their names, `fairbench prompts --task NAME`
their prompts. `--task` also takes a folder with a `task.yaml`, and a file of whole prompts: one a line in `.txt`, or a
`.csv` with a column `prompt` (and `subject`, `category`, `concept`, `form`, `states.ATTRIBUTE`, where you have them).
All prompts of a task weigh equally, and so do its templates.
"""


def _tasks() -> Iterator[str]:
    yield _TASKS.strip()
    yield ""
    rows = []
    cards = {name: catalog.load_task(name).card for name in catalog.find("tasks")}
    for name, card in cards.items():
        rows.append((f"`{name}`", card.title, card.language, f"{len(expand(card)):,}", _cell(card.licence)))
    yield from _table(("task", "what it is", "language", "prompts", "licence"), rows)
    for name, card in cards.items():
        texts = [text for text in (card.content_note, card.notes) if text]
        yield from ("", f"## {name}", "", f"For example: {expand(card)[-1].text!r}.", *(f"\n{text}" for text in texts))
        yield from ("", f"Source: {card.source}.")


_LANGUAGES = """
The same 50 occupations in German, French, Turkish and Chinese, for people who speak them to check. Nobody has so far:
runs of these tasks say so. Correct `tasks/occupations-LANGUAGE/subjects.csv`, and put your name into `reviewed_by` of
the card beside it. Other languages are packs: a folder with a `task.yaml`, whose `subjects.csv` has the columns
`concept` (the English occupation) and `form`.

The grammatical form is a variable of the task: masculine, feminine, paired, star, or epicene. None is neutral.
`fairbench compare ENGLISH GERMAN --forms=-,feminine` pairs runs by concept. A model that does not understand a language
looks diverse: look at the share of images without a face, and at whether the occupation was drawn, before you compare.
"""


def _languages() -> Iterator[str]:
    yield _LANGUAGES.strip()
    for name in catalog.find("tasks"):
        card = catalog.load_task(name).card
        prompts = expand(card)
        if any(p.concept and p.form for p in prompts):
            yield from _language(name, card)


def _language(name: str, card: TaskCard) -> Iterator[str]:
    prompts = expand(card)
    forms = list(dict.fromkeys(p.form for p in prompts))
    subject = {(p.concept, p.form): p.subject for p in prompts}
    checked = "nobody checked it" if card.reviewed_by == "nobody" else f"checked by {card.reviewed_by}"
    yield from ("", f"## {name}", "", f"Template: {card.templates[0].text} ({checked})", "")
    rows = (
        (concept, *(subject[concept, form].replace("*", r"\*") for form in forms))
        for concept in dict.fromkeys(p.concept for p in prompts)
    )
    yield from _table(("concept", *forms), rows)


def _cell(value: str | float | None) -> str:
    return "" if value is None else (value if isinstance(value, str) else f"{value:g}").replace("|", "\\|")


def _commands() -> Iterator[str]:
    """Yield the help of every command, as `--help` prints it."""
    from typer.main import get_command

    root: Any = get_command(app)
    with root.context_class(root, info_name="fairbench", terminal_width=WIDTH, help_option_names=HELP) as parent:
        yield from _help(root, parent)
        for name in COMMANDS:
            found = command(name)
            with found.context_class(found, info_name=name, parent=parent, terminal_width=WIDTH) as context:
                yield from ("", f"## fairbench {name}", "", *_help(found, context))
                for sub, inner in getattr(found, "commands", {}).items():
                    with inner.context_class(inner, info_name=sub, parent=context, terminal_width=WIDTH) as innermost:
                        yield from ("", f"### fairbench {name} {sub}", "", *_help(inner, innermost))


def _help(found: Any, context: Any) -> Iterator[str]:
    text = "\n".join(line.rstrip() for line in found.get_help(context).splitlines())
    yield from ("```text", text, "```")


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8")
