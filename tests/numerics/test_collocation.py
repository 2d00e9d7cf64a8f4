import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum.numerics.collocation import chebyshev, correction, evaluate, interpolation, newton


def test_polynomials_are_handled_exactly(rng):
    n = 12
    basis = chebyshev(n)
    c = rng.standard_normal(n)
    p = np.polynomial.Polynomial(c)
    t = basis.nodes
    assert_allclose(basis.derivative @ p(t), p.deriv()(t), atol=1e-11)
    integral = p.integ()
    assert_allclose(basis.integral @ p(t), integral(t) - integral(-1.0), atol=1e-14)
    assert_allclose(interpolation(n, 31) @ p(t), p(chebyshev(31).nodes), atol=1e-13)
    x = np.linspace(-1, 1, 7)
    both = jax.jit(evaluate)(jnp.asarray(basis.coefficients @ np.stack([p(t), t**2], axis=1)), jnp.asarray(x))
    assert_allclose(both, np.stack([p(x), x**2], axis=1), atol=1e-13)
    # The value at the end of the interval has a derivative too: T_m'(1) = m².
    slope = jax.grad(lambda t: evaluate(jnp.ones((5, 1)), t[None])[0, 0])(1.0)
    assert_allclose(slope, 0 + 1 + 4 + 9 + 16, rtol=1e-13)


def test_convergence_is_spectral_and_integration_keeps_the_digits():
    errors = []
    for n in (6, 11, 21):
        basis = chebyshev(n)
        errors.append(np.abs(basis.derivative @ np.exp(basis.nodes) - np.exp(basis.nodes)).max())
    assert errors[0] < 1e-2
    assert errors[1] < 1e-6
    assert errors[2] < 1e-12, errors
    basis = chebyshev(401)
    wrong = np.abs(basis.integral @ np.exp(basis.nodes) - np.exp(basis.nodes) + np.exp(-1)).max()
    assert wrong < 1e-14, wrong  # where the derivative has lost n² of sixteen digits


def bratu(y, strength):
    """-y'' = strength e^y on [-1, 1], zero at both ends."""
    d = jnp.asarray(chebyshev(17).derivative)
    inside = d @ (d @ y) + strength * jnp.exp(y)
    return inside.at[0].set(y[0]).at[-1].set(y[-1])


def middle(strength):
    return newton(bratu, jnp.zeros(17), lambda _: strength, max_steps=30).value[8]


def test_newton_finds_the_known_solution_with_exact_derivatives_of_any_order():
    # Exact: y = 2 ln(cosh θ / cosh θt), with θ² = strength cosh²θ / 2; given by θ.
    theta = 0.6
    strength = 2 * theta**2 / np.cosh(theta) ** 2
    value = jax.jit(middle)
    assert_allclose(value(strength), 2 * np.log(np.cosh(theta)), rtol=1e-11)
    # dy/dθ over ds/dθ, both by hand.
    tanh = np.tanh(theta)
    slope = 2 * tanh / (2 * strength / theta - 2 * strength * tanh)
    assert_allclose(jax.jit(jax.grad(middle))(strength), slope, rtol=1e-10)
    assert_allclose(jax.jit(jax.jacfwd(middle))(strength), slope, rtol=1e-10)
    h = 1e-3  # the truncation is h² of it, the rounding 1e-13/h²
    second = (value(strength + h) - 2 * value(strength) + value(strength - h)) / h**2
    assert_allclose(jax.jit(jax.grad(jax.grad(middle)))(strength), second, rtol=1e-5)


def test_line_search_and_path():
    # Newton on arctan from 3 runs away with full steps.
    found = newton(lambda y, _: jnp.arctan(y), jnp.array([3.0]), lambda _: None, max_steps=30)
    assert bool(found.converged)
    assert_allclose(found.value, 0.0, atol=1e-12)

    # y³ - 2y + 2 traps Newton from 0 between 0 and 1; a path of shifted problems leads around it.
    def trapped(y, shift):
        return y**3 - 2 * y + 2 + shift * (y + 3)

    direct = newton(trapped, jnp.array([0.0]), lambda s: s, max_steps=30)
    assert not bool(direct.converged)
    around = newton(trapped, jnp.array([0.0]), lambda s: s, path=(0.0, 30.0, 3.0, 1.0, 0.0), max_steps=30)
    assert bool(around.converged)
    assert_allclose(trapped(around.value, 0.0), 0.0, atol=1e-12)
    assert int(around.num_steps) > int(direct.num_steps)
    idle = newton(trapped, jnp.array([0.5]), lambda s: s, max_steps=30, active=jnp.array(False))
    assert int(idle.num_steps) == 0
    assert not bool(idle.converged)


def test_correction_is_the_step_that_is_left():
    matrix = jnp.array([[2.0, 1.0], [0.0, 3.0]])
    moves = correction(lambda y, b: matrix @ y - b, jnp.zeros(2), jnp.array([3.0, 3.0]), jnp.array([0.0, 3.0]))
    assert_allclose(moves, [[1.0, 1.0], [0.5, -1.0]], atol=1e-15)


def test_matrices_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        chebyshev(5).nodes[0] = 0.0
