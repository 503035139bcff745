"""Every estimate by its name in the column `metric` of the tables of runs: what it is, its formula and its range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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


def about(name: str) -> tuple[str, str] | None:
    """Return an estimate's summary, and its formula with range; None for another name. `share[female]` is `share`."""
    return ESTIMATES.get(name.partition("[")[0])
