"""What a diffusers pipeline really reads: prompts that it cuts, texts of its own around them, rewritten prompts.

Nothing here models a pipeline: during a call its tokenizers are observed. What they receive, and what of it they pass
on, is all that its text encoders can have read.
"""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from fairbench.adapters.diffusers_prompting import REWRITERS

_SHOWN = 200
"""Characters of an unread text that a note quotes."""
_MARKUP = re.compile(r"<[^<>\s]*>|\[/?[A-Z_]+\]|\b(system|user|assistant|model|begin_of_text|think)\b")
"""Marks of chat templates: a template of nothing else adds no text of its own."""

KEPT_BY_ITSELF: Final[Mapping[str, Callable[[Any, int], int]]] = {
    "QwenImagePipeline": lambda pipe, length: length,
    "LongCatImagePipeline": lambda pipe, length: int(pipe.tokenizer_max_length),
    "Kandinsky5T2IPipeline": lambda pipe, length: length - 1,
}
"""Pipelines that cut a prompt after its tokenizer: from the pipeline and its max_sequence_length (0 where it takes
none), how many of the prompt's own tokens it keeps."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text that a tokenizer was given: how many tokens it has, how many are passed on, and the part that is not."""

    component: str
    kind: str
    text: str
    tokens: int
    read: int
    unread: str

    @property
    def who(self) -> str:
        """The kind of tokenizer and its name in the pipeline, as in `CLIP (tokenizer_2)`."""
        return f"{self.kind} ({self.component})"


@dataclass
class Listener:
    """What a pipeline's tokenizers were given in one call, what its rewriting returned, and what it warned of."""

    readings: list[Reading] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    paused: bool = False
    read_in_full: Callable[[str], Reading | None] = lambda text: None
    """What a pipeline of KEPT_BY_ITSELF keeps of a prompt; None for others."""

    def notes(self, prompts: Sequence[str], negative: str | None) -> list[dict[str, str]]:
        """Return, for each prompt of the call, what a reader has to know of its image: code of a notice -> detail.

        negative: the negative prompt, which can be cut as well.
        """
        return [self._notes_of(prompt, prompts, negative) for prompt in prompts]

    def _notes_of(self, prompt: str, prompts: Sequence[str], negative: str | None) -> dict[str, str]:
        text = self.rewritten[0] if self.rewritten else prompt
        mine = self._readings_of(text, prompts)
        notes = {}
        cuts = [_cut([*mine, *self._kept(text)], text), _cut_negative(self.readings, negative)]
        if any(cuts):
            notes["prompt-cut"] = "; ".join(filter(None, cuts))
        templates = dict.fromkeys(t for r in mine if (t := _own_text(r, text)))
        if templates:
            notes["system-prompt"] = "\n\n".join(templates)
        instead = text if _plain(text) != _plain(prompt) else None if mine else self._instead_of(prompt, negative)
        if instead is not None:
            notes["prompt-rewritten"] = instead
        return notes

    def _readings_of(self, prompt: str, prompts: Sequence[str]) -> list[Reading]:
        # A prompt may be a part of another prompt of the block: then that one's readings are not its own.
        longer = [p for p in prompts if len(p) > len(prompt) and _within(prompt, p)]
        return [r for r in self.readings if _within(prompt, r.text) and not any(_within(p, r.text) for p in longer)]

    def _kept(self, prompt: str) -> list[Reading]:
        reading = self.read_in_full(prompt)
        return [] if reading is None else [reading]

    def _instead_of(self, prompt: str, negative: str | None) -> str | None:
        """Return what was read in place of a prompt that no tokenizer was given; None where it was read in pieces."""
        texts = [r.text for r in self.readings if r.text.strip() and r.text != negative]
        if not prompt.strip() or not texts or any(_within(t, prompt) for t in texts):
            return None
        return "\n\n".join(dict.fromkeys(texts))


def _plain(text: str) -> str:
    """Return a text as it is compared: some pipelines put prompts into lower case and squeeze blanks."""
    return " ".join(text.lower().split())


def _within(part: str, text: str) -> bool:
    return part in text or _plain(part) in _plain(text)


def _cut(readings: Sequence[Reading], prompt: str) -> str | None:
    """Say which encoders do not read all of a prompt, and which do; None where all read all of it."""
    unread: dict[str, str] = {}
    lengths: dict[str, Reading] = {}
    for reading in readings:
        # A template may go on behind the prompt: only what reaches into the prompt is a part of it.
        behind = _plain(reading.text).rpartition(_plain(prompt))[2]
        part = _plain(reading.unread)
        part = part[: max(len(part) - len(behind), 0)].strip()
        lengths.setdefault(reading.who, reading)
        if part:
            unread[reading.who], lengths[reading.who] = part, reading
    if not unread:
        return None
    cuts: dict[tuple[int, int, str], list[str]] = {}
    for who, part in unread.items():
        cuts.setdefault((lengths[who].read, lengths[who].tokens, part), []).append(who)
    sentences = [
        f"{' and '.join(whos)}: {read} of {tokens} tokens are read, not {_quoted(part)}"
        for (read, tokens, part), whos in cuts.items()
    ]
    whole = [who for who in lengths if who not in unread]
    return "; ".join([*sentences, *([f"{' and '.join(whole)}: all is read"] if whole else [])])


def _cut_negative(readings: Sequence[Reading], negative: str | None) -> str | None:
    cut = None if not (negative or "").strip() else _cut([r for r in readings if r.text == negative], str(negative))
    return None if cut is None else f"of the negative prompt, {cut}"


def _quoted(text: str) -> str:
    return f'"{textwrap.shorten(text, _SHOWN, placeholder=" ...") or text[:_SHOWN]}"'


def _own_text(reading: Reading, prompt: str) -> str | None:
    """Return what a pipeline puts around a prompt, with {prompt} in its place; None where that is markup alone."""
    head, match, tail = reading.text.rpartition(prompt)
    if not match:
        head, _, tail = _plain(reading.text).rpartition(_plain(prompt))
    return f"{head}{{prompt}}{tail}" if re.search(r"[^\W\d_]", _MARKUP.sub(" ", head + tail)) else None


@contextmanager
def listen(pipe: Any, max_sequence_length: int = 0) -> Iterator[Listener]:
    """Listen to a pipeline's tokenizers, rewriting and warnings while it is called."""
    heard = Listener()
    tokenizers = _tokenizers(pipe)
    classes = {name: type(tokenizer) for name, tokenizer in tokenizers.items()}
    methods = {r.method for r in REWRITERS.values() if hasattr(pipe, r.method)}
    keeps = KEPT_BY_ITSELF.get(type(pipe).__name__)
    if keeps is not None and tokenizers:
        name, tokenizer = next(iter(tokenizers.items()))
        limit = keeps(pipe, max_sequence_length)
        heard.read_in_full = lambda text: _reading(classes[name], tokenizer, name, text, limit, special=False)
    for name, tokenizer in tokenizers.items():
        # A call looks __call__ up on the class, so the instance gets a class of its own for the time.
        object.__setattr__(tokenizer, "__class__", _listening_class(classes[name], name, heard))
    for method in methods:
        pipe.__dict__[method] = _recorded(getattr(pipe, method), heard)
    try:
        with _warnings_of_diffusers(heard.warnings):
            yield heard
    finally:
        for method in methods:
            del pipe.__dict__[method]
        for name, tokenizer in tokenizers.items():
            object.__setattr__(tokenizer, "__class__", classes[name])


def _tokenizers(pipe: Any) -> dict[str, Any]:
    """Return component -> tokenizer, each once; a processor stands for the tokenizer that it holds."""
    tokenizers: dict[str, Any] = {}
    for name, component in pipe.components.items():
        inner = component if hasattr(component, "_encode_plus") else getattr(component, "tokenizer", None)
        if hasattr(inner, "_encode_plus") and not any(inner is t for t in tokenizers.values()):
            tokenizers[name] = inner
    return tokenizers


def _listening_class(base: Any, name: str, heard: Listener) -> type:
    def call(self: Any, text: Any = None, *args: Any, **kwargs: Any) -> Any:
        output = base.__call__(self, text, *args, **kwargs)
        texts = [text] if isinstance(text, str) else text
        if not heard.paused and isinstance(texts, list | tuple) and all(isinstance(t, str) for t in texts):
            special = bool(kwargs.get("add_special_tokens", True))
            for item, length in zip(texts, _lengths(output, isinstance(text, str)), strict=False):
                heard.readings.append(_reading(base, self, name, item, length, special))
        return output

    return type(base.__name__, (base,), {"__call__": call, "__module__": base.__module__})


def _lengths(output: Any, single: bool) -> list[int]:
    """Return the number of tokens in each row of a tokenizer's output, without padding."""
    mask = output.get("attention_mask")
    rows = output["input_ids"] if mask is None else mask
    if single and len(rows) and isinstance(rows[0], int):
        rows = [rows]
    return [len(row) if mask is None else int(sum(row)) for row in rows]


def _reading(base: Any, tokenizer: Any, name: str, text: str, read: int, special: bool) -> Reading:
    """Compare the tokens that were passed on with all tokens of a text. special: the tokenizer adds its own marks."""
    plain = {"truncation": False, "padding": False, "verbose": False}
    fast = bool(getattr(tokenizer, "is_fast", False))
    content = base.__call__(tokenizer, text, add_special_tokens=False, return_offsets_mapping=fast, **plain)
    ids = content["input_ids"]
    tokens = len(base.__call__(tokenizer, text, add_special_tokens=True, **plain)["input_ids"]) if special else len(ids)
    unread = ""
    if read < tokens:
        first_unread = max(read - (tokens - len(ids)), 0)
        begin = content["offset_mapping"][first_unread][0] if fast else 0
        unread = text[begin:] if fast else str(tokenizer.decode(ids[first_unread:]))
    return Reading(name, re.sub(r"Tokenizer(Fast)?$", "", base.__name__), text, tokens, min(read, tokens), unread)


def _recorded(method: Callable[..., Any], heard: Listener) -> Callable[..., Any]:
    """Return a rewriting method whose results are kept; what its own language model reads is no prompt."""

    def call(*args: Any, **kwargs: Any) -> Any:
        heard.paused = True
        try:
            result = method(*args, **kwargs)
        finally:
            heard.paused = False
        heard.rewritten += [result] if isinstance(result, str) else result
        return result

    return call


class _Kept(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())


@contextmanager
def _warnings_of_diffusers(messages: list[str]) -> Iterator[None]:
    """Collect what diffusers warns of, which it would print between the run's own lines, or not at all."""
    from diffusers.utils import logging as theirs

    logger = theirs.get_logger("diffusers")
    before = (logger.level, list(logger.handlers), logger.propagate)
    logger.handlers, logger.propagate = [_Kept(messages)], False
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before[0])
        logger.handlers, logger.propagate = before[1:]
