"""What a Croissant description says of a run under responsible AI: each field a sentence that holds of this run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from fairbench.display.note import label_note
from fairbench.display.numbers import whole
from fairbench.exporting import dataset_card
from fairbench.exporting.job import Job
from fairbench.labelling import judges
from fairbench.reporting import gallery
from fairbench.reporting.content import MEANS

if TYPE_CHECKING:
    import pandas as pd

Said = str | list[str]
_NO_IDENTITY: Final = (
    "Not for saying anything about a person, and not for training what guesses gender, race or identity from a face."
)

_SELECTED: Final = {
    "largest": "the largest of each image",
    "central": "the most central of each image",
    "all": "all of each image",
}


def fields(job: Job, labels: pd.DataFrame, files: Mapping[str, str]) -> dict[str, Said]:
    """Return the name of each field, without its prefix, and what is said there.

    labels: a row per face, or per image without; files: config -> its file.
    """
    files_of_users = gallery.of_files(job.content.run)
    return {
        **_collection(job, labels, files),
        **_annotation(job),
        "dataBiases": [
            *(f"{verdict['attribute']}: {verdict['sentence']}" for verdict in job.content.verdicts()),
            "The labels follow the categories of a benchmark, and whoever gave them errs; how often may differ between "
            "groups.",
        ],
        "dataLimitations": [
            *MEANS,
            f"It holds for {_prompts(labels)}, in these wordings.",
            *(notice["sentence"] for notice in job.content.notices()),
        ],
        "dataUseCases": [
            "Measuring how evenly a model that draws pictures distributes appearances over prompts; comparing models.",
            _NO_IDENTITY,
        ],
        "dataSocialImpact": (
            "It shows where a model draws some groups more often than others. Read as a statement about people, the "
            "labels would do harm: they are how pictures look to a labeller."
        ),
        "personalSensitiveInformation": [
            f"Perceived {', '.join(job.content.attributes)} of faces in pictures.",
            "The pictures may show real people."
            if files_of_users
            else "The pictures were drawn by a model and show nobody on purpose; that one resembles a person cannot be "
            "ruled out.",
        ],
    }


def _collection(job: Job, labels: pd.DataFrame, files: Mapping[str, str]) -> dict[str, Said]:
    record = job.content.record
    images = labels.drop_duplicates("image_id")
    statuses = images["status"].value_counts().sort_index()
    counted = ", ".join(f"{name} {whole(int(count))}" for name, count in statuses.items())
    task = f"the task {record.task.name} (version {record.task.version})"
    suite = f"{whole(len(images))} images, for {_prompts(labels)} of {task}"
    made = {
        "folder": f"Files that were there already: {suite}.",
        "labels-only": f"A table that was there already, with labels of {suite}.",
    }
    drawn = f"{job.content.name} was asked for {suite}, from seed {record.declared.seed}."
    policy = record.labeller.face_policy
    return {
        "dataCollection": made.get(record.model.adapter, drawn),
        "dataCollectionType": (
            ["Secondary Data Analysis"] if record.model.adapter in made else ["Software Collection", "Experiments"]
        ),
        "dataCollectionMissingData": f"Images by status: {counted}. Those without a face have a row without a label.",
        "dataCollectionRawData": (
            "The pictures are in the table of images." if "images" in files else dataset_card.without_pictures(job)
        ),
        "dataImputationProtocol": "Nothing is imputed: what is not known is null.",
        "dataPreprocessingProtocol": [
            f"Faces that count: {_SELECTED[policy.select]}, if they take {policy.min_area:g} of the image's area or "
            f"more; the column counted says which they are. Labels of a probability below {policy.min_prob:g} are null."
        ],
    }


def _prompts(labels: pd.DataFrame) -> str:
    count = int(labels["prompt_id"].nunique())
    return f"{whole(count)} prompt{'' if count == 1 else 's'}"


def _annotation(job: Job) -> dict[str, Said]:
    record, run = job.content.record, job.content.run
    by_table = run.read_by == "table"
    who_labelled = {
        "table": "Unknown: the labels come from a table that was made elsewhere.",
        "questions": "None: a model that was asked about each picture gave the labels.",
    }.get(run.read_by, "None: a classifier gave the labels.")
    who = f"{record.labeller.title} ({record.labeller.name}, id {record.labeller_id})"
    classes = [f"{name}: {', '.join(labels)}." for name, labels in job.content.attributes.items()]
    analysis = _analysis(job)
    tools: dict[str, Said] = {} if by_table else {"machineAnnotationTools": [who, *_parts(job)]}
    return {
        "dataAnnotationProtocol": [label_note(run.read_by), *classes],
        "dataAnnotationPlatform": [f"fairbench {record.fairbench}"],
        "dataAnnotationAnalysis": [analysis],
        "annotationsPerItem": "One label per face and attribute"
        + (", with the probability of every class." if run.read_by == "classifier" else "."),
        "annotatorDemographics": [who_labelled],
        **tools,
    }


def _parts(job: Job) -> Sequence[str]:
    card = job.content.record.labeller
    detectors = [f"face detector {route.detector.type}" for route in card.routes]
    classifiers = [f"classifier {part.type}" for part in card.classifiers]
    return list(dict.fromkeys([*detectors, *classifiers, *(f"asked: {name}" for name in judges.names(card))]))


def _analysis(job: Job) -> str:
    known = job.content.record.correction
    counted = None if known is None else known.counted_on
    if counted is None:
        return "How often the labels err was not counted."
    return f"How often the labels err was counted on {whole(counted[0])} images (domain: {counted[1]})."
