import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, Ridge

from jaxnum import Status
from jaxnum.regression import (
    Chebyshev,
    Monomials,
    choose_degree,
    curvature,
    descend,
    fit_linear,
    fit_polynomial,
    least_squares,
    legendre,
    monomials,
)
from jaxnum.regression.features import Legendre, power_matrix
from jaxnum.regression.student import two_sided_quantile

WAMPLER_X = np.arange(21.0)
WAMPLER = {"Wampler1": np.ones(6), "Wampler2": 0.1 ** np.arange(6)}


@pytest.mark.parametrize("name", WAMPLER)
def test_wampler_by_the_heavy_ball_in_a_legendre_basis(name):
    truth = WAMPLER[name]
    y = np.polynomial.polynomial.polyval(WAMPLER_X, truth)
    run = descend(legendre(WAMPLER_X, 5), y, accelerate=True, num_steps=90)
    assert run.ok, run
    found = power_matrix(Legendre(), (jnp.asarray(0.0), jnp.asarray(20.0)), 5) @ run.value
    assert_allclose(found, truth, atol=1e-7)
    plain = descend(legendre(WAMPLER_X, 5), y, num_steps=90)
    assert run.history.gradient_norm[60] < 1e-3 * plain.history.gradient_norm[60]


def test_the_heavy_ball_follows_its_eigenvalues(rng):
    features = np.linalg.qr(rng.normal(size=(40, 3)))[0] * np.sqrt(np.array([1.0, 4.0, 64.0]) * 20)
    truth = np.array([1.0, -2.0, 0.5])
    run = descend(features, features @ truth, accelerate=True, num_steps=50)
    ends = curvature(features)
    rate, beta = (float(v) for v in ends.optimal_momentum)
    assert_allclose(beta, (7 / 9) ** 2, rtol=1e-12)  # κ = 64
    # Each column is an eigenvector, of curvature 1, 4, 64: its error and velocity follow a 2 x 2 matrix.
    for i, curve in enumerate((1.0, 4.0, 64.0)):
        step = np.array([[1 - rate * curve, -rate * beta], [curve, beta]])
        error, rows = np.array([-truth[i], 0.0]), []
        for _ in range(51):
            rows.append(error[0])
            error = step @ error
        assert_allclose(run.history.coefficients[:, i] - truth[i], rows, atol=1e-13)


def test_a_new_spectrum_costs_no_compilation(rng):
    before = None
    for _ in range(3):
        features = rng.normal(size=(30, 3))
        descend(features, features @ np.ones(3), accelerate=True, num_steps=7)
        count = jax.tree.leaves(descend(features, features @ np.ones(3), accelerate=True, num_steps=7))
        assert before is None or len(count) == before
        before = len(count)


def columns_of_condition(rng, root):
    """Centered columns of unit length whose condition number is root², in a random basis."""
    u = np.linalg.qr(rng.normal(size=(50, 5)) - 0.0)[0]
    u = np.linalg.qr(u - u.mean(0))[0]
    return u @ np.diag(np.geomspace(1, 1 / root, 5)) @ np.linalg.qr(rng.normal(size=(5, 5)))[0]


@pytest.mark.parametrize("root", [1.0, 1e2, 1e4, 1e6, 1e7])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_agrees_with_scikit_learn_and_with_the_truth(root, alpha, rng):
    features, truth = columns_of_condition(rng, root), rng.normal(size=5)
    y = features @ truth + 3.0
    fit = fit_linear(features, y, ridge=alpha)
    if alpha == 0:
        # The data is exact to eps, so the coefficients are as far off as the estimate says, up to norms of 5 x 5.
        off = np.linalg.norm(fit.coefficients - truth) / np.linalg.norm(truth)
        assert off <= 50 * float(fit.rounding), (off, fit.rounding)
    if alpha == 0 and root > 1e5:
        return  # LinearRegression drops directions a million times weaker than the strongest, without a word
    peer = (LinearRegression() if alpha == 0 else Ridge(alpha, solver="svd")).fit(features, y)
    assert fit.ok
    assert_allclose(fit.coefficients, peer.coef_, atol=1e-8 * np.linalg.norm(peer.coef_))
    assert_allclose(fit.intercept, peer.intercept_, rtol=1e-8)
    assert_allclose(fit(features), peer.predict(features), rtol=1e-8)


def test_what_rounding_decides_is_called_ill_conditioned():
    x = np.linspace(100.0, 101.0, 30)
    fit = fit_linear(np.stack([x**k for k in range(1, 6)], axis=1), np.sin(x))
    assert fit.status == Status.ill_conditioned
    assert fit.condition > 1e15
    near = fit_linear(np.stack([x - 100, (x - 100) ** 2], axis=1), np.sin(x))
    assert near.ok
    wide = fit_linear(np.ones((3, 5)) * np.arange(5.0), [1.0, 2.0, 3.0])
    assert wide.status == Status.ill_conditioned  # fewer samples than columns


@pytest.mark.parametrize("intercept", [True, False])
def test_errors_and_bands_are_those_of_the_textbook(intercept, rng):
    features = rng.normal(size=(25, 3)) + 2.0
    y = features @ [1.0, -1.0, 0.5] + 0.3 * rng.normal(size=25)
    fit = fit_linear(features, y, intercept=intercept)
    design = np.column_stack([np.ones(25), features]) if intercept else features
    solution, rss, *_ = np.linalg.lstsq(design, y, rcond=None)
    freedom = 25 - design.shape[1]
    covariance = rss[0] / freedom * np.linalg.inv(design.T @ design)
    slopes = slice(1, None) if intercept else slice(None)
    assert_allclose(fit.coefficients, solution[slopes], rtol=1e-10)
    assert_allclose(fit.standard_errors, np.sqrt(np.diag(covariance))[slopes], rtol=1e-10)
    assert_allclose(fit.noise, np.sqrt(rss[0] / freedom), rtol=1e-10)
    assert_allclose(fit.freedom, freedom, rtol=1e-12)
    new = rng.normal(size=(4, 3))
    rows = np.column_stack([np.ones(4), new]) if intercept else new
    spread = np.einsum("ij,jk,ik->i", rows, covariance, rows)
    for of_data, extra in ((True, rss[0] / freedom), (False, 0.0)):
        half = scipy.stats.t.ppf(0.95, freedom) * np.sqrt(spread + extra)
        low, high = fit.band(new, level=0.9, of_data=of_data)
        assert_allclose(low, rows @ solution - half, rtol=1e-9)
        assert_allclose(high, rows @ solution + half, rtol=1e-9)


@pytest.mark.parametrize("freedom", [1.0, 2.0, 7.5, 40.0, 1e4])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.9999])
def test_students_quantile(level, freedom):
    ours = two_sided_quantile(jnp.asarray(level), jnp.asarray(freedom))
    assert_allclose(ours, scipy.stats.t.ppf((1 + level) / 2, freedom), rtol=1e-9)


def test_a_polynomial_band_covers_what_it_says(rng):
    x, new = np.linspace(0, 10, 40), np.array([0.3, 5.0, 9.9])
    truth = np.polynomial.Polynomial([1.0, -2.0, 0.3])
    caught, errors, trials = np.zeros(3), [], 400
    for _ in range(trials):
        fit = fit_polynomial(x, truth(x) + 0.5 * rng.normal(size=40), 2)
        low, high = fit.band(new, level=0.8)
        data = truth(new) + 0.5 * rng.normal(size=3)
        caught += (np.asarray(low) < data) & (data < np.asarray(high))
        errors.append((np.asarray(fit.coefficients) - truth.coef) / np.asarray(fit.standard_errors))
    # 400 trials at 0.8 scatter by 0.02, three times that; standard errors by 1/√800 = 3.5 %, and t is wide.
    assert_allclose(caught / trials, 0.8, atol=0.06)
    assert_allclose(np.std(errors, axis=0), np.sqrt(37 / 35), rtol=0.12)


def test_errors_of_coefficients_do_not_depend_on_the_basis(rng):
    x = np.linspace(-1, 2, 30)
    y = rng.normal(size=30)
    fits = [fit_polynomial(x, y, 3, basis=basis) for basis in (Legendre(), Chebyshev(), Monomials())]
    for fit in fits[1:]:
        assert_allclose(fit.standard_errors, fits[0].standard_errors, rtol=1e-9)
        assert_allclose(fit.band([0.5])[0], fits[0].band([0.5])[0], rtol=1e-9)


def test_cross_validation_is_what_a_loop_does(rng):
    x = np.sort(rng.uniform(0, 5, size=40))
    y = np.sin(x) + 0.1 * rng.normal(size=40)
    found = choose_degree(x, y, 6, num_folds=5)
    folds = np.arange(40) % 5
    for degree in (0, 2, 6):
        errors = []
        for part in range(5):
            inside = folds != part
            c = np.polynomial.Legendre.fit(x[inside], y[inside], degree, domain=[x[0], x[-1]])
            errors.append(np.mean((c(x[~inside]) - y[~inside]) ** 2))
        assert_allclose(found.errors[degree], np.mean(errors), rtol=1e-9)
        assert_allclose(found.standard_errors[degree], np.std(errors, ddof=1) / np.sqrt(5), rtol=1e-9)
    assert (np.diff(found.training_errors) <= 1e-12).all()
    assert found.degree <= found.best
    assert "<- chosen" in str(found)


def test_the_degree_behind_the_data_is_found(rng):
    x = np.linspace(-1, 1, 80)
    hits = 0
    for _ in range(12):
        y = 4 * x**3 - 3 * x + 0.1 * rng.normal(size=80)
        hits += choose_degree(x, y, 8, key=jax.random.key(int(rng.integers(1000)))).degree == 3
    assert hits >= 10, hits


F, Y = np.vander(np.linspace(0, 1, 6), 3)[:, :2], np.linspace(1, 2, 6)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: fit_linear(F, Y[:-1]), "y"),
        (lambda: fit_linear(F[0], Y), "features"),
        (lambda: fit_linear(F, Y, ridge=-1.0), "ridge"),
        (lambda: fit_linear(F, Y, intercept=1), "intercept"),
        (lambda: fit_linear(F, Y)(F[:, :1]), "features"),
        (lambda: fit_linear(F, Y).band(F, level=1.0), "level"),
        (lambda: fit_polynomial(F[:, 0], Y, 1).band([0.5], level="a"), "level"),
        (lambda: choose_degree(F[:, 0], Y, 5, num_folds=3), "max_degree"),
        (lambda: choose_degree(F[:, 0], Y, 0), "max_degree"),
        (lambda: choose_degree(F[:, 0], Y, 1, num_folds=1), "num_folds"),
        (lambda: choose_degree(F[:, 0], Y, 1, num_folds=7), "num_folds"),
        (lambda: choose_degree(F[:, 0], Y, 1, basis="legendre"), "basis"),
        (lambda: descend(F, Y, num_steps=3, accelerate=1), "accelerate"),
        (lambda: descend(F, Y, num_steps=3, accelerate=True, learning_rate=0.1), "accelerate"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=f"^Argument `{name}` must") as caught:
        call()
    assert "\n" not in str(caught.value)


def test_single_precision_stays():
    fit = fit_linear(F.astype(np.float32), Y.astype(np.float32))
    assert fit.coefficients.dtype == fit.noise.dtype == fit.band(F.astype(np.float32))[0].dtype == np.float32
    assert least_squares(monomials(F[:, 0].astype(np.float32), 1), Y.astype(np.float32)).dtype == np.float32
