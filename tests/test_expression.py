import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.expression import MAX_DEPTH, MAX_EXPONENT, MAX_LENGTH, compiled, is_constant

PYTHON = {
    "sin": math.sin,
    "cos": math.cos,
    "exp": math.exp,
    "abs": abs,
    "min": min,
    "max": max,
    "pi": math.pi,
}
numbers = st.integers(0, 999).map(str) | st.floats(0, 99).map(lambda x: f"{x:.3f}")
leaves = numbers | st.sampled_from(["t", "f", "pi", ".5", "2.", "1e-2"])
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/%"), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda p: f"({''.join(p)})"),
        st.tuples(inner, st.sampled_from(["0", "2", "-1", "3"])).map(lambda p: f"({p[0]})**{p[1]}"),
        inner.map(lambda e: f"-{e}"),
        inner.map(lambda e: f"+({e})"),
        st.tuples(st.sampled_from(["sin", "cos", "abs", "exp"]), inner).map(
            lambda p: f"{p[0]}({p[1]})"
        ),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
            lambda p: f"{p[0]}({p[1]}, {p[2]})"
        ),
    ),
    max_leaves=8,
)


@given(expressions, st.floats(0, 1e4), st.integers(0, 10**6))
def test_an_expression_is_what_python_makes_of_it(text: str, t: float, f: int) -> None:
    if len(text) > MAX_LENGTH:
        return
    try:
        expected = eval(text, {"__builtins__": {}}, PYTHON | {"t": t, "f": float(f)})
    except (ArithmeticError, ValueError):
        with pytest.raises((ArithmeticError, ValueError)):
            compiled(text)(t, float(f))
    else:
        result = compiled(text)(t, float(f))
        # Python keeps integers exact where floats round.
        assert result == pytest.approx(expected, rel=1e-9, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "t.__class__",
        "().__class__.__bases__[0]",
        "(lambda: 1)()",
        "[t for t in (1, 2)]",
        "open('/etc/passwd')",
        "eval(t)",
        "'text'",
        '"%s" % t',
        "1 if t else 2",
        "t and f",
        "t < 2",
        "t // 2",
        "t @ 2",
        "t; f",
        "t = 2",
        "(t := 2)",
        "max(*t)",
        "max(**t)",
        "min(t, key=abs)",
        "sin",
        "sin + 1",
        "sin()",
        "sin(1, 2)",
        "max(t)",
        "t(2)",
        "pi(2)",
        "(t, f)",
        "()",
        "1j",
        "1_000",
        "0x10",
        "True",
        "None",
        "nan",
        "2t",
        "2 t",
        "1 +",
        "((t)",
        "t\nf",
        "t\0",
        "t # f",
        "\N{ARABIC-INDIC DIGIT TWO}",
        "\N{MATHEMATICAL BOLD SMALL T}",
        "",
        "1" * (MAX_LENGTH + 1),
    ],
)
def test_anything_but_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        compiled(text)


@pytest.mark.parametrize(
    "text",
    ["(" * 200, "(" * 60 + "t" + ")" * 60, "-" * 199 + "t", "sin(" * 48, "abs(" * 49 + ")" * 4,
     "t**" * 66 + "t", "+".join("t" * 100), "[" * 200, "{" * 200, "a(" * 100],
)  # fmt: skip
def test_nesting_is_bounded_and_refused_at_once(text: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(ConfigError):
        compiled(text)
    assert time.perf_counter() - begin < 0.5


def test_the_depth_allowed_is_enough_for_a_long_sum() -> None:
    text = "+".join(["t"] * MAX_DEPTH)
    assert compiled(text)(2.0, 0.0) == 2 * MAX_DEPTH


@pytest.mark.parametrize(
    "text", ["9**9**9", "2**(f*1000)", "1e300**2", "exp(1000)", "1e999 * t", "2**-65"]
)
def test_huge_results_end_at_once(text: str) -> None:
    begin = time.perf_counter()
    try:
        result = compiled(text)(1.0, 1.0)
    except ArithmeticError:
        pass
    else:
        assert not math.isfinite(result)
    assert time.perf_counter() - begin < 0.1


def test_an_exponent_up_to_the_bound_is_accepted() -> None:
    assert compiled(f"1.5**{MAX_EXPONENT:g}")(0, 0) == 1.5**MAX_EXPONENT
    with pytest.raises(OverflowError, match=r"exponent 64\.5 is beyond 64"):
        compiled("1.5**64.5")(0, 0)


@given(st.text(max_size=MAX_LENGTH))
def test_any_text_either_compiles_or_is_refused(text: str) -> None:
    try:
        function = compiled(text)
    except ConfigError:
        return
    try:
        assert isinstance(function(1.0, 24.0), float)
    except (ArithmeticError, ValueError):
        return


TOKENS = ["t", "f", "pi", "sin", "exp", "max", *"()()+-*/%,", "**", "2", "9", ".5", "1e9"]


@given(st.lists(st.sampled_from(TOKENS), max_size=60).map(" ".join))
def test_any_row_of_tokens_either_compiles_or_is_refused(text: str) -> None:
    test_any_text_either_compiles_or_is_refused.hypothesis.inner_test(text)


def test_constant_means_without_t_and_f() -> None:
    assert is_constant("2 * pi + max(1, 3)")
    assert not is_constant("2 * t")
    assert not is_constant("sin(f)")


def test_the_message_names_what_is_not_accepted() -> None:
    with pytest.raises(
        ConfigError, match=r"'2 \* tan\(t\)' is not an expression of .*: 'tan' is none"
    ):
        compiled("2 * tan(t)")
