"""Distillation: under the neutral prompt the student matches its frozen teacher under prompts that state a group.

Source and target of the loss are guided distributions, those that images are drawn from. Logits have the shape
(rows, N, V): N image tokens, V codes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fairbench import keys
from fairbench.cards import catalog
from fairbench.display.progress import Progress, blocks
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling.labeller import NOT_LABELLED, Labeller
from fairbench.networks import lora
from fairbench.protocols import Distillable
from fairbench.storage import atomic
from fairbench.synthesis.balanced import Balanced, Group
from fairbench.training import batches, output, records
from fairbench.training.job import Job
from fairbench.training.losses import exact
from fairbench.training.objectives import fitting
from fairbench.training.objectives.base import Figures, Objective, Part, Setup
from fairbench.types import ImageRequest


def guided(stated: torch.Tensor, blank: torch.Tensor, guidance: float, temperature: float) -> torch.Tensor:
    """Return log-probabilities of what is drawn, in float32 or better. blank: logits of the unconditional row."""
    return torch.log_softmax(torch.lerp(exact(blank), exact(stated), guidance) / temperature, dim=-1)


def divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Return KL(teacher || student) of each token, (rows, N), of log-probabilities. Range [0, inf)."""
    terms = torch.where(teacher.isfinite(), teacher.exp() * (teacher - student), torch.zeros_like(teacher))
    return terms.sum(dim=-1)


def mixture(groups: torch.Tensor, tokens: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return log sum_g w_g P_g, (rows, N, V): what comes next if nobody says which group is being drawn.

    groups: log P_g, (K, rows, N, V). tokens: (rows, N). target: shares of the groups, (rows, K). The posterior weights
    w_g(x_<t) are proportional to target_g prod_{s<t} P_g(x_s | x_<s).
    """
    of_tokens = groups.gather(-1, tokens.expand(len(groups), -1, -1)[..., None])[..., 0]
    before = of_tokens.cumsum(dim=-1) - of_tokens
    weights = torch.log_softmax(target.log().T[..., None] + before, dim=0)
    return torch.logsumexp(weights[..., None] + groups, dim=0)


class Distill(Objective):
    """Images that the teacher drew, and how far the student is from what the teacher says of their tokens.

    With the setting `hard`, a control: minus the log-probability of the drawn tokens, without what else they might be.
    """

    needs: ClassVar[type] = Distillable
    lacks: ClassVar[str] = (
        "does not give whole distributions of image tokens (protocol Distillable; janus does), which train distill and "
        "grpo need: use sft or bpo"
    )

    @classmethod
    def check(cls, job: Job) -> None:
        """Raise CardError for a set whose prompts do not say what the teacher is to be told."""
        if job.settings.exact and job.settings.hard:
            raise FairbenchError("--hard learns drawn tokens, --exact distributions: leave one of them out.")
        fitting.need_source_prompts(job.data, "distillation tells the teacher the prompt that states a group")
        check_labels(job)
        _check(job.data, job.settings.exact)

    def __init__(self, setup: Setup) -> None:
        job, model, data = setup.job, setup.model, setup.job.data
        seed, block = job.settings.seed, job.card.card.block_size
        self._model, self._adapter, self._data, self._target = model, setup.adapter, data, job.shares
        self._all_groups, self._hard = job.settings.exact, job.settings.hard
        self._stated = {cell: min(texts) for cell, texts in _source_prompts(data).items()}
        labeller = Labeller(catalog.load_labeller(job.card.card.labeller), str(setup.accelerator.device))
        labeller.load()
        path = setup.cache(f"tokens-{output.digest(data, job.base, ['drawn', seed, *model.drawn_at()])}.npy")
        with setup.accelerator.main_process_first(), setup.as_base():
            texts = [row.source_prompt for row in data.rows]
            self._tokens = drawn(model, texts, seed, block, path, setup.progress)
        if setup.accelerator.is_main_process:
            write_following(model, labeller, data, self._tokens, block, job.out / records.FOLLOWING)
        self.module = model.token_logits()

    def loss(self, module: Any, part: Part) -> tuple[torch.Tensor, Figures]:
        """Return the mean divergence over images and their tokens."""
        return self.divergences(module, part.rows[:, 0]).mean(), {}

    def divergences(self, module: Any, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the mean divergence over the image tokens of rows, (rows,): 0 is best."""
        tokens, examples = self._tokens[rows], [self._data.rows[i] for i in rows]
        drawn_at = self._model.drawn_at()
        student_inputs = self._model.token_inputs([row.prompt for row in examples], tokens)
        with torch.no_grad(), lora.without(self._adapter):
            blank = None
            if drawn_at[0] != 1:
                blank = self.module(*self._model.blank_inputs([row.prompt for row in examples], tokens))
            groups = self._data.groups if self._all_groups else (None,)
            teachers = []
            for group in groups:
                texts = [row.source_prompt if group is None else self._stated[row.prompt, group] for row in examples]
                stated = self.module(*self._model.token_inputs(texts, tokens))
                teachers.append(guided(stated, stated if blank is None else blank, *drawn_at))
            teacher = teachers[0]
            if self._all_groups:
                teacher = mixture(
                    torch.stack(teachers), student_inputs[-1], torch.from_numpy(self._target[rows]).to(teacher)
                )
        logits = module(*student_inputs)
        student = guided(logits, logits if blank is None else blank, *drawn_at)
        if self._hard:
            return -student.gather(-1, student_inputs[-1][..., None])[..., 0].mean(dim=1)
        return divergence(teacher, student).mean(dim=1)


def check_labels(job: Job) -> None:
    """Raise FairbenchError where the card's labeller does not give the set's labels."""
    labeller = Labeller(catalog.load_labeller(job.card.card.labeller))
    fitting.need_labels(job.data, labeller, "name another labeller in the model card, or make the set with this one")


def _check(data: Balanced, all_groups: bool) -> None:
    several = next((cell for cell, texts in _source_prompts(data).items() if len(texts) > 1), None)
    if all_groups and several is not None:
        raise CardError(
            f"--exact needs one source_prompt for each prompt and group, and {several[0]!r} has several for "
            f"{' '.join(several[1])}: leave --exact out, or balance all attributes of the set (--groups mix)."
        )


def drawn(
    model: Distillable, texts: Sequence[str], seed: int, block: int, path: Path, progress: Progress
) -> NDArray[np.int64]:
    """Return an image's tokens per text, (texts, N), as the model draws them now. Read from `path` if they are there.

    Equal texts have images of their own. Raises FairbenchError for logits that are not finite.
    """
    if path.exists():
        return np.asarray(np.load(path, allow_pickle=False))
    count: Counter[str] = Counter()
    requests = []
    for text in texts:
        requests.append(request("distillation", text, count[text], seed))
        count[text] += 1
    with progress.stage("teacher's images", len(requests)) as stage:
        tokens = np.concatenate([model.tokens(part) for part in blocks(requests, block, stage)])
    check_finite(tokens)
    batches.keep(path, tokens)
    return tokens


def request(purpose: str, text: str, index: int, seed: int) -> ImageRequest:
    """Return the request of an image that a training draws, with noise of its own; no run has the same."""
    prompt_id = keys.prompt_id(text)
    image_seed = keys.sample_seed(keys.digest(purpose, [prompt_id]), index, seed)
    return ImageRequest(keys.digest(purpose, image_seed), prompt_id, prompt_id, text, index, image_seed)


def check_finite(tokens: NDArray[np.int64]) -> None:
    """Raise FairbenchError where an image could not be drawn. tokens: (rows, N)."""
    if (tokens < 0).any():
        raise FairbenchError("Logits of drawn images are not finite numbers: check the weights, or use float32.")


def write_following(
    model: Distillable, labeller: Labeller, data: Balanced, tokens: NDArray[np.int64], block: int, path: Path
) -> None:
    """Write how many of each group's images show it, by the labeller: the target that is within the teacher's reach."""
    parts = [tokens[start : start + block] for start in range(0, len(tokens), block)]
    found = np.concatenate([shown_groups(model, labeller, data, part) for part in parts])
    rows = []
    for index, group in enumerate(data.groups):
        shown = found[[i for i, row in enumerate(data.rows) if row.group == group]] == index
        rows.append({"group": list(group), "images": len(shown), "shown": int(shown.sum())})
    atomic.write_text(path, json.dumps({"labeller": labeller.card.name, "groups": rows}, indent=2) + "\n")


def shown_groups(
    model: Distillable, labeller: Labeller, data: Balanced, tokens: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the group that each image shows, (images,), an index into the set's groups; NOT_LABELLED where none.

    An image shows a group if all its faces that count have the group's labels.
    """
    reading = labeller.read(model.decode(tokens))
    classes = labeller.classes_of(list(data.attributes), reading.codes)
    names = labeller.classes(list(data.attributes))
    group_of = np.full(len(names) + 1, NOT_LABELLED)  # its last entry is that of NOT_LABELLED itself
    for index, group in enumerate(data.groups):
        group_of[names.index(" ".join(group))] = index
    found: list[set[int]] = [set() for _ in tokens]
    for image, face_class in zip(reading.image, classes, strict=True):
        found[image].add(int(group_of[face_class]))
    return np.array([groups.pop() if len(groups) == 1 else NOT_LABELLED for groups in found], dtype=np.int64)


def _source_prompts(data: Balanced) -> dict[tuple[str, Group], set[str]]:
    """Return the prompts that state a group, by neutral prompt and group."""
    texts: dict[tuple[str, Group], set[str]] = {}
    for row in data.rows:
        texts.setdefault((row.prompt, row.group), set()).add(row.source_prompt)
    return texts
