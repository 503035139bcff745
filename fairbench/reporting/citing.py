"""BibTeX of what a run rests on: the model, the labeller and its calibration, the task, metrics, scorers, fairbench."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from fairbench.display.plain import shown
from fairbench.runs.record import RecordedModel, RunRecord

_ENTRIES: Final = Path(__file__).with_name("references.bib")
OF_METRIC: Final[Mapping[str, tuple[str, ...]]] = {
    "concentration": ("simpson1949measurement",),
    "effective-groups": ("hill1973diversity",),
    "attribute-following": ("liu2025fairness",),
    "distance-to-reference": ("levin2017markov", "zhao2026iris"),
    "entropy": ("shannon1948mathematical", "bochernitsan2025fairmop"),
    "js-uniform": ("lin1991divergence", "zhao2026iris"),
    "kl-uniform": ("kullback1951information", "bochernitsan2025fairmop"),
    "l2-softmax": ("choi2020fair",),
    "mad": ("cho2023dalleval",),
    "majority-share": ("berger1970diversity",),
    "mmdt-gap": ("xu2025mmdt",),
    "no-face-rate": ("shen2024finetuning", "liu2025fairness"),
    "rd": ("shen2024finetuning", "liu2025fairness"),
    "rd-normalised": ("zhao2026iris",),
    "tv-score": ("levin2017markov",),
    "tv-uniform": ("levin2017markov",),
}
"""Metric -> whom its definition names as its source; of others, it is ours."""
OF_SCORER: Final[Mapping[str, tuple[str, ...]]] = {
    "clip-score": ("hessel2021clipscore", "radford2021learning"),
    "clip-iqa": ("wang2023exploring", "radford2021learning"),
    "inception-score": ("salimans2016improved",),
    "siglip-score": ("zhai2023sigmoid",),
    "vqa-score": ("lin2024vqascore",),
    "pickscore": ("kirstain2023pickapic",),
}
OF_LABELLER: Final[Mapping[str, tuple[str, ...]]] = {
    "fairface": ("karkkainen2021fairface",),
    "shen2024": ("shen2024finetuning",),
    "clip": ("radford2021learning",),
}
OF_TASK: Final[Mapping[str, tuple[str, ...]]] = {
    "occupations-labour": ("shen2024finetuning", "zhao2026iris"),
    "occupations": ("shen2024finetuning",),
}
OF_MODEL: Final[Mapping[str, tuple[str, ...]]] = {
    "bagel": ("deng2025bagel",),
    "emu3.5": (),
    "emu3": ("wang2024emu3",),
    "janus-pro": ("chen2025januspro",),
    "janusflow": ("ma2024janusflow",),
    "janus": ("wu2024janus",),
    "omnigen2": ("wu2025omnigen2",),
    "pixart-sigma": ("chen2024pixart",),
    "qwen-image-2.1": (),
    "qwen-image": ("wu2025qwenimage",),
    "sd-v1-5": ("rombach2022high",),
    "sd3": ("esser2024scaling",),
    "sdxl": ("podell2023sdxl",),
    "show-o2": (),
    "show-o": ("xie2024showo",),
}
"""How a card's name begins -> its paper; the longest beginning counts. What was used is cited beside it, too."""
_LATEX: Final = {
    **{c: f"\\{c}" for c in "&%$#_"},
    "{": "(",  # an escaped brace would still count where BibTeX looks for the end of a field
    "}": ")",
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
}


def bibtex(record: RunRecord, metrics: Iterable[str], *, drawn: bool = True) -> str:
    """Return the entries, each once. metrics: the names of what was measured, as `rd`.

    drawn: whether a model drew the images; files of the user's own, whose name may be a path, are not cited.
    """
    keys = [
        *(_beginning(OF_MODEL, record.model.name) if drawn else ()),
        *_beginning(OF_LABELLER, record.labeller.name),
        *_beginning(OF_TASK, record.task.name),
        *(key for name in metrics for key in OF_METRIC.get(name, ())),
        *(key for name, scorer in record.scorers.items() if scorer.backbone for key in OF_SCORER.get(name, ())),
    ]
    known = entries()
    return "\n\n".join([*_own(record, drawn), *(known[key] for key in dict.fromkeys(keys))])


@cache
def entries() -> dict[str, str]:
    """Return key -> entry of the publications that can be cited."""
    found = re.split(r"\n\n(?=@)", _ENTRIES.read_text(encoding="utf-8").strip())
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in found}


def _beginning(table: Mapping[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    """Return what belongs to the longest beginning of a name."""
    return table[max(found, key=len)] if (found := [start for start in table if name.startswith(start)]) else ()


def _own(record: RunRecord, drawn: bool) -> Iterator[str]:
    """Yield fairbench, and what has no publication: the weights, the labeller as it is here, and its calibration."""
    yield _entry(
        "software",
        "fairbench",
        title="fairbench: demographic fairness benchmarking for image-generating models",
        author="{The fairbench authors}",
        version=_text(record.fairbench),
        url="https://github.com/fairbench/fairbench-umm",
    )
    if drawn:
        yield _of_model(record.model)
    labeller = record.labeller
    yield _entry(
        "misc",
        "labeller",
        title=_text(labeller.title),
        url=_url(labeller.source),
        note=_text(f"fairbench's labeller {labeller.name}, id {record.labeller_id}"),
    )
    known = record.correction
    if known is not None and known.counted_on is not None:
        images, domain = known.counted_on
        counted = f"Errors of labeller {labeller.name}, counted on {images} images: {domain}"
        sha = f"SHA-256 {known.calibration_sha}" if known.calibration_sha else ""
        yield _entry("misc", "calibration", title=_text(counted), note=_text(sha))


def _of_model(model: RecordedModel) -> str:
    weights = model.weights
    revision = weights.revision if weights is not None and weights.revision else ""
    repo = weights.repo if weights is not None and weights.repo else ""
    return _entry(
        "misc",
        "model",
        title=_text(model.public_title),
        url=_url(model.source) or _url(f"https://huggingface.co/{repo}" if repo else ""),
        note=_text(f"Revision {revision}" if revision else ""),
    )


def _entry(kind: str, key: str, **fields: str) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _text(text: str) -> str:
    """Return text from outside as LaTeX whose braces are balanced."""
    return "".join(_LATEX.get(character, character) for character in shown(text)).replace("\n", " ")


def _url(source: str | None) -> str:
    """Return the first address in a text, without characters that BibTeX reads; empty where there is none."""
    found = re.search(r"https?://[^\s,;()<>]+", source or "")
    return urllib.parse.quote(found[0], safe=":/?=&@+.~-") if found else ""
