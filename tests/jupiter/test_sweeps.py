import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.interpolate import make_interp_spline

from jaxnum import Status
from jaxnum.jupiter import (
    JUPITER,
    Anderson,
    CurrentDensity,
    Dipole,
    NicholsCowley2004,
    RadialCurrent,
    SmoothRamp,
    System,
    coupled_slopes,
    pole_current_density,
    sweeps,
)
from jaxnum.jupiter.sweeps import _evaluate, _spline
from jaxnum.jupiter.system import in_one_dtype

LAW = SmoothRamp()
# x, w, j [µA/m²], Σ [mho], I [MA] with j at 100 R that of the pole: computed independently by Chebyshev collocation.
TABLE = {
    10.0: (0.991988530, 0.000722943, 0.103745208, 0.80184842),
    20.0: (0.926834373, 0.008070098, 0.154601263, 5.45634892),
    30.0: (0.758419859, 0.003762556, 0.122234878, 9.49614019),
}


@pytest.fixture(scope="module")
def solution():
    return sweeps(JUPITER, Dipole(), LAW, outer=CurrentDensity(pole_current_density(JUPITER, LAW)))


def at(history, x):
    i = int(np.argmin(np.abs(np.asarray(history.x) - x)))
    assert abs(float(history.x[i]) - x) < 1e-9
    return tuple(float(history[k][i]) for k in ("omega", "current_density", "conductance", "current"))


def test_collocation_is_reproduced(solution):
    assert solution.ok, solution
    for x, row in TABLE.items():
        w, j, sigma, current = at(solution.history, x)
        # The table's j has six digits at 10 R, which is 7e-7 of it.
        assert_allclose([w, 1e6 * j, sigma, current / 1e6], row, rtol=1e-6, err_msg=f"at {x} R")


def test_solution_satisfies_its_coupled_equations(solution):
    # An independent look: fourth-order differences of w and j on the saved points against the explicit equations.
    h = solution.history
    y = np.stack([h.omega, np.asarray(h.current_density) * 1e8], axis=1)
    step = float(h.x[1] - h.x[0])
    measured = (y[:-4] - 8 * y[1:-3] + 8 * y[3:-1] - y[4:]) / (12 * step)
    args = in_one_dtype(JUPITER, Dipole(), LAW)
    slopes = jax.jit(jax.vmap(lambda x, y: coupled_slopes(x, y, args)))(h.x[2:-2], jnp.asarray(y)[2:-2])
    far = np.asarray(h.x[2:-2]) > 15  # further in the saved points are too coarse for differences
    scale = np.abs(measured).max(axis=0)
    assert_allclose(measured[far] / scale, np.asarray(slopes)[far] / scale, atol=2e-4)


def test_contraction_is_the_known_one(solution):
    # Three per cent around 0.734: single sweeps scatter by that much around the asymptotic factor.
    assert_allclose(float(solution.history.contraction), 0.734, rtol=0.03)
    change = np.asarray(solution.history.change)[: int(solution.num_steps)]
    assert np.isnan(np.asarray(solution.history.change)[int(solution.num_steps) :]).all()
    assert float(solution.residual) == change[-1] <= 1e-8


def test_progress_changes_no_bit_and_the_contraction_is_said(solution, capsys):
    told = []
    outer = CurrentDensity(pole_current_density(JUPITER, LAW))
    slow = sweeps(JUPITER, Dipole(), LAW, outer=outer, progress=lambda done, total: told.append((done, total)))
    assert told == [(k, 1000) for k in range(int(solution.num_steps) + 1)]
    np.testing.assert_array_equal(slow.value, solution.value)
    sweeps(JUPITER, Dipole(), LAW, outer=outer, tol=1e-2, progress=True)
    assert "9 sweeps: a change of 9.4e-03 is left; each sweep multiplied it by 0.673" in capsys.readouterr().err


def test_what_is_discretized_is_of_fourth_order():
    # Between sweeps the profiles are splines in ln x; everything else has a tolerance. Truth: e^(sin s) on [0, 3].
    @jax.jit
    def error(s):
        def truth(s):
            return jnp.exp(jnp.sin(s))

        step = s[1] - s[0]
        slopes = jnp.cos(s) * truth(s)
        spline = _spline(truth(s)[:, None], step, slopes[:1], slopes[-1:])
        at = jnp.linspace(0.0, 3.0, 1001)
        values = jax.vmap(lambda t: _evaluate(spline, s[0], step, t)[0][0])(at)
        return jnp.max(jnp.abs(values - truth(at)))

    errors = np.array([float(error(jnp.linspace(0.0, 3.0, n + 1))) for n in (60, 120, 240)])
    assert_allclose(np.log2(errors[:-1] / errors[1:]), 4, atol=0.05, err_msg=f"{errors}")


def test_inner_edge_does_not_matter(solution):
    outer = CurrentDensity(pole_current_density(JUPITER, LAW))
    inside = sweeps(JUPITER, Dipole(), LAW, outer=outer, x0=7.0).history
    for name in ("omega", "current_density", "current"):
        # Quintic interpolation between points 0.25 R apart: its error is common to both within 1e-8.
        here, there = (make_interp_spline(h.x, h[name], k=5)(20.0) for h in (inside, solution.history))
        assert_allclose(here, there, rtol=1e-7)


def test_radial_current_is_the_same_condition_and_a_small_budget_is_told(solution):
    edge = float(solution.history.current[-1])
    same = sweeps(JUPITER, Dipole(), LAW, outer=RadialCurrent(edge), max_sweeps=40)
    assert same.status == Status.max_steps  # the default needs 55; forty leave 0.74^15 more
    assert 1e-8 < float(same.residual) < 3e-6
    assert_allclose(same.history.current[-1], edge, rtol=1e-6)
    assert_allclose(same.history.current_density, solution.history.current_density, atol=1e-13)
    # Σ cannot fall below 0.05 mho, so neither can the current below I₀ Σ f (1 - w) = 4.8 (1 - w) MA.
    impossible = sweeps(JUPITER, Dipole(), LAW, outer=RadialCurrent(2e6), max_sweeps=40)
    assert impossible.status == Status.infeasible
    with pytest.raises(RuntimeError, match="no solution can satisfy"):
        impossible.unwrap()


def test_acceleration_reaches_the_same_in_fewer_sweeps(solution):
    outer = CurrentDensity(pole_current_density(JUPITER, LAW))
    fast = sweeps(JUPITER, Dipole(), LAW, outer=outer, acceleration=Anderson(5))
    assert fast.ok
    assert int(fast.num_steps) < 0.65 * int(solution.num_steps)
    assert_allclose(fast.history.current_density, solution.history.current_density, atol=2e-15)


def test_forward_derivative_is_the_difference():
    outer = CurrentDensity(-1.5e-8)

    @jax.jit
    def peak(log_loading):
        def value(log_loading):
            system = System(JUPITER.field_strength, JUPITER.radius, JUPITER.spin, jnp.exp(log_loading))
            density = sweeps(system, Dipole(), LAW, outer=outer).history.current_density
            return jnp.log(jnp.max(density))

        return jax.jvp(value, (log_loading,), (jnp.ones_like(log_loading),))

    base, h = float(np.log(1000.0)), 2e-3
    value, slope = zip(*(map(float, peak(base + k * h)) for k in (-1, 0, 1)), strict=True)
    central = (value[2] - value[0]) / (2 * h)
    # Each of the two values is off by what the sweeps leave, 2e-8; the difference by h²/6 of a third derivative of 1.
    assert_allclose(slope[1], central, rtol=0, atol=2e-8 / h + h**2 / 6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"outer": -1e-8}, "`outer` must be"),
        ({"outer": CurrentDensity(np.nan)}, "`outer.density`"),
        ({"outer": RadialCurrent(-1.0)}, "`outer.current`"),
        ({"law": NicholsCowley2004()}, "`law` must increase strictly"),
        ({"law": 0.05}, "`law` must have a method"),
        ({"tol": 1e-10}, "`tol` must be at least ten times"),
        ({"tol": -1.0}, "`tol`"),
        ({"max_sweeps": 0}, "`max_sweeps`"),
        ({"num_nodes": 3}, "`num_nodes`"),
        ({"acceleration": 5}, "`acceleration` must be Anderson"),
        ({"x1": 5.0}, "`x1`"),
    ],
)
def test_bad_input_is_named(kwargs, message):
    given = {"law": LAW, "outer": CurrentDensity(-1e-8)} | kwargs
    with pytest.raises(ValueError, match=message) as error:
        sweeps(JUPITER, Dipole(), given.pop("law"), **given)
    assert "\n" not in str(error.value)
