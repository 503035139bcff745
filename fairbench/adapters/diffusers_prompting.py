"""Whether a diffusers pipeline rewrites prompts, and which text of its own it puts around them."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from fairbench.errors import CardError
from fairbench.types import ImageRequest

_SYSTEM = re.compile(r"(<\|im_start\|>system\n)(.*?)(<\|im_end\|>\n?)", re.DOTALL)
"""The system message of a chat template."""
_ATTRIBUTES = ("system_prompt", "sys_prompt", "system_message")
"""Attributes that hold such a text."""
_INDEX = re.compile(r"(start_idx|begin_id|drop_idx)$")
"""Attributes that hold how many tokens stand before the prompt; the pipeline drops so many."""


@dataclass(frozen=True, slots=True)
class Rewriter:
    """A pipeline's method that rewrites prompts, and the values of the argument that turns it on and off."""

    method: str
    on: Any
    off: Any


REWRITERS: Final[Mapping[str, Rewriter]] = {
    "enable_prompt_rewrite": Rewriter("rewire_prompt", True, False),  # LongCat-Image
    "use_pe": Rewriter("_enhance_prompt_with_pe", True, False),  # ERNIE-Image
    "caption_upsample_temperature": Rewriter("upsample_prompt", 0.15, None),  # FLUX.2, with its authors' temperature
    "prompt_upsampling": Rewriter("upsample_prompt", True, False),  # Ideogram 4
}
"""Argument of a pipeline's call -> what it turns on and off."""


def rewriting_arguments(accepted: Mapping[str, Any], rewrite: bool) -> dict[str, Any]:
    """Return the arguments that turn a pipeline's rewriting on or off; empty where it has none.

    accepted: the arguments of its call, by name.
    """
    return {name: r.on if rewrite else r.off for name, r in REWRITERS.items() if name in accepted}


def system_arguments(accepted: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the arguments of the call that set a pipeline's system prompt; empty where it takes none."""
    if "system_prompt" in accepted:
        return {"system_prompt": text}
    if "complex_human_instruction" in accepted:  # Sana: lines, joined and put directly before the prompt
        return {"complex_human_instruction": [text] if text else None}
    if "use_system_prompt" in accepted and not text:  # Cosmos 3: its own text or none
        return {"use_system_prompt": False}
    return {}


def set_system_prompt(pipe: Any, text: str, card: str) -> None:
    """Put `text` into a pipeline's own chat template, for pipelines whose call does not take it.

    Such a pipeline drops the tokens before the prompt by their number; that number is set anew. Nothing is changed
    where `text` is the pipeline's own. Raises CardError where there is no such text, or where the number in the
    pipeline is not that of its own text.
    """
    if text in _own_texts(pipe):
        return
    before = _prefixes(pipe)
    if not before:
        raise CardError(
            f"Model card {card}, sampling.system_prompt: {type(pipe).__name__} has no system prompt that can be set; "
            "remove the field."
        )
    for name, value in vars(pipe).copy().items():
        if isinstance(value, str) and name in _ATTRIBUTES:
            setattr(pipe, name, text)
        elif isinstance(value, str) and (match := _SYSTEM.search(value)):
            setattr(pipe, name, value[: match.end(1)] + _braced(value, text) + value[match.start(3) :])
    after = _prefixes(pipe)
    for name, value in vars(pipe).copy().items():
        if not (_INDEX.search(name) and isinstance(value, int)):
            continue
        counts = {_tokens(pipe, old): _tokens(pipe, new) for old, new in zip(before, after, strict=True)}
        if value not in counts:
            raise CardError(
                f"Model card {card}, sampling.system_prompt: {type(pipe).__name__} counts {value} tokens before the "
                f"prompt ({name}), but its text has {' or '.join(map(str, counts))}: remove the field."
            )
        setattr(pipe, name, counts[value])


@contextmanager
def under_system_prompt(pipe: Any, text: str | None, card: str) -> Iterator[None]:
    """Put a text before the prompts of one call, also where the pipeline's call does not take it; None: its own.

    Raises CardError where it has none that can be set.
    """
    if text is None or system_arguments(inspect.signature(pipe.__call__).parameters, text):
        yield
        return
    if not _prefixes(pipe):
        raise CardError(f"{card}: {type(pipe).__name__} has no system prompt that can be set; use another method.")
    before = {name: value for name, value in vars(pipe).items() if isinstance(value, str | int)}
    set_system_prompt(pipe, text, card)
    own = {name: value for name, value in before.items() if getattr(pipe, name) != value}
    try:
        yield
    finally:
        for name, value in own.items():
            setattr(pipe, name, value)


def takes_system_prompt(name: str) -> bool:
    """Return whether the diffusers pipeline of this class name has a system prompt that can be set.

    Its call takes one, or its constructor holds one: a chat template, or an attribute of a known name. True for a class
    that is not installed: loading it says what is wrong.
    """
    import diffusers

    cls = getattr(diffusers, name, None)
    if cls is None:
        return True
    code = inspect.unwrap(cls.__init__).__code__
    templates = (text for text in code.co_consts if isinstance(text, str))
    held = set(_ATTRIBUTES) & set(code.co_names) or any(map(_SYSTEM.search, templates))
    return bool(held or system_arguments(inspect.signature(cls.__call__).parameters, "a text"))


def blocks(requests: Sequence[ImageRequest], rows: int) -> Iterator[list[ImageRequest]]:
    """Yield the requests in order, at most so many at once: a call has one system prompt."""
    for _, group in itertools.groupby(requests, key=lambda request: request.system_prompt):
        while block := list(itertools.islice(group, rows)):
            yield block


def _own_texts(pipe: Any) -> set[str]:
    """Return the texts that a pipeline itself puts before prompts, as a card may declare them."""
    values = [value for value in vars(pipe).values() if isinstance(value, str)]
    attributes = (getattr(pipe, name, None) for name in _ATTRIBUTES)
    return {match[2] for value in values if (match := _SYSTEM.search(value))} | {t for t in attributes if t is not None}


def _braced(template: str, text: str) -> str:
    # Templates with {} go through str.format.
    return text.replace("{", "{{").replace("}", "}}") if "{}" in template else text


def _prefixes(pipe: Any) -> list[str]:
    """Return the texts that may stand before the prompt: whole ones, and their system messages alone."""
    prefixes = []
    for value in vars(pipe).values():
        if isinstance(value, str) and (match := _SYSTEM.search(value)):
            whole = value.partition("{}")[0].replace("{{", "{").replace("}}", "}") if "{}" in value else value
            prefixes += [whole, match[0]]
    if not prefixes and isinstance(getattr(pipe, "system_prompt", None), str) and hasattr(pipe, "_get_messages"):
        marked = pipe._get_messages("{}")[0]  # Ovis-Image renders its own chat template
        prefixes = [marked.partition("{}")[0]]
    if not prefixes and isinstance(getattr(pipe, "system_message", None), str):
        prefixes = [pipe.system_message]  # FLUX.2 drops nothing
    return prefixes


def _tokens(pipe: Any, text: str) -> int:
    tokenizer = getattr(pipe, "tokenizer", None) or pipe.processor.tokenizer
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
