import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import chebyshev as np_chebyshev
from numpy.polynomial import legendre as np_legendre
from numpy.testing import assert_allclose

from jaxnum.regression import (
    Chebyshev,
    Legendre,
    Monomials,
    chebyshev,
    curvature,
    fit_polynomial,
    least_squares,
    legendre,
    monomials,
    standardize,
)

X = np.linspace(0, 10, 50)
U = X / 5 - 1


def test_columns_are_the_polynomials():
    # Three-term recurrences on [−1, 1] lose a few rounding units per degree.
    assert_allclose(monomials(X, 5), np.vander(X, 6, increasing=True), rtol=1e-15)
    assert_allclose(legendre(X, 5), np_legendre.legvander(U, 5), atol=1e-14)
    assert_allclose(chebyshev(X, 5), np_chebyshev.chebvander(U, 5), atol=1e-14)
    for make in (monomials, legendre, chebyshev):
        assert_allclose(make(X, 0), np.ones((50, 1)))
        assert make(X, 1).shape == (50, 2)


def test_a_domain_keeps_the_features_of_other_positions():
    whole = legendre(X, 3)
    assert_allclose(legendre(X[5:20], 3, domain=(0.0, 10.0)), whole[5:20], atol=1e-14)
    assert_allclose(chebyshev([3.0], 2, domain=(0, 10)), [[1, -0.4, 2 * 0.16 - 1]], atol=1e-15)


# degree: raw λmax, raw κ, raw limit, standardized κ, limit, Legendre κ, limit; unit mean square per column.
TABLE = {
    1: (68.8, 1.4e2, 2.9e-2, 1, 1.0, 1.00, 1.0),
    2: (4.2e3, 2.0e4, 4.8e-4, 60, 0.51, 1.09, 0.96),
    3: (3.0e5, 3.5e6, 6.6e-6, 2.4e3, 0.34, 1.19, 0.92),
    4: (2.4e7, 7.4e8, 8.3e-8, 8.6e4, 0.26, 1.33, 0.86),
    5: (2.0e9, 1.8e11, 9.9e-10, 2.9e6, 0.21, 1.51, 0.80),
}


@pytest.mark.parametrize("degree", TABLE)
def test_curvature_of_polynomial_features(degree):
    raw = curvature(monomials(X, degree))
    scaled = curvature(standardize(monomials(X, degree))[0])
    columns = np.asarray(legendre(X, degree))
    orthogonal = curvature(columns / np.sqrt(np.mean(columns**2, axis=0)))
    found = (raw.largest, raw.condition, raw.limit, scaled.condition, scaled.limit)
    found = np.array([*found, orthogonal.condition, orthogonal.limit])
    # The table is given to two or three digits: 2.5 % is half a unit of its last one.
    assert_allclose(found, TABLE[degree], rtol=0.025)


def test_an_orthonormal_basis_has_condition_one():
    q = np.linalg.qr(np.vander(X, 6))[0] * np.sqrt(len(X))
    ends = curvature(q)
    assert_allclose([ends.condition, ends.limit, ends.optimal_rate], [1, 1, 0.5], rtol=1e-13)
    assert_allclose(ends.optimal_momentum, [0.5, 0], atol=1e-13)
    assert int(ends.rank) == 6


def test_directions_that_no_sample_sees_have_no_say():
    ends = curvature(np.stack([np.ones(9), np.arange(9.0), np.arange(9.0)], axis=1))
    assert int(ends.rank) == 2
    assert float(ends.condition) < 1e3, ends


def test_standardized_columns():
    features = monomials(X, 3)
    columns, scaling = standardize(features)
    assert_allclose(columns[:, 0], 1)
    assert_allclose(np.mean(columns[:, 1:], axis=0), 0, atol=1e-14)
    assert_allclose(np.std(columns[:, 1:], axis=0), 1, rtol=1e-14)
    assert_allclose(scaling.transform(features), columns, rtol=1e-15)


def test_unscale_is_exact(rng):
    features = monomials(X, 3)
    columns, scaling = standardize(features)
    c = rng.normal(size=4)
    # Sums of terms up to 10³/σ: rounding stays at some units of 1e-16 relative to those.
    assert_allclose(features @ scaling.unscale(c), columns @ c, atol=1e-12)
    y = rng.normal(size=50)
    assert_allclose(
        scaling.unscale(least_squares(columns, y)), least_squares(features, y), rtol=1e-9
    )  # κ of the raw features is 3.5e6


def test_unscale_puts_the_intercept_where_it_belongs(rng):
    c = rng.normal(size=3)
    features = monomials(X, 3)[:, 1:]
    columns, scaling = standardize(features)
    raw = scaling.unscale(c)
    assert raw.shape == (4,)
    assert_allclose(raw[0] + features @ raw[1:], columns @ c, atol=1e-12)
    assert_allclose(scaling.unscale(np.append(7.0, c)), raw + np.array([7.0, 0, 0, 0]), rtol=1e-14)
    # The constant column may stand anywhere and have any value.
    features = np.stack([X, np.full(50, -2.0), X**2], axis=1)
    columns, scaling = standardize(features)
    assert_allclose(features @ scaling.unscale(c), columns @ c, atol=1e-12)
    assert_allclose(jax.jit(lambda f: standardize(f)[1].unscale(c))(features), scaling.unscale(c), rtol=1e-13)


def test_a_column_equal_to_rounding_is_constant():
    almost = 0.1 + 0.2 + np.where(X > 5, 0, 5e-17)
    columns, _ = standardize(np.stack([almost, X], axis=1))
    assert_allclose(columns[:, 0], 0.3, rtol=1e-15)


@pytest.mark.parametrize("basis", [Monomials(), Legendre(), Chebyshev()])
def test_any_basis_tells_the_same_polynomial(basis):
    truth = np.array([1.0, -2.0, 0.5, 0.25])
    x = np.linspace(-1, 3, 21)
    fit = fit_polynomial(x, np.polynomial.polynomial.polyval(x, truth), 3, basis=basis)
    assert_allclose(fit.coefficients, truth, atol=1e-12)
    assert_allclose(fit(x), np.polynomial.polynomial.polyval(x, truth), atol=1e-12)


def test_derivatives_and_batches():
    def total(x):
        return jnp.sum(jnp.sin(standardize(legendre(x, 3))[0]))

    x = jnp.asarray(X[::7])
    reverse = jax.grad(total)(x)
    forward = jax.jvp(total, (x,), (jnp.ones_like(x),))[1]
    assert_allclose(forward, jnp.sum(reverse), atol=1e-10)
    step = 1e-5
    central = np.array([(total(x.at[i].add(step)) - total(x.at[i].add(-step))) / (2 * step) for i in range(len(x))])
    assert_allclose(reverse, central, atol=1e-8)
    batch = jax.vmap(lambda x: legendre(x, 3))(jnp.stack([x, 2 * x]))
    assert_allclose(batch[0], batch[1], atol=1e-14)


def test_single_precision_stays():
    columns, scaling = standardize(monomials(np.float32(X), 2))
    assert columns.dtype == scaling.unscale(np.float32([1, 2, 3])).dtype == np.float32
    assert legendre(np.float32(X), 2, domain=(0.0, 10.0)).dtype == np.float32
    assert curvature(columns).condition.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: monomials(None, 2), "x"),
        (lambda: monomials([], 2), "x"),
        (lambda: monomials([1.0, np.nan], 2), "x"),
        (lambda: monomials(np.arange(3), 2), "x"),
        (lambda: monomials([1j, 2.0], 2), "x"),
        (lambda: monomials(np.ones((2, 2)), 2), "x"),
        (lambda: legendre(X, -1), "degree"),
        (lambda: legendre(X, 1.5), "degree"),
        (lambda: chebyshev(X, "2"), "degree"),
        (lambda: legendre([2.0, 2.0], 1), "x"),
        (lambda: legendre(X, 1, domain=(1.0, 1.0)), "domain"),
        (lambda: legendre(X, 1, domain=(0.0, np.inf)), "domain"),
        (lambda: legendre(X, 1, domain=3.0), "domain"),
        (lambda: legendre(X, 1, domain="ab"), "domain"),
        (lambda: standardize(X), "features"),
        (lambda: standardize(np.zeros((0, 2))), "features"),
        (lambda: standardize(None), "features"),
        (lambda: standardize(monomials(X, 2))[1].unscale([1.0, 2.0]), "coefficients"),
        (lambda: standardize(monomials(X, 2))[1].unscale("abc"), "coefficients"),
        (lambda: standardize(monomials(X, 2))[1].transform(np.ones((3, 2))), "features"),
        (lambda: curvature([[np.inf]]), "features"),
    ],
)
def test_bad_input_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=f"^Argument `{name}` must") as caught:
        call()
    assert "\n" not in str(caught.value)
