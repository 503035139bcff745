"""`--system-prompt`: the text that a model puts before each prompt, as a variable of the run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from fairbench import registry
from fairbench.cards.cards import ModelCard
from fairbench.cards.textfile import read_text
from fairbench.errors import FairbenchError

NONE: Final = "none"
_IRRELEVANT: Final = "irrelevant:"
_FILES: Final = (".txt", ".md")
_TEXT: Final = (
    "Glaciers move slowly downhill under their own weight. Where the bed is steep the ice breaks into deep cracks, and "
    "where it is flat the surface stays smooth. Meltwater runs through tunnels below and carries fine grey silt into "
    "the lakes of the valley. In cold winters the tongue of the ice grows, in warm summers it draws back and leaves "
    "ridges of stones behind. Layers of dust and ash in the ice can be counted like the rings of a tree."
)
"""What an irrelevant text is made of; it names no people, and asks for nothing."""


def text_of(value: str | None) -> str | None:
    """Return what stands before each prompt: a text, the content of a .txt or .md file, or "" for `none`.

    irrelevant:FILE (or a text behind the colon) is a text on glaciers of as many words: the control that shows what any
    text of that length does. Raises CardError for a file that cannot be read.
    """
    if value is None or value == NONE:
        return None if value is None else ""
    if value.startswith(_IRRELEVANT):
        return irrelevant(len((text_of(value.removeprefix(_IRRELEVANT)) or "").split()))
    path = Path(value).expanduser()
    if path.suffix.lower() in _FILES and "\n" not in value:
        return read_text(path).strip()
    return value


def irrelevant(words: int) -> str:
    """Return a text of so many words that has nothing to do with pictures of people."""
    of_text = _TEXT.split()
    return " ".join(of_text[i % len(of_text)] for i in range(words))


def applied(card: ModelCard, text: str | None) -> ModelCard:
    """Return the card under a system prompt, by another name: its runs are another model's. None: the card itself.

    Raises FairbenchError for a model that has none, or none that can be set.
    """
    if text is None:
        return card
    plugin = registry.resolve("adapters", card.adapter)
    with_text: Any = getattr(plugin, "with_system_prompt", None)
    sampling = None if with_text is None else with_text(card.sampling, text)
    if sampling is None:
        raise FairbenchError(f"--system-prompt: {card.name} ({card.adapter}) has none that can be set; leave it out.")
    suffix = f"-system-prompt-{hashlib.sha256(text.encode()).hexdigest()[:6] if text else NONE}"
    return card.model_copy(update={"sampling": sampling, "name": f"{card.name[: 80 - len(suffix)]}{suffix}"})
