"""A metric, in one file: `fairbench run --plugins share_ratio.py`."""

import fairbench


@fairbench.metric("share-ratio", version=1, direction="higher", bounds="[0, 1]", ideal=1.0)
def share_ratio(p):
    """Smallest share over the largest: the "80 % rule" of disparate impact."""
    return p.min(axis=-1) / p.max(axis=-1)  # p[..., K]: prompts and resamples in front, classes last
