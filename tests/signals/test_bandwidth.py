from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import Status
from jaxnum.signals import GaussianKernel, LocalPolynomial, choose_bandwidth, smooth

X = np.linspace(0, 1, 101)
TRUTH = np.sin(9 * X)


@pytest.mark.parametrize("method", [LocalPolynomial(1.0), GaussianKernel(1.0)])
def test_the_choice_is_nearly_the_best_there_is(method, rng):
    # Over 12 noises the mean square error of the choice against that of the best bandwidth, known in hindsight.
    @jax.jit
    def errors(y, tried):
        one = jax.vmap(lambda b: smooth(y, X, method=replace(method, bandwidth=b), noise=1.0).value)
        return jnp.mean((one(tried) - TRUTH[None]) ** 2, axis=1)

    ratios = []
    for _ in range(12):
        y = jnp.asarray(TRUTH + 0.2 * rng.normal(size=len(X)))
        chosen = choose_bandwidth(y, X, method)
        assert chosen.ok, chosen
        assert chosen.residual < 1e-5, chosen
        error = errors(y, jnp.asarray([*np.geomspace(0.025, 0.2, 8), float(chosen.value)]))
        ratios.append(error[-1] / min(error))
    assert np.median(ratios) < 1.25, ratios


def test_the_score_is_generalized_cross_validation_and_its_slope_its_derivative(rng):
    y = TRUTH + 0.2 * rng.normal(size=len(X))
    chosen = choose_bandwidth(y, X, LocalPolynomial(1.0))

    def score(b):
        result = smooth(y, X, method=LocalPolynomial(b), noise=1.0)
        return np.log(len(X) * np.sum((y - result.value) ** 2) / (len(X) - result.degrees_of_freedom) ** 2)

    for row in (5, 15):
        b, step = float(chosen.history.bandwidth[row]), 1e-5
        assert_allclose(chosen.history.score[row], score(b), rtol=1e-10)
        central = (score(b * np.exp(step)) - score(b * np.exp(-step))) / 2 / step
        assert_allclose(chosen.history.slope[row], central, rtol=1e-6, atol=1e-9)
    assert score(float(chosen.value)) <= np.min(chosen.history.score) + 1e-12


def test_pure_noise_has_no_widest_bandwidth(rng):
    chosen = choose_bandwidth(1 + 0.1 * rng.normal(size=len(X)), X, LocalPolynomial(1.0, 1))
    assert chosen.status in (Status.not_converged, Status.ok)
    line = choose_bandwidth(1 + X + 1e-3 * np.cos(np.pi * np.arange(len(X))), X, LocalPolynomial(1.0, 1))
    assert line.status == Status.not_converged, line  # the wider the better, up to the end of the range


def test_bad_arguments_are_refused_by_name():
    for arguments, name in [
        ((TRUTH, X), "method"),
        ((TRUTH, X, "gauss"), "method"),
        ((TRUTH[:4], X[:4], LocalPolynomial(1.0)), "y"),
        ((TRUTH * np.nan, X, LocalPolynomial(1.0)), "y"),
        ((TRUTH, X[::-1], LocalPolynomial(1.0)), "x"),
        ((TRUTH, X * np.nan, LocalPolynomial(1.0)), "x"),
        ((None, X, LocalPolynomial(1.0)), "y"),
        ((TRUTH, "x", LocalPolynomial(1.0)), "x"),
    ]:
        with pytest.raises(ValueError, match=f"Argument `{name}`"):
            choose_bandwidth(*arguments)
