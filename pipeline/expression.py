"""Arithmetic in t and f, as a config may hold it: parsed with `ast`, never evaluated by Python.

Only numbers, the names below, operators and parentheses get as far as Python's parser, and what
comes out of it is turned into closures over floats. Length, depth and exponents are bounded, and
floats do not grow, so no text can make a render hang or reach anything outside this file.
"""

import ast
import math
import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from pipeline.errors import ConfigError

MAX_LENGTH: Final = 200  # characters
MAX_DEPTH: Final = 40  # nested operations: far from Python's own recursion limit
MAX_EXPONENT: Final = 64.0  # beyond any curve worth drawing

Expression = Callable[[float, float], float]
"""A function of (seconds, frame)."""

_CONSTANTS: Final = {"pi": math.pi}
_FUNCTIONS: Final[dict[str, Callable[..., float]]] = {
    "sin": math.sin,
    "cos": math.cos,
    "exp": math.exp,
    "abs": abs,
    "min": min,
    "max": max,
}
_SEVERAL: Final = ("min", "max")  # the functions of two or more arguments
_NAMES: Final = frozenset({"t", "f", *_CONSTANTS, *_FUNCTIONS})
_TOKEN: Final = re.compile(
    r"(?a:(?P<name>[a-zA-Z_]\w*)|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[-+*/%(), ])"
)
_ACCEPTED: Final = (
    "an expression of numbers, t, f, pi, + - * / % **, sin cos exp abs min max and parentheses"
)


def compiled(text: str) -> Expression:
    """Turn an expression into a function of (seconds, frame).

    It raises ArithmeticError or ValueError where it has no value, and may return inf or nan.

    Raises:
        ConfigError: not an expression, or one out of bounds.
    """
    return _compiled(text)


def is_constant(text: str) -> bool:
    """Whether an expression mentions neither t nor f."""
    names = {node.id for node in ast.walk(_parsed(text)) if isinstance(node, ast.Name)}
    return names.isdisjoint({"t", "f"})


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > MAX_EXPONENT:
        raise OverflowError(f"the exponent {exponent:g} is beyond {MAX_EXPONENT:g}")
    return math.pow(base, exponent)  # unlike **, no complex number for (-1) ** .5


_OPERATORS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_SIGNS: Final[dict[type[ast.unaryop], Callable[[float], float]]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


@lru_cache(maxsize=256)
def _parsed(text: str) -> ast.expr:
    """Parse an expression, refusing all of Python that is not arithmetic before Python sees it."""
    if not text or len(text) > MAX_LENGTH:
        raise ConfigError(f"an expression has 1 to {MAX_LENGTH} characters, this one {len(text)}")
    position = depth = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        name = token and token["name"]
        if token is None or (name and name not in _NAMES):
            raise ConfigError(f"{text!r} is not {_ACCEPTED}: {name or text[position]!r} is none")
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            raise ConfigError(f"{text!r} is nested deeper than {MAX_DEPTH} parentheses")
        position = token.end()
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        raise ConfigError(f"{text!r} is not {_ACCEPTED}") from None


@lru_cache(maxsize=256)
def _compiled(text: str) -> Expression:
    return _closure(_parsed(text), text, MAX_DEPTH)


def _closure(node: ast.expr, text: str, depth: int) -> Expression:
    """Turn one node of the tree into a function; whatever is not listed here is refused."""
    if depth == 0:
        raise ConfigError(f"{text!r} is nested deeper than {MAX_DEPTH} operations")
    match node:
        case ast.Constant(value=int() | float() as value):
            number = float(value)
            return lambda t, f: number
        case ast.Name(id="t"):
            return lambda t, f: t
        case ast.Name(id="f"):
            return lambda t, f: f
        case ast.Name(id=name) if name in _CONSTANTS:
            constant = _CONSTANTS[name]
            return lambda t, f: constant
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            sign, inner = _SIGNS[type(op)], _closure(operand, text, depth - 1)
            return lambda t, f: sign(inner(t, f))
        case ast.BinOp(left=left, op=binary, right=right) if type(binary) in _OPERATORS:
            combine = _OPERATORS[type(binary)]
            first, second = (_closure(side, text, depth - 1) for side in (left, right))
            return lambda t, f: combine(first(t, f), second(t, f))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            several = name in _SEVERAL
            if len(arguments) < 2 if several else len(arguments) != 1:
                needed = "two or more arguments" if several else "one argument"
                raise ConfigError(f"{text!r}: {name} takes {needed}, got {len(arguments)}")
            function = _FUNCTIONS[name]
            inputs = [_closure(argument, text, depth - 1) for argument in arguments]
            return lambda t, f: function(*(each(t, f) for each in inputs))
    part = ast.get_source_segment(text, node) or text
    raise ConfigError(f"{text!r} is not {_ACCEPTED}: {part!r} is none")
