"""The instruction of the next round: what the images of the rounds before showed, and the task again."""

from __future__ import annotations

from collections.abc import Sequence

from fairbench.methods.common import spoken
from fairbench.methods.fair_cot import MARK, Round

_FRAME = (
    "Earlier attempts at the task below were drawn, and the pictures sorted into groups. Even would be {even} % of "
    "the pictures for each group, and {even} % for two pictures of one description to show the same group. {attempts} "
    "Do better: name groups that were rare more often and frequent ones less often, whatever the description is. You "
    'may think first; write the new prompt last, behind "{mark}". {base}'
)


def instruction(base: str, rounds: Sequence[Round], groups: int) -> str:
    """Return what the text model is asked after these rounds. It holds numbers of groups, and no prompt.

    groups: K, how many there are. A round without an estimate says nothing, and is left out.
    """
    told = [f"Attempt {number}: {_attempt(one, groups)}" for number, one in enumerate(rounds, 1) if one.faces]
    if not told:
        return base
    return _FRAME.format(even=f"{100 / groups:.0f}", attempts=" ".join(told), mark=MARK, base=base)


def _attempt(one: Round, groups: int) -> str:
    shares = ", ".join(f"{words(group)} {100 * share:.0f} %" for group, share in one.shares.items())
    if one.concentration is None:
        return f"{shares}."
    return f"{shares}; two pictures of one description showed the same group in {100 * _same(one, groups):.0f} %."


def _same(one: Round, groups: int) -> float:
    """Return how often two images of a prompt show the same group: the mean of the sum of squared shares, in [0, 1].

    From concentration c = (K S - 1) / (K - 1), which is unbiased, as is S then; it is cut at 0.
    """
    assert one.concentration is not None
    return max(0.0, (one.concentration * (groups - 1) + 1) / groups)


def words(group: str) -> str:
    """Return a group's labels as a prompt says them.

    >>> words("female WMELH")
    'female White'
    """
    return " ".join(spoken(label) for label in group.split(" "))
