import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import PrecisionError, Status
from jaxnum.jupiter import JUPITER, Constant, CurrentSheet, Dipole, FluxFunction, System, corotation, exact

X_HILL = exact.hill_distance(JUPITER, 0.05)


@pytest.fixture(scope="module")
def solution():
    return corotation(JUPITER, Dipole(), 0.05)


@jax.jit
def closed_form(x):
    return exact.corotation(x, X_HILL), exact.current(x, JUPITER, 0.05), exact.current_density(x, JUPITER, 0.05)


def errors(solution):
    h = jax.tree.map(np.asarray, solution.history)
    w, _, j = map(np.asarray, closed_form(solution.history.x))
    return float(np.abs(h.omega - w).max()), float(np.abs(h.current_density - j).max() / j.max())


def test_closed_form_is_reproduced_and_the_current_density_too(solution):
    omega, density = errors(solution)
    assert solution.ok
    assert omega < 1e-10, omega
    assert density < 3e-9, density  # the right-hand side of the equation for w would give 4e-7
    assert omega / 3 < float(solution.residual) < 10 * omega, (solution.residual, omega)  # an honest residual
    h = solution.history
    assert_allclose(h.current, closed_form(h.x)[1], rtol=1e-9)
    assert_allclose(h.omega, solution.value)


def test_universal_numbers_are_found():
    # In Hill distances and in I₀ Σ/x_H and 4 Ω B Σ they are the same for every Σ and ṁ. Near a maximum a point off by
    # 1e-3 x_H loses 1e-6 of it.
    for sigma, loading in ((0.05, 1000.0), (0.02, 3000.0)):
        system = System(JUPITER.field_strength, JUPITER.radius, JUPITER.spin, loading)
        x_hill = float(exact.hill_distance(system, sigma))
        at = x_hill * np.append(np.linspace(0.9, 1.15, 250), np.linspace(1.6, 1.85, 250))
        h = jax.tree.map(np.asarray, corotation(system, Dipole(), sigma, at=at).history)
        density, current = h.current_density[:250].argmax(), 250 + h.current[250:].argmax()
        assert_allclose(at[density] / x_hill, 1.02032, atol=1.1e-3)
        assert_allclose(at[current] / x_hill, 1.74090, atol=1.1e-3)
        assert_allclose(h.current_density[density] / (system.current_density_scale * sigma), 0.305544, rtol=3e-6)
        assert_allclose(h.current[current] * x_hill / (system.current_scale * sigma), 0.334402, rtol=3e-6)
        zero = np.interp(0.0, -h.current_density[250:], at[250:] / x_hill)  # where j changes sign the current peaks
        assert_allclose(zero, 1.74090, atol=1e-5)


def test_tighter_tolerance_gives_what_it_promises(solution):
    found = [corotation(JUPITER, Dipole(), 0.05, rtol=tol, atol=tol) for tol in (1e-6, 1e-8, 1e-12)]
    wrong = [errors(s)[0] for s in (*found[:2], solution, found[2])]
    assert all(e < tol for e, tol in zip(wrong, (1e-6, 1e-8, 1e-10, 1e-12), strict=True)), wrong
    assert wrong[0] > 10 * wrong[1] > 100 * wrong[2] > 1000 * wrong[3], wrong


def test_inner_edge_does_not_matter_and_the_history_may_be_anywhere():
    at = np.append(np.array([60.0, 20.0]), np.linspace(30.0, 100.0, 498))  # in any order; as many as above
    w = np.asarray(closed_form(jnp.asarray(at))[0])
    for x0 in (3.0, 5.0, 7.0, 10.0):
        assert_allclose(corotation(JUPITER, Dipole(), 0.05, x0=x0, at=at).value, w, atol=1e-10, err_msg=f"{x0=}")


def test_weak_conductance_keeps_the_bounded_solution():
    # Corotation has broken down before the inner edge is reached; still there is one bounded solution.
    weak = 1e-5
    h = corotation(JUPITER, Dipole(), weak).history
    assert_allclose(h.omega, exact.corotation(h.x, exact.hill_distance(JUPITER, weak)), atol=1e-10)


def test_a_batch_is_its_members_to_rounding():
    # Rounding must not reach the steps: it did when they came from an estimate of the error, and left 6e-12.
    def omega(sigma):
        return corotation(JUPITER, Dipole(), sigma).value

    sigmas = np.linspace(0.02, 0.3, 5)
    many = jax.jit(jax.vmap(omega))(sigmas)
    alone = [omega(float(sigma)) for sigma in sigmas]
    assert_allclose(many, alone, rtol=0, atol=1e-14)


def test_progress_is_told_and_changes_nothing_that_counts(solution):
    told = []
    slow = corotation(JUPITER, Dipole(), 0.05, progress=lambda done, total: told.append((done, total)))
    assert told == [(k, 20) for k in range(21)]
    assert slow.ok
    assert slow.value.shape == solution.value.shape
    assert_allclose(slow.value, solution.value, atol=1e-10)  # other steps, each leg ending its own
    assert errors(slow)[0] < 1e-10


def test_derivatives_agree_three_ways():
    def peak(log_loading):
        system = System(JUPITER.field_strength, JUPITER.radius, JUPITER.spin, jnp.exp(log_loading))
        return jnp.log(jnp.max(corotation(system, Dipole(), 0.05).history.current))

    @jax.jit
    def every(at):
        value, pull = jax.vjp(peak, at)
        return value, pull(jnp.ones_like(value))[0], jax.jvp(peak, (at,), (jnp.ones_like(at),))[1]

    at = float(np.log(1000.0))
    _, reverse, forward = every(at)
    h = 2e-3  # fourth order: h⁴ is 1e-11, and the 4e-10 of the integration divided by h 2e-7
    value = [every(at + k * h)[0] for k in (-2, -1, 1, 2)]
    central = (value[0] - 8 * value[1] + 8 * value[2] - value[3]) / (12 * h)
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


def test_single_precision_is_refused_at_tight_tolerance_and_works_at_a_loose_one(solution):
    f32 = jax.tree.map(jnp.float32, JUPITER)
    with pytest.raises(PrecisionError, match="rtol"):
        corotation(f32, Dipole(), jnp.float32(0.05))
    single = corotation(f32, Dipole(), jnp.float32(0.05), rtol=1e-4, atol=1e-4)
    assert single.value.dtype == jnp.float32
    assert_allclose(single.value, solution.value, atol=2e-4)


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
        ({"at": [1.0]}, "`at` must lie between 5 and 100"),
        ({"at": 20.0}, "`at` must have 1 axis"),
        ({"progress": 3}, "`progress`"),
        ({"adjoint": "reverse"}, "`adjoint`"),
    ],
)
def test_bad_input_is_named(kwargs, message):
    given = {"system": JUPITER, "field": Dipole(), "sigma": 0.05} | kwargs
    with pytest.raises(ValueError, match=message) as error:
        corotation(given.pop("system"), given.pop("field"), given.pop("sigma"), **given)
    assert "\n" not in str(error.value)
