import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, Ridge

from jaxnum import Status
from jaxnum.regression import (
    curvature,
    descend,
    fit,
    fit_polynomial,
    least_squares,
    legendre,
    monomials,
    standardize,
)
from jaxnum.regression.features import Legendre, power_matrix

# NIST Statistical Reference Datasets, Wampler 1 and 2 (public domain): certified coefficients, residual zero.
WAMPLER_X = np.arange(21.0)
WAMPLER = {"Wampler1": (np.ones(6), 139), "Wampler2": (0.1 ** np.arange(6), 140)}


@pytest.mark.parametrize("name", WAMPLER)
def test_wampler_by_descent_in_a_legendre_basis(name):
    truth, steps = WAMPLER[name]
    y = np.polynomial.polynomial.polyval(WAMPLER_X, truth)
    run = descend(legendre(WAMPLER_X, 5), y, num_steps=160)
    relative = np.asarray(run.history.gradient_norm / run.history.gradient_norm[0])
    assert int(np.argmax(relative <= 1e-13)) == steps
    interval = (jnp.asarray(0.0), jnp.asarray(20.0))
    found = power_matrix(Legendre(), interval, 5) @ run.value
    assert_allclose(found, truth, atol=1e-7)
    assert run.ok, run


def test_raw_features_cannot_be_descended():
    y = np.polynomial.polynomial.polyval(WAMPLER_X, np.ones(6))
    features = monomials(WAMPLER_X, 5)
    ends = curvature(features)
    assert_allclose([ends.condition, ends.limit], [4.1e13, 8.7e-13], rtol=0.02)
    run = descend(features, y, num_steps=160)
    assert run.status == Status.ill_conditioned
    assert float(run.residual) > 1e-3, run  # κ/2·ln(1/ε) steps would be 1e14


@pytest.mark.parametrize("shape", [(30, 4), (12, 12)])
def test_least_squares_agrees_with_scikit_learn(shape, rng):
    features, y = rng.normal(size=shape), rng.normal(size=shape[0])
    expected = LinearRegression(fit_intercept=False).fit(features, y).coef_
    assert_allclose(least_squares(features, y), expected, rtol=1e-8)
    for alpha in (0.1, 7.0):
        expected = Ridge(alpha, fit_intercept=False).fit(features, y).coef_
        assert_allclose(least_squares(features, y, ridge=alpha), expected, rtol=1e-8)
    # A free intercept, as scikit-learn's default has it, is a fit of centered columns to centered data.
    expected = Ridge(2.0).fit(features, y)
    slopes = least_squares(features - features.mean(0), y - y.mean(), ridge=2.0)
    assert_allclose(slopes, expected.coef_, rtol=1e-8)
    assert_allclose(y.mean() - features.mean(0) @ np.asarray(slopes), expected.intercept_, rtol=1e-8)


def test_dependent_columns_get_the_shortest_solution(rng):
    features = rng.normal(size=(9, 3)) @ rng.normal(size=(3, 5))
    y = rng.normal(size=9)
    assert_allclose(least_squares(features, y), np.linalg.pinv(features) @ y, rtol=1e-10)


def test_descent_ends_in_least_squares(rng):
    x = np.linspace(0, 10, 50)
    y = rng.normal(size=50) + x**2
    columns, scaling = standardize(monomials(x, 2))
    run = descend(columns, y, num_steps=700)
    # κ = 60: an error of ((κ−1)/(κ+1))^700 = 7e-11 of the start is left; the residual says so.
    exact = least_squares(columns, y)
    assert run.ok, run
    assert_allclose(run.residual, np.linalg.norm(run.value - exact) / np.linalg.norm(run.value), rtol=1e-3)
    assert_allclose(run.value, exact, rtol=1e-8)
    assert_allclose(scaling.unscale(run.value), least_squares(monomials(x, 2), y), rtol=1e-6)
    rate, beta = curvature(columns).optimal_momentum
    heavy = descend(columns, y, optimizer=optax.sgd(float(rate), momentum=float(beta)), num_steps=160)
    # √β = 0.77, a double root: k·0.77^k at k = 160 is 1e-16.
    assert_allclose(heavy.value, exact, rtol=1e-10)


def test_residual_does_not_flatter():
    x = np.linspace(0, 10, 50)
    slow = descend(standardize(monomials(x, 4))[0], np.sin(x), num_steps=1000)
    steep = float(slow.history.gradient_norm[-1] / slow.history.gradient_norm[0])
    assert slow.status == Status.max_steps
    assert float(slow.residual) > 10 * steep, (slow.residual, steep)  # flat directions hide from the gradient


def test_above_the_limit_it_blows_up():
    x = np.linspace(0, 100, 100)
    features, y = monomials(x, 1), 1 + x
    limit = float(curvature(features).limit)
    assert_allclose(limit, 2.98e-4, rtol=5e-3)
    assert descend(features, y, learning_rate=1.01 * limit, num_steps=600).status == Status.diverged
    assert descend(features, y, learning_rate=0.01, num_steps=600).status == Status.nonfinite
    below = descend(features, y, learning_rate=0.99 * limit, num_steps=600)
    assert below.status == Status.max_steps
    assert_allclose(descend(features, y, num_steps=3, start=[1.0, 1.0]).value, 1, rtol=1e-15)


def test_a_new_learning_rate_costs_no_compilation(monkeypatch):
    traces = []

    def counted(gradient, rate, _parameters=None):
        traces.append(None)
        return -rate * gradient, rate

    monkeypatch.setattr(fit, "_downhill", counted)
    features, y = monomials(np.linspace(0, 1, 7), 1), np.linspace(1, 2, 7)
    ends = [descend(features, y, learning_rate=rate, num_steps=11).value for rate in (0.1, 0.2, 0.3)]
    assert len(traces) <= 2, len(traces)
    assert not np.allclose(ends[0], ends[1])


def test_gradients_through_fits():
    x = jnp.linspace(-1.0, 2.0, 9)
    y = jnp.cos(3 * x)
    # Least squares is linear in y: the sensitivity of a prediction to a datum is an entry of the hat matrix.
    features = legendre(x, 3)
    hat = np.asarray(features @ np.linalg.pinv(features))
    assert_allclose(jax.jit(jax.jacfwd(lambda y: fit_polynomial(x, y, 3)(x)))(y), hat, atol=1e-12)

    def by_descent(y):
        return features @ descend(features, y, num_steps=200).value

    assert_allclose(jax.jit(jax.jacrev(by_descent))(y), hat, atol=1e-12)  # κ = 11: 0.84^200 = 1e-15

    @jax.jit
    def curve(x, y, ridge):
        return fit_polynomial(x, y, 3, ridge=ridge)(0.3)

    arguments, direction = (x, y, jnp.asarray(0.2)), (jnp.sin(5 * x), jnp.cos(7 * x), jnp.asarray(0.7))
    forward = jax.jit(lambda a, d: jax.jvp(curve, a, d)[1])(arguments, direction)
    reverse = sum(
        jnp.vdot(g, d) for g, d in zip(jax.jit(jax.grad(curve, (0, 1, 2)))(*arguments), direction, strict=True)
    )
    step = 1e-5
    shifted = [[a + s * d for a, d in zip(arguments, direction, strict=True)] for s in (step, -step)]
    central = (curve(*shifted[0]) - curve(*shifted[1])) / (2 * step)
    assert_allclose(forward, reverse, rtol=1e-10)
    assert_allclose(forward, central, rtol=1e-7)


@pytest.mark.parametrize(("n", "p", "ridge"), [(8, 3, 0.0), (8, 3, 0.6), (3, 5, 0.0), (3, 5, 0.6)])
def test_derivative_of_least_squares_where_singular_values_meet(n, p, ridge, rng):
    # Orthonormal columns (or rows) make all singular values equal, where singular vectors have no derivative.
    features = jnp.asarray(np.linalg.qr(rng.normal(size=(8, 8)))[0][:n, :p])
    if p > n:
        features = jnp.linalg.qr(features.T)[0].T
    y = jnp.asarray(rng.normal(size=n))
    d_features, d_y = jnp.asarray(rng.normal(size=(n, p))), jnp.asarray(rng.normal(size=n))

    @jax.jit
    def solve(features, y):
        return least_squares(features, y, ridge=ridge)

    forward = jax.jvp(solve, (features, y), (d_features, d_y))[1]
    step = 1e-5
    there, back = (solve(features + s * d_features, y + s * d_y) for s in (step, -step))
    assert_allclose(forward, (there - back) / (2 * step), atol=1e-8)
    weights = jnp.arange(1.0, p + 1)
    _, pull = jax.vjp(solve, features, y)
    by_features, by_y = pull(weights)
    assert_allclose(jnp.vdot(by_features, d_features) + jnp.vdot(by_y, d_y), weights @ forward, rtol=1e-10)


def test_many_fits_at_once():
    x = jnp.linspace(0.0, 1.0, 12)
    ys = jnp.stack([jnp.sin(x), jnp.cos(x)])
    features = legendre(x, 2)
    together = jax.vmap(lambda y: descend(features, y, num_steps=50))(ys)
    one = descend(features, ys[1], num_steps=50)
    assert_allclose(together.value[1], one.value, rtol=1e-13)
    assert together.ok
    assert_allclose(
        jax.jit(lambda y: fit_polynomial(x, y, 2).coefficients)(ys[0]), fit_polynomial(x, ys[0], 2).coefficients
    )


@pytest.mark.parametrize("name", WAMPLER)
def test_wampler_by_least_squares(name):
    truth, _ = WAMPLER[name]
    y = np.polynomial.polynomial.polyval(WAMPLER_X, truth)
    found = fit_polynomial(WAMPLER_X, y, 5)
    assert_allclose(found.coefficients, truth, atol=2e-8)
    assert found.ok
    assert float(found.residual) < 1e-8
    assert_allclose(found.condition, 9.4, rtol=0.005)


def test_polynomial_says_when_its_coefficients_are_noise():
    truth = np.array([1.0, 1.0, 1.0, 1.0])
    near, far = np.linspace(0, 1, 20), np.linspace(0, 1, 20) + 1e5
    for x, ok in ((near, True), (far, False)):
        y = np.polynomial.polynomial.polyval(x, truth)
        found = fit_polynomial(x, y, 3)
        error = np.linalg.norm(found.coefficients - truth) / np.linalg.norm(found.coefficients)
        assert found.ok == ok, (found.rounding, error)
        assert float(error) < 3 * float(found.rounding), (error, found.rounding)
        # The curve itself is known to rounding all the same.
        assert_allclose(found(x), y, rtol=1e-13)
    # Fewer different positions than coefficients: any coefficients would do.
    assert fit_polynomial([0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0], 2).status == Status.ill_conditioned


def test_polynomial_of_degree_zero_is_the_mean():
    found = fit_polynomial([2.0, 2.0, 2.0], [1.0, 2.0, 6.0], 0)
    assert_allclose([found.coefficients[0], found(5.0)], 3)
    assert_allclose(found.residual, np.std([1, 2, 6]))
    assert found(np.zeros((2, 3))).shape == (2, 3)


def test_single_precision_holds():
    x = np.linspace(0, 10, 50, dtype=np.float32)
    y = np.float32(1 + x - x**2)
    found = fit_polynomial(x, y, 2)
    run = descend(legendre(x, 2), y, num_steps=60)
    assert found.coefficients.dtype == found.residual.dtype == run.value.dtype == run.residual.dtype == np.float32
    assert found.ok
    assert run.ok, run
    assert_allclose(found.coefficients, [1, 1, -1], atol=2e-4)


X, Y = np.linspace(0, 1, 6), np.linspace(1, 2, 6)
F = np.vander(X, 3)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: least_squares(F, Y[:-1]), "y"),
        (lambda: least_squares(F, None), "y"),
        (lambda: least_squares(F[0], Y), "features"),
        (lambda: least_squares(F.astype(int), Y), "features"),
        (lambda: least_squares(F, Y * 1j), "y"),
        (lambda: least_squares(np.full_like(F, np.nan), Y), "features"),
        (lambda: least_squares(F, Y, ridge=-1.0), "ridge"),
        (lambda: least_squares(F, Y, ridge="1"), "ridge"),
        (lambda: descend(F, Y, num_steps=0), "num_steps"),
        (lambda: descend(F, Y, num_steps=2.5), "num_steps"),
        (lambda: descend(F, Y, num_steps=3, save_every=0), "save_every"),
        (lambda: descend(F, Y, num_steps=3, learning_rate=0.0), "learning_rate"),
        (lambda: descend(F, Y, num_steps=3, learning_rate=np.nan), "learning_rate"),
        (lambda: descend(F, Y, num_steps=3, learning_rate=0.1, optimizer=optax.sgd(0.1)), "learning_rate"),
        (lambda: descend(F, Y, num_steps=3, optimizer="adam"), "optimizer"),
        (lambda: descend(F, Y, num_steps=3, start=[1.0]), "start"),
        (lambda: descend(F, Y, num_steps=3, progress="yes"), "progress"),
        (lambda: fit_polynomial(X, Y[:3], 1), "y"),
        (lambda: fit_polynomial(X, Y, 6), "degree"),
        (lambda: fit_polynomial(X, Y, -1), "degree"),
        (lambda: fit_polynomial(X, Y, 2, basis="legendre"), "basis"),
        (lambda: fit_polynomial(X, Y, 2, ridge=np.inf), "ridge"),
        (lambda: fit_polynomial(np.ones(4), np.ones(4), 1), "x"),
        (lambda: fit_polynomial(X, Y, 2)([np.nan]), "x"),
    ],
)
def test_bad_fits_are_refused_by_name(call, name):
    with pytest.raises(ValueError, match=f"^Argument `{name}` must") as caught:
        call()
    assert "\n" not in str(caught.value)
