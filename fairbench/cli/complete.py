"""Names that a shell completes. Where none fits, the shell completes files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

from fairbench.errors import FairbenchError
from fairbench.listing.kinds import KINDS, SHOWN


def _names(kind: str) -> Iterable[str]:
    from fairbench import registry
    from fairbench.listing.kinds import CARDS

    try:
        if kind in CARDS:
            from fairbench.cards import catalog

            return catalog.find(kind)  # type: ignore[arg-type]
        return registry.names(kind)
    except FairbenchError:  # it is said by the command, not in the middle of a line that is being typed
        return ()


def one(kind: str) -> Callable[[str], list[str]]:
    """Return what completes a name of a kind, as in `models`."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in _names(kind) if name.startswith(incomplete)]

    return complete


def several(kind: str) -> Callable[[str], list[str]]:
    """Return what completes the last of names with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in _names(kind) if name.startswith(last)]

    return complete


def listed(incomplete: str) -> list[str]:
    """Complete what can be listed."""
    return [kind for kind in KINDS if kind.startswith(incomplete)]


def shown(incomplete: str) -> list[str]:
    """Complete what can be shown."""
    return [kind for kind in SHOWN if kind.startswith(incomplete)]


def of_shown(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a name of the kind that the command line names before it."""
    kind = f"{ctx.params.get('what')}s"
    return one(kind)(incomplete) if kind in KINDS else []


def terms(incomplete: str) -> list[str]:
    """Complete a term of the glossary."""
    from fairbench.display.glossary import GLOSSARY

    return [term for term in GLOSSARY if term.startswith(incomplete)]
