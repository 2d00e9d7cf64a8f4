"""Every verb works inside jit, vmap and grad: a scalar goes in, a scalar comes out, and all ways agree."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from jaxnum import jupiter, networks, optimize, regression, signals
from jaxnum import schrodinger as qm

GRID = qm.Grid(-10.0, 10.0, 65)
TIMES = np.linspace(0.0, 1.0, 24)
SAMPLES = np.cos(3 * TIMES) + 0.1 * np.sin(40 * TIMES)
MODEL = networks.perceptron([2, 2, 1], key=jax.random.key(0))
INPUTS = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
TARGETS = np.array([[1.0], [1.0], [0.0], [0.0]])


def propagate(height):
    psi0 = qm.gaussian_packet(GRID.x, center=-3.0, momentum=1.5)
    barrier = height * jnp.exp(-(GRID.x**2))
    return qm.probability(qm.propagate(psi0, barrier, GRID, t1=2.0, num_steps=16).value, GRID, 0.0, 10.0)


def stationary_states(height):
    energies, states = qm.stationary_states(GRID.x**2 / 2 + height * jnp.exp(-(GRID.x**2)), GRID, num_states=2)
    return energies[0] + states[1] @ (GRID.x**2 * states[1])


def minimize(rate):
    return optimize.minimize(lambda y: jnp.sum(jnp.cosh(y)), optax.sgd(rate), [1.0, 2.0], num_steps=5).residual


def adam(rate):
    return optimize.minimize(lambda y: jnp.sum(jnp.cosh(y)), optimize.adam(rate), [1.0, 2.0], num_steps=5).residual


def descend(scale):
    features = regression.legendre(TIMES * scale, 2)
    return regression.descend(features, SAMPLES, learning_rate=0.1, num_steps=5).value @ jnp.ones(3)


def least_squares(scale):
    features = regression.legendre(TIMES * scale, 2)
    return regression.least_squares(features, SAMPLES, ridge=0.1 * scale) @ jnp.ones(3)


def train(rate):
    return networks.train(MODEL, optax.sgd(rate), INPUTS, TARGETS, num_steps=5).history.value[-1]


def corotation(sigma):
    return jupiter.corotation(jupiter.JUPITER, jupiter.Dipole(), 0.1 * sigma, rtol=1e-8, atol=1e-8).value[-1]


def smooth(bandwidth):
    return signals.smooth(SAMPLES, TIMES, method=signals.LocalPolynomial(0.5 * bandwidth)).value[7]


def differentiate(bandwidth):
    method = signals.GaussianKernel(0.2 * bandwidth)
    return signals.differentiate(SAMPLES, TIMES, method=method).value[7]


VERBS = (
    propagate,
    stationary_states,
    minimize,
    adam,
    descend,
    least_squares,
    train,
    corotation,
    smooth,
    differentiate,
)


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v.__name__)
def test_jit_vmap_and_grad_agree_with_the_plain_call(verb):
    points = jnp.array([0.31, 0.36])
    plain = np.array([float(verb(p)) for p in points])
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(verb)))(points)
    # A batch may be summed in another order; an adaptive solve may take another step, worth its tolerance of 1e-8.
    assert_allclose(values, plain, rtol=1e-7 if verb is corotation else 1e-12)
    # Central differences: truncation h² and rounding ε/h leave some 1e-8 of values of one; a tolerance of 1e-8 in the
    # solve leaves 1e-8/h.
    h = 1e-4
    ends = np.array([float(verb(points[0] + h)), float(verb(points[0] - h))])
    slack = 3e-4 if verb is corotation else 1e-6
    assert_allclose(slopes[0], (ends[0] - ends[1]) / (2 * h), rtol=slack, atol=slack * np.abs(plain[0]))
