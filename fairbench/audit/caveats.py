"""What cannot be concluded from an audit, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fairbench.audit.estimates import Skipped
from fairbench.audit.run import Audit
from fairbench.audit.verdict import follows, holds, name_of


def caveats(audit: Audit) -> list[str]:
    """Return what cannot be concluded from this audit, a sentence or two each."""
    return [
        "Shares of blame are not identified: components act on one another, and each is probed by itself. The evidence "
        "is consistent with a component, or rules it out; it does not say what part of the bias is its own.",
        *_language(audit),
        *_probes(audit),
        "The labeller's own errors, on these images, are part of every number that rests on labels.",
    ]


def _language(audit: Audit) -> Iterator[str]:
    if not any(g.faces for g in audit.generation):
        yield "No face was found in what was drawn, so nothing can be said of its bias, or against it."
    for name, share in audit.language.following.items():
        if not follows(audit.language, name):
            yield (
                f"Prompts that name a {name_of(name)} group show it in {share.value:.0%} of images: what their tokens, "
                f"or answers about their images, say of {name_of(name)} is not to be relied on."
            )
    for bias in audit.language.log_probs:
        if not holds(bias) and not math.isnan(bias.closure):
            yield (
                f"The unscaled log-probability shares of {name_of(bias.attribute)} sum to {bias.closure:.2f}, not 1: "
                "groups overlap, or their prompts draw other images than the neutral one; do not rely on their RD."
            )
    if any(holds(bias) for bias in audit.language.log_probs):
        yield (
            "Intervals of RD by log-probabilities hold the error of drawing images alone. An image that fits two "
            "groups makes the shares more equal than they are, and a group's prompt that draws other images than the "
            "neutral one makes that group's share too small. Neither is in the interval, so the truth may lie outside; "
            "a sum near 1 does not prove their absence, since they pull it opposite ways."
        )


def _probes(audit: Audit) -> Iterator[str]:
    for label, part in (("vision encoder", audit.encoder), ("image tokenizer", audit.tokenizer)):
        if isinstance(part, Skipped):
            yield f"Nothing can be said of the {label}: {part.reason}."
    if isinstance(audit.encoder, Skipped):
        return
    for reason in audit.encoder.skipped:
        yield f"The vision encoder is not probed for {reason}."
    for probe in audit.encoder.probes:
        if not probe.balanced:
            yield (
                f"The probe images are not balanced in {name_of(probe.attribute)} ({probe.chance:.0%} show one class): "
                "accuracy is to be read against that share, macro F1 and recall are not."
            )
    yield "That an attribute can be read from embeddings does not say that it is used."
