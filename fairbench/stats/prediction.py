"""What a labeller's reading of an image says that people would say of it, learned from other prompts' labels.

A prediction-powered estimate is unbiased whatever predicts the labels, as long as what predicts a prompt's labels was
not learned from them; the better the prediction, the narrower the interval. So the table of readings is learned from
the labels of all *other* prompts, and the prompt's own mixture from its readings alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairbench.types import FloatArray

Counts = NDArray[Any]

_BELIEF: Final = 4.0
"""Images per row that say, before any label, that the labeller reads what people see."""
_MIXTURE: Final = 4.0
"""Images that a prompt's mixture is given, as it starts: else EM can rule a class out for good."""
_EM_STEPS: Final = 60


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSample:
    """Images of P prompts, of which a random part was labelled by people; strata H within each prompt.

    labelled (..., P, H, K + 2, K + 1): labelled images, by what people say (the K classes, undecided, nobody) and by
    what the labeller reads (the K classes, no face). images (..., P, H, K + 1): all images by reading, the labelled
    ones too. One face per image. A simple random sample within prompts has one stratum; strata without images are
    padding. Within a stratum, every set of as many images was equally likely to be labelled.
    """

    labelled: Counts
    images: Counts

    @property
    def classes(self) -> int:
        """The number K of classes."""
        return int(self.images.shape[-1]) - 1

    @property
    def sizes(self) -> Counts:
        """Images of every stratum, (..., P, H)."""
        return np.asarray(self.images.sum(axis=-1))

    @property
    def counts(self) -> Counts:
        """Labelled images of every stratum, (..., P, H)."""
        return np.asarray(self.labelled.sum(axis=(-1, -2)))

    @property
    def weighted(self) -> FloatArray:
        """Labelled images (..., P, K + 2, K + 1), each weighed by how many images it stands for.

        A prompt's weights add up to its number of labelled images, so that a simple random sample has weights of 1.
        """
        scale = self.counts.sum(axis=-1, keepdims=True) / np.maximum(self.sizes.sum(axis=-1, keepdims=True), 1)
        return np.asarray((self.labelled * (stands_for(self) * scale)[..., None, None]).sum(axis=-3))


def stands_for(sample: LabelledSample) -> FloatArray:
    """Return how many images a labelled image of each stratum stands for, (..., P, H): one over its probability."""
    n = sample.counts
    return np.asarray(np.divide(sample.sizes, n, out=np.zeros(n.shape), where=n > 0))


def predictions(sample: LabelledSample) -> FloatArray:
    """Return P(people say | the labeller reads) of every prompt, (..., P, K + 1, K + 1).

    Rows: readings (the K classes, no face); columns: the K classes, undecided; the rest to 1 is nobody. Bayes' theorem
    on the table P(read | said) of all other prompts' labels and on the mixture of what is said in this prompt, which is
    fitted to the readings of all of its images by EM.
    """
    k, labels = sample.classes, sample.weighted
    others = labels.sum(axis=-3, keepdims=True) - labels
    belief = np.vstack([np.eye(k + 1), np.eye(k + 1)[-1:]])  # nobody is read as no face ...
    belief[k] = 1 / (k + 1)  # ... and what people cannot decide on as anything
    table = others + _BELIEF * belief + 1 / (k + 1)
    table = table / table.sum(axis=-1, keepdims=True)
    # A prompt starts from even classes, and from the other prompts' shares of undecided and of nobody: readings say
    # little of these, and where no other prompt has such labels they are not expected.
    start = others.sum(axis=-1)
    every = np.maximum(start.sum(axis=-1, keepdims=True), 1)
    start = np.maximum(start, 0) / every
    start[..., :k] = (1 - start[..., k:].sum(axis=-1, keepdims=True)) / k
    read, prior = sample.images.sum(axis=-2), _MIXTURE * start
    mixture, said = start, np.zeros(0)
    for _ in range(_EM_STEPS):
        joint = mixture[..., None] * table
        said = joint / joint.sum(axis=-2, keepdims=True)
        expected = (said * read[..., None, :]).sum(axis=-1) + prior
        mixture = expected / expected.sum(axis=-1, keepdims=True)
    return np.asarray(np.swapaxes(said[..., : k + 1, :], -1, -2))
