"""The known truth beside what was measured, for models that were made so that it is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairbench.cards import truth_table
from fairbench.cards.cards import TruthTable
from fairbench.errors import CardError
from fairbench.measure.counts import attributes, cross_name
from fairbench.metrics._rd import rd
from fairbench.runs.pipeline import Outcome
from fairbench.runs.spec import RunSpec
from fairbench.stats.estimands import concentration_of_shares

FloatArray = NDArray[np.float64]

DRAWS = 50_000
"""Simulated prompts for one expected value, spread over the task's prompts: it is then right to about 0.0006."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """RD of one attribute or cross: means over the prompts that have a face (`prompts` of them), None where none has.

    truth, concentration: RD and concentration of the truth itself. expected: RD of as many faces per prompt as were
    counted, drawn from the truth, on average; spread: the standard deviation of that from run to run.
    """

    attribute: str
    prompts: int
    measured: float | None
    truth: float | None
    expected: float | None
    spread: float | None
    concentration: float | None = None


@dataclass(frozen=True, slots=True)
class KnownTruth:
    """One table of a card against one run. `note` says why the table does not apply; then there are no values."""

    name: str
    file: str
    values: tuple[Comparison, ...] = ()
    note: str | None = None


def compare(outcome: Outcome) -> list[KnownTruth]:
    """Compare a finished run with every truth that its card names; an empty list where it names none."""
    comparisons = []
    for table in outcome.spec.card.truth:
        try:
            shares = _shares(outcome.spec, table)
        except CardError as err:  # a table that cannot be used is no reason to lose what was measured
            comparisons.append(KnownTruth(table.name, table.file, note=str(err).rstrip(".")))
        else:
            comparisons.append(KnownTruth(table.name, table.file, tuple(_compare(outcome, table, shares))))
    return comparisons


def expected_rd(shares: FloatArray, n: NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and standard deviation of the task's RD where n[P] > 0 faces per prompt are drawn from shares[P, K].

    At a finite n the mean exceeds the RD of the shares themselves. Simulated with a fixed seed.
    """
    draws = -(-DRAWS // len(n))
    counts = np.random.default_rng(0).multinomial(n, shares, size=(draws, len(n)))
    values = rd(counts / n[:, None]).mean(axis=1)
    return float(values.mean()), float(values.std())


def _shares(spec: RunSpec, table: TruthTable) -> FloatArray:
    """Return the truth of every prompt, shape (P, K of each attribute). Raises CardError where it does not apply."""
    if spec.method != "none":
        raise CardError(f"it describes the model without a method, and this run used {spec.method}")
    if any(p.stated for p in spec.prompts):
        raise CardError("it describes prompts that state no attribute, and this task's prompts do")
    declared = spec.labeller.declared.labels
    absent = next((a for a in table.attributes if a not in declared), None)
    if absent is not None:
        raise CardError(f"the labeller {spec.labeller.card.name} has no attribute {absent!r}")
    labels = [declared[a] for a in table.attributes]
    path = truth_table.locate(table.file, spec.ctx.base_dir)
    rows = truth_table.read(path, truth_table.columns(labels))
    names = {p.subject: truth_table.row_of(p.subject, rows) for p in spec.prompts}
    missing = next((subject for subject, name in names.items() if name is None), None)
    if missing is not None:
        raise CardError(f"{path} has no row for {missing!r} and no row {truth_table.OTHER!r}")
    flat = [rows[names[p.subject] or truth_table.OTHER] for p in spec.prompts]
    return np.array(flat).reshape(len(flat), *map(len, labels))


def _compare(outcome: Outcome, table: TruthTable, shares: FloatArray) -> Iterator[Comparison]:
    measured = {s.attribute: s for s in outcome.series if s.metric == rd.spec.name}
    for names in attributes(outcome.spec.labeller):
        if not set(names) <= set(table.attributes):
            continue
        series = measured[cross_name(names)]
        has = series.faces > 0  # as the metric leaves the other prompts out
        if not has.any():
            yield Comparison(series.attribute, 0, None, None, None, None)
            continue
        # The cells keep the table's order, whatever the cross's: RD does not depend on it.
        others = tuple(i for i, a in enumerate(table.attributes, start=1) if a not in names)
        margin = shares.sum(axis=others).reshape(len(shares), -1)[has]
        yield Comparison(
            series.attribute,
            int(has.sum()),
            float(np.mean(series.values[has])),
            float(np.mean(rd(margin))),
            *expected_rd(margin, series.faces[has]),
            float(concentration_of_shares(margin).mean()),
        )
