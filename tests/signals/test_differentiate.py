from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum.signals import GaussianKernel, LocalPolynomial, Renormalized, Wrap, differentiate, smooth


def test_is_the_derivative_of_smooth(rng):
    x, y = np.linspace(0, 2, 61), rng.normal(size=61)
    for order in (1, 2):
        one = differentiate(y, x, method=LocalPolynomial(0.1, 3), order=order)
        two = smooth(y, x, method=LocalPolynomial(0.1, 3), derivative=order)
        assert_allclose(one.value, two.value, rtol=0)
        assert_allclose(one.standard_error, two.standard_error, rtol=0)


@pytest.mark.parametrize("order", [1, 2])
def test_a_periodic_sine_is_only_damped(order):
    # The Gaussian multiplies e^{ikx} by exp(-(k b)²/2), and its derivative by ik more.
    n, k, b = 128, 3, 0.2
    x = 2 * np.pi * np.arange(n) / n
    value = differentiate(np.sin(k * x), x, method=GaussianKernel(b, Wrap()), order=order).value
    exact = k * np.cos(k * x) if order == 1 else -(k**2) * np.sin(k * x)
    assert_allclose(value, exact * np.exp(-((k * b) ** 2) / 2), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("method", "order", "power"),
    [
        (LocalPolynomial(1.0, 2), 0, 4),
        (LocalPolynomial(1.0, 2), 1, 2),
        (LocalPolynomial(1.0, 4), 1, 4),
        (GaussianKernel(1.0, Wrap()), 1, 2),
    ],
)
def test_bias_has_the_order_of_the_bandwidth(method, order, power):
    # Where samples are uniform, degree p has a value (slope) bias of the next even (odd + 1) power of the bandwidth.
    n = 400
    x = 2 * np.pi * np.arange(n) / n
    bandwidths = np.array([0.08, 0.1, 0.125])
    exact = np.sin(x) if order == 0 else np.cos(x)
    middle = slice(n // 2 - 50, n // 2 + 50)
    # A traced bandwidth takes all samples: three of them in one compilation.
    run = jax.vmap(
        lambda b: smooth(np.sin(x), x, method=replace(method, bandwidth=b), derivative=order, noise=1.0).value
    )
    errors = np.max(np.abs(np.asarray(jax.jit(run)(bandwidths)) - exact)[:, middle], axis=1)
    found = np.polyfit(np.log(bandwidths), np.log(errors), 1)[0]
    # The next term of the bias is b² of the first: at b = 0.1 it bends the slope by 0.02.
    assert abs(found - power) < 0.05, (found, errors)


def test_irregular_slopes_need_no_spacing(rng):
    x = np.sort(rng.uniform(0, 1, 80))
    for method in (LocalPolynomial(0.1, 1), GaussianKernel(0.1, Renormalized())):
        assert_allclose(differentiate(1 - 3 * x, x, method=method).value, -3, rtol=1e-10)


def test_order_is_a_positive_integer():
    for order in (0, -1, 1.5, None, "one", True):
        with pytest.raises(ValueError, match="`order`"):
            differentiate(jnp.ones(9), method=LocalPolynomial(1.0), order=order)
