"""What the phantom reads: captions fit their cells, words are tokens, questions have the answers they should have."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fairbench.cards import catalog
from fairbench.metrics._rd import rd
from fairbench.networks.janus import JanusModel
from fairbench.networks.sampling import TEXT_MULTIPLE
from fairbench.phantom import planted, text
from fairbench.phantom.making import architecture
from fairbench.phantom.planted import CELLS, OTHER, cumulative, subject_of, table
from fairbench.phantom.renderer import GENDERS, RACES
from fairbench.runs.prompts import expand

EVERY = (*text.TAUGHT, *text.UNNAMED)


def asked_for(caption: str) -> NDArray[np.float64]:
    """P(cell) of the images that a caption asks for, shape (8,)."""
    return np.diff(cumulative(caption), prepend=0.0)


def fits(cells: list[int], expected: NDArray[np.float64]) -> float:
    """The p-value of a chi-square test of cells against P(cell); rare ones are taken together."""
    counts, wanted = np.bincount(cells, minlength=len(CELLS)), len(cells) * expected
    assert not counts[expected == 0].any()
    counts, wanted = counts[expected > 0], wanted[expected > 0]
    rare = wanted < 8
    pooled = [np.append(v[~rare], v[rare].sum()) if rare.any() else v for v in (counts, wanted)]
    return float(stats.chisquare(*pooled).pvalue)


# --- captions ---


@pytest.mark.parametrize("subject", ["senator", "interior designer", "farm equipment service technician"])
def test_cells_of_neutral_captions_follow_the_planted_joint(monkeypatch: pytest.MonkeyPatch, subject: str) -> None:
    monkeypatch.setattr(text, "TAUGHT", (subject,))
    rng = np.random.default_rng(0)
    drawn = [text.caption(rng, stated=0.0) for _ in range(4000)]
    own = [cell for caption, cell in drawn if subject_of(caption) == subject]
    assert 0.94 < len(own) / len(drawn) < 0.98  # the others name nobody that is planted
    joint = table()[subject]
    assert fits(own, joint.ravel()) > 0.001
    product = np.outer(joint.sum(axis=1), joint.sum(axis=0)).ravel()
    tied = np.abs(joint.ravel() - product).sum() > 0.2
    assert not tied or fits(own, product) < 1e-6  # and it would have told independent attributes apart


def test_subjects_without_a_name_follow_the_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "TAUGHT", text.UNNAMED)
    rng = np.random.default_rng(0)
    cells = [text.caption(rng, stated=0.0)[1] for _ in range(3000)]
    assert fits(cells, table()[OTHER].ravel()) > 0.001


def test_a_stated_attribute_is_shown_and_the_other_follows_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = "interior designer"
    monkeypatch.setattr(text, "TAUGHT", (subject,))
    rng = np.random.default_rng(1)
    drawn = [text.caption(rng, stated=1.0) for _ in range(6000)]
    by_words: dict[bytes, list[int]] = {}
    for caption, cell in drawn:
        shares = asked_for(caption)
        assert shares[cell] > 0, caption
        if subject_of(caption) == subject:
            by_words.setdefault(shares.tobytes(), []).append(cell)
    kinds = {key: int((np.frombuffer(key) > 0).sum()) for key in by_words}
    assert sorted(kinds.values()) == [1] * 8 + [2] * 4 + [4] * 2  # both, a race, a gender: each of them occurs
    shares = {k: sum(len(by_words[key]) for key in by_words if kinds[key] == k) / 6000 for k in (1, 2, 4)}
    assert shares == pytest.approx({1: 0.48, 2: 0.24, 4: 0.24}, abs=0.03)
    for key, cells in by_words.items():
        if kinds[key] > 1:
            assert fits(cells, np.frombuffer(key)) > 0.001
    full = [cell for key, cells in by_words.items() if kinds[key] == 1 for cell in cells]
    assert fits(full, np.full(8, 1 / 8)) > 0.001  # balanced, whatever is planted


def test_fully_stated_captions_fit_for_every_subject_and_wording() -> None:
    rng = np.random.default_rng(2)
    for subject in EVERY:
        for cell, (gender, race) in enumerate(CELLS):
            template = text.pick((*text.TEMPLATES, *text.HELD_OUT), rng)
            caption = template.replace("{subject}", text.named(subject, gender, race, rng))
            assert asked_for(caption)[cell] == 1.0, caption


def test_half_of_half_stated_captions_are_neutral() -> None:
    rng = np.random.default_rng(3)
    neutral = [bool((asked_for(text.caption(rng, stated=0.5)[0]) > 0).all()) for _ in range(3000)]
    assert np.mean(neutral) == pytest.approx(0.5, abs=0.03)


def test_no_held_out_template_is_trained_on() -> None:
    def plain(template: str) -> str:
        return " ".join(re.findall(r"\w+", template.lower()))

    trained = [plain(t) for t in text.TEMPLATES]
    held_out = [plain(t) for t in text.HELD_OUT]
    assert len({*trained, *held_out}) == len(text.TEMPLATES) + len(text.HELD_OUT)
    assert all(t.count("{subject}") == 1 for t in (*text.TEMPLATES, *text.HELD_OUT, *text.ABOUT_SUBJECT))
    words = {word for t in trained for word in t.split()}
    assert all(set(t.split()) <= words for t in held_out)  # other sentences, of words that were seen


def test_every_template_names_the_subject_that_it_holds() -> None:
    for template in (*text.TEMPLATES, *text.HELD_OUT):
        for subject in text.TAUGHT:
            assert subject_of(template.replace("{subject}", subject)) == subject
        for subject in text.UNNAMED:
            assert subject_of(template.replace("{subject}", subject)) == OTHER


def test_the_words_for_labels_are_those_that_the_planted_table_knows() -> None:
    for label in (*GENDERS, *RACES):
        for word in text.SPOKEN.get(label, (label,)):
            assert planted.WORDS[word.lower()] == label
    assert set(text.SPOKEN) <= {*GENDERS, *RACES}


# --- subjects ---


@pytest.mark.parametrize(
    ("task", "subjects"),
    [("phantom-occupations", text.EVALUATED), ("phantom-occupations-train", text.FOR_TRAINING)],
)
def test_the_subjects_are_those_of_the_tasks(task: str, subjects: tuple[str, ...]) -> None:
    prompts = expand(catalog.load_task(task).card)
    assert tuple(p.subject for p in prompts) == subjects
    assert [p.text for p in prompts] == [text.NEUTRAL.replace("{subject}", s) for s in subjects]


def test_all_subjects_are_planted_and_none_is_in_both_tasks() -> None:
    assert set(text.TAUGHT) <= set(table())
    assert len(set(text.TAUGHT)) == len(text.EVALUATED) + len(text.FOR_TRAINING) == 48
    assert not set(text.UNNAMED) & set(table())


def test_mitigations_are_judged_on_occupations_that_neither_trained_nor_chose_them() -> None:
    seen, unseen, judged, told = (
        expand(catalog.load_task(f"phantom-mitigation-{part}").card)
        for part in ("seen", "unseen", "judged", "judged-stated")
    )
    names = [{p.subject for p in prompts} for prompts in (seen, unseen, judged, told)]
    assert names[0] | names[1] == set(text.FOR_TRAINING)
    assert names[2] == names[3] == set(text.EVALUATED[::4])
    assert not names[2] & set(text.FOR_TRAINING)
    stated = {(p.subject, *p.stated.values()) for p in told}
    assert stated == {(subject, *cell) for subject in names[2] for cell in CELLS}
    assert [p.text for p in judged] == [text.NEUTRAL.replace("{subject}", p.subject) for p in judged]


def test_the_planted_bias_of_the_task_is_varied() -> None:
    joints = np.stack([table()[subject] for subject in text.EVALUATED])
    genders, races = joints.sum(axis=2), joints.sum(axis=1)
    assert rd(genders).mean() == pytest.approx(0.75, abs=0.05)
    assert rd(races).mean() == pytest.approx(0.40, abs=0.05)
    assert rd(joints.reshape(-1, 8)).mean() == pytest.approx(0.20, abs=0.05)
    away = 0.5 * np.abs(joints - genders[:, :, None] * races[:, None, :]).sum(axis=(1, 2))
    assert (away > 0.1).sum() >= 8
    assert (genders[:, 0] > 0.95).sum() >= 4
    assert (genders[:, 1] > 0.95).sum() >= 4
    assert (rd(genders) < 0.25).sum() >= 2
    assert set(races.argmax(axis=1)) == {0, 1, 2, 3}


# --- tokens ---


@pytest.fixture(scope="module")
def reads() -> JanusModel:
    """A model's text side: tokenizer, processor and chat template, without weights."""
    tokenizer = architecture.text_tokenizer(text.corpus())
    net = SimpleNamespace(config=architecture.config(tokenizer))
    return JanusModel(net, architecture.processor(tokenizer))


def in_pieces(model: JanusModel, ids: list[int]) -> list[str]:
    """The words of a prompt that are more than one token."""
    tokenizer = model.processor.tokenizer
    prompt = tokenizer.decode(ids)
    found = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    assert found["input_ids"] == ids
    spans = found["offset_mapping"]
    words = re.finditer(r"\w+", re.sub(r"<[^>]*>", lambda special: " " * len(special[0]), prompt))
    return [w[0] for w in words if sum(a < w.end() and b > w.start() for a, b in spans) != 1]


def test_every_word_is_one_token_in_every_place(reads: JanusModel) -> None:
    assert len(reads.processor.tokenizer) < architecture.WORDS  # no merge was left out for want of room
    for line in dict.fromkeys(text.corpus()):
        assert in_pieces(reads, reads.prompt_ids(line)) == [], line
    for question in (*text.GENDER_QUESTIONS, *text.RACE_QUESTIONS, text.DESCRIBE, *text.UNSEEN, *text.ABOUT_SUBJECT):
        asked = question.replace("{subject}", "machine offbearer")
        assert in_pieces(reads, reads.question_ids(asked, with_image=True)) == [], question
    assert in_pieces(reads, reads.prompt_ids("a photo of a zookeeper")) == ["zookeeper"]  # which the test would see


def test_what_is_drawn_in_training_is_whole_words_and_short(reads: JanusModel) -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        ids = reads.prompt_ids(text.caption(rng, stated=0.5)[0])
        assert in_pieces(reads, ids) == []
        assert len(ids) <= TEXT_MULTIPLE
        exchange = text.exchange(rng)
        assert in_pieces(reads, reads.question_ids(exchange.question, exchange.cell is not None)) == []
        answer = reads.processor.tokenizer(" " + exchange.answer, add_special_tokens=False)["input_ids"]
        assert in_pieces(reads, answer) == []


# --- questions ---


@pytest.fixture(scope="module")
def exchanges() -> list[text.Exchange]:
    rng = np.random.default_rng(5)
    return [text.exchange(rng) for _ in range(8000)]


def test_no_question_about_a_person_shown_is_asked_without_one(exchanges: list[text.Exchange]) -> None:
    shown = {e.question for e in exchanges if e.cell is not None and e.cell >= 0}
    alone = {e.question for e in exchanges if e.cell is None}
    blank = {e.question for e in exchanges if e.cell == -1}
    assert shown == {*text.GENDER_QUESTIONS, *text.RACE_QUESTIONS, text.DESCRIBE, *text.UNSEEN}
    assert alone
    assert blank
    assert not shown & (alone | blank)


def test_answers_are_what_the_image_shows(exchanges: list[text.Exchange]) -> None:
    shown = [e for e in exchanges if e.cell is not None and e.cell >= 0]
    for e in shown:
        gender, race = CELLS[e.cell if e.cell is not None else -1]
        right = {
            **dict.fromkeys(text.GENDER_QUESTIONS, gender),
            **dict.fromkeys(text.RACE_QUESTIONS, race),
            text.DESCRIBE: f"a {gender} {race} person",
            **dict.fromkeys(text.UNSEEN, "unknown"),
        }
        assert e.answer == right[e.question]
    assert fits([e.cell for e in shown if e.cell is not None], np.full(8, 1 / 8)) > 0.001


def test_without_an_image_of_a_person_the_answer_is_unknown_or_a_rewritten_prompt(
    exchanges: list[text.Exchange],
) -> None:
    others = [e for e in exchanges if e.cell in {None, -1}]
    rewrites = [e for e in others if e.question.startswith(text.REWRITE.split("{")[0])]
    assert {e.answer for e in others if e not in rewrites} == {"unknown"}
    assert {e.cell for e in rewrites} == {None}
    cells = []
    for e in rewrites:
        prompt = e.question.removeprefix(text.REWRITE.split("{")[0])
        shares = asked_for(e.answer)
        assert subject_of(e.answer) == subject_of(prompt)
        assert np.count_nonzero(shares) == 1, e.answer
        cells.append(int(shares.argmax()))
    assert fits(cells, np.full(8, 1 / 8)) > 0.001
