"""What a reader of a run's numbers has to know of its images and scores.

What images' notes say, equal images, repeated noise, prompts with few faces; prompts that a scorer's tokenizer
cuts, other languages, images without a value. All of it is computed from the store at the end of every run, so that a
resumed run says the same as an uninterrupted one.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from fairbench import contracts, registry
from fairbench.measure.counts import Counts
from fairbench.measure.scores import Scores
from fairbench.notices import KINDS, MAX_EXAMPLES, notice
from fairbench.protocols import Scorer
from fairbench.runs import prompt_names
from fairbench.storage import copies, schemas
from fairbench.storage.copies import GivenImage
from fairbench.storage.ids import IdIndex
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.types import NO_TEXT, Prompt

FEW_FACES: Final = 8
"""A prompt with fewer faces says next to nothing by itself."""
ANY_LANGUAGE: Final = "*"
"""Among a scorer's languages: its model reads them all."""


def report_images(
    store: Store, image_key: str, rows: Sequence[ImageRow], prompts: Sequence[Prompt], *, near_copies: bool = False
) -> None:
    """Report what there is to know of a run's images. near_copies: look for them among given images."""
    notes = _notes(store, image_key, rows)
    names = dict(zip((p.neutral_id for p in prompts), prompt_names.of_prompts(prompts), strict=True))
    drawn = [r for r in rows if not r.request.path]
    _report_notes(notes, drawn)
    _report_equal(drawn, names, notes.get(copies.PIXELS, {}))
    _report_seeds(drawn, names)
    given = [_given(r, notes) for r in rows if r.request.path]
    if given:
        copies.report(given, near_copies=near_copies)


def _given(row: ImageRow, notes: Mapping[str, Mapping[bytes, str]]) -> GivenImage:
    path, image_id = Path(str(row.request.path)), row.request.image_id
    own_notes = {code: details[image_id] for code, details in notes.items() if image_id in details}
    name = str(Path(path.parent.name) / path.name)
    return GivenImage(name, row.request.prompt_id, row.sha256, row.error, own_notes)


def report_counts(counts: Counts, prompts: Sequence[Prompt]) -> None:
    """Report the prompts of which single values say next to nothing."""
    names = prompt_names.of_prompts(prompts)
    few = [name for name, faces in zip(names, counts.selected, strict=True) if faces < FEW_FACES]
    if few:
        text = f"{len(few)} of {len(prompts)} prompts have fewer than {FEW_FACES} faces"
        notice("few-images", text, count=len(few), examples=few)


def _notes(store: Store, image_key: str, rows: Sequence[ImageRow]) -> dict[str, dict[bytes, str]]:
    """Return code -> image id -> detail, for the run's images."""
    index = IdIndex(pa.array([r.request.image_id for r in rows], schemas.ID))
    notes: dict[str, dict[bytes, str]] = defaultdict(dict)
    for _, table in store.scan("images", image_key, ["image_id", "notes"]):
        table = table.filter(pc.is_valid(table["notes"]))
        table = table.filter(index.contains(table["image_id"])) if len(table) else table
        for image_id, pairs in zip(table["image_id"].to_pylist(), table["notes"].to_pylist(), strict=True):
            for code, detail in pairs:
                notes[code].setdefault(image_id, detail)
    return notes


def _report_notes(notes: Mapping[str, Mapping[bytes, str]], rows: Sequence[ImageRow]) -> None:
    """Report each code once, with the number of images, and as examples the details that occur most."""
    for code in sorted(notes.keys() & KINDS.keys()):
        of_code = notes[code]
        noted = [r for r in rows if r.request.image_id in of_code]
        if not noted:
            continue
        details = Counter(of_code[r.request.image_id] for r in noted)
        examples = [detail for detail, _ in details.most_common(MAX_EXAMPLES)]
        notice(code, f"{len(noted)} of {len(rows)} images: {KINDS[code].meaning}", count=len(noted), examples=examples)


def _report_equal(rows: Sequence[ImageRow], names: Mapping[bytes, str], of_files: Mapping[bytes, str]) -> None:
    """Report drawn images that equal another of their prompt: every copy beyond the first.

    of_files: image id -> hash of the pixels, of images that a server sent as files.
    """
    sent = [(r.request.neutral_id, of_files[r.request.image_id]) for r in rows if r.request.image_id in of_files]
    made = [(r.request.neutral_id, r.sha256) for r in rows if r.status == "ok" and r.request.image_id not in of_files]
    for code, images in (("equal-images", made), ("server-repeats", sent)):
        again = {key: n - 1 for key, n in Counter(images).items() if n > 1}
        if again:
            n_copies = sum(again.values())
            of_prompt = Counter(names[neutral_id] for neutral_id, _ in again)
            examples = [name for name, _ in of_prompt.most_common(MAX_EXAMPLES)]
            text = f"{n_copies} of {len(rows)} images equal another of their prompt"
            notice(code, text, count=n_copies, examples=examples)


def _report_seeds(rows: Sequence[ImageRow], names: Mapping[bytes, str]) -> None:
    """Report images of one prompt and text that were drawn from one seed: they are no independent draws."""
    drawn = Counter((r.request.prompt_id, r.request.neutral_id, r.request.seed) for r in rows)
    repeated = {key: n - 1 for key, n in drawn.items() if n > 1}
    if repeated:
        of_prompts = dict.fromkeys(names[neutral_id] for _, neutral_id, _ in repeated)
        n_repeated = sum(repeated.values())
        text = f"{n_repeated} images repeat the noise of another of their prompt"
        notice("seed-repeat", text, count=n_repeated, examples=of_prompts)


def report_prompts(name: str, scorer: Scorer, prompts: Sequence[Prompt], language: str | None) -> None:
    """Report prompts that a scorer does not read as they are written. language: the task's; None: it has none."""
    texts = [p.text for p in prompts if p.template_id != NO_TEXT]
    if not scorer.spec.needs_prompt or not texts:
        return
    cut = getattr(scorer, "cut", None)
    if cut is not None:
        with contracts.guard(registry.title("scorers", name)):
            too_long = [text for text, is_cut in zip(texts, cut(texts), strict=True) if is_cut]
        if too_long:
            text = f"{name} reads {len(too_long)} of {len(texts)} prompts up to its model's context only"
            notice("prompt-cut", text, count=len(too_long), examples=too_long)
    languages = getattr(scorer, "languages", None)
    if languages is not None:
        _report_language(name, [str(tag).lower() for tag in languages], texts, language)


def _report_language(name: str, languages: Sequence[str], texts: Sequence[str], language: str | None) -> None:
    if ANY_LANGUAGE in languages:
        return
    read = " and ".join(languages)
    primary = None if language is None else language.lower().replace("_", "-").split("-")[0]
    if primary is not None and primary not in [tag.split("-")[0] for tag in languages]:
        notice("language", f"{name} compares with prompts in {language}, but its model was made for {read}")
        return
    # English is what a task says that says nothing: its prompts' letters tell more.
    foreign = [text for text in texts if not is_latin(text)] if primary in (None, "en") else []
    if foreign and all(tag.split("-")[0] == "en" for tag in languages):
        text = f"{name} compares with {len(foreign)} of {len(texts)} prompts whose letters are not Latin, but its model"
        notice("language", f"{text} was made for {read}", count=len(foreign), examples=foreign)


def is_latin(text: str) -> bool:
    """Whether at least half of a text's letters are Latin; a text without letters is.

    >>> is_latin("a nurse"), is_latin("Krankenschwester für Å"), is_latin("護士"), is_latin("медсестра"), is_latin("1")
    (True, True, False, False, True)
    """
    letters = [character for character in text if character.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith(("LATIN", "FULLWIDTH LATIN")) for letter in letters)
    return 2 * latin >= len(letters)


def report_failures(name: str, scores: Scores) -> None:
    """Report how many images a scorer has no value of, and why."""
    if scores.errors:
        text = f"{name} has no value for {len(scores.errors)} of {scores.statuses.total()} images"
        notice("score-failed", text, count=len(scores.errors), examples=sorted(set(scores.errors)))
