"""The range that a metric declares, as numbers: no interval of it may reach beyond."""

from __future__ import annotations

import ast
import contextlib
import math
import operator
from collections.abc import Callable, Mapping
from typing import Final

EVERYTHING: Final = (-math.inf, math.inf)
_OPERATIONS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: math.pow,
}  # fmt: skip
_FUNCTIONS: Final[Mapping[str, Callable[[float], float]]] = {"log": math.log, "sqrt": math.sqrt}


def limits(bounds: str, classes: int) -> tuple[float, float]:
    """Return the lowest and the highest value of a metric of K classes that declares `bounds` (`MetricSpec.bounds`).

    bounds: "[LOW, HIGH]", either an arithmetic expression of K, with log, sqrt and inf, and nothing else: it may come
    from another package, so it is read and never run. What is no such text limits nothing: (-inf, inf).

    >>> limits("[1/K, 1]", 4), limits("[0, 2*(K - 1) / K**2]", 2), limits("not negative", 2)
    ((0.25, 1.0), (0.0, 0.5), (-inf, inf))
    """
    with contextlib.suppress(SyntaxError, ValueError, ArithmeticError):
        match ast.parse(bounds.strip(), mode="eval").body:
            case ast.List(elts=[low, high]):
                return _value(low, classes), _value(high, classes)
    return EVERYTHING


def _value(node: ast.expr, classes: int) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id="K"):
            return float(classes)
        case ast.Name(id="inf"):
            return math.inf
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return -_value(part, classes)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_value(left, classes), _value(right, classes))
        case ast.Call(func=ast.Name(id=name), args=[part], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_value(part, classes))
    raise ValueError(f"{ast.unparse(node)} is no expression of K")
