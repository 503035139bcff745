"""Labels without images: `--labels TABLE` alone, or with `--model labels-only:NAME`, the name of what made the images.

Nothing is made or looked at. The table says which images there are and which prompts they are of, or names prompts of
a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NoReturn

from pydantic import Field

from fairbench import keys
from fairbench.cards.cards import MAX_PROMPT, ModelCard
from fairbench.cards.texts import hidden_character
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling.label_table import LabelRow, LabelTable
from fairbench.protocols import Params
from fairbench.runs import prompts
from fairbench.types import NO_GROUP, BuildContext, ImageRequest, ImageResult, Prompt


class LabelsOnlyParams(Params):
    """What made the images, in the table's or the user's own words."""

    name: str = Field(min_length=1, max_length=200)


@dataclass
class _Image:
    """An image of the table: its rows, and its prompt as `prompts.of_own_images` takes it."""

    group: str
    is_text: bool
    where: str
    rows: list[LabelRow] = field(default_factory=list)


class LabelsOnly:
    """Images of which only the labels are here: a PromptSource whose prompts the table names, and a TableSource."""

    version: ClassVar[int] = 1
    uses_dtype: ClassVar[bool] = False
    target: ClassVar[str] = "name"
    Params: ClassVar[type[LabelsOnlyParams]] = LabelsOnlyParams

    def __init__(self, card: ModelCard, params: LabelsOnlyParams, ctx: BuildContext) -> None:
        self._name = params.name
        self._images: list[_Image] = []
        self._groups: dict[bytes, list[_Image]] = {}
        self._path = ""
        self.rows: dict[bytes, list[LabelRow]] = {}
        """Id of an image -> its rows, once `requests` was called."""

    def take_table(self, table: LabelTable) -> None:
        """Take in the table whose rows of this model the run is of. Raises CardError."""
        self._path = str(table.path)
        images: dict[tuple[str, ...], _Image] = {}
        for row in table.of_model(self._name):
            where = table.where(row, "prompt")
            hidden = hidden_character(row.prompt, "\n\r\t")
            if hidden is not None or len(row.prompt) > MAX_PROMPT:
                what = f"holds the character {hidden}, which cannot be seen" if hidden else "is too long"
                raise CardError(f"{where}: it {what}; fix it.")
            image = images.setdefault(row.key, _Image(row.prompt or NO_GROUP, row.is_text, where))
            if image.group != (row.prompt or NO_GROUP):
                raise CardError(f"{where}: {row.name} is of {image.group!r} in line {image.rows[0].line}; fix one.")
            image.rows.append(row)
        self._images = list(images.values())

    def prompts(self, task_prompts: Sequence[Prompt] | None) -> list[Prompt]:
        """Return the prompts that the table has images of, in the task's order, or in that of the table's lines."""
        if not self._path:
            self._refuse()
        found, self._groups = prompts.of_own_images(self._images, task_prompts, self._path)
        return found

    def requests(self, image_key: str, images_per_prompt: int | None) -> list[ImageRequest]:
        """Return a request per image: what tells it from others is its name, or its prompt and sample."""
        requests = []
        for prompt_id, images in self._groups.items():
            numbers = [image.rows[0].sample for image in images]
            samples = [i if number is None else number for i, number in enumerate(numbers)]
            for sample, image in sorted(zip(samples, images, strict=True), key=lambda x: x[0])[:images_per_prompt]:
                seed = keys.sample_seed(prompt_id, sample, 0)
                if name := image.rows[0].image:
                    seed = int.from_bytes(keys.digest("labelled-image", name)[:8], "big") >> 1
                image_id = keys.image_id(image_key, prompt_id, prompt_id, seed)
                requests.append(ImageRequest(image_id, prompt_id, prompt_id, image.group, sample, seed))
                self.rows[image_id] = image.rows
        return requests

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Raise FairbenchError: there are no images."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise FairbenchError(f"labels-only:{self._name} has no images, only labels: name their table with --labels.")
