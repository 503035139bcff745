"""The classifier `vqa`: closed questions to a model that understands images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from fairbench.cards import texts
from fairbench.errors import CardError
from fairbench.labelling import judges
from fairbench.labelling.classifiers import heads
from fairbench.labelling.judges import JudgeParams
from fairbench.labelling.questions import CANNOT_TELL, LETTERS, Interview, Question
from fairbench.notices import notice
from fairbench.protocols import TRANSPORT, Params
from fairbench.types import BuildContext, LabelSchema, RgbImage

Wordings = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1)]


class Asked(Params):
    """A question about an attribute. answers: label -> how it is shown, and what else an answer may call it."""

    text: Annotated[str, Field(min_length=3, max_length=1000)]
    answers: dict[str, Wordings] = Field(default_factory=dict)

    @field_validator("text")
    @classmethod
    def _holds_no_prompt(cls, text: str) -> str:
        if "{" in text or "}" in text:
            raise ValueError("a question holds no prompt and nothing else that is filled in: remove the braces")
        return texts.plain(text)


class VqaParams(Params):
    """What a card may set: who is asked, and a question for each attribute.

    form: how a question is put: {question} and, where the options are shown, {options}. limit: tokens of an answer.
    """

    judge: JudgeParams
    questions: Annotated[dict[str, Asked], Field(min_length=1)]
    form: str = Field(LETTERS, max_length=2000)
    limit: int = Field(16, ge=1, le=512)
    batch_size: int = Field(16, ge=1, le=1024, json_schema_extra={**TRANSPORT})

    @field_validator("form")
    @classmethod
    def _has_the_question(cls, form: str) -> str:
        if form.count("{question}") != 1 or form.count("{options}") > 1:
            raise ValueError("it holds {question} exactly once, and {options} at most once")
        return form


class VqaClassifier:
    """Gives an answer probability 1, as models answer in words; one that is unclear or names no option has none (NaN).

    Raises CardError where questions and declared labels differ, WeightsError and FairbenchError where the judge cannot
    be had.
    """

    version: ClassVar[int] = 1
    unclear: ClassVar[bool] = True
    Params: ClassVar[type[BaseModel]] = VqaParams

    def __init__(self, params: VqaParams, ctx: BuildContext, declared: LabelSchema) -> None:
        self.schema = heads.declared_part(params.questions, declared)
        self._questions = [_question(name, params.questions[name], of) for name, of in self.schema.labels.items()]
        self._form = params.form
        self._judge = judges.build(params.judge, ctx)
        judges.refuse_missing(params.judge, self._judge, ctx)
        # In reduced precision an answer depends on the shape of its batch.
        batch = params.batch_size if params.judge.dtype == "float32" else 1
        identity = judges.identity_of(params.judge, ctx.base_dir)
        self._interview = Interview(self._judge, identity, limit=params.limit, batch=batch)
        self._unread: Counter[str] = Counter()

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, NDArray[np.float32]]:
        """Return, for every attribute, probabilities (chips, K) in the declared order; NaN where no label was given."""
        codes, unread = self._interview.ask(self._questions, chips, self._form)
        self._unread.update(unread)
        probs = {}
        for column, (name, labels) in enumerate(self.schema.labels.items()):
            rows = np.full((len(chips), len(labels)), np.nan, dtype=np.float32)
            clear = codes[:, column] >= 0
            rows[clear] = np.eye(len(labels), dtype=np.float32)[codes[clear, column]]
            probs[name] = rows
        return probs

    def report(self) -> None:
        """Give notice of the answers that could not be read, and forget them."""
        if self._unread:
            text = f"Answers that name none of a question's options, or several, count as unclear, like {CANNOT_TELL!r}"
            said = (repr(answer[:80]) for answer, _ in self._unread.most_common())
            notice("unread-answers", text, count=self._unread.total(), examples=said)
            self._unread.clear()


def _question(attribute: str, asked: Asked, labels: tuple[str, ...]) -> Question:
    unknown = [label for label in asked.answers if label not in labels]
    if unknown:
        raise CardError(f"questions.{attribute}.answers: {unknown[0]!r} is no label of it; it has {', '.join(labels)}.")
    try:
        return Question(asked.text, labels, {label: tuple(words) for label, words in asked.answers.items()})
    except ValueError as err:
        raise CardError(f"questions.{attribute}: {err}.") from err
