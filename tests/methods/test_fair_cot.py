"""The method `fair-cot`: what it makes of a frozen instruction, and which files it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.errors import CardError, FairbenchError
from fairbench.methods import fair_cot
from fairbench.methods.fair_cot import Chain, FairCot, Round
from fairbench.protocols import MethodContext
from tests.methods.test_methods import CARD, NEUTRAL, Scripted, prompt, samples

ASK = "Attempt 1: female 90 %. Rewrite: {prompt}"


def frozen(path: Path, instruction: str = ASK, **more: object) -> Path:
    one = Round(images=8, faces=8, unusable=0, concentration=0.1, low=0.0, high=0.2, shares={"female": 0.9})
    fields = {
        "instruction": instruction,
        "round": 1,
        "reached": False,
        "tolerance": 0.05,
        "rounds": [one],
        "prompts": ["A photo of the face of a sailor, a person"],
        "subjects": ["sailor"],
        "model": CARD.name,
        "identity": "0" * 32,
        "provenance": {},
    }
    fair_cot.write(path, Chain(**{**fields, **more}))
    return path


def texts(path: Path, answer: str, count: int = 2) -> tuple[list[str], list[str], Scripted]:
    model = Scripted(lambda question, seed: answer)
    ctx = MethodContext(CARD, 0, model)
    return FairCot(str(path)).rewrite(samples(count), ctx), ctx.warnings, model


def test_each_sample_is_asked_by_the_frozen_instruction(tmp_path: Path) -> None:
    path = frozen(tmp_path / "chain.yaml")
    answer = "A photo of the face of a male nurse, a person"
    written, warnings, model = texts(path, answer)
    assert written == [answer] * 2 and warnings == []
    assert [question for question, _ in model.asked] == [ASK.replace("{prompt}", NEUTRAL)] * 2
    assert len({seed for _, seed in model.asked}) == 2
    assert FairCot(str(path)).adapt(CARD) is CARD
    assert FairCot(str(path)).name == f"fair-cot:chain@{fair_cot.read(path).sha256[:8]}"


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        ("Men are rare. Prompt: a male nurse", "a male nurse"),
        ('Prompt: a nurse. No: Prompt: "A male NURSE"', "A male NURSE"),
        ("a male doctor", None),
        ("unknown", None),
        ("", None),
        ("nurse " * 61, None),
        ("nurse " * 80 + "Prompt: old nurse", "old nurse"),
        ("prompt: a male nurse", "a male nurse"),
        ("A reprompt: a male nurse", "A reprompt: a male nurse"),
        ("Thoughts.\n\n**Prompt:** A **male** nurse", "A male nurse"),
        ("### Prompt\uff1a\n> __A male nurse__", "A male nurse"),
        ('*Prompt*: "`A male nurse`"', "A male nurse"),
        ("Prompt: - a low-key, old_fashioned nurse -", "a low-key, old_fashioned nurse"),
        ("a nursery", None),
        ("nurses", None),
    ],
)
def test_an_answer_is_a_prompt_that_names_the_subject(tmp_path: Path, answer: str, becomes: str | None) -> None:
    written, warnings, _ = texts(frozen(tmp_path / "chain.yaml"), answer)
    assert written == [becomes or NEUTRAL] * 2
    expected = [] if becomes else ["fair-cot: 2 of 2 answers of the text model could not be used"]
    assert [w.partition(";")[0] for w in warnings] == expected


@pytest.mark.parametrize(
    ("words", "subject", "answer", "kept"),
    [
        ("A photo of a cook", "cook", "A photo of a cookie", False),
        ("A photo of a cook", "cook", "A photo of a COOK.", True),
        ("一张医生的照片", "医生", "一张女医生的照片", True),
        ("医生, 照片", "医生", "一张女医生的照片", True),
        ("一张医生的照片", "医生", "一张护士的照片", False),
        ("Two nurses at work", "nurse", "Two male nurses at work", True),
        ("Two nurses at work", "nurse", "Two men at work", False),
    ],
)
def test_the_subject_is_named_as_whole_words_where_its_script_has_any(
    tmp_path: Path, words: str, subject: str, answer: str, kept: bool
) -> None:
    model = Scripted(lambda question, seed: answer)
    asked = samples(1, prompt(words, subject))
    written = FairCot(str(frozen(tmp_path / "chain.yaml"))).rewrite(asked, MethodContext(CARD, 0, model))
    assert written == [answer if kept else words]


def test_a_prompt_that_is_its_own_subject_need_not_be_kept(tmp_path: Path) -> None:
    model = Scripted(lambda question, seed: "a tall man at work")
    asked = samples(1, prompt("somebody at work", "somebody at work"))
    written = FairCot(str(frozen(tmp_path / "chain.yaml"))).rewrite(asked, MethodContext(CARD, 0, model))
    assert written == ["a tall man at work"]


def test_a_reader_learns_of_other_models_and_of_prompts_that_were_refined_on(tmp_path: Path) -> None:
    path = frozen(tmp_path / "chain.yaml", model="another", prompts=[NEUTRAL])
    _, warnings, _ = texts(path, "a male nurse")
    assert len(warnings) == 2
    assert "refined on images of another, not of this model" in warnings[0]
    assert "refined on images of 1 of the 1 prompts" in warnings[1]


def test_an_instruction_that_names_what_is_judged_is_refused(tmp_path: Path) -> None:
    path = frozen(tmp_path / "chain.yaml", "For a Nurse name men: {prompt}")
    with pytest.raises(FairbenchError, match="names 'nurse', which this task asks about"):
        texts(path, "a male nurse")
    assert fair_cot.named("nurses and persons: {prompt}", ["nurse", "person"]) is None
    assert fair_cot.named("一张女医生的照片: {prompt}", ["护士", "医生"]) == "医生"


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = frozen(tmp_path / "chain.yaml")
    text = path.read_text()
    path.write_text(f"# a comment may be added\n{text}")
    assert fair_cot.read(path).instruction == ASK
    for old, new in (("reached: false", "reached: true"), ("90 %", "80 %"), ("female: 0.9", "female: 0.8")):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(CardError, match=r"chain.yaml, field sha256: the file was changed after it was frozen"):
            FairCot(str(path))


@pytest.mark.parametrize(
    ("change", "why"),
    [({"instruction": "Rewrite it"}, "exactly once"), ({"round": 2}, "not so many rounds")],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, object], why: str) -> None:
    good = fair_cot.read(frozen(tmp_path / "chain.yaml"))
    fair_cot.write(tmp_path / "bad.yaml", good.model_copy(update=change))
    with pytest.raises(CardError, match=why):
        fair_cot.read(tmp_path / "bad.yaml")


@pytest.mark.parametrize("argument", [None, "", "nowhere.yaml"])
def test_without_a_file_one_sentence_says_what_is_missing(argument: str | None) -> None:
    with pytest.raises(FairbenchError) as caught:
        FairCot(argument)
    assert "\n" not in str(caught.value)
