"""BibTeX of what a run rests on: every entry parses, names what it must, and stands for something that was used."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from fairbench import registry
from fairbench.cards import catalog
from fairbench.reporting import citing
from fairbench.runs.record import RecordedCorrection, RecordedModel

REQUIRED = {
    "article": {"author", "title", "journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "book": {"author", "title", "publisher", "year"},
    "misc": {"title"},
    "software": {"title", "author", "version", "url"},
}


def parsed(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return key -> type and fields. Braces count as in BibTeX, where a backslash changes nothing."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    rest = text
    while rest := rest.strip():
        head = re.match(r"@([a-z]+)\{([A-Za-z0-9]+),\s*", rest)
        assert head, rest[:80]
        rest, fields = rest[head.end() :], {}
        while not rest.startswith("}"):
            name = re.match(r"([a-z]+) = \{", rest)
            assert name, rest[:80]
            end, depth = name.end(), 1
            while depth:
                depth += {"{": 1, "}": -1}.get(rest[end], 0)
                end += 1
            fields[name[1]] = rest[name.end() : end - 1]
            comma = re.match(r",\s*", rest[end:])
            assert comma, rest[end : end + 20]
            rest = rest[end + comma.end() :]
        rest = rest[1:]
        assert head[2] not in found, head[2]
        found[head[2]] = head[1], fields
    return found


def a_record(**names: Any) -> Any:
    model = {"name": "janus-pro-7b", "title": "Janus-Pro 7B", "source": "https://example.org/a_b%20c?x=1#y"}
    model |= {"weights": SimpleNamespace(repo="deepseek-community/Janus-Pro-7B", revision="abc")}
    labeller = {"name": "fairface", "title": "FairFace", "source": "https://github.com/dchen236/FairFace (WACV 2021)"}
    return SimpleNamespace(
        fairbench="1.2.3",
        model=RecordedModel.model_construct(**(model | names.get("model", {}))),
        labeller=SimpleNamespace(**(labeller | names.get("labeller", {}))),
        labeller_id="0123",
        task=SimpleNamespace(name=names.get("task", "occupations-mini")),
        scorers={"clip-score": SimpleNamespace(backbone="a clip"), "clip-iqa": SimpleNamespace(backbone=None)},
        correction=RecordedCorrection(domain="photographs of 100 % people", images=4000, calibration_sha="f" * 64),
    )


def test_every_publication_parses_and_holds_what_its_kind_must() -> None:
    found = parsed("\n\n".join(citing.entries().values()))
    assert list(found) == list(citing.entries()) and len(found) > 30
    for key, (kind, fields) in found.items():
        assert fields.keys() >= REQUIRED[kind] and all(fields.values()), key
        assert re.fullmatch(r"(19|20)\d\d", fields["year"]) and fields["year"] in key
        if "eprint" in fields:
            assert re.fullmatch(r"\d{4}\.\d{5}", fields["eprint"]) and fields["archiveprefix"] == "arXiv"
            assert int(fields["year"]) >= 2000 + int(
                fields["eprint"][:2]
            )  # the conference comes with the paper, or later


def test_whatever_is_cited_is_there_and_whatever_is_there_is_cited() -> None:
    tables = (citing.OF_METRIC, citing.OF_SCORER, citing.OF_LABELLER, citing.OF_TASK, citing.OF_MODEL)
    assert {key for table in tables for keys in table.values() for key in keys} == set(citing.entries())
    for kind, table in (("metrics", citing.OF_METRIC), ("scorers", citing.OF_SCORER)):
        names = set(registry.names(kind)) | {"concentration", "effective-groups"}
        assert set(table) <= names
    for kind, table in (("models", citing.OF_MODEL), ("labellers", citing.OF_LABELLER), ("tasks", citing.OF_TASK)):
        cards = list(catalog.find(kind))
        assert all(any(card.startswith(start) for card in cards) for start in table), kind


def test_a_run_cites_what_it_used_and_nothing_else() -> None:
    found = parsed(citing.bibtex(a_record(), ["rd", "ours", "entropy"]))
    own = {"fairbench", "model", "labeller", "calibration"}
    used = {"chen2025januspro", "karkkainen2021fairface", "shen2024finetuning", "liu2025fairness"}
    used |= {"shannon1948mathematical", "bochernitsan2025fairmop", "hessel2021clipscore", "radford2021learning"}
    assert set(found) == own | used
    assert found["model"][1]["url"] == "https://example.org/a_b%2520c?x=1%23y" and "abc" in found["model"][1]["note"]
    assert found["labeller"][1]["url"] == "https://github.com/dchen236/FairFace"
    assert found["calibration"][1]["title"].endswith(r"4000 images: photographs of 100 \% people")
    for kind, fields in found.values():
        assert fields.keys() >= REQUIRED[kind]


def test_files_of_ones_own_are_not_cited_as_a_model() -> None:
    found = parsed(citing.bibtex(a_record(model={"title": "/home/jane/pictures"}), [], drawn=False))
    assert "model" not in found and "chen2025januspro" not in found and "jane" not in str(found)


@pytest.mark.parametrize("hostile", ["a } @x{y, title = {z}", "\\", "\\}", "{{{", "a\x1b[31m\u202eb", "100 % _ # & $"])
def test_names_from_outside_break_no_entry(hostile: str) -> None:
    record = a_record(model={"name": hostile, "title": hostile, "source": f"https://e.org/{hostile}"}, task=hostile)
    record.labeller.title = hostile
    record.correction = record.correction.model_copy(update={"domain": hostile})
    found = parsed(citing.bibtex(record, [hostile]))
    assert {"fairbench", "model", "labeller", "calibration"} <= set(found) and "x" not in found
    assert "\x1b" not in str(found) and "\u202e" not in str(found)
    assert not re.search(r"(?<!\\)[%#&$_]", found["model"][1]["title"])
