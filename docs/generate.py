"""Write the pages that follow from the code: `python docs/generate.py`. A test holds the pages equal to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fairbench.cli.app import COMMANDS, HELP, app, command
from fairbench.display.dictionary import ESTIMATES, TABLES
from fairbench.display.glossary import GLOSSARY

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py from the code: change the code, and run it again. -->"
WIDTH = 88


def pages() -> dict[str, str]:
    """Return file below docs -> its text."""
    return {
        "glossary.md": _page("Glossary", _glossary()),
        "reference/columns.md": _page("Columns", _columns()),
        "reference/command-line.md": _page("Command line", _commands()),
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
    for table, (sentence, columns) in TABLES.items():
        yield from ("", f"## {table}", "", sentence, "")
        yield from _table(("column", "what it holds"), ((f"`{name}`", text) for name, text in columns.items()))
    yield from ("", "## Names in the column `metric`", "")
    yield "Every metric of [metrics](../metrics.md), every scorer, and:"
    yield ""
    yield from _table(("name", "what it is"), ((f"`{name}`", summary) for name, (summary, _) in ESTIMATES.items()))


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
