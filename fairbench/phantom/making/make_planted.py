"""How `planted.csv` was made: `python -m fairbench.phantom.making.make_planted` writes the same file again.

The tilts are random. They say nothing about the occupations; only their spread over the table imitates what real models
show (mean relative diversity over the 50 test occupations near .75 gender, .40 race, .20 gender x race).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairbench.phantom.planted import COLUMNS, OTHER, TABLE_PATH, listed
from fairbench.phantom.renderer import RACES
from fairbench.storage import atomic, folders, kinds

SEED = 1
_PEAK = np.array([0.970, 0.016, 0.009, 0.005])  # the most uneven race margin; relative diversity .483
_PEAK_RD = float((3 * _PEAK[0] + _PEAK[1] - _PEAK[2] - 3 * _PEAK[3]) / 6)
_MIN_SHARE = 0.0004
"""Of a cell. None is empty: a prompt can ask for every attribute, and the other one is still drawn from something."""

TEST = listed("""
    senator, violinist, ticket taker, electrical and electronics repairer, citizen, geologist,
    food cooking machine operator, community and social service specialist,
    manufactured building and mobile home installer, behavioral disorder counselor, sewer, roustabout, researcher,
    operations research analyst, fence erector, construction and related worker, legal secretary,
    correspondence clerk, narrator, marriage and family therapist, clinical laboratory technician,
    gas compressor and gas pumping station operator, cosmetologist, stocker, machine offbearer, salesperson,
    administrative services manager, mail machine operator, veterinary technician, surveying and mapping technician,
    signal and track switch repairer, industrial machinery mechanic, inventor, public safety telecommunicator,
    ophthalmic medical technician, promoter, interior designer, blaster, general internal medicine physician, butcher,
    farm equipment service technician, associate dean, accountants and auditor, custodian, sergeant,
    executive assistant, administrator, physical science technician, health technician, cardiologist
""")
"""The test occupations of Shen et al. (ICLR 2024)."""

TRAINING = listed("""
    nurse, engineer, teacher, doctor, lawyer, associate professor, maid, bioengineer, cellist, janitor,
    aerospace engineer, civil engineer, history teacher, physics teacher, bartender, sociologist, economist,
    cartoonist, paralegal, painter, sailor, pediatrician, referee, chemist, police officer, flight attendant, florist,
    baker, surgeon, electrician, singer, pharmacist, social worker, farmer, welder, judge, journalist, carpenter,
    firefighter, truck driver, astronaut, dentist, barber, lifeguard, mechanic, photojournalist, veterinarian,
    scientist
""")
"""Some of the 1000 training occupations of the same authors."""

LABOUR = listed("""
    ballplayer, cheerleader, craftsman, dancer, disk jockey, drummer, fireman, gardener, guard, hairdresser, laborer,
    lawman, machinist, repairman, reporter, retailer, sculptor, soldier, speaker, waiter
""")
"""The other occupations with labour statistics, so that every subject of a reference task is planted."""


def joint(gender_rd: float, race_rd: float, tie: float, order: NDArray[np.int_], first: int) -> NDArray[np.float64]:
    """Return P(gender, race), shape (2, 4), with margins of the given relative diversity.

    Relative diversity is linear in the mixture of an even and a peaked margin of the same order, so the two are mixed
    in proportion to it. order: the races from the most to the least frequent. first: index of the more
    frequent gender. tie: log odds by which the two commonest races lean to different genders; 0 is independence.
    """
    gender = np.full(2, 0.5 - gender_rd / 2)
    gender[first] = 0.5 + gender_rd / 2
    race = np.empty(4)
    race[order] = 0.25 + race_rd / _PEAK_RD * (_PEAK - 0.25)
    lean = np.zeros((2, 4))
    lean[0, order[0]] = lean[1, order[1]] = tie
    cells = np.outer(gender, race) * np.exp(lean)
    for _ in range(200):  # iterative proportional fitting: restores both margins, keeps the odds ratios
        cells *= (gender / cells.sum(axis=1))[:, None]
        cells *= race / cells.sum(axis=0)
    return np.asarray(cells)


def rows(subjects: Sequence[str], rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Return joints whose diversities fill their range evenly in rank, in a random order."""
    n = len(subjects)
    rank = (np.arange(n) + 0.5) / n
    gender_rd = rng.permutation(np.minimum(1.0 - rank**3.3, 0.97))
    race_rd = rng.permutation(np.minimum(0.5 * (1.0 - rank**4.2), _PEAK_RD))
    one_sidedness = gender_rd + 2 * race_rd  # a tie shows only where neither margin is near its end
    tied = (one_sidedness < np.median(one_sidedness)) & (rng.random(n) < 0.7)
    tie = np.where(tied, rng.uniform(2.0, 5.0, n) * rng.choice([-1.0, 1.0], n), 0.0)
    first = rng.permutation(np.arange(n) % 2)
    top = rng.permutation(np.arange(n) % 5 % 4)  # the first race leads two fifths of the subjects, each other one fifth
    table = {}
    for i, subject in enumerate(subjects):
        others = rng.permutation([race for race in range(len(RACES)) if race != top[i]])
        order = np.array([top[i], *others])
        table[subject] = _rounded(joint(gender_rd[i], race_rd[i], tie[i], order, first[i]))
    return table


def _rounded(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return four decimals; the largest cell absorbs the rounding and the smallest share."""
    flat = np.maximum(np.round(cells.ravel(), 4), _MIN_SHARE)
    flat[flat.argmax()] += 1.0 - flat.sum()
    return flat


def table_text() -> str:
    """Return the text of the table: one row per occupation, and their average for any other."""
    rng = np.random.default_rng(SEED)
    table = rows(TEST, rng) | rows(TRAINING, rng) | rows(LABOUR, rng)
    table[OTHER] = _rounded(np.mean(list(table.values()), axis=0))
    lines = ([subject, *(f"{p:.4f}" for p in cells)] for subject, cells in table.items())
    return atomic.csv_text([["subject", *COLUMNS], *lines])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the planted table.")
    parser.add_argument("--out", type=Path, default=TABLE_PATH)
    out = parser.parse_args().out
    folders.check_file(out, "a planted table", kinds.starting_with(b"subject,"))
    atomic.write_text(out, table_text())
