"""Rewrites prompts by an instruction that `fairbench refine` settled on labels of generated images, and froze.

Source of the idea: Al Sahili, Patras and Purver, "FairCoT: Enhancing Fairness in Text-to-Image Generation via Chain of
Thought Reasoning with Multimodal Large Language Models", Findings of EMNLP 2025 (arXiv 2406.09070).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from fairbench import keys
from fairbench.cards import yamlfile
from fairbench.cards.cards import SHA256, Label, Text
from fairbench.errors import CardError, FairbenchError
from fairbench.methods.chain_of_thought import as_prompt
from fairbench.methods.common import QUOTES, PromptMethod, ask, find_words, or_neutral
from fairbench.protocols import MethodContext, PromptSample
from fairbench.storage import atomic
from fairbench.strict import StrictModel
from fairbench.types import Prompt

NAME = "fair-cot"
MARK: Final = "Prompt:"
"""What stands before the new prompt where the text model thinks aloud first."""
_BEFORE: Final = re.compile(r"\A.*(?<!\w)prompt[*_`]*\s*[:\uff1a]", re.DOTALL | re.IGNORECASE)
"""All up to the last such mark, however a model writes it: `prompt:`, `**Prompt:**`, `Prompt**:`, with a wide colon."""
_EMPHASIS: Final = re.compile(r"\*+|_{2,}|`+")
_BLOCK: Final = " \t\r\n>#-_"
"""Markdown's marks of headings, quotations, lists and rules, and emphasis by one `_`, at the ends of a prompt."""
_GENERAL: Final = frozenset({"person", "human", "people", "worker", "employee", "someone", "individual"})
"""Subjects that an instruction may say: they do not tell which prompt it was."""
_HEAD: Final = """\
# Written by `fairbench refine`; for `fairbench run --method fair-cot:FILE`. Frozen: a changed file is refused.
"""


class Round(StrictModel):
    """What the labeller read in one round's images.

    unusable: answers of the text model in whose place the neutral prompt was drawn. concentration: mean over prompts,
    with its 95 % interval for these prompts; None where too few faces were seen. shares: of all faces, by group.
    """

    images: int = Field(ge=0)
    faces: int = Field(ge=0)
    unusable: int = Field(ge=0)
    concentration: float | None
    low: float | None
    high: float | None
    shares: dict[Label, float]


class Chain(StrictModel):
    """A refined instruction and where it is from. sha256: of all else that the file says.

    instruction: what the text model is asked, with {prompt} in it. round: which of `rounds` it is, from 1. reached:
    whether that round was flat within `tolerance`, the upper limit of its concentration.
    """

    format: Literal[1] = Field(1, alias="fairbench.fair-cot")
    instruction: Text
    round: int = Field(ge=1)
    reached: bool
    tolerance: float = Field(gt=0, lt=1)
    rounds: Annotated[list[Round], Field(min_length=1)]
    prompts: Annotated[list[Text], Field(min_length=1)]
    subjects: list[Text]
    model: Text
    identity: str = Field(pattern=r"^[0-9a-f]{32}$")
    provenance: dict[str, Any]
    sha256: str = Field("", pattern=rf"^$|{SHA256}")

    @model_validator(mode="after")
    def _consistent(self) -> Chain:
        if self.instruction.count("{prompt}") != 1:
            raise ValueError("instruction: it must hold {prompt} exactly once")
        if self.round > len(self.rounds):
            raise ValueError("round: there are not so many rounds")
        return self

    def content_hash(self) -> str:
        """Return the sha256 (64 hex digits) of all that the file says but its hash."""
        return hashlib.sha256(keys.canonical(self.model_dump(exclude={"sha256"}, by_alias=True)).encode()).hexdigest()


def read(path: Path) -> Chain:
    """Read a frozen file. Raises CardError for what it must not hold, and where it was changed after it was written."""
    content = yamlfile.load(path)
    try:
        chain = Chain.model_validate(content.data)
    except ValidationError as err:
        first, *others = yamlfile.problems(content, err)
        raise CardError(f"{first}{f' (and {len(others)} more)' if others else ''}.") from err
    if chain.sha256 != chain.content_hash():
        raise CardError(
            f"{path}, field sha256: the file was changed after it was frozen; undo the change, or refine again (an "
            "instruction of your own goes to --method chain-of-thought:INSTRUCTION)."
        )
    return chain


def write(path: Path, chain: Chain) -> Chain:
    """Write a file, whole or not at all, and return it with its hash. Raises StoreError."""
    frozen = chain.model_copy(update={"sha256": chain.content_hash()})
    text = yaml.safe_dump(frozen.model_dump(by_alias=True), sort_keys=False, allow_unicode=True, width=110)
    atomic.write_text(path, f"{_HEAD}\n{text}")
    return frozen


class FairCot(PromptMethod):
    """Asks the text model by the refined instruction of `:FILE`, which `fairbench refine` wrote.

    An answer is used where it is a prompt of at most 60 words that names the subject; of one that thinks aloud, what
    stands behind the last "Prompt:". Markdown is dropped. Any other leaves that sample the neutral prompt, and is
    counted in a warning.
    """

    def __init__(self, argument: str | None) -> None:
        if not argument:
            raise FairbenchError(f"--method {NAME} needs the file that `fairbench refine` wrote, as in {NAME}:FILE.")
        path = Path(argument).expanduser()
        self._chain, self._where = read(path), str(path)
        self.name = f"{NAME}:{path.stem}@{self._chain.sha256[:8]}"

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str]:
        """Return the text model's prompt for each sample. Raises FairbenchError where there is no text model."""
        chain, texts = self._chain, {p.prompt.text for p in prompts}
        if (subject := named(chain.instruction, (p.prompt.subject for p in prompts))) is not None:
            raise FairbenchError(
                f"--method {NAME}: the instruction of {self._where} names {subject!r}, which this task asks about: "
                "refine another one, or judge it by another task."
            )
        if ctx.card.name != chain.model:
            ctx.warnings.append(f"{NAME}: the instruction was refined on images of {chain.model}, not of this model.")
        if seen := texts & set(chain.prompts):
            ctx.warnings.append(
                f"{NAME}: the instruction was refined on images of {len(seen)} of the {len(texts)} prompts: what it "
                "does there need not hold elsewhere."
            )
        return or_neutral(ctx, NAME, answers(ctx, chain.instruction, prompts), prompts)


def answers(ctx: MethodContext, instruction: str, samples: Sequence[PromptSample]) -> list[str | None]:
    """Return the text model's prompt for each sample, None where its answer is none."""
    questions = [instruction.replace("{prompt}", s.prompt.text) for s in samples]
    asked = zip(ask(ctx, NAME, questions, samples), samples, strict=True)
    return [_usable(answer, sample.prompt) for answer, sample in asked]


def named(instruction: str, subjects: Iterable[str]) -> str | None:
    """Return the first subject that an instruction names as whole words; None: none. "person" is no naming."""
    for subject in sorted(set(subjects) - _GENERAL - {""}):
        if find_words(subject.casefold(), instruction.casefold()):
            return subject
    return None


def _usable(answer: str, prompt: Prompt) -> str | None:
    text = as_prompt(_EMPHASIS.sub("", _BEFORE.sub("", answer)).strip(_BLOCK + QUOTES))
    if text is None or prompt.subject == prompt.text:  # a prompt that is its own subject cannot be kept
        return text
    # A rewrite that loses the subject can be as flat as one likes. In a prompt about nurses, "nurse" is no whole word.
    subject, neutral = prompt.subject.casefold(), prompt.text.casefold()
    return text if find_words(subject, text.casefold(), parts=not find_words(subject, neutral)) else None
