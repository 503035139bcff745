"""Golden vectors of the metrics, computed from the published formulas alone.

Exact fractions and the math module; nothing of fairbench or numpy. Each case gives whole-number weights, whose shares
are weight / sum, so a vector is exact in JSON; all zero means that no face was seen and expects null.

Run `python tests/golden/make_metrics.py` to write metrics.json. Values change only with a formula, and then the
metric's version is raised here and in its spec.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

Shares = list[Fraction]
Number = Fraction | float


def _rd(f: Shares) -> Number:
    pairs = list(combinations(f, 2))
    return sum((abs(a - b) for a, b in pairs), Fraction(0)) / len(pairs)


def _rd_normalised(f: Shares) -> Number:
    return _rd(f) * Fraction(len(f), 2)


def _entropy_nats(f: Shares) -> float:
    return math.fsum(-float(x) * math.log(x) for x in f if x > 0)


def _kl(f: Shares, g: Shares) -> float:
    return math.fsum(float(a) * math.log(a / b) for a, b in zip(f, g, strict=True) if a > 0)


def _uniform(f: Shares) -> Shares:
    return [Fraction(1, len(f))] * len(f)


def _js(f: Shares) -> float:
    middle = [(a + b) / 2 for a, b in zip(f, _uniform(f), strict=True)]
    return (_kl(f, middle) + _kl(_uniform(f), middle)) / 2


def _tv(f: Shares, g: Shares) -> Fraction:
    return sum((abs(a - b) for a, b in zip(f, g, strict=True)), Fraction(0)) / 2


def _tv_score(f: Shares) -> Fraction:
    return 1 - _tv(f, _uniform(f)) / (1 - Fraction(1, len(f)))


def _mad(f: Shares) -> Fraction:
    mean = sum(f, Fraction(0)) / len(f)
    return sum((abs(x - mean) for x in f), Fraction(0)) / len(f)


FORMULAS: dict[str, Callable[[Shares], Number]] = {
    "rd": _rd,
    "rd-normalised": _rd_normalised,
    "entropy": lambda f: _entropy_nats(f) / math.log(len(f)),
    "kl-uniform": lambda f: _kl(f, _uniform(f)),
    "js-uniform": _js,
    "tv-uniform": lambda f: _tv(f, _uniform(f)),
    "tv-score": _tv_score,
    "spd": lambda f: max(f) - min(f),
    "mad": _mad,
    "l2-softmax": lambda f: math.sqrt(sum((x - Fraction(1, len(f))) ** 2 for x in f)),
    "majority-share": max,
}
BINARY: dict[str, Callable[[Shares], Number]] = {
    "mmdt-gap": lambda f: (f[0] - f[1]) / (f[0] + f[1]),
    "no-face-rate": lambda f: f[1],
    "attribute-following": lambda f: f[0],
}
VERSIONS = dict.fromkeys([*FORMULAS, *BINARY, "distance-to-reference"], 1)

# What the weights stand for, then the weights. Every class is declared; a 0 is a class that did not occur.
WEIGHTS: list[tuple[str, list[int]]] = [
    ("balanced, K = 2", [80, 80]),
    ("one class alone, K = 2", [160, 0]),
    ("the other class alone, K = 2", [0, 160]),
    ("three to one", [120, 40]),
    ("one face of 160 off balance", [81, 79]),
    ("no faces, K = 2", [0, 0]),
    ("balanced, K = 4", [40, 40, 40, 40]),
    ("one class alone, K = 4", [0, 0, 160, 0]),
    ("two of four classes", [80, 0, 80, 0]),
    ("uneven, K = 4", [97, 31, 19, 13]),
    ("balanced race-7 seen as race-4 (WMELH, Black, Indian, Asian)", [3, 1, 1, 2]),
    ("no faces, K = 4", [0, 0, 0, 0]),
    ("balanced, K = 7", [1, 1, 1, 1, 1, 1, 1]),
    ("one class alone, K = 7", [1, 0, 0, 0, 0, 0, 0]),
    ("uneven, K = 7", [76, 12, 9, 21, 0, 15, 8]),
    ("balanced, K = 8", [20, 20, 20, 20, 20, 20, 20, 20]),
    ("one class alone, K = 8", [0, 0, 0, 0, 0, 0, 0, 5]),
    ("uneven, K = 8", [61, 3, 0, 17, 42, 1, 25, 11]),
    ("one tone of ten", [0, 0, 0, 9, 0, 0, 0, 0, 0, 0]),
]
REFERENCES: list[tuple[str, list[int], list[int]]] = [
    ("mirrors the reference", [12, 88], [12, 88]),
    ("balanced against 88 % of one class", [1, 1], [12, 88]),
    ("opposite of the reference", [160, 0], [0, 160]),
    ("balanced race-4 against race-7 pooled to four", [1, 1, 1, 1], [3, 1, 1, 2]),
    ("no faces", [0, 0], [1, 1]),
    ("no reference known", [1, 1], [0, 0]),
]


def _shares(weights: list[int]) -> Shares | None:
    total = sum(weights)
    return [Fraction(w, total) for w in weights] if total else None


def _rounded(value: Number) -> float:
    return round(float(value), 12) + 0.0  # + 0.0 turns -0.0 into 0.0


def _case(name: str, weights: list[int], formula: Callable[[Shares], Number]) -> dict[str, object]:
    shares = _shares(weights)
    return {"case": name, "weights": weights, "expected": None if shares is None else _rounded(formula(shares))}


def _reference_case(name: str, weights: list[int], reference: list[int]) -> dict[str, object]:
    shares, ref = _shares(weights), _shares(reference)
    expected = None if shares is None or ref is None else _rounded(_tv(shares, ref))
    return {"case": name, "weights": weights, "reference": reference, "expected": expected}


def document() -> dict[str, dict[str, Any]]:
    """Return {metric: {version, cases}}: what metrics.json holds."""
    cases = {name: [_case(n, w, formula) for n, w in WEIGHTS] for name, formula in FORMULAS.items()}
    for name, formula in BINARY.items():
        cases[name] = [_case(n, w, formula) for n, w in WEIGHTS if len(w) == 2]
    cases["distance-to-reference"] = [_reference_case(*row) for row in REFERENCES]
    return {name: {"version": VERSIONS[name], "cases": rows} for name, rows in cases.items()}


def render() -> str:
    """Return the text of metrics.json, one line a case."""
    blocks = []
    for name, entry in document().items():
        lines = ",\n".join("   " + json.dumps(row) for row in entry["cases"])
        blocks.append(f' {json.dumps(name)}: {{"version": {entry["version"]}, "cases": [\n{lines}\n ]}}')
    return "{\n" + ",\n".join(blocks) + "\n}\n"


if __name__ == "__main__":
    Path(__file__).with_name("metrics.json").write_text(render(), encoding="utf-8")
