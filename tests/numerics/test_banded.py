"""A banded solver against dense linear algebra, and its derivatives against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum.numerics import banded

N = 12


def matrix(rng, p):
    """Return a positive definite matrix with p bands below its diagonal, dense and as bands."""
    lower = np.tril(np.triu(rng.normal(size=(N, N)), -p))
    full = lower @ lower.T + np.eye(N)
    bands = rng.normal(size=(p + 1, N))  # what lies outside is to be ignored
    for k in range(p + 1):
        bands[k, k:] = np.diag(full, -k)
    return full, jnp.asarray(bands)


@pytest.mark.parametrize("p", [0, 1, 3])
def test_agrees_with_dense_algebra(p, rng):
    full, bands = matrix(rng, p)
    b, w = rng.normal(size=N), rng.uniform(0, 1, N)
    condition = np.linalg.cond(full)
    assert_allclose(banded.to_dense(bands), full, rtol=0)
    assert_allclose(banded.matvec(bands, jnp.asarray(b)), full @ b, atol=1e-13 * np.max(np.abs(full)))
    assert_allclose(banded.solve(bands, jnp.asarray(b)), np.linalg.solve(full, b), atol=1e-14 * condition)
    assert_allclose(banded.log_determinant(bands), np.linalg.slogdet(full)[1], rtol=1e-13)
    inverse = np.linalg.inv(full)
    spread = inverse @ np.diag(w) @ inverse
    found = banded.inverse_diagonal_of(bands, jnp.asarray(w), p + 1)
    for have, want in zip(found, (inverse, spread), strict=True):
        assert have.shape == (p + 2, N)
        for k in range(p + 2):
            assert_allclose(have[k, k:], np.diag(want, -k), atol=1e-14 * condition)


def test_derivatives_are_those_of_the_solution(rng):
    _, bands = matrix(rng, 2)
    b, db = jnp.asarray(rng.normal(size=(2, N)))
    dbands = jnp.asarray(rng.normal(size=bands.shape))

    @jax.jit
    def loss(bands, b):
        return (
            jnp.sum(jnp.sin(banded.solve(bands, b, num_refinements=1)))
            + banded.log_determinant(bands)
            + jnp.sum(jnp.cos(banded.inverse_bands(bands, 3)))
        )

    _, forward = jax.jvp(loss, (bands, b), (dbands, db))
    reverse = jax.grad(loss, (0, 1))(bands, b)
    assert_allclose(forward, jnp.sum(reverse[0] * dbands) + reverse[1] @ db, rtol=1e-11)
    step = 1e-6  # error step² times the third derivative, rounding 1e-16/step
    central = (loss(bands + step * dbands, b + step * db) - loss(bands - step * dbands, b - step * db)) / 2 / step
    assert_allclose(forward, central, rtol=1e-7)


def test_refinement_with_a_product_that_rounds_less_gives_the_digits_back():
    # A straight line under a stiff penalty on second differences: the plain solution loses what the condition says.
    n, strength = 200, 1e9
    line = 1 + jnp.linspace(0.0, 1.0, n)

    def bend(u):
        return u[2:] - 2 * u[1:-1] + u[:-2]

    def careful(u):
        return u + strength * jax.linear_transpose(bend, u)(bend(u))[0]

    bands = np.zeros((3, n))
    for row in range(n - 2):
        for a, s in enumerate((1, -2, 1)):
            for b, t in enumerate((1, -2, 1)[: a + 1]):
                bands[a - b, row + a] += strength * s * t
    bands[0] += 1
    bands = jnp.asarray(bands)
    plain = np.max(np.abs(banded.solve(bands, line) - line))
    refined = np.max(np.abs(banded.solve(bands, line, careful=careful, num_refinements=2) - line))
    # Condition 16 strength, times rounding: 1e-6; what rounding of the line itself leaves is its root, 1e-11.
    assert plain > 1e-9, plain
    assert refined < 1e-11, refined


def test_a_matrix_that_is_not_positive_definite_is_not_solved():
    bands = jnp.asarray([[1.0, 1.0, 1.0], [0.0, 2.0, 0.0]])
    assert np.isnan(banded.solve(bands, jnp.ones(3))).any()
    assert np.isnan(banded.log_determinant(bands))
