"""Notices: what a reader of the numbers has to know, shown wherever the numbers are shown.

Nothing is dropped, cut, guessed or repeated in silence. Any stage calls `notice(code, sentence)`, which prints it on
stderr at once; a command collects them (`with collecting() as notices`) and shows them again under its result, in
run.json and in the run folder. KINDS is the one table of them; docs/notices.md is written from it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

log = logging.getLogger(__name__)
MAX_EXAMPLES: Final = 5
"""Examples that a notice holds at most; its count says how many cases there are."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means, what to do about it, and whether `--strict` counts it."""

    meaning: str
    fix: str
    strict: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    "copies": Kind(
        "given image files that are equal byte by byte or pixel by pixel",
        "remove the copies: they count as independent images",
        strict=True,
    ),
    "equal-images": Kind(
        "generated images of one prompt that are equal pixel by pixel", "nothing: they count as drawn"
    ),
    "server-repeats": Kind(
        "images of one prompt that a server sent again, though each request was to be drawn anew",
        "have the server draw from each request's seed, and keep no cache",
        strict=True,
    ),
    "not-reproducible": Kind(
        "the server draws from no seed of ours: the images are kept by prompt and index, and made again they differ",
        "nothing: keep the store",
    ),
    "near-copies": Kind(
        "given images whose perceptual hashes differ in at most 4 of 64 bits (only looked for if asked)",
        "look at them: near-copies are no independent images",
    ),
    "asked-labels": Kind(
        "the labels are a model's answers to questions: no verdict and no rank follows from them alone",
        "label some of the images (fairbench annotate), then fairbench calibrate --from",
    ),
    "self-judged": Kind(
        "the model that made the pictures is the one that was asked about them; such a run is never ranked",
        "name a labeller of another model",
        strict=True,
    ),
    "declared-generated": Kind(
        "files of the user are shown to somebody else's server, since their manifest says that a model drew them all",
        "stop, and ask a model on this machine, where one of them is a photograph of a person",
    ),
    "unread-answers": Kind(
        "answers of a labeller that asks questions which name none of the options, or several; they count as unclear",
        "read them in the cache folder, under answers/; change the card's question, its answers or its form",
    ),
    "prompt-cut": Kind(
        "a text encoder cuts a prompt: what stands behind the cut was not read", "shorten the prompts", strict=True
    ),
    "plain-image": Kind(
        "given image files in which all pixels lie within 2 grey levels; they count as ok",
        "remove them if they stand for failures",
        strict=True,
    ),
    "unread-file": Kind("image files that cannot be read; they count as failed", "fix or remove them", strict=True),
    "unknown-suffix": Kind(
        "files of a folder that are no images by their suffix; they are not looked at",
        "convert pictures to PNG, JPEG or WebP, remove the rest",
        strict=True,
    ),
    "ignored-folder": Kind(
        "sub-folders that are not looked at", "name the folder itself, or write a manifest", strict=True
    ),
    "ignored-column": Kind("columns of a manifest that are not read", "remove or rename them", strict=True),
    "assumed-classes": Kind(
        "a table of labels that declares no classes: those that occur were taken",
        "declare them with --labeller, or give a column of probabilities per class",
        strict=True,
    ),
    "unused-labels": Kind(
        "rows of a table of labels whose images a part of a run does not have", "nothing, if only a part was wanted"
    ),
    "labels-only": Kind("labels without the images that they are of", "name the images' model, if they are here"),
    "no-folder": Kind("a folder of cards that is not there", "fix FAIRBENCH_PATH", strict=True),
    "prompts-without-images": Kind(
        "prompts of the task for which a folder holds no images", "add images, or leave the prompts out", strict=True
    ),
    "content-note": Kind(
        "prompts that put people down, or that services may refuse", "read the note of the task's card"
    ),
    "not-reviewed": Kind(
        "prompts in a language of which no native speaker checked them",
        "have them checked, and name who did in the task's `reviewed_by`",
    ),
    "near-equal-prompts": Kind(
        "prompts that differ in blanks, case or Unicode form alone", "keep one of them", strict=True
    ),
    "language": Kind("a scorer's model was not made for the task's language", "leave the score out of comparisons"),
    "few-images": Kind("prompts with fewer than 8 faces", "draw more images per prompt"),
    "seed-repeat": Kind(
        "images of a prompt that were drawn from the same noise", "report it: seeds must differ", strict=True
    ),
    "prompt-rewritten": Kind(
        "a pipeline or server rewrote prompts before it drew", "turn the rewriting off in the model card", strict=True
    ),
    "system-prompt": Kind(
        "a pipeline or server puts a text of its own before each prompt", "compare it like a setting"
    ),
    "system-prompt-written": Kind(
        "a text that the method wrote stood before the prompt", "read some: each image has its own, among its notes"
    ),
    "pipeline-warning": Kind("an image pipeline's own library warned of something", "read the sentence"),
    "unpinned": Kind("weights that are not pinned to a commit", "name the revision in the card"),
    "quota": Kind("the method fixes how many images ask for which group", "do not read intervals as those of chance"),
    "method": Kind("what a method did otherwise than asked", "read the sentence"),
    "score-failed": Kind("images of which a scorer has no value; they are in no mean", "look at them"),
    "small-calibration": Kind(
        "rows of a calibration that rest on fewer than 30 images", "calibrate on more images of these cells"
    ),
    "scorer-left-out": Kind("a scorer that could not be run", "read the sentence, and run again"),
    "plugin-left-out": Kind("a plug-in that is broken", "fix or uninstall it"),
    "plugin-output": Kind("what a plug-in printed to stdout, which is not shown", "print to stderr, or nothing"),
    "own-key": Kind(
        "code that no file and no version stands for: another process makes its results again",
        "give a function a name and a version; put a class into a file, for --plugins",
    ),
    "code-changed": Kind(
        "a function that differs from what this process ran before under its name and version",
        "raise its version: stored images of the earlier one are used again",
        strict=True,
    ),
    "adapter-origin": Kind("an adapter without a record of the model it was made for", "check that it belongs to it"),
    "memory": Kind("blocks were made smaller because memory ran out", "name a smaller --batch-size"),
    "block-failed": Kind("a block raised an error and its images were tried one by one", "see the images' statuses"),
    "worker-restarted": Kind(
        "a process that makes or labels images died or hung, and was started again", "read the sentence"
    ),
    "detector-failed": Kind("images on which the face detector raised an error; they count as failed", "look at them"),
    "damaged-shard": Kind("files of the store that were damaged; their rows are made again", "check the disk"),
    "moved-aside": Kind("a run folder held another run's results, which were moved", "name another --out"),
}
"""code -> its meaning. A code is never reused for anything else: run.json holds it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to know. text: a sentence with the facts; count: how many cases there are; examples: some of them."""

    code: str
    text: str
    count: int = 1
    examples: tuple[str, ...] = ()

    @property
    def strict(self) -> bool:
        """Whether `--strict` counts it."""
        return KINDS[self.code].strict

    @property
    def sentence(self) -> str:
        """The text with the examples, as it is shown."""
        if not self.examples:
            return self.text
        more = self.count - len(self.examples)
        named = "; ".join(self.examples) + (f"; and {more} more" if more > 0 else "")
        return f"{self.text} ({named})"

    def record(self) -> dict[str, Any]:
        """Return it as plain data, for run.json."""
        fields = {"code": self.code, "count": self.count, "text": self.text, "examples": list(self.examples)}
        return fields | {"fix": KINDS[self.code].fix, "strict": self.strict}


class Notices(list[Notice]):
    """Collected notices, each once. shown: notices of earlier work, which need not be shown again."""

    def __init__(self, shown: Iterable[Notice] = ()) -> None:
        super().__init__()
        self._shown = list(shown)

    def add(self, new: Notice) -> bool:
        """Add a notice; return False where it was there, or was shown, already."""
        if new in self:
            return False
        self.append(new)
        return new not in self._shown

    @property
    def strict(self) -> list[Notice]:
        """The notices that `--strict` counts."""
        return [n for n in self if n.strict]


_current: ContextVar[Notices | None] = ContextVar("fairbench_notices", default=None)


@contextmanager
def collecting(shown: Iterable[Notice] = ()) -> Iterator[Notices]:
    """Collect the notices of the work inside; a collection inside another belongs to both.

    shown: notices of earlier work; one of them that comes again is collected, but not shown a second time.
    """
    outer, notices = _current.get(), Notices(shown)
    token = _current.set(notices)
    try:
        yield notices
    finally:
        _current.reset(token)
        if outer is not None:
            for collected in notices:
                outer.add(collected)


def notice(code: str, text: str, *, count: int = 1, examples: Iterable[str] = ()) -> None:
    """Report something that a reader of the numbers has to know; it is shown on stderr at once.

    Raises KeyError for a code that KINDS lacks.
    """
    kind = KINDS[code]
    new = Notice(code, text, count, tuple(examples)[:MAX_EXAMPLES])
    notices = _current.get()
    if notices is None or notices.add(new):
        log.warning("%s: %s To fix: %s.", code, _with_full_stop(new.sentence), kind.fix)


def _with_full_stop(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
