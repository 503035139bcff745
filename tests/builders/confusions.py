"""Confusion tables of labellers, by hand, and what they do to true shares."""

from __future__ import annotations

import numpy as np

GENDER = [0, 0, 1, 1]
"""Cell -> gender, of four cells."""


def symmetric(k, accuracy):
    """Return a table (K, K + 1) without misses."""
    table = np.full((k, k), (1 - accuracy) / (k - 1))
    np.fill_diagonal(table, accuracy)
    return np.c_[table, np.zeros(k)]


def with_misses(table, face_rates):
    """Return the table with the last column filled: faces of a class are found at its rate only."""
    rates = np.asarray(face_rates)[:, None]
    return np.c_[table[:, :-1] * rates, 1 - rates]


def true_concentration(shares):
    """Return the concentration of known shares, (..., K)."""
    k = shares.shape[-1]
    return (k * (shares**2).sum(axis=-1) - 1) / (k - 1)


def of_gender(shares):
    """Return shares of two genders, from those of the four cells of GENDER."""
    return np.stack([shares[..., :2].sum(axis=-1), shares[..., 2:].sum(axis=-1)], axis=-1)
