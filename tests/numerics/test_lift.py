import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import jaxnum
from jaxnum import LiftError, lift
from jaxnum.numerics import differences

DATA = np.array([1.0, 2.0, 4.0])
W = np.array([0.3, -0.2, 0.7])


def squash(z):
    return 1 / (1 + np.exp(-z))


def with_helper(w):
    return np.sum(squash(w * DATA) ** 2)


def with_math(w):
    return math.sin(w[0]) * math.exp(w[1]) + math.pi * math.log(1 + w[2] ** 2) + math.log(8.0, 2)


def with_loop(w):
    total, terms = 0.0, []
    for k, x in enumerate(DATA):
        total += squash(w[k] * x)
        terms.append(total**2)
    return sum(terms)


def with_import(w):
    import numpy

    return numpy.linalg.norm(numpy.outer(w, w) + numpy.eye(3))


def recursive(w, depth=3):
    return np.sum(w**2) if depth == 0 else np.tanh(recursive(w * 1.1, depth - 1))


def with_einsum(w):
    return np.einsum("i,ij,j->", w, np.arange(9.0).reshape(3, 3), w) + np.dot(w, DATA) + np.cumsum(w)[-1]


def with_choice(w):
    return np.sum(np.where(w > 0, w**2, -w)) + np.maximum(w, 0.1).sum()


class Model:
    def __init__(self, data):
        self.data, self.last = data, None

    def predict(self, w):
        self.last = np.tanh(w * self.data)  # what a class stores on its way must not stay
        return self.last

    def loss(self, w):
        return np.mean((self.predict(w) - 0.5) ** 2)

    def __call__(self, w):
        return self.loss(w)


def closure(scale):
    def inner(w):
        return np.sum(np.cos(scale * w)) * np.prod(w)

    return inner


PURE = {
    "helper": with_helper,
    "math": with_math,
    "loop": with_loop,
    "import inside": with_import,
    "recursion": recursive,
    "einsum": with_einsum,
    "choice": with_choice,
    "closure": closure(DATA),
    "method": Model(DATA).loss,
    "object": Model(DATA),
    "partial": functools.partial(lambda s, w: np.sum(s * np.sin(w)), DATA),
    "lambda of a lambda": lambda w: (lambda z: np.sum(z * z))(np.sqrt(w**2 + 1)),
}


@pytest.mark.parametrize("name", PURE)
def test_lifted_has_the_value_and_the_slope_of_the_original(name):
    fn = PURE[name]
    lifted = lift(fn)
    assert float(lifted(W)) == pytest.approx(float(fn(W)), rel=1e-12)
    estimate = differences.richardson(fn, W)
    slope = jax.grad(lifted)(jnp.asarray(W))
    assert np.all(np.abs(slope - estimate.value) <= estimate.error + 1e-12)


def test_lifted_is_jax_all_through():
    many = jax.jit(jax.vmap(lift(with_helper)))(jnp.stack([W, 2 * W]))
    np.testing.assert_allclose(many, [with_helper(W), with_helper(2 * W)], rtol=1e-14)
    forward = jax.jvp(lift(with_loop), (jnp.asarray(W),), (jnp.ones(3),))[1]
    np.testing.assert_allclose(forward, jnp.sum(jax.grad(lift(with_loop))(jnp.asarray(W))), rtol=1e-12)


def test_single_precision_stays_single():
    assert lift(with_helper)(jnp.asarray(W, jnp.float32)).dtype in (jnp.float32, jnp.float64)
    assert jax.grad(lift(closure(2.0)))(jnp.asarray(W, jnp.float32)).dtype == jnp.float32


def test_the_original_is_not_touched():
    model = Model(DATA)
    lift(model.loss)(W)
    assert isinstance(model.last, np.ndarray)  # from the comparison call of the original, not a JAX array
    assert with_helper.__globals__["np"] is np


def test_changed_data_are_seen():
    scale = np.array([1.0])

    def fn(w):
        return np.sum(w) * scale[0]

    lifted = lift(fn)
    assert float(lifted(W)) == pytest.approx(0.8)
    scale[0] = 2.0
    assert float(lifted(W)) == pytest.approx(1.6)


def test_what_is_jax_already_is_returned():
    def fn(w):
        return jnp.sum(w**2)

    assert lift(fn) is fn
    assert lift(lift(with_helper)).function is with_helper
    assert jaxnum.lift is lift


# Refusals -------------------------------------------------------------------------------------------------------------


def writes(w):
    out = np.zeros(3)
    out[0] = w[0]
    return out.sum()


def adds_in_place(w):
    total = np.zeros(3)
    total[1:] += w[1:]
    return total.sum()


def matrix(w):
    return float((np.matrix(w) * np.matrix(w).T)[0, 0])


def special(w):
    return np.sum(scipy.special.erf(w))


def random(w):
    return np.sum(w) + np.random.normal()


def reads(w):
    return np.sum(w) + len(open("numbers.txt").read())


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (writes, "writes into an array in place"),
        (adds_in_place, "writes into an array in place"),
        (matrix, "np.matrix"),
        (special, "SciPy"),
        (random, "draws random numbers"),
        (reads, "reads or writes a file"),
    ],
)
def test_what_cannot_be_retold_is_refused_plainly(fn, words):
    with pytest.raises(LiftError, match=words) as refusal:
        lift(fn)(W)
    assert "\n" not in str(refusal.value)
    assert f"`{fn.__name__}`" in str(refusal.value)


def test_no_function_is_refused():
    with pytest.raises(ValueError, match="Argument `function` must be a function"):
        lift(3.0)


def test_branches_work_where_values_are_known():
    def fn(w):
        return np.sum(w) if w[0] > 0 else np.sum(w**2)

    np.testing.assert_array_equal(jax.grad(lift(fn))(jnp.asarray(W)), np.ones(3))
    with pytest.raises(LiftError, match="branches on a value"):
        jax.jit(lift(fn))(jnp.asarray(W))


def test_a_function_with_memory_is_not_believed():
    calls = itertools.count(1)

    def fn(w):
        return np.sum(w) * next(calls)

    lifted = lift(fn)
    with pytest.raises(LiftError, match="not a pure function"):
        lifted(W)
