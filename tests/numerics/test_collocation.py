import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum.numerics.collocation import (
    before,
    evaluate,
    gauss,
    implicit,
    integral_matrix,
    newton,
    regrade,
    slope_matrix,
)

EDGES = np.array([-1.0, -0.4, 0.1, 1.0])
HALF = np.diff(EDGES) / 2


@jax.jit
def machinery(values, start, s):
    """Return integrals, slopes and values between the points of a function given at them and at the start."""
    rule = jax.tree.map(jnp.asarray, gauss(12))
    rows = values.reshape(-1, 12)
    first = start + before(rows @ rule.end[1:])
    pieces = jnp.concatenate([first[:, None], rows], axis=1) @ rule.with_start.T
    slope = slope_matrix(rule, HALF) @ jnp.append(start, values)
    edge = rule.start_slope @ rows[0] / HALF[0]
    edges = jnp.asarray(EDGES)
    between = evaluate(pieces[:, :, None], edges, s)[:, 0]
    at_end = jax.grad(lambda t: evaluate(pieces[:, :, None], edges, t[None])[0, 0])(s[-1])
    return integral_matrix(rule, HALF) @ values, slope, edge, between, at_end, pieces


def test_polynomials_are_handled_exactly(rng):
    p = np.polynomial.Polynomial(rng.standard_normal(12))
    s = (EDGES[:-1, None] + HALF[:, None] * (gauss(12).points + 1)).ravel()
    x = np.linspace(-1, 1, 7)
    integral, slope, edge, between, at_end, pieces = machinery(p(s), p(-1.0), x)
    whole = p.integ()
    assert_allclose(integral, whole(np.append(s, 1.0)) - whole(-1.0), atol=1e-14)
    assert_allclose(slope, p.deriv()(s), atol=2e-11)
    assert_allclose(edge, p.deriv()(-1.0), atol=2e-11)
    assert_allclose(between, p(x), atol=1e-13)
    assert_allclose(at_end, p.deriv()(1.0), rtol=1e-11)  # the value at the end of the range has a derivative too
    assert pieces.shape == (3, 13)


def test_the_error_falls_as_the_length_to_the_number_of_points():
    rule, errors = gauss(4), []
    for n in (8, 16, 32):
        edges = np.linspace(-1, 1, n + 1)
        s = edges[:-1, None] + (rule.points + 1) / n
        x = np.linspace(-1, 1, 16 * n + 1)
        t = np.minimum(((x + 1) * n / 2).astype(int), n - 1)
        pieces = np.exp(s) @ rule.coefficients.T
        local = (x - edges[t]) * n - 1
        errors.append(np.abs(np.polynomial.chebyshev.chebval(local, pieces[t].T, tensor=False) - np.exp(x)).max())
    # e^x grows by its own slope across an element, which bends the order by 1/n of it.
    assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 4, atol=0.1, err_msg=f"{errors}")


def test_a_mesh_moves_to_where_the_error_is_and_keeps_its_ends():
    mesh = np.linspace(0, 1, 9)
    error = np.full(8, 1e-12).astype(float)
    error[5] = 1e-2
    moved, shifted = (
        np.asarray(jax.jit(regrade, static_argnums=2)(mesh, error, 11, least=1e-12, shift=k)) for k in (0, 1)
    )
    for new in (moved, shifted):
        assert_allclose(new[[0, -1]], [0, 1], atol=0)
        assert (np.diff(new) > 0).all()
    inside = (moved > mesh[5]) & (moved < mesh[6])
    assert inside.sum() >= 2  # where there was nothing between the ends of the element
    assert np.abs(moved[1:-1] - shifted[1:-1]).min() > 1e-3
    assert_allclose(jax.jit(regrade, static_argnums=2)(mesh, np.ones(8), 11, least=1e-12, shift=0), mesh, atol=1e-15)


def with_slope(residual):
    return lambda y, args: (residual(y, args), jax.jacfwd(residual)(y, args))


def bratu(q, strength):
    """y'' = -strength e^y on [-1, 1], zero at both ends; q = (slope at the left end, y'' at the points)."""
    rule = jax.tree.map(jnp.asarray, gauss(16))
    slope = q[0] + rule.integral @ q[1:]
    return jnp.append(q[1:] + strength * jnp.exp(rule.integral @ slope), rule.weights @ slope)


def slope_at_the_end(strength):
    found = newton(bratu, with_slope(bratu), jnp.zeros(17), lambda _: strength, max_steps=30)
    matrix = jax.jacfwd(bratu)(found.value, strength)
    return implicit(lambda q: bratu(q, strength), found.value, matrix)[0]


def test_newton_finds_the_known_solution_with_exact_derivatives_of_any_order():
    # Exact: y = 2 ln(cosh θ / cosh θt), with θ² = strength cosh²θ / 2; given by θ. Its slope at -1 is 2θ tanh θ.
    theta = 0.6
    strength = 2 * theta**2 / np.cosh(theta) ** 2
    value, reverse, second = jax.jit(
        lambda s: (slope_at_the_end(s), jax.grad(slope_at_the_end)(s), jax.jacfwd(jax.grad(slope_at_the_end))(s))
    )(strength)
    assert_allclose(value, 2 * theta * np.tanh(theta), rtol=1e-11)

    def by_theta(t):  # d(slope)/d(strength), both by hand
        tanh, s = np.tanh(t), 2 * t**2 / np.cosh(t) ** 2
        return (2 * tanh + 2 * t / np.cosh(t) ** 2) / (2 * s / t - 2 * s * tanh)

    assert_allclose(reverse, by_theta(theta), rtol=1e-10)
    h = 1e-3  # fourth order: h⁴ is 1e-12 and the rounding 1e-13
    rise = (8 * (by_theta(theta + h) - by_theta(theta - h)) - by_theta(theta + 2 * h) + by_theta(theta - 2 * h)) / (
        12 * h
    )
    per_theta = 2 * strength / theta - 2 * strength * np.tanh(theta)
    assert_allclose(second, rise / per_theta, rtol=1e-8)


def shifted(y, shift):
    # y³ - 2y + 2 traps Newton from 0 between 0 and 1; a path of shifted problems leads around it.
    return y**3 - 2 * y + 2 + shift * (y + 3)


def test_line_search_and_path():
    @jax.jit
    def run():
        # Newton on arctan from 3 runs away with full steps.
        arctan = newton(
            lambda y, _: jnp.arctan(y), with_slope(lambda y, _: jnp.arctan(y)), jnp.array([3.0]), lambda _: None,
            max_steps=30,
        )  # fmt: skip
        direct, around = (
            newton(shifted, with_slope(shifted), jnp.array([0.0]), lambda s: s, path=path, max_steps=30)
            for path in ((0.0,), (0.0, 30.0, 3.0, 1.0, 0.0))
        )
        return arctan, direct, around

    arctan, direct, around = run()
    assert bool(arctan.converged)
    assert_allclose(arctan.value, 0.0, atol=1e-12)
    assert not bool(direct.converged)
    assert bool(around.converged)
    assert_allclose(shifted(np.asarray(around.value), 0.0), 0.0, atol=1e-12)
    assert int(around.num_steps) > int(direct.num_steps)


def test_matrices_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        gauss(4).points[0] = 0.0
