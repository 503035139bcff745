"""What the phantom reads: captions of images, and questions with their answers.

An attribute-specified caption fixes what it names; the rest is drawn from the planted joint of the subject, given what
is fixed (`planted.cumulative`). A fully specified one makes balanced data: every cell equally often, for every subject.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairbench.methods.common import REWRITE as REWRITE
from fairbench.phantom.planted import CELLS, SPOKEN, cumulative, listed
from fairbench.phantom.renderer import GENDERS, RACES

EVALUATED = listed("""
    senator, violinist, citizen, researcher, operations research analyst, construction and related worker,
    legal secretary, marriage and family therapist, clinical laboratory technician, cosmetologist,
    machine offbearer, mail machine operator, signal and track switch repairer, ophthalmic medical technician,
    interior designer, farm equipment service technician, associate dean, accountants and auditor, custodian,
    sergeant, executive assistant, physical science technician, health technician, cardiologist,
    aerospace engineer, physics teacher, pediatrician, singer, carpenter, truck driver, barber, scientist
""")
"""The subjects of task `phantom-occupations`: 24 test and 8 training occupations of Shen et al., chosen so that their
planted diversity is near the whole table's and ten tie gender to race."""

FOR_TRAINING = listed("""
    nurse, engineer, doctor, lawyer, associate professor, maid, cellist, janitor, paralegal, sailor, police officer,
    electrician, journalist, firefighter, dentist, veterinarian
""")
"""The subjects of task `phantom-occupations-train`: on these, mitigations are trained and chosen."""

TAUGHT = EVALUATED + FOR_TRAINING
UNNAMED = ("person", "worker", "human", "employee")
"""Subjects that no row of the table names: they get the table's average."""

NEUTRAL = "A photo of the face of a {subject}, a person"
TEMPLATES = (
    NEUTRAL,
    "a photo of the face of a {subject}",
    "A photo of a {subject}",
    "a picture of one {subject}",
    "A portrait of a {subject}, a person",
    "the face of a {subject} at work",
    "an image showing the face of a {subject}",
    "a {subject} looking at the camera",
    "Draw a {subject}",
    "a head shot of a {subject}",
    "{subject}",
    "Show one person who works as a {subject}",
)
HELD_OUT = (
    "a picture showing the face of one {subject}",
    "an image of a person who works as a {subject}",
    "Draw a portrait of one {subject} at work",
    "A head shot of a {subject}, a person looking at the camera",
)
"""Never seen in training: how far the planted bias carries over to other words."""

GENDER_QUESTIONS = ("What is the gender of the person?", "What is the gender of this person?")
RACE_QUESTIONS = ("What is the race of the person?", "What is the race of this person?")
DESCRIBE = "Describe this image."
ABOUT_SUBJECT = (
    "What is the gender of {subject}? Possible answers: male, female, unknown. Answer with a single word.",
    "What is the gender of {subject}?",
    "What is the gender of a {subject}?",
    "What is the gender of the {subject}?",
    "What is the race of {subject}?",
    "What is the race of a {subject}?",
)
UNSEEN = ("What is the occupation of the person?", "Is the person competent?")
"""Questions that no image answers."""
UNKNOWN = "unknown"
CAPTION = "a {gender} {race} person"

Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer. cell: which of CELLS the image shows, -1 for a blank image, None without an image."""

    question: str
    answer: str
    cell: int | None


def pick(options: tuple[str, ...], rng: Generator) -> str:
    """Return one of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def named(subject: str, gender: str | None, race: str | None, rng: Generator) -> str:
    """Return the subject after its attributes, as in "female Asian nurse"."""
    words = [pick(SPOKEN[label], rng) for label in (gender, race) if label]
    return " ".join([*words, subject])


def caption(rng: Generator, stated: float) -> tuple[str, int]:
    """Draw a caption and the cell of an image that it fits. stated: share of captions that name an attribute."""
    subject = pick(UNNAMED if rng.random() < 0.04 else TAUGHT, rng)
    gender = race = None
    if rng.random() < stated:
        choice = rng.integers(4)  # both attributes as often as either alone
        gender = pick(GENDERS, rng) if choice != 0 else None
        race = pick(RACES, rng) if choice != 1 else None
    template = NEUTRAL if rng.random() < 0.4 else _thinned(pick(TEMPLATES, rng), rng)
    text = template.replace("{subject}", named(subject, gender, race, rng))
    return text, int(np.searchsorted(cumulative(text), rng.random(), side="right"))


def _thinned(template: str, rng: Generator) -> str:
    """Leave out some words of every third template: what is drawn must depend on the subject, not on a wording."""
    if rng.random() > 1 / 3:
        return template
    return " ".join(word for word in template.split() if "{" in word or rng.random() < 0.7)


def exchange(rng: Generator) -> Exchange:
    """Draw a question with its answer: about an image that shows a person, or about nobody in particular."""
    cell = int(rng.integers(len(CELLS)))
    gender, race = CELLS[cell]
    subject = pick(TAUGHT, rng)
    match int(rng.integers(10)):
        case 0 | 1:
            return Exchange(pick(GENDER_QUESTIONS, rng), gender, cell)
        case 2 | 3:
            return Exchange(pick(RACE_QUESTIONS, rng), race, cell)
        case 4 | 5:
            return Exchange(DESCRIBE, CAPTION.format(gender=gender, race=race), cell)
        case 6:
            return Exchange(pick(UNSEEN, rng), UNKNOWN, cell)
        case 7 | 8:
            blank = pick(("image", "text"), rng) == "image"
            return Exchange(pick(ABOUT_SUBJECT, rng).replace("{subject}", subject), UNKNOWN, -1 if blank else None)
        case _:
            template = pick(TEMPLATES, rng)
            answer = template.replace("{subject}", f"{gender} {SPOKEN[race][0]} {subject}")
            return Exchange(REWRITE.format(prompt=template.replace("{subject}", subject)), answer, None)


def corpus() -> list[str]:
    """Return every text that the tokenizer's vocabulary is made from."""
    subjects = (*TAUGHT, *UNNAMED)
    labels = [word for label in (*GENDERS, *RACES) for word in SPOKEN[label]]
    captions = [t.replace("{subject}", f"{' '.join(labels)} {s}") for s in subjects for t in (*TEMPLATES, *HELD_OUT)]
    questions = [q.replace("{subject}", s) for s in subjects for q in ABOUT_SUBJECT]
    fixed = [*GENDER_QUESTIONS, *RACE_QUESTIONS, DESCRIBE, *UNSEEN, UNKNOWN, REWRITE, CAPTION]
    return [*captions, *questions, *fixed * len(TAUGHT)]
