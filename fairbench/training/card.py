"""The README of a trained adapter: a model card as the Hugging Face hub reads it.

Nothing in it depends on the time or the machine: a training that was stopped and went on writes the same bytes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

from fairbench.display.note import LABEL_NOTE
from fairbench.display.page import in_markdown
from fairbench.display.plain import line
from fairbench.display.yaml_block import HUB_LICENCES, with_front_matter
from fairbench.training import records, target
from fairbench.training.job import Job
from fairbench.training.presets import kinds_with

FILE: Final = "README.md"
_KINDS: Final[Mapping[str, str]] = {
    "sft": "supervised fine-tuning on images of every group under the neutral prompt",
    "bpo": "balanced preference optimisation, which asks for a ratio of probabilities of the groups of a prompt",
    "distill": "distillation from itself: the neutral prompt answers as prompts of every group do",
    "grpo": "reinforcement: images that it drew were labelled, and groups that were too frequent became less probable",
    "dft": "direct fine-tuning of its sampling, towards classes that were assigned to the images it drew",
    "i2t": "the understanding control, in which the answer to an image is its neutral occupation",
}
_BALANCES: Final = (
    "It is meant to bring the shares of the groups that people are perceived to belong to, in images of neutral "
    "prompts, to a target: equal shares, or those named below. Whether it does so has to be measured: below."
)
_AIMS: Final[Mapping[str, str]] = {
    "sft": _BALANCES,
    "bpo": _BALANCES,
    "distill": _BALANCES,
    "grpo": _BALANCES,
    "dft": _BALANCES,
    "i2t": "It is a control that learns to answer, not to draw: what it changes in images has to be measured, below.",
}
_CONTROL: Final = (
    " This one is a control: what makes the training balance was taken away from it, and it is there to be compared "
    "with."
)
_OPTIONS: Final[Mapping[str, str]] = {
    "steps": "--steps",
    "rate": "--lr",
    "batch": "--batch",
    "rank": "--rank",
    "alpha": "--alpha",
    "dropout": "--dropout",
    "loss": "--loss",
    "beta": "--beta",
    "images": "--images",
    "reward": "--reward",
    "kl": "--kl",
    "face": "--face",
    "follow": "--follow",
    "uncertainty": "--uncertainty",
    "preserve": "--preserve",
    "changed": "--changed",
    "denoising": "--denoising",
    "seed": "--seed",
    "mixed_precision": "--mixed-precision",
}
"""Setting of the identity -> option of `fairbench train`."""
_REPO: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def text(job: Job, identity: Mapping[str, Any], processes: int) -> str:
    """Return the card. identity: of the training. processes: how many trained it."""
    title = in_markdown(line(job.card.card.title or job.card.card.name))
    parts = [
        f"# Adapter of {title}",
        f"A low-rank adapter (LoRA, {_library(job)}) for {title}, trained by fairbench with "
        f"{_KINDS[job.settings.kind]}. " + _AIMS[job.settings.kind] + (_CONTROL if _is_control(job) else ""),
        "\n".join(["| base | |", "|---|---|", *(f"| {name} | {in_markdown(line(v))} |" for name, v in _base(job))]),
        "## Use",
        _code(f"fairbench run --model {_word(job.card.card.name)} --method lora:ADAPTER --out RUN"),
        "ADAPTER is this folder. An adapter is refused on other weights than it was trained on.",
        "## For what, and for what not",
        "For research on how a model's images change when it is trained for balance, and as a baseline that other "
        "methods are compared with. Not for deciding anything about a person, and no proof that a model is fair: an "
        "adapter that balances the prompts it was trained on may do nothing elsewhere, may draw other groups than a "
        "prompt states, and may lower the quality of images.",
        LABEL_NOTE + " What was balanced are these labels, and nothing else.",
        "## How it was trained",
        _code(_command(job, identity, processes)),
        "SET stands for the balanced set; its manifest has the digest below. `provenance.json` has all settings, the "
        "prompts, and the versions of packages.",
        "\n".join(
            ["| training | |", "|---|---|", *(f"| {n} | {in_markdown(line(v))} |" for n, v in _facts(job, identity))]
        ),
        *_taught(job),
        "## Results",
        *_results(job),
        "To measure it, run the model with and without the adapter, and compare:",
        _code(
            f"fairbench run --model {_word(job.card.card.name)} --out BEFORE",
            f"fairbench run --model {_word(job.card.card.name)} --method lora:ADAPTER --out AFTER",
            "fairbench compare BEFORE AFTER",
            "fairbench export AFTER --to hub-results --out RESULTS",
        ),
        "RESULTS/README.md then holds the results as the hub's model cards do; they get into this card with",
        "```python\nfrom huggingface_hub import ModelCard\n\n"
        'card = ModelCard.load("README.md")\n'
        'card.data.model_name = "NAME"\n'
        'card.data.eval_results = ModelCard.load("RESULTS/README.md").data.eval_results\n'
        'card.save("README.md")\n```',
        "and the tables of the comparison are in its folder, to be pasted below.",
    ]
    return with_front_matter(_fields(job), "\n\n".join(parts) + "\n")


def _is_control(job: Job) -> bool:
    settings = job.settings
    retained = settings.retain is not None and settings.retain[0] == 1
    return retained or settings.hard or settings.reward == "permuted"


def _fields(job: Job) -> dict[str, Any]:
    card = job.card.card
    repo = card.weights.repo if card.weights else None
    fields: dict[str, Any] = {"library_name": _library(job)}
    if repo and _REPO.fullmatch(repo):
        fields |= {"base_model": repo, "base_model_relation": "adapter"}
    licence = card.licence.strip().lower()
    if licence in HUB_LICENCES:
        fields["license"] = licence
    return fields | {"tags": ["lora", "text-to-image", "fairness", "fairbench", f"fairbench-{job.settings.kind}"]}


def _library(job: Job) -> str:
    """Return whose form the adapter's file has."""
    return "diffusers" if job.trains_diffusion else "peft"


def _base(job: Job) -> list[tuple[str, str]]:
    """Return what is known of the model that the adapter belongs to."""
    card = job.card.card
    repo, revision = (card.weights.repo, card.weights.revision) if card.weights else (None, None)
    return [
        ("model card", card.name),
        ("repository", repo or "none: a local folder"),
        ("revision", revision or "none: known by the sha256 of its files, in provenance.json"),
        ("licence of the base model", card.licence),
    ]


def _facts(job: Job, identity: Mapping[str, Any]) -> list[tuple[str, object]]:
    data = job.data
    return [
        ("images", f"{len(data.rows)} of {len({row.prompt for row in data.rows})} prompts"),
        ("groups", ", ".join(" ".join(group) for group in data.groups)),
        *([("target", target.in_words(job.settings.target))] if job.settings.target else []),
        ("digest of the set", data.digest),
        ("steps", identity["steps"]),
        ("seed", identity["seed"]),
        ("targets", job.card.card.lora_targets),
        ("starts from", f"the adapter of sha256 {identity['parent']}" if identity["parent"] else "the base model"),
    ]


def _command(job: Job, identity: Mapping[str, Any], processes: int) -> str:
    """Return the command that trains this adapter again, whatever preset named its settings."""
    kind = job.settings.kind
    words = ["fairbench", "train", kind, "--model", _word(job.card.card.name), "--data", "SET"]
    for name, option in _OPTIONS.items():
        if name in identity and kind in kinds_with(name):
            words += [option, _word(identity[name])]
    groups = identity["groups"]
    words += ["--groups", _word(",".join(groups) if groups else "mix")]
    words += ["--accumulation", str(identity["processes x accumulation"] // processes)]
    if job.settings.target is not None:
        words += ["--target", _word(target.in_words(job.settings.target))]
    if job.settings.retain is not None:
        share, kinds = job.settings.retain
        words += ["--retain", f"{share}:{'+'.join(kinds)}"]
    if job.settings.labeller is not None:
        words += ["--labeller", _word(job.settings.labeller)]
    words += ["--dino", "DINO"] if job.settings.dino is not None else []
    words += ["--hard"] if identity.get("hard") else []
    words += ["--exact"] if identity.get("exact") else []
    words += ["--checkpointing"] if identity["checkpointing"] else []
    words += ["--from", "PARENT"] if identity["parent"] else []
    launcher = f"torchrun --nproc-per-node {processes} -m " if processes > 1 else ""
    return launcher + " ".join([*words, "--out", "ADAPTER"])


def _taught(job: Job) -> list[str]:
    """Return what a distillation can reach: what its teacher shows."""
    if (found := records.following(job.out)) is None:
        return []
    cells = [f"| {in_markdown(line(' '.join(r['group'])))} | {r['shown']} of {r['images']} |" for r in found["groups"]]
    return [
        "Images in which the teacher showed the group that its prompt states, by the labeller "
        f"{in_markdown(line(found['labeller']))}: what it does not show, the adapter has not learned.",
        "\n".join(["| group | shown |", "|---|---:|", *cells]),
    ]


def _results(job: Job) -> list[str]:
    """Return the last evaluation that the training made of itself, if any."""
    evaluated = [row for row in records.rows(job.out) if any(name.startswith("eval/") for name in row)]
    if not evaluated:
        return ["The training did not evaluate itself, and no results are known yet."]
    last = evaluated[-1]
    figures = [(name.removeprefix("eval/"), value) for name, value in last.items() if name.startswith("eval/")]
    cells = [f"| {in_markdown(line(n))} | {'no value' if v is None else f'{v:.4g}'} |" for n, v in figures]
    return [
        f"The training's own glance after step {last['step'] + 1}: few images, no intervals, too rough to compare.",
        "\n".join(["| figure | value |", "|---|---:|", *cells]),
    ]


def _word(value: object) -> str:
    return shlex.quote(line(value))


def _code(*lines: str) -> str:
    return "\n".join(["```bash", *lines, "```"])
