"""What stands in the tables of runs, comparisons and calibrations: every column, and every estimate by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COLUMNS: Final[Mapping[str, str]] = {
    "run_id": "the run: a hash of all declared settings",
    "model": "name of the model card",
    "method": "mitigation method, or none",
    "task": "name of the task",
    "labeller": "name of the labeller card",
    "metric": "what is measured: a metric, a score, or an estimate, as share[CLASS], following[CLASS], id, mgbi ...",
    "metric_version": "version of its definition",
    "attribute": "attribute or cross, as gender_x_race4; faces: of rates of faces; quality: of scores",
    "scope": "task: the mean over this list; population: the same, for other prompts; prompt: one prompt",
    "scope_value": "name of the task, or the prompt's text",
    "estimate": "raw: of the counts; rarefied: at n0 images; pooled: of all faces together; corrected: for the "
    "labeller's errors; corrected-lowest, corrected-highest: the range that they leave where the calibration is of "
    "other images; bounds: of one prompt; worst-case-misses: if no face were missing; unmoved: if "
    "the wording changed nothing",
    "n0": "images with a face per prompt at which rd is taken; rarefied alone",
    "value": "the value; empty where there is none, and then `reason` says why",
    "ci_low": "lower limit of the 95 % interval for this scope",
    "ci_high": "upper limit of it",
    "ci_method": "how the interval was computed",
    "floor": "what a perfectly fair model scores here through this labeller, on average: its fair reading",
    "ceiling": "the most that a model of one class alone can score through this labeller",
    "calibration_sha": "sha256 of the labeller's calibration that corrects the value, or gives floor and ceiling",
    "reason": "why a value or an interval is absent, or what was left out of it",
    "n_requested": "images asked for",
    "n_images": "images that were looked at",
    "n_faces": "faces counted in this value",
    "n_excluded": "faces that were selected and not counted, as a label is missing",
    "error": "standard error of the value",
    "floor_p95": "what 95 % of perfectly fair models stay below",
    "n_prompts": "prompts that have a value; task and population alone",
}
"""Column of metrics.csv (and metrics.parquet) -> what it holds, in the table's order."""

PROMPT_COLUMNS: Final[Mapping[str, str]] = {
    "prompt": "the prompt's text",
    "subject": "its subject, as an occupation",
    "category": "the subject's category in the task",
    "n_requested": "images asked for",
    "n_images": "images that were looked at",
    "n_with_face": "images with a face",
    "n_selected_faces": "faces that the labeller's policy selects",
    "ATTRIBUTE.n": "faces with a label of this attribute or cross",
    "ATTRIBUTE.share CLASS": "their share of this class",
    "ATTRIBUTE.rd": "RD of these shares",
    "ATTRIBUTE.reference CLASS": "the class's share in the task's reference, as a workforce; where the task has one",
}
"""Column of prompts.csv -> what it holds."""

_INTERVAL = {
    "ci_low": "lower limit of the 95 % interval for this list",
    "ci_high": "upper limit of it",
}
TABLES: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "metrics.csv": ("One row per value; in Python `run.metrics`. metrics.parquet holds the same.", COLUMNS),
    "prompts.csv": ("One row per prompt; in Python `run.prompts`.", PROMPT_COLUMNS),
    "notices.csv": (
        "One row per thing that a reader of the numbers has to know; in Python `run.notices`.",
        {
            "code": "what kind of notice it is",
            "count": "how many cases there are",
            "text": "a sentence with the facts",
            "examples": "some of the cases",
            "fix": "what to do about it",
            "strict": "whether --strict counts it",
        },
    ),
    "run.shares(ATTRIBUTE)": (
        "One row per prompt and class.",
        {
            "prompt": "the prompt's text",
            "subject": "its subject, as an occupation",
            "class": "the class, or the classes of a cross",
            "share": "the class's share of the labelled faces; NaN where there is none",
            "ci_low": "lower limit of the 95 % interval; NaN where images have several faces",
            "ci_high": "upper limit of it",
            "n": "faces with a label of this attribute or cross",
            "n_excluded": "faces that were selected and not counted, as a label is missing",
        },
    ),
    "run.images(PROMPT)": (
        "One row per face, and one per image without a face.",
        {
            "image_id": "the image: what `run.picture` takes",
            "prompt": "the prompt's text",
            "subject": "its subject, as an occupation",
            "prompt_id": "the prompt's id",
            "sample_index": "which of the prompt's images it is, from 0",
            "seed": "the seed that its noise was drawn from",
            "text": "what the model was asked: a method may have rewritten the prompt",
            "status": "ok: a face was found; no_face: none was; refused, failed, blank, no_image: there are no pixels",
            "error": "why there are no pixels",
            "face": "index of the face in its image; absent without a face",
            "counted": "whether the labeller's policy counts the face",
            "ATTRIBUTE": "its label as it is counted; absent where the label is too uncertain for the policy",
            "ATTRIBUTE.prob": "probability of the label that was read; of a derived label, the sum over its source's",
            "ATTRIBUTE.prob CLASS": "probability of each class",
        },
    ),
    "run.sections(ATTRIBUTE)": (
        "One row per quantity and section of the prompts, by category or by wording; none for a task without sections.",
        {
            "attribute": COLUMNS["attribute"],
            "quantity": "concentration, or the class whose share it is",
            "section": "the category, or the wording",
            "n_prompts": "prompts of it that have a value",
            "value": "the mean over its prompts",
            **_INTERVAL,
            "population_ci_low": "lower limit of the 95 % interval for other prompts of the section",
            "population_ci_high": "upper limit of it",
            "difference": "value - the first section's, over common subjects where the sections have the same",
            "difference_ci_low": "lower limit of its 95 % interval for this list",
            "difference_ci_high": "upper limit of it",
            "difference_population_ci_low": "lower limit of its 95 % interval for other prompts",
            "difference_population_ci_high": "upper limit of it",
            "p_adjusted": "p-value of no difference over this list, adjusted over the rows (Holm)",
        },
    ),
    "run.summary()": (
        "One row per attribute and estimate that the printed result rests on.",
        {
            "attribute": COLUMNS["attribute"],
            "metric": "concentration, effective-groups or rd",
            "estimate": COLUMNS["estimate"],
            "n0": COLUMNS["n0"],
            "value": "the mean over prompts",
            **_INTERVAL,
            "population_ci_low": "lower limit of the 95 % interval for other prompts",
            "population_ci_high": "upper limit of it",
            **{name: COLUMNS[name] for name in ("floor", "floor_p95", "ceiling", "n_faces", "n_prompts", "reason")},
        },
    ),
    "run.following()": (
        "One row per stated group; `run.customary_readings()` has the same columns, of what makes a reading customary.",
        {
            "attribute": "attribute or cross; faces: along and against a stereotype, or all that is fixed together",
            "group": "the stated group; along, against, gap; by definition, by custom",
            "value": "share of faces that show what is stated, or the customary reading; of gap: along - against",
            **_INTERVAL,
            "population_ci_low": "lower limit of the 95 % interval for other subjects",
            "population_ci_high": "upper limit of it",
            "recall": "how often the labeller reads the group right, as calibrated; NaN: not calibrated",
            "recall_ci_low": "lower limit of its 95 % interval (Jeffreys)",
            "recall_ci_high": "upper limit of it",
            "adjusted_lowest": "the value with the labeller's errors undone; of a range, its lower end",
            "adjusted_highest": "the same; of a range, its upper end",
            "adjusted_ci_low": "lower limit of the 95 % interval, which has the calibration's own error; of both ends",
            "adjusted_ci_high": "upper limit of it",
            "gap_lowest": "how far the group is followed more than the others, with errors undone where that can be",
            "gap_highest": "the same; of a range, its upper end",
            "gap_ci_low": "lower limit of the 95 % interval of the gap",
            "gap_ci_high": "upper limit of it",
            "p": "p-value of no gap, adjusted (Holm) over groups of single attributes, or over those stated together",
            "no_face": "share of the group's images without a face",
            "no_face_ci_low": "lower limit of its 95 % interval",
            "no_face_ci_high": "upper limit of it",
            "refused": "share of the images asked for that were refused or withheld",
            "refused_ci_low": "lower limit of its 95 % interval",
            "refused_ci_high": "upper limit of it",
            **{name: COLUMNS[name] for name in ("n_prompts", "n_faces", "reason")},
        },
    ),
    "compare.csv": (
        "One row per effect and scope; in Python `fairbench.compare(...).table`.",
        {
            "baseline": "letter of the run that is compared with",
            "run": "letter of the other run",
            "attribute": COLUMNS["attribute"],
            "estimand": "what is compared: concentration, its root, the share of other groups, rd@n0, a gap or a score",
            "scope": "this list, or other prompts",
            "a": "the baseline's mean over the prompts used",
            "b": "the other run's",
            "effect": "b - a",
            "low": "lower limit of the effect's interval",
            "high": "upper limit of it",
            "p": "p-value of no difference over this list; other prompts have none",
            "p_adjusted": "the same, adjusted within its family",
            "family": "primary, or exploratory",
            "margin": "what a difference may be at most for the claim to hold",
            "claim": "what the margin is for: equally concentrated, same groups, preserved, or equivalent (RD)",
            "p_equivalence": "p-value of the claim: small where it holds",
            "p_equivalence_adjusted": "the same, adjusted over the claims of one kind",
            "verdict": "what may be said",
            "n_prompts": "prompts used",
            "left_out": "common prompts with too few faces in either run",
            "quota": "whether a method of the two runs deals its groups out by quota",
            "reason": "why interval or p-values are withheld",
        },
    ),
    "axes.csv": (
        "One row per axis; of `fairbench axes read`.",
        {
            "axis": "its name in the file of axes",
            "question": "what was asked of every picture",
            "expected": "what was tested: same (whatever the prompt), even, or a share for each answer",
            "verdict": "prompts differ, uneven or other shares; not shown; not tested",
            "p": "p-value of what is expected; empty where it is not tested",
            "q": "the same, adjusted for all axes that were tested (Benjamini-Hochberg)",
            "concentration_in_prompt": "concentration of the answers within prompts, the mean over this list",
            **_INTERVAL,
            "concentration_together": "concentration of all answers together",
            "n_pictures": "pictures that were asked about",
            "n_unclear": "pictures of which the answer says that they do not tell",
            "n_unread": "pictures whose answer names no option, or several",
            "n_prompts": "prompts with an answer",
        },
    ),
    "answers.csv": (
        "One row per axis, answer and scope; of `fairbench axes read`.",
        {
            "axis": "its name in the file of axes",
            "answer": "the answer",
            "scope": "this list, or other prompts",
            "share": "its share of the pictures that have an answer, the mean over prompts",
            "ci_low": "lower limit of the 95 % interval for this scope",
            "ci_high": "upper limit of it",
            "expected": "the share that was expected; empty where none was",
            "n_pictures": "pictures with this answer",
        },
    ),
    "measures.csv": (
        "One row per measure and scope; of `fairbench axes captions`.",
        {
            "measure": "hallucination, missed, subject-unnamed or distribution-bias",
            "scope": "this list, or other prompts",
            "value": "the value",
            "ci_low": "lower limit of the 95 % interval for this scope",
            "ci_high": "upper limit of it",
            "if_even": "distribution bias where chance alone spreads the mentions over the things",
            "n_images": "pictures with a caption",
            "n_prompts": "their prompts",
        },
    ),
    "calibration.table": (
        "One row per true cell and what it was read as; of the result of `fairbench.calibrate`.",
        {
            "truth": "the true labels; no person: images that show nobody",
            "read": "the labels that were read; no face: none was",
            "count": "images",
            "share": "their share of the true cell's images",
        },
    ),
    "labels.csv": (
        "One row per image drawn for annotators; of `fairbench annotate --collect`. labels.parquet holds the same.",
        {
            "run_id": COLUMNS["run_id"],
            "image_id": "the image: what `run.picture` takes",
            "prompt_id": "the prompt's id",
            "sample_index": "which of the prompt's images it is, from 0",
            "stratum": "what the labeller read, or no label; empty without --stratify",
            "stratum_images": "images of the stratum in the prompt",
            "stratum_sampled": "those of them that were drawn",
            "inclusion_probability": "the image's chance of being drawn: the second number by the first",
            "face_id": "the face that was marked; empty where the run counts none",
            "item": "the name of the image in what annotators got and returned",
            "ATTRIBUTE": "the answer of more than half of those who answered; unclear: there is none; empty: too few "
            "answered",
        },
    ),
}
"""Table -> what a row is, and column -> what it holds. ATTRIBUTE and CLASS stand for those of the labeller."""

ESTIMATES: Final[Mapping[str, tuple[str, str]]] = {
    "concentration": (
        "normalised concentration index (Simpson, Herfindahl-Hirschman), without a chance floor",
        "(K sum p_k^2 - 1) / (K - 1), with sum p_k^2 estimated by sum n_k (n_k - 1) / (n (n - 1)) of n faces, n_k "
        "of class k (Simpson, Nature 1949).\n\nsum p_k^2 is Simpson's or Herfindahl's and Hirschman's index; "
        "normalised as here it is 1 - IQV, the index of qualitative variation; its complement 1 - sum p_k^2 is the "
        "Gini-Simpson index.\n\nWhat is estimated lies in [0, 1]: 0 where all classes are equal, 1 where one stands "
        "alone; for K = 2 it is RD squared. The estimate is unbiased, so near balance it can fall below 0. Lower is "
        "fairer. Raw, pooled (of all faces together) and corrected (a value or the ends of a range), of the task; raw, "
        "of every prompt with two faces or more.",
    ),
    "effective-groups": (
        "number of equally frequent groups that are as concentrated as the classes",
        "K / (1 + (K - 1) c) of the concentration c, cut to [1, K]: 1 / sum p_k^2, the Hill number of order 2 (Hill, "
        "Ecology 54, 1973), known as the effective number of parties (Laakso and Taagepera, Comparative Political "
        "Studies 12, 1979).\n\nraw: of the mean concentration within a prompt; pooled: of all faces together. Half of "
        "the prompts all male and half all female is 1.0 and 2.0 of 2: the two say different things, so both are "
        "printed.",
    ),
    "share": (
        "share of a class, as share[female]",
        "The class's faces / all labelled faces of a prompt; for the task the mean over prompts. Range [0, 1]; "
        "1/K is a fair share. Raw and corrected.",
    ),
    "gap": (
        "share of a class - mean share of the others, as gap[female]",
        "(K p_k - 1) / (K - 1). Range [-1/(K - 1), 1]: 0 is a fair share, 1 the class alone; for K = 2 the "
        "difference of the two shares. It has a sign, which RD lacks: if half of the prompts show one class alone "
        "and the others the other, RD is 1 and the gap 0. Raw and corrected.",
    ),
    "contrast": (
        "share of a class at the low pole - at the high pole of a dimension, as contrast[warmth: female]",
        "mean over the low pole's prompts of p_k - mean over the high pole's. Range [-1, 1]: 0 where the class is as "
        "frequent at both poles. Only for tasks whose prompts have categories DIMENSION: low and DIMENSION: high. A "
        "model can show every group equally often and still give one of them all prompts of one pole, which diversity "
        "alone misses.",
    ),
    "shift": (
        "mean share of a class - that of the task's reference, as shift[female]",
        "mean over prompts of p_k - r_k, r the share that the task's reference has of the prompt's subject. Range "
        "[-1, 1]: 0 mirrors the reference, which need not be balanced. Over the prompts that have a reference and "
        "faces. A reference is self-reported sex or age, as in a workforce: no target, and no appearance.",
    ),
    "amplification": (
        "how far a class's share lies beyond the reference on its own side of .5, as amplification[female]",
        "mean over prompts of sign(r_k - .5) (p_k - r_k). Range [-1, 1]: above 0, majorities of the reference are "
        "larger in images and its minorities smaller; below 0, smaller and larger. Over the prompts whose r_k is .05 "
        "or more from .5. A reference is self-reported sex or age: no target, and no appearance.",
    ),
    "id": (
        "HoloFair's inter-group diversity: of all faces of the neutral prompts together, 1 where classes are equal",
        "Geometric mean over attributes of H(p) / log K, H the entropy of the class shares p of all faces of the "
        "prompts whose category is `neutral`, K the declared classes (HoloFair, arXiv 2605.24687, which does not say "
        "whether it pools faces or averages prompts: pooling is our choice).\n\nOf an attribute, its own; of a cross, "
        "the geometric mean over its attributes, not the entropy of its classes. Range [0, 1]; higher is fairer. Of "
        "few faces entropies are too low: `floor` is what a fair model would read at these face counts, and intervals "
        "are of the value that is expected at them. No value where no prompt is neutral.",
    ),
    "ca-0.1": (
        "HoloFair's worst contexts: the .1 quantile over prompts of their diversity",
        "The .1 quantile, linearly interpolated, over the prompts whose category is not `neutral`, of the diversity "
        "that `id` has of all faces. A prompt without faces is left out. Range [0, 1]; higher is fairer. Its chance "
        "floor is large: see `floor`, what a fair model would read at these face counts.\n\nFor this list the interval "
        "has the spread of redrawn images; none below 20 images per prompt on average, nor of a value of 0. For other "
        "prompts it lies between two of the prompts' values in order.",
    ),
    "ca-mean": (
        "HoloFair's mean context: the mean over prompts of their diversity",
        "As `ca-0.1`, the mean in place of the quantile. Range [0, 1]; higher is fairer.",
    ),
    "mgbi": (
        "HoloFair's composite: sqrt(id x ca-0.1)",
        "Range [0, 1]; higher is fairer. No value where a task has no neutral prompts, or no others. It is no better "
        "known than its parts: look at both. Values of other prompts, labellers or numbers of images do not compare.",
    ),
    "following": (
        "share of the faces of prompts that state a class that show it, as following[female]",
        "Mean over the prompts that state the class of (faces read as the class / labelled faces). Without a "
        "class: over all prompts that state the attribute; of faces: along and against, by what is frequent in "
        "the subject. Range [0, 1]. Ceiling: the labeller's recall, which a model that always follows would "
        "read; floor: what one would that draws all classes equally often, whatever is stated. Corrected: the "
        "same among the people shown, by the inverse of the calibration's table; it is not cut at 1. For other "
        "prompts: over subjects.",
    ),
    "following-gap": (
        "following of a stated class - mean following of the other classes, as following-gap[female]",
        "f_k - mean of f_j over the other classes j that are stated. Range [-1, 1]: 0 where all are followed "
        "equally. Floor: the gap that the labeller reads where none is, that of its recalls.",
    ),
    "stereotype-gap": (
        "following along the stereotype - following against it",
        "Mean following of the prompts of category along - that of category against. Range [-1, 1]: 0 where "
        "prompts are followed equally, above 0 where stating what is rare in a subject, as in a workforce, is "
        "followed less.",
    ),
    "customary-reading": (
        "share of faces that show the customary reading of a prompt, as customary-reading[by custom]",
        "Mean over the prompts of one strength, by definition (of a word) or by custom (of a place and time), of "
        "(faces read as what is customary / labelled faces). Range [0, 1]. A description of the pictures, never "
        "a measure of being correct: neither direction is better. It tells whether a model, or a mitigation, "
        "draws other groups where words or setting leave an attribute hardly open.",
    ),
    "refused": (
        "share of the images asked for that the model refused or withheld, as refused[female]",
        "Mean over the prompts that state the class of (images with status refused or blank / images asked for). "
        "Range [0, 1]. What was refused is in no other share.",
    ),
    "variance": (
        "variance of class shares over the prompts of a task with wordings, as variance[prompts]",
        "mean over prompts of sum_k (p_k - mean p_k)^2, of the true shares: what drawing the images adds is estimated "
        "from the images of each prompt, and taken away. Range [0, 1 - 1/K]. Near 0 the estimate can be negative. Only "
        "for tasks that ask for the same subjects in two wordings or more.",
    ),
    "variance-share": (
        "part of that variance that subjects, wordings and both have, as variance-share[wording]",
        "of p_sw, the shares for subject s in wording w. subject: the variance of the subjects' means over wordings; "
        "wording: that of the wordings' means over subjects, which moves all subjects alike; subject x wording: the "
        "rest, by which a wording moves single subjects. Range [0, 1]; they add up to 1 and are of true shares, as "
        "`variance` is; an estimate can lie a little below 0 or above 1. The interval is Fieller's; there is none "
        "where the prompts are not shown to differ, since there is nothing to divide.",
    ),
    "wording-ranks": (
        "agreement of the subjects' order by concentration between wordings",
        "Spearman's rank correlation, the mean over all pairs of wordings. Range [-1/(W - 1), 1] for W wordings. Few "
        "images move ranks, too, so the row `unmoved` has what it is if the wording changes nothing: the images of "
        "each subject are dealt out anew among its wordings; its limits hold 95 % of such draws. Below them, wordings "
        "move ranks.",
    ),
    "pooled-rd": (
        "rd of all faces of the task together",
        "RD of the summed counts, not the mean over prompts. It is small where prompts lean opposite ways: all "
        "engineers men and all nurses women is rd 1 and pooled-rd 0. Range [0, 2/K]. Without an interval.",
    ),
    "rd-above-floor": (
        "rd beyond what chance makes, 0 at the floor and 1 at one class alone",
        "(RD - floor) / (2/K - floor), floor: the mean RD of a perfectly fair model at these face counts through "
        "this labeller. Descriptive: it has no interval, and no decision rests on it.",
    ),
}
"""Name in the column `metric` -> summary, and formula with range."""


def about(name: str) -> str | None:
    """Return the description of an estimate, in paragraphs; None for another name. `share[female]` is `share`."""
    description = ESTIMATES.get(name.partition("[")[0])
    return None if description is None else f"{name}: {description[0]}\n\n{description[1]}"
