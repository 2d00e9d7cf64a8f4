import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import PrecisionError, Status
from jaxnum.jupiter import JUPITER, Constant, CurrentSheet, Dipole, FluxFunction, System, corotation, exact


def error_at(tolerance):
    solution = corotation(JUPITER, Dipole(), 0.05, rtol=tolerance, atol=tolerance)
    h = solution.history
    w = exact.corotation(h.x, exact.hill_distance(JUPITER, 0.05))
    j = exact.current_density(h.x, JUPITER, 0.05)
    return (
        float(jnp.max(jnp.abs(solution.value - w))),
        float(jnp.max(jnp.abs(h.current_density - j)) / jnp.max(j)),
        solution,
    )


def test_closed_form_is_reproduced_and_the_current_density_too():
    omega, density, solution = error_at(1e-10)
    assert solution.ok
    assert omega < 1e-9, omega
    assert density < 1e-8, density  # the right-hand side of the equation for w would give 4e-7
    assert omega / 3 < float(solution.residual) < 10 * omega, (solution.residual, omega)  # an honest residual
    h = solution.history
    assert_allclose(h.current, exact.current(h.x, JUPITER, 0.05), rtol=1e-8)
    assert_allclose(h.omega, solution.value)


def test_tighter_tolerance_gives_what_it_promises():
    errors = [error_at(tol)[0] for tol in (1e-6, 1e-8, 1e-10, 1e-12)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2] > 1000 * errors[3], errors
    assert errors[3] < 1e-10


def test_inner_edge_does_not_matter():
    at_20 = []
    for x0 in (3.0, 5.0, 7.0, 10.0):
        h = corotation(JUPITER, Dipole(), 0.05, x0=x0, x1=100.0, num_points=381).history
        at_20.append(float(jnp.interp(20.0, h.x, h.omega - exact.corotation(h.x, exact.hill_distance(JUPITER, 0.05)))))
    assert_allclose(at_20, 0.0, atol=1e-9)


def test_weak_conductance_keeps_the_bounded_solution():
    # Corotation has broken down before the inner edge is reached; still there is one bounded solution.
    weak = 1e-5
    h = corotation(JUPITER, Dipole(), weak).history
    assert_allclose(h.omega, exact.corotation(h.x, exact.hill_distance(JUPITER, weak)), atol=1e-9)


def test_derivatives_agree_three_ways():
    def peak(log_loading):
        system = System(JUPITER.field_strength, JUPITER.radius, JUPITER.spin, jnp.exp(log_loading))
        return jnp.log(jnp.max(corotation(system, Dipole(), 0.05).history.current))

    at = jnp.log(jnp.array(1000.0))
    forward, reverse = jax.jit(jax.jacfwd(peak))(at), jax.jit(jax.grad(peak))(at)
    h = 2e-3  # fourth order: h⁴ is 1e-11, and the 4e-10 of the integration divided by h 2e-7
    central = (8 * (peak(at + h) - peak(at - h)) - (peak(at + 2 * h) - peak(at - 2 * h))) / (12 * h)
    assert_allclose(forward, reverse, rtol=1e-10)
    assert_allclose(forward, central, rtol=1e-6)
    assert_allclose(forward, 0.25, atol=2e-3)  # I_max ~ ṁ^(1/4); the grid may miss the peak by half a cell of 0.25 R


def test_current_density_in_a_sheet_is_the_derivative_of_the_current():
    sheet = corotation(JUPITER, CurrentSheet(), 0.05)
    assert sheet.ok
    h = sheet.history
    # j is the derivative of the current: compare with fourth-order differences of the current on the same grid.
    i, step = np.asarray(h.current), float(h.x[1] - h.x[0])
    slope = (i[:-4] - 8 * i[1:-3] + 8 * i[3:-1] - i[4:]) / (12 * step)
    x = np.asarray(h.x)[2:-2]
    j = slope / (2 * np.pi * JUPITER.radius**2 * x * np.asarray(CurrentSheet().field(x)))
    assert_allclose(j, h.current_density[2:-2], atol=2e-4 * float(jnp.max(h.current_density)))


def test_new_numbers_do_not_recompile():
    from jaxnum.jupiter.corotation import _solve

    before = _solve._cache_size()
    corotation(JUPITER, Dipole(), 0.05)
    after = _solve._cache_size()
    corotation(System(4e-4, 7e7, 1.7e-4, 900.0), Dipole(), 0.07, x0=6.0, rtol=1e-9)
    assert _solve._cache_size() == after
    assert after - before <= 1


def test_failure_is_told():
    def blows_up(x):
        return jnp.where(x > 50.0, jnp.nan, 1 / x)

    solution = corotation(JUPITER, FluxFunction(blows_up), 0.05)
    assert solution.status in (Status.nonfinite, Status.max_steps), solution.status


def test_single_precision_is_refused_at_tight_tolerance_and_works_at_a_loose_one():
    f32 = jax.tree.map(jnp.float32, JUPITER)
    with pytest.raises(PrecisionError, match="rtol"):
        corotation(f32, Dipole(), jnp.float32(0.05))
    solution = corotation(f32, Dipole(), jnp.float32(0.05), rtol=1e-4, atol=1e-4)
    assert solution.value.dtype == jnp.float32
    assert_allclose(solution.value, corotation(JUPITER, Dipole(), 0.05).value, atol=2e-4)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sigma": -0.05}, "`sigma` must be a finite positive"),
        ({"sigma": None}, "`sigma`"),
        ({"sigma": Constant(np.nan)}, "`sigma.sigma`"),
        ({"field": "dipole"}, "`field` must have a method"),
        ({"field": Dipole}, "call it"),
        ({"system": (1, 2)}, "`system` must be"),
        ({"x0": 0.0}, "`x0`"),
        ({"x1": 4.0}, "`x1` must lie outside"),
        ({"x0": np.nan}, "`x0`"),
        ({"rtol": 0.0}, "`rtol`"),
        ({"atol": 1e-18}, "`atol`"),
        ({"num_points": 1}, "`num_points`"),
        ({"num_points": 10.0}, "`num_points`"),
        ({"adjoint": "reverse"}, "`adjoint`"),
    ],
)
def test_bad_input_is_named(kwargs, message):
    given = {"system": JUPITER, "field": Dipole(), "sigma": 0.05} | kwargs
    with pytest.raises(ValueError, match=message) as error:
        corotation(given.pop("system"), given.pop("field"), given.pop("sigma"), **given)
    assert "\n" not in str(error.value)
