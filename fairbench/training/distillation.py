"""Distillation: under the neutral prompt the student matches its frozen teacher under prompts that state a group.

Source and target of the loss are guided distributions, those that images are drawn from. Logits have the shape
(rows, N, V): N image tokens, V codes.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fairbench import keys
from fairbench.display.progress import Progress, blocks
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.networks import lora
from fairbench.protocols import Distillable
from fairbench.storage import atomic
from fairbench.synthesis.balanced import Balanced, Group
from fairbench.training.losses import exact
from fairbench.types import ImageRequest

FOLLOWING: Final = "following.json"


def guided(stated: torch.Tensor, blank: torch.Tensor, guidance: float, temperature: float) -> torch.Tensor:
    """Return log-probabilities of what is drawn, in float32 or better. blank: logits of the unconditional row."""
    return torch.log_softmax(torch.lerp(exact(blank), exact(stated), guidance) / temperature, dim=-1)


def divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Return KL(teacher || student) of each token, (rows, N), of log-probabilities. Range [0, inf)."""
    terms = torch.where(teacher.isfinite(), teacher.exp() * (teacher - student), torch.zeros_like(teacher))
    return terms.sum(dim=-1)


def mixture(groups: torch.Tensor, tokens: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return log sum_g w_g P_g, (rows, N, V): what comes next if nobody says which group is being drawn.

    groups: log P_g, (K, rows, N, V). tokens: (rows, N). target: shares of the groups, (K,). The posterior weights
    w_g(x_<t) are proportional to target_g prod_{s<t} P_g(x_s | x_<s).
    """
    of_tokens = groups.gather(-1, tokens.expand(len(groups), -1, -1)[..., None])[..., 0]
    before = of_tokens.cumsum(dim=-1) - of_tokens
    weights = torch.log_softmax(target.log()[:, None, None] + before, dim=0)
    return torch.logsumexp(weights[..., None] + groups, dim=0)


class Taught:
    """Images that the teacher drew, and how far the student is from what the teacher says of their tokens."""

    def __init__(
        self, model: Distillable, adapter: Any, data: Balanced, tokens: NDArray[np.int64], *, all_groups: bool
    ) -> None:
        """adapter: peft's model around the network. tokens: (rows of data, N). all_groups: the exact form."""
        self._model, self._adapter, self._data, self._tokens = model, adapter, data, tokens
        self._all_groups = all_groups
        self._stated = {cell: min(texts) for cell, texts in _source_prompts(data).items()}
        self.module: torch.nn.Module = model.token_logits()

    def mean_log_probs(self, module: Any, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return minus the mean divergence over image tokens, (rows,): 0 is best."""
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
                even = torch.full((len(groups),), 1 / len(groups), device=teacher.device, dtype=teacher.dtype)
                teacher = mixture(torch.stack(teachers), student_inputs[-1], even)
        logits = module(*student_inputs)
        student = guided(logits, logits if blank is None else blank, *drawn_at)
        return -divergence(teacher, student).mean(dim=1)


def check(data: Balanced, all_groups: bool) -> None:
    """Raise CardError for a set whose prompts do not say what the teacher is to be told."""
    if lacking := next((row for row in data.rows if not row.source_prompt), None):
        raise CardError(
            f"{lacking.where}: distillation tells the teacher the prompt that states a group, and the source_prompt is "
            "empty: fill that column in."
        )
    several = next((cell for cell, texts in _source_prompts(data).items() if len(texts) > 1), None)
    if all_groups and several is not None:
        raise CardError(
            f"--exact needs one source_prompt for each prompt and group, and {several[0]!r} has several for "
            f"{' '.join(several[1])}: leave --exact out, or balance all attributes of the set (--groups mix)."
        )


def drawn(
    model: Distillable, adapter: Any, data: Balanced, seed: int, block: int, path: Path, progress: Progress
) -> NDArray[np.int64]:
    """Return an image's tokens per row of the set, (rows, N), which the teacher draws under its source prompt.

    Read from `path` if they are there. Raises FairbenchError for logits that are not finite.
    """
    if path.exists():
        return np.asarray(np.load(path, allow_pickle=False))
    count: dict[str, int] = {}
    requests = []
    for row in data.rows:
        text, index = row.source_prompt, count.setdefault(row.source_prompt, 0)
        count[text] = index + 1
        prompt_id = keys.prompt_id(text)
        image_seed = keys.sample_seed(keys.digest("distillation", [prompt_id]), index, seed)
        image_id = keys.digest("distillation", image_seed)
        requests.append(ImageRequest(image_id, prompt_id, prompt_id, text, index, image_seed))
    with progress.stage("teacher's images", len(requests)) as stage, lora.without(adapter):
        tokens = np.concatenate([model.tokens(part) for part in blocks(requests, block, stage)])
    if (tokens < 0).any():
        raise FairbenchError("The teacher's logits are not finite numbers: check the weights, or use float32.")
    file = io.BytesIO()
    np.save(file, tokens, allow_pickle=False)
    atomic.write_bytes(path, file.getvalue())
    return tokens


def write_following(
    model: Distillable, labeller: Labeller, data: Balanced, tokens: NDArray[np.int64], block: int, path: Path
) -> None:
    """Write how many of each group's images show it, by the labeller: the target that is within the teacher's reach.

    An image shows its group if all its faces that count have the group's labels.
    """
    found: list[set[int]] = [set() for _ in data.rows]
    for start in range(0, len(tokens), block):
        reading = labeller.read(model.decode(tokens[start : start + block]))
        classes = labeller.classes_of(list(data.attributes), reading.codes)
        for image, face_class in zip(reading.image, classes, strict=True):
            found[start + image].add(int(face_class))
    names = labeller.classes(list(data.attributes))
    rows = []
    for group in data.groups:
        members = [i for i, row in enumerate(data.rows) if row.group == group]
        shown = sum(found[i] == {names.index(" ".join(group))} for i in members)
        rows.append({"group": list(group), "images": len(members), "shown": shown})
    atomic.write_text(path, json.dumps({"labeller": labeller.card.name, "groups": rows}, indent=2) + "\n")


def _source_prompts(data: Balanced) -> dict[tuple[str, Group], set[str]]:
    """Return the prompts that state a group, by neutral prompt and group."""
    texts: dict[tuple[str, Group], set[str]] = {}
    for row in data.rows:
        texts.setdefault((row.prompt, row.group), set()).add(row.source_prompt)
    return texts
