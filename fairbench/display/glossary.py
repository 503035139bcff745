"""The words of this project and of its field, each in plain words, with the source where others coined it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from fairbench.display.labels import SHORT


class Entry(NamedTuple):
    """What a term means, and where it comes from; the source is empty for our own words."""

    definition: str
    source: str = ""


_LIU = "Liu et al., NeurIPS 2025"
_SHEN = "Shen et al., ICLR 2024"
_FIXED_OR_RANDOM = "Clark, J. Verbal Learning and Verbal Behavior 1973; Westfall, Judd and Kenny, JEP: General 2014"

GLOSSARY: Final[Mapping[str, Entry]] = {
    "adapter": Entry("code that draws images with one family of models, as janus, diffusers or folder"),
    "amplification": Entry(
        "how far images lie beyond the task's reference on its own side of .5; a reference is self-reported sex or "
        "age: no target, and no appearance",
    ),
    "attribute": Entry("what a labeller tells of a face, as gender or race4; its classes are declared, in order"),
    "BPO": Entry("training, after SFT, that gives equal probability to the groups for the same prompt", _LIU),
    "calibration": Entry(
        "how often a labeller reads each true class as which, counted on images whose labels are known; the corrected "
        "values rest on it",
    ),
    "ceiling": Entry(
        "what a one-sided model, which only ever shows one group, would read through this labeller; column `ceiling`"
    ),
    "clearly uneven": Entry(
        "said where the interval of concentration lies above what 95 % of fair models would read here; `not shown to "
        "be uneven` where it does not: docs/statistics.md has all rules",
    ),
    "concentration": Entry(
        "how much one class outweighs the others: 0 where all are equal, 1 where one stands alone; estimated without "
        "a chance floor, so that near balance it can fall below 0",
        "Simpson, Nature 1949, normalised; the normalised Herfindahl-Hirschman index; 1 - IQV, the index of "
        "qualitative variation",
    ),
    "contact sheet": Entry("one picture per prompt with its images, boxes, labels and probabilities, to look at"),
    "corrected": Entry(
        "with the labeller's errors undone, by its calibration; assumes that it errs on these images as on those",
        "of two classes Rogan and Gladen, American Journal of Epidemiology 1978; the matrix method",
    ),
    "corrected-lowest, corrected-highest": Entry(
        "the range that the labeller's errors leave where its calibration is of other images than the run's: from no "
        "errors to errors as large as there",
    ),
    "cross": Entry("two attributes read together, as gender_x_race4: its classes are pairs, as female Asian"),
    "effective groups": Entry(
        "K / (1 + (K - 1) c) of K classes with concentration c: how many equally frequent groups are as concentrated; "
        "1.2 of 2 is close to one group alone",
        "the Hill number of order 2, Ecology 1973; Laakso and Taagepera, Comparative Political Studies 1979",
    ),
    "equivalent": Entry(
        "shown to differ by less than a margin, which is more than not shown to differ",
        "two one-sided tests, Schuirmann 1987",
    ),
    "estimate": Entry("how a value was computed: raw, pooled, rarefied, corrected, bounds or worst-case-misses"),
    "evidence": Entry("a run's own rows without pixels, from which each of its numbers can be computed again"),
    "face policy": Entry("which faces of an image count: the largest, the most central or all, from which size on"),
    "floor": Entry(
        "what a perfectly fair model would read here, as faces are few and the labeller errs; columns `floor` (on "
        "average) and `floor_p95` (95 % of the time at most)",
    ),
    "Gaffke's interval": Entry(
        "an interval for the mean of a bounded quantity that holds whatever its distribution; used for other prompts",
        "Gaffke, Mathematical Methods of Statistics 2005; Learned-Miller and Thomas, 2020",
    ),
    "gap": Entry(
        "share of a class minus the mean share of the others; it has a sign, so it says which way a model leans"
    ),
    "i2t": Entry(
        "fine-tuning of the understanding side to answer with neutral words: the paper's negative control", _LIU
    ),
    "inclusion probability": Entry(
        "an image's chance of being drawn for annotators; images that were likelier count less in estimates",
        "Horvitz and Thompson, JASA 1952",
    ),
    "interval": Entry("the range that holds the true value in 95 of 100 repetitions; its method stands in `ci_method`"),
    "KID": Entry(
        "Kernel Inception Distance: how far a run's pictures are from a reference's to an encoder, here at equal "
        "shares of groups; unbiased at any number of images",
        "Binkowski et al., ICLR 2018",
    ),
    "Krippendorff's alpha": Entry(
        "how far several people agree beyond chance: 1 fully, 0 as chance would; below .667 their labels carry no "
        "conclusion",
        "Krippendorff, Content Analysis 2004",
    ),
    "label": Entry(
        "how a face looks to a classifier under a benchmark's categories: perceived presentation in pictures, never "
        "anyone's identity",
    ),
    "labeller": Entry("face detector, crop, classifier, declared classes and face policy, written in one card"),
    "majority label": Entry(
        "the answer of more than half of the annotators who answered; where there is none, the image is unclear"
    ),
    "margin": Entry("the largest difference that a task's card calls too small to matter"),
    "method": Entry("a mitigation: it rewrites prompts, or draws with other weights; `none` is the baseline"),
    "metric": Entry("a pure function of class shares"),
    "MGBI": Entry(
        "HoloFair's composite index, sqrt(ID x CA_.1): diversity of all faces of a task's neutral prompts, and that of "
        "its worst other contexts; docs/metrics.md has our pooling",
        "HoloFair, arXiv 2605.24687",
    ),
    "model card": Entry("one YAML file with a model's adapter, pinned weights, sampling settings and licence"),
    "n0": Entry("the number of images per prompt at which rd is taken, so that two models compare at one number"),
    "net": Entry(
        "of quality by perceived group: a difference beyond that of the reference's pictures, the scorer's own"
    ),
    "neutral prompt": Entry("the task's own prompt, before a method rewrites it; results are counted under it"),
    "notice": Entry("what a reader of the numbers has to know: a code, a sentence, a count and what to do"),
    "other prompts": Entry(
        "prompts that were not asked: what may be said of them if the list were a random sample; from 10 prompts on; "
        "scope `population`",
        f"random prompts: {_FIXED_OR_RANDOM}",
    ),
    "people": Entry(
        "the estimate from labels by people on a random sample of the run's images, together with the labeller's "
        "reading of all of them; the headline where a run has it; of what most of these annotators perceive, not of "
        "the truth",
        "prediction-powered inference, Angelopoulos et al., Science 2023",
    ),
    "phantom": Entry(
        "a tiny Janus that ships with fairbench and whose bias was planted, so that every measurement can be checked; "
        "it draws mannequins that depict nobody",
        "the word is medical imaging's: an object of known properties that tests an instrument",
    ),
    "planted, realised": Entry(
        "the two truths of the phantom: the table it was taught, and what it was measured to draw"
    ),
    "pooled": Entry("of all faces of a task together; even where prompts lean opposite ways"),
    "pooled-rd": Entry("rd of all faces of a task together; small where prompts lean opposite ways"),
    "quota": Entry("a method deals groups out in fixed numbers; the counts then do not vary as chance would have them"),
    "race4": Entry(
        "four groups: WMELH, Asian, Black, Indian; read from the seven of race7 by a map in the card", _SHEN
    ),
    "race7": Entry("FairFace's seven groups", "Kärkkäinen and Joo, WACV 2021"),
    "rarefied": Entry(
        "expected of the faces of n0 images drawn from those with a face; printed as rd@n0", "Hurlbert, Ecology 1971"
    ),
    "rd": Entry(
        "relative diversity: the mean of abs(p_i - p_j) over all pairs of the K declared classes; 0 is balanced, 2/K "
        "is one class alone",
        f"{_SHEN}; {_LIU}; Gini's mean difference of the shares (rd-normalised is their normalised Gini coefficient)",
    ),
    "run": Entry("one model, method, task and labeller, with all settings; its id is the hash of what is declared"),
    "scorer": Entry("a measure of pixels, as CLIP score; it never sees a label"),
    "SFT": Entry("supervised fine-tuning, here on a set of images that is balanced over groups"),
    "share": Entry("a class's faces divided by all labelled faces of a prompt"),
    "shift": Entry("mean share of a class less that of the task's reference; 0 mirrors it, which need not be balanced"),
    "store": Entry("the folder with all images and labels; runs share it, and only what is new is made"),
    "task": Entry("a prompt suite: sentences with a gap, and the subjects to put into it"),
    "this list": Entry(
        "the prompts that were asked, and no others: what only images vary in; scope `task`",
        f"fixed prompts: {_FIXED_OR_RANDOM}",
    ),
    "unclear": Entry("of a face: its label is too uncertain for the labeller's policy, or people are of two minds"),
    "unpinned": Entry("weights that are not fixed to a commit or hash: the number may not be had again"),
    "Vendi score": Entry(
        "the effective number of different pictures, as an encoder sees them; compared at equal numbers of images",
        "Friedman and Dieng, TMLR 2023",
    ),
    "WMELH": Entry(f"{SHORT['WMELH']}: one of the four groups of race4", f"{_SHEN}; {_LIU}"),
    "worst-case-misses": Entry(
        "the least and the most if every requested image without a labelled face had shown one, whatever its group"
    ),
}
"""Term -> its definition and source, in alphabetical order (case aside)."""
