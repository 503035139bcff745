"""Images that somebody already has: `--model folder:PATH`. They stay where they are, referenced by path and sha256.

PATH is a folder with one sub-folder per prompt (also `prompt_{i}/img_{j}.jpg`), a folder of images (one group, "all
images"), or a CSV / JSONL manifest with the columns path (or image), prompt or prompt_id, and optionally sample_index
and origin (`generated`: a model drew the image, and it shows nobody).
Nothing is passed over in silence: see docs/notices.md.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from fairbench import keys
from fairbench.adapters import folder_files
from fairbench.adapters.folder_files import ImageFile
from fairbench.cards.cards import ModelCard
from fairbench.errors import CardError, FairbenchError, ImageError
from fairbench.protocols import TRANSPORT, Params
from fairbench.runs.prompts import of_own_images
from fairbench.storage import copies, paths, pixels
from fairbench.types import BuildContext, ImageRequest, ImageResult, Prompt

UNREADABLE = "unreadable"


class FolderParams(Params):
    """Where the images are; their content stands in the key of each image, so the path does not."""

    path: str = Field(json_schema_extra=TRANSPORT)


class FolderAdapter:
    """Reads existing images. It is a PromptSource: the images say which prompts there are."""

    version: ClassVar[int] = 1
    uses_dtype: ClassVar[bool] = False
    target: ClassVar[str] = "path"
    Params: ClassVar[type[FolderParams]] = FolderParams

    def __init__(self, card: ModelCard, params: FolderParams, ctx: BuildContext) -> None:
        path = paths.expand(params.path)
        self._path = path if path.is_absolute() or ctx.base_dir is None else ctx.base_dir / path
        self._files = folder_files.read(self._path)
        self._groups: dict[bytes, list[ImageFile]] = {}

    @property
    def all_generated(self) -> bool:
        """Whether the user declares of every image that a model drew it."""
        return all(file.generated for file in self._files)

    def prompts(self, task_prompts: Sequence[Prompt] | None) -> list[Prompt]:
        """Return the prompts that have images, in the task's order, or in the files' own order without a task.

        Raises CardError for images whose prompt the task does not have.
        """
        prompts, self._groups = of_own_images(self._files, task_prompts, str(self._path))
        return prompts

    def requests(self, image_key: str, images_per_prompt: int | None) -> list[ImageRequest]:
        """Return one request per image. A file is read once here, for its sha256: its id is its content."""
        requests = []
        numbers: Counter[tuple[bytes, str]] = Counter()
        for prompt_id, files in self._groups.items():
            indices = _sample_indices(files)
            for index, file in sorted(zip(indices, files, strict=True), key=lambda x: x[0])[:images_per_prompt]:
                try:
                    sha256 = pixels.read(file.path)[1]
                except ImageError:
                    sha256 = UNREADABLE  # `generate` reads it again and states why
                # By content, wherever it stands in the folder; copies differ by their number.
                content = f"{UNREADABLE} {file.path}" if sha256 == UNREADABLE else sha256
                numbers[prompt_id, content] += 1
                image_id = keys.file_image_id(image_key, prompt_id, numbers[prompt_id, content], content)
                path = os.path.realpath(file.path)
                requests.append(ImageRequest(image_id, prompt_id, prompt_id, file.group, index, 0, path, sha256))
        return requests

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Decode each file, so that one that cannot be used is known, with its reason, before anything is labelled."""
        return [_read(r) for r in requests]


def _read(request: ImageRequest) -> ImageResult:
    path = Path(str(request.path))
    try:
        data, sha256 = pixels.read(path)
    except ImageError as err:
        if request.sha256 == UNREADABLE:
            return ImageResult("failed", error=str(err))
        data, sha256 = b"", ""
    # What a file holds is remembered for good; that it could not be read just now must not be.
    if sha256 != request.sha256:
        raise FairbenchError(f"{path} changed while it was in use: run the same command again.")
    try:
        image = pixels.decode(data, str(path))
        return ImageResult("ok", image, notes=copies.notes_of(image))
    except ImageError as err:
        return ImageResult("failed", error=str(err))


def _sample_indices(files: Sequence[ImageFile]) -> list[int]:
    """Return the declared sample indices; where none is declared, the positions in natural order."""
    declared = [f.sample_index for f in files]
    if all(i is None for i in declared):
        return list(range(len(files)))
    file_of: dict[int, ImageFile] = {}
    for file in files:
        if file.sample_index is None:
            raise CardError(f"{file.where}, field sample_index: it is given for other images of this prompt, not here.")
        if file.sample_index in file_of:
            first = file_of[file.sample_index].where
            raise CardError(f"{file.where}, field sample_index: {file.sample_index} stands in {first} already.")
        file_of[file.sample_index] = file
    return [i for i in declared if i is not None]
