"""The shipped suites: how many prompts, how they are balanced, what they state; files of prompts; `prompts`."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from fairbench.cards import catalog
from fairbench.cards.texts import near_form
from fairbench.errors import CardError, FairbenchError
from fairbench.listing.prompts import as_text
from fairbench.runs.prompts import expand
from fairbench.types import Prompt
from tests.builders.cli import Cli

SIZES = {
    "occupations": 50,
    "occupations-labour": 32,
    "occupations-mini": 8,
    "occupations-stated": 64,
    "occupations-train": 963,
    "traits": 300 + 450,
    "levels": 4 * 50,
    "wordings": 4 * 50,
    "groups": 2 * 50,
    "stated": 2 * 4 * 3 * 8,
    "counter-stereotype": 2 * 19,
    "fixed-by-context": 60,
    "occupations-de": 5 * 50,
    "occupations-fr": 5 * 50,
    "occupations-tr": 50,
    "occupations-zh": 50,
}


def prompts_of(task: str) -> list[Prompt]:
    return expand(catalog.load_task(task).card)


def test_suites_have_their_number_of_prompts_and_none_that_is_nearly_another() -> None:
    all_tasks = {name: prompts_of(name) for name in catalog.find("tasks")}
    assert {name: len(prompts) for name, prompts in all_tasks.items() if name in SIZES} == SIZES
    assert len(all_tasks) >= 18 and sum(map(len, all_tasks.values())) >= 3000
    for name, prompts in all_tasks.items():
        assert len({near_form(p.text) for p in prompts}) == len(prompts), name
        assert prompts == prompts_of(name)


def test_traits_have_as_many_prompts_at_one_pole_as_at_the_other() -> None:
    sizes = Counter(p.category for p in prompts_of("traits"))
    assert sizes.pop("neutral") == 300
    assert sum(sizes.values()) == 450
    dimensions = {category.split(":")[0] for category in sizes}
    assert dimensions == {"warmth", "competence", "status", "setting"}
    assert all(sizes[f"{d}: low"] == sizes[f"{d}: high"] > 0 for d in dimensions)


def test_levels_are_templates_and_the_bare_one_is_that_of_occupations() -> None:
    prompts = prompts_of("levels")
    assert Counter(p.category for p in prompts) == dict.fromkeys(("bare", "attribute", "context", "elaborated"), 50)
    bare = {p.prompt_id for p in prompts if p.category == "bare"}
    assert bare == {p.prompt_id for p in prompts_of("occupations")}
    assert not any("\n" in p.text for p in prompts)


def test_stated_is_the_full_cross_and_says_in_words_what_it_states() -> None:
    prompts = prompts_of("stated")
    cells = Counter((p.subject, *sorted(p.stated.items())) for p in prompts)
    assert len(cells) == 192 and set(cells.values()) == {1}
    words = {"WMELH": "White", "young_0_39": "25-year-old", "middle_40_59": "50-year-old", "old_60_plus": "75-year-old"}
    for prompt in prompts:
        assert all(f" {words.get(label, label)} " in prompt.text for label in prompt.stated.values()), prompt.text


def test_counter_stereotypes_state_the_gender_that_is_rare_in_the_workforce() -> None:
    path = Path(catalog.load_task("occupations-labour").card.references["gender"])
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    women = {row["subject"]: float(row["female"]) for row in rows}
    prompts = prompts_of("counter-stereotype")
    for prompt in prompts:
        rare = "female" if women[prompt.subject] <= 0.3 else "male"
        assert women[prompt.subject] <= 0.3 or women[prompt.subject] >= 0.7
        assert (prompt.stated["gender"] == rare) == (prompt.category == "against")
        assert f" {prompt.stated['gender']} " in prompt.text
    assert {p.subject for p in prompts} == {s for s, share in women.items() if share <= 0.3 or share >= 0.7}


def test_what_context_fixes_has_a_rationale_and_a_strength() -> None:
    card = catalog.load_task("fixed-by-context").card
    rows = list(csv.DictReader(Path(card.subjects).read_text(encoding="utf-8").splitlines()))
    assert all(row["rationale"] and row["category"] in ("by definition", "by custom") for row in rows)
    labels = catalog.load_labeller("fairface").card.attributes
    for prompt in prompts_of("fixed-by-context"):
        assert prompt.stated and all(label in labels[name].labels for name, label in prompt.stated.items())


@pytest.mark.parametrize("language", ["de", "fr", "tr", "zh"])
def test_languages_have_each_concept_in_each_form_and_say_that_nobody_checked_them(language: str) -> None:
    concepts = [p.subject for p in prompts_of("occupations")]
    card = catalog.load_task(f"occupations-{language}").card
    forms = ["masculine", "feminine", "paired", "star", "epicene"] if language in ("de", "fr") else ["epicene"]
    assert [(p.concept, p.form) for p in expand(card)] == [(c, f) for c in concepts for f in forms]
    assert (card.language, card.reviewed_by) == (language, "nobody")
    starred = [p.subject for p in expand(card) if p.form == "star"]
    assert all(("*" if language == "de" else "\u00b7") in text for text in starred)


def test_a_file_of_prompts_is_a_task(tmp_path: Path) -> None:
    (tmp_path / "My prompts.txt").write_text("A nurse {subject}\n\n  A judge \n", encoding="utf-8")
    loaded = catalog.load_task(str(tmp_path / "My prompts.txt"))
    assert (loaded.card.name, [p.text for p in expand(loaded.card)]) == ("my-prompts", ["A nurse {subject}", "A judge"])
    (tmp_path / "p.csv").write_text("prompt,category,states.gender\nA nurse,x,female\nA judge,y,\n", encoding="utf-8")
    first, second = prompts_of(str(tmp_path / "p.csv"))
    assert (first.text, first.subject, first.category, first.stated) == (
        "A nurse",
        "A nurse",
        "x",
        {"gender": "female"},
    )
    assert (second.category, second.stated) == ("y", {})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "one\none\n", "line 2, field prompt: 'one' stands in line 1 already"),
        ("a.txt", "\n", "holds no prompts"),
        ("a.txt", "one\u200b\n", "which cannot be seen"),
        ("a.txt", "x" * 10_001, "longer than 10,000 characters"),
        ("a.csv", "subject\nnurse\n", "the column 'prompt' is missing"),
        ("a.csv", "prompt,form\nnurse,x\u202e\n", "field form: it holds the character"),
        ("a.csv", "prompt,template\nnurse,x\u202e\n", "field template: it holds the character"),
        ("a.csv", "prompt,template\nnurse,folder\n", "kept for images without a prompt"),
        ("a.csv", 'prompt\n"a nurse\n', "line 2"),
    ],
)
def test_a_bad_file_of_prompts_is_one_sentence(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(CardError, match=words):
        prompts_of(str(tmp_path / name))


@pytest.mark.parametrize("task", ["fixed-by-context", "occupations-fr", "occupations-stated", "wordings"])
def test_exported_prompts_are_the_same_task_again(cli: Cli, tmp_path: Path, task: str) -> None:
    cli("prompts", "--task", task, "--out", "out.csv").succeeded()
    again, prompts = prompts_of(str(tmp_path / "out.csv")), prompts_of(task)
    names = ("prompt_id", "text", "subject", "category", "stated", "concept", "form", "template_id")
    facts, facts_again = ([[getattr(p, name) for name in names] for p in each] for each in (prompts, again))
    assert facts_again == facts
    lines = cli("prompts", "--task", task, "--format", "txt").succeeded().out.splitlines()
    assert lines == [p.text for p in prompts]
    rows = [json.loads(line) for line in cli("prompts", "-t", task, "--format", "jsonl").succeeded().out.splitlines()]
    assert [row["prompt"] for row in rows] == lines


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_files_of_other_editors_are_read_alike(tmp_path: Path, ends: str) -> None:
    lines = ["prompt,category", '"a ""tall"" nurse, smiling",x', "", "a cook,y", ""]
    (tmp_path / "a.csv").write_bytes("\ufeff".encode() + ends.join(lines).encode())
    (tmp_path / "a.txt").write_bytes(
        "\ufeff".encode() + ends.join(['a "tall" nurse, smiling', "", " a cook "]).encode()
    )
    for name in ("a.csv", "a.txt"):
        assert [p.text for p in prompts_of(str(tmp_path / name))] == ['a "tall" nurse, smiling', "a cook"]
    for encoding in ("utf-16", "utf-32", "latin-1"):
        (tmp_path / "b.txt").write_bytes("a caf\u00e9".encode(encoding))
        with pytest.raises(CardError, match="UTF-8"):
            prompts_of(str(tmp_path / "b.txt"))


def test_a_format_that_cannot_hold_a_prompt_says_so() -> None:
    prompt = Prompt(b"", b"", "t", 1, "x", "one\ntwo", "s")
    with pytest.raises(FairbenchError, match="txt cannot hold"):
        as_text([prompt], "txt")
    with pytest.raises(FairbenchError, match="name csv, jsonl or txt"):
        as_text([prompt], "xml")
    assert next(csv.DictReader(as_text([prompt], "csv").splitlines(keepends=True)))["prompt"] == "one\ntwo"


def test_a_template_and_a_subject_cannot_both_have_a_category(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "s.csv").write_text("subject,category\nnurse,health\n", encoding="utf-8")
    (tmp_path / "t" / "task.yaml").write_text(
        "name: t\nversion: 1\ntitle: t\ntemplates: [{id: a, text: 'a {subject}', category: x}]\nsubjects: s.csv\n"
        "source: s\nlicence: l\n",
        encoding="utf-8",
    )
    with pytest.raises(CardError, match="both have a category"):
        prompts_of(str(tmp_path / "t"))
