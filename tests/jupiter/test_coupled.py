from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import PrecisionError, Status
from jaxnum.jupiter import (
    JUPITER,
    Constant,
    CurrentDensity,
    CurrentSheet,
    Dipole,
    NicholsCowley2004,
    PoleRegular,
    RadialCurrent,
    SmoothRamp,
    System,
    coupled,
    exact,
    pole_current_density,
)

LAW = SmoothRamp()
# x, w, j [µA/m²], Σ [mho], I [MA] with j at 100 R that of the pole: from another discretization of other unknowns
# (D applied twice, 321 nodes), confirmed by Hermite-Simpson (scipy.integrate.solve_bvp).
TABLE = np.array(
    [
        [10.0, 0.991988530, 0.000722943, 0.103745208, 0.80184842],
        [20.0, 0.926834373, 0.008070098, 0.154601263, 5.45634892],
        [30.0, 0.758419859, 0.003762556, 0.122234878, 9.49614019],
    ]
)
# The same with more digits at 20 and 30 R.
SHARP = {"omega": (None, 0.7584198589), "current_density": (0.0080700978e-6, None)}


PLACES = np.append(TABLE[:, 0], 100.0)


@pytest.fixture(scope="module")
def solve():
    outer = CurrentDensity(pole_current_density(JUPITER, LAW))
    return partial(coupled, JUPITER, Dipole(), LAW, outer=outer, at=PLACES)


def test_table_is_reproduced(solve):
    solution = solve()
    assert solution.ok, solution
    h = jax.tree.map(np.asarray, solution.history)
    found = np.stack([h.x, h.omega, h.current_density * 1e6, h.conductance, h.current / 1e6], axis=1)[:3]
    # The table's digits: half a unit in its last place is 7e-7 of the smallest j.
    assert_allclose(found, TABLE, rtol=1e-6)
    assert_allclose(h.omega[2], SHARP["omega"][1], atol=6e-11)
    assert_allclose(h.current_density[1], SHARP["current_density"][0], rtol=1e-8)
    assert_allclose(h.current_density[3], pole_current_density(JUPITER, LAW), rtol=1e-8)
    assert float(solution.residual) <= 1e-8  # eight digits by default
    assert 6 <= int(solution.num_steps) <= 12
    assert bool(h.unique)
    assert_allclose(solution.value, h.omega)


def test_inner_edge_does_not_matter(solve):
    def inside(x0):
        h = solve(x0=x0).history
        return np.array([h.omega[1:3], h.current_density[1:3] * 1e8, h.current[1:3] / 1e7])

    here = inside(5.0)
    for x0 in (3.0, 7.0, 10.0):
        assert_allclose(inside(x0), here, rtol=1e-8, err_msg=f"{x0=}")


def closed_form(solution):
    """Return the largest error beside the closed form for Σ = 0.05 mho, as `residual` counts it."""
    h = jax.tree.map(np.asarray, solution.history)
    w, j = exact.corotation(h.x, exact.hill_distance(JUPITER, 0.05)), exact.current_density(h.x, JUPITER, 0.05)
    current = exact.current(h.x, JUPITER, 0.05)
    wrong = [h.omega - w, (h.current_density - j) / np.abs(j).max(), (h.current - current) / np.max(current)]
    return max(float(np.abs(a).max()) for a in wrong)


def test_closed_form_is_reached_and_the_estimate_is_honest():
    # A constant law wants no outer condition: where nothing depends on j, PoleRegular() says nothing new.
    # Two elements of degree twelve are all that 24 points give; with eight of them nothing but eight digits is left.
    errors = []
    for n in (24, 96):
        solution = coupled(JUPITER, Dipole(), Constant(0.05), outer=PoleRegular(), num_nodes=n, tol=1.0)
        errors.append(closed_form(solution))
        assert errors[-1] <= float(solution.residual) <= 100 * errors[-1], (n, errors, solution.residual)
        assert not bool(solution.history.unique)  # nothing is proven for a law that does not increase
    assert errors[1] < 1e-8, errors
    assert errors[1] < errors[0] / 4**6, errors  # elements a quarter as long, of order six at the very least


def weighted(v):
    system = System(*(v[:4] * jnp.array([4e-4, 7e7, 1.7e-4, 1e3])))
    law = SmoothRamp(*(v[4:9] * jnp.array([0.05, 1e-8, 2.5e-7, 1e5, 9.9e6])))
    h = coupled(system, Dipole(), law, outer=CurrentDensity(v[9] * 1e-8), at=jnp.array([12.0, 25.0]))
    h = h.history
    return jnp.sum(jnp.array([1.0, 2.0]) * (h.omega + h.current_density * 1e8 + h.current / 1e7 + h.conductance))


def test_derivatives_in_every_parameter():
    v = jnp.array([1.066, 1.02, 1.03, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.8])
    direction = jnp.array([0.3, -0.2, 0.5, 0.4, -0.6, 0.2, 0.7, 0.3, -0.1, 0.5])

    @jax.jit
    def every(v):
        value, pull = jax.vjp(weighted, v)
        return value, pull(jnp.ones_like(value))[0], jax.jvp(weighted, (v,), (direction,))[1]

    _, reverse, forward = every(v)
    assert_allclose(forward, reverse @ direction, rtol=1e-10)

    def central(d, h=8e-3):  # fourth order: h⁴ is 4e-9; a mesh that differs leaves 4e-10 of ω and j, and over h 5e-8
        at = [every(v + k * h * d)[0] for k in (-2, -1, 1, 2)]
        return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)

    scale = np.abs(reverse).max()
    measured = np.array([central(d) for d in np.eye(v.size)])
    assert_allclose(measured / scale, np.asarray(reverse) / scale, atol=1e-7)
    assert (np.abs(reverse) > 1e-6 * scale)[[0, 1, 2, 3, 4, 5, 8, 9]].all(), reverse


def test_radial_current_is_the_same_condition_and_too_little_is_refused():
    edge = 5e6
    given = partial(coupled, JUPITER, Dipole(), LAW, at=PLACES)
    solution = given(outer=RadialCurrent(edge), num_nodes=96)
    assert solution.ok, solution
    assert_allclose(solution.history.current[3], edge, rtol=1e-12)
    # An outer current that differs little leaves the inside alone: 0.008070 µA/m² in the table.
    assert_allclose(solution.history.current_density[1] * 1e6, TABLE[1, 2], rtol=1e-3)
    # The same magnetosphere by its outer current density.
    same = given(outer=CurrentDensity(solution.history.current_density[3]), num_nodes=96).history
    for name in ("omega", "current_density", "current"):
        assert_allclose(same[name], solution.history[name], rtol=2e-7, err_msg=name)
    strong = given(outer=RadialCurrent(1e8)).history
    assert strong.current_density[3] > 10 * TABLE[1, 2] * 1e-6  # it reaches far in, and raises the peak tenfold
    # I₀ Σ₀ f (1 - w) = 4.82 (1 - w) MA at 100 R is the least; w is 0.1 there.
    with pytest.raises(ValueError, match=r"`outer.current` must be above 4\.2\d* ?.*e\+06 A") as error:
        given(outer=RadialCurrent(2e6))
    assert "\n" not in str(error.value)


def test_infeasible_current_is_a_status_where_it_is_traced_and_batches_keep_their_statuses():
    @jax.jit
    @jax.vmap
    def ends(current):
        s = coupled(JUPITER, Dipole(), LAW, outer=RadialCurrent(current), at=jnp.array([20.0]))
        return s.status, s.history.current_density[0]

    status, density = ends(jnp.array([2e6, 5e6]))
    assert [int(c) for c in status.code] == [int(Status.infeasible.code), int(Status.ok.code)]
    assert_allclose(density[1] * 1e6, TABLE[1, 2], rtol=1e-3)


def gained(h, field):
    """Return by how much the current grows between the points, by the integral of j: dI = 2πR² x b j dx."""
    h = jax.tree.map(np.asarray, h)
    slope = 2 * np.pi * JUPITER.radius**2 * h.x * np.asarray(field.field(h.x)) * h.current_density
    return np.trapezoid(slope, h.x), h.current[-1] - h.current[0]


def test_a_layer_at_the_outer_edge_is_found():
    # Just above the least current (4.26 MA) the conductance has to fall to Σ₀ within a tenth of a radius.
    solution = coupled(JUPITER, Dipole(), LAW, outer=RadialCurrent(4.3e6), at=np.array([20.0, 99.9, 100.0]), tol=1e-7)
    assert solution.ok, solution
    j = np.asarray(solution.history.current_density) * 1e6
    assert_allclose(j[0], TABLE[1, 2], rtol=1e-2)
    assert j[2] < 1.1 * j[1] < 0, j


def test_a_law_flat_for_downward_currents_under_a_strong_current_in_a_sheet_is_solved():
    # Newton cannot even start on such a law (no slope at j = 0): the tilted laws lead there.
    outer, sheet = RadialCurrent(1e8), CurrentSheet()
    solution = coupled(JUPITER, sheet, NicholsCowley2004(), outer=outer, num_nodes=192, num_points=3801, tol=1e-7)
    assert solution.ok, solution
    h = jax.tree.map(np.asarray, solution.history)
    assert_allclose(h.current[-1], 1e8, rtol=1e-12)
    # The current is the integral of the current density, dI = 2πR² x b j dx. The trapezoidal rule leaves (0.025 R)²/12
    # of the curvature of something that bends within a few tenths of a radius.
    slope = 2 * np.pi * JUPITER.radius**2 * h.x * np.asarray(sheet.field(h.x)) * h.current_density
    assert_allclose(np.trapezoid(slope, h.x), h.current[-1] - h.current[0], rtol=1e-3)
    assert not bool(h.unique)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"outer": -1e-8}, "`outer` must be CurrentDensity"),
        ({"outer": PoleRegular}, "call it"),
        ({"outer": CurrentDensity(np.nan)}, "`outer.density`"),
        ({"outer": RadialCurrent(-1.0)}, "`outer.current`"),
        ({"outer": CurrentDensity(-1e-8), "law": NicholsCowley2004()}, "`law` must have a slope"),
        ({"outer": RadialCurrent(1e7), "law": Constant(0.05)}, "`law` must depend on j"),
        ({"field": CurrentSheet()}, "`field` must carry its flux to the pole"),
        ({"law": 0.05}, "`law` must have a method"),
        ({"tol": -1.0}, "`tol`"),
        ({"num_nodes": 3}, "`num_nodes`"),
        ({"num_nodes": 10.0}, "`num_nodes`"),
        ({"num_points": 1}, "`num_points`"),
        ({"at": [1.0]}, "`at` must lie between 5 and 100"),
        ({"at": 20.0}, "`at` must have 1 axis"),
        ({"x1": 5.0}, "`x1`"),
    ],
)
def test_bad_input_is_named(kwargs, message):
    given = {"field": Dipole(), "law": LAW, "outer": PoleRegular()} | kwargs
    with pytest.raises(ValueError, match=message) as error:
        coupled(JUPITER, given.pop("field"), given.pop("law"), **given)
    assert "\n" not in str(error.value)


def test_single_precision_is_refused():
    with pytest.raises(PrecisionError, match=r"`tol` must be at least 1\.2e-05 in float32"):
        coupled(jax.tree.map(jnp.float32, JUPITER), Dipole(), LAW, outer=CurrentDensity(jnp.float32(-1e-8)))
