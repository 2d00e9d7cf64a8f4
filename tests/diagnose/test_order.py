"""Orders of known quadratures and boundary-value solves, and each way an order can be spoiled."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import History, Solution, Status, diagnose
from jaxnum.diagnose.order import observed

SIZES = [16, 32, 64, 128, 256]


def trapezoid(n):
    return np.trapezoid(np.exp(np.linspace(0, 1, n + 1)), dx=1 / n)


def euler(n):
    return (1 + 1 / n) ** n


def simpson(n):
    x = np.linspace(0, 1, 2 * n + 1)
    w = np.ones(2 * n + 1)
    w[1:-1:2], w[2:-1:2] = 4, 2
    return w @ np.exp(x) / (6 * n)


def slope(end_order, blow=1.0):
    """Differences of sin(3x): second order inside, first or second at the last point; returns x as well."""

    def solve(n):
        x = np.linspace(0, 1, n + 1)
        return x, blow * np.gradient(np.sin(3 * x), x, edge_order=end_order)

    return solve


def poisson(n, first_order_wall=True):
    """Solve -u'' = π²/4 sin(πx/2) with u(0) = 0 and u'(1) = 0, the last by a one-sided difference."""
    h = 1 / n
    x = np.linspace(0, 1, n + 1)
    a = np.diag(2 * np.ones(n + 1)) - np.diag(np.ones(n), 1) - np.diag(np.ones(n), -1)
    b = h**2 * np.pi**2 / 4 * np.sin(np.pi * x / 2)
    a[0, :2], b[0] = (1, 0), 0
    if first_order_wall:
        a[-1, -2:], b[-1] = (-1, 1), 0
    else:
        a[-1, -2:] = (-2, 2)
    return x, np.linalg.solve(a, b)


def quarter_wave(x):
    return np.sin(np.pi * x / 2)


RIGHT = {
    "trapezoid": (trapezoid, np.e - 1, SIZES, 2),
    "euler": (euler, np.e, SIZES, 1),
    "simpson, cut off by rounding": (simpson, np.e - 1, [4, 8, 16, 32, 2048, 4096, 8192], 4),
    "single precision": (lambda n: np.float32(trapezoid(n)), np.e - 1, [4, 8, 16, 32, 512, 1024, 2048], 2),
    "differences": (slope(2), lambda x: 3 * np.cos(3 * x), SIZES, 2),
    "poisson": (lambda n: poisson(n, False), quarter_wave, SIZES, 2),
    "truth of the size": (lambda n: poisson(n, False)[1], lambda n: quarter_wave(np.linspace(0, 1, n + 1)), SIZES, 2),
    "exact": (lambda n: np.linspace(0, 1, n + 1).mean(), 0.5, SIZES, 2),
    "better than promised": (simpson, np.e - 1, [4, 8, 16], 2),
    "a solution": (lambda n: Solution(euler(n), History(), 0.0, n, Status.ok), np.e, SIZES, 1),
    "exact zero": (lambda n: 1 / n**2, 0.0, SIZES, 2),
}


@pytest.mark.parametrize("name", RIGHT)
def test_silent_when_the_order_is_right(name):
    solve, truth, sizes, expected = RIGHT[name]
    found = diagnose.order(solve, truth, sizes, expected=expected)
    assert found.ok, str(found)
    assert found.notes
    assert len(found.tables[0].rows) == len(sizes)


WRONG = {
    "euler called second order": (euler, np.e, SIZES, 2, "lower-order"),
    "one-sided at the end": (slope(1), lambda x: 3 * np.cos(3 * x), SIZES, 2, "boundary-order"),
    "one-sided wall, spread inside": (poisson, quarter_wave, SIZES, 2, "boundary-order"),
    "wrong constant": (lambda n: 1.01 * trapezoid(n), np.e - 1, SIZES, 2, "wrong-limit"),
    "wrong factor in arrays": (slope(2, 1.01), lambda x: 3 * np.cos(3 * x), SIZES, 2, "wrong-limit"),
    "unstable": (lambda n: np.e + 1e-6 * 1.1**n, np.e, SIZES, 2, "diverges"),
    "not finite": (lambda n: np.inf if n > 60 else 1.0, 1.0, SIZES, 2, "nonfinite"),
    "rounding": (simpson, np.e - 1, [512, 1024, 2048, 4096, 8192], 4, "saturated"),
    "rounding, single precision": (
        lambda n: np.float32(trapezoid(n)),
        np.e - 1,
        [256, 512, 1024, 2048],
        2,
        "saturated",
    ),
    "too coarse": (lambda n: 1 / n**2 + 30 / n**3, 0.0, [4, 8, 16, 32], 2, "not-asymptotic"),
    "too coarse, from below": (lambda n: 1 / n**2 + 0.5 / n - 0.5 / (n + 4), 0.0, [2, 4, 8, 16], 2, "not-asymptotic"),
    "raises": (lambda n: [][n], 0.0, SIZES, 2, "fails"),
    "shapes": (lambda n: np.ones(n), np.ones(3), SIZES, 2, "wrong-shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_planted_faults_are_named(name):
    solve, truth, sizes, expected, code = WRONG[name]
    found = diagnose.order(solve, truth, sizes, expected=expected)
    assert [f.code for f in found.findings] == [code], str(found)
    assert found.findings[0].cure
    assert found.to_json()


def test_the_end_that_spoils_the_order_is_named():
    [finding] = diagnose.order(poisson, quarter_wave, SIZES, expected=2).findings
    assert "last end" in finding.message
    [finding] = diagnose.order(
        lambda n: (lambda x, u: (1 - x[::-1], u[::-1]))(*poisson(n)), lambda x: quarter_wave(1 - x), SIZES, expected=2
    ).findings
    assert "first end" in finding.message


def test_observed_orders_are_exact_for_powers():
    sizes = np.array([3, 5, 9, 20])
    assert_allclose(observed(sizes, 7.0 * sizes**-2.5), 2.5, rtol=1e-12)


def test_bad_arguments_are_refused_by_name():
    for change, name in [
        (dict(solve=None), "solve"),
        (dict(truth="e"), "truth"),
        (dict(truth=None), "truth"),
        (dict(sizes=[2, 4]), "sizes"),
        (dict(sizes=[4, 2, 8]), "sizes"),
        (dict(sizes=8), "sizes"),
        (dict(sizes="abc"), "sizes"),
        (dict(sizes=[1.5, 2, 3]), r"sizes\[0\]"),
        (dict(sizes=[0, 2, 3]), r"sizes\[0\]"),
        (dict(expected=0), "expected"),
        (dict(expected=np.nan), "expected"),
        (dict(expected="two"), "expected"),
    ]:
        arguments = dict(solve=euler, truth=np.e, sizes=SIZES, expected=1) | change
        expected = arguments.pop("expected")
        with pytest.raises(ValueError, match=f"Argument `{name}`"):
            diagnose.order(*arguments.values(), expected=expected)
