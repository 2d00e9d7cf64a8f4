from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnum.optimize import adam, landscapes, minimize

# Published baselines of the C++ optimizer tests of PyTorch: a 2-3-1 network, sigmoid on both layers, loss = sum of the
# outputs on three inputs. Order of the numbers: W1 by rows (3, 2), b1 (3), W2 (3), b2. The start was recovered
# from the first row of gradient descent (it is published to four digits only), so that row is no test.
START = np.array(
    [
        -0.2108988568338871,
        -0.4975560466422629,
        -0.14129216202471762,
        -0.3420288967865903,
        -0.2523635082803723,
        0.6975570255493777,
        -0.10853121966252377,
        -0.297948499687533,
        0.6892015099955717,
        -0.05080313011597659,
        -0.39413518751058996,
        -0.28433759745928844,
        -0.07113812430174116,
    ]
)
SGD_1001 = np.array(
    [
        -0.07583232846497831,
        -0.3172360102461862,
        0.06309179259248046,
        -0.06926361352067163,
        -0.07274510848082802,
        0.9392004636935606,
        0.34400386060915455,
        0.38586478679967207,
        1.3094518934419668,
        -1.3272851146877218,
        -1.695273130850265,
        -2.4301754289421593,
        -2.877716472882302,
    ]
)
RMSPROP_1001 = np.array(
    [
        3.0175156205790477,
        2.945200425145326,
        2.291469925522963,
        2.221721702578292,
        1.6544730927621267,
        2.705431441204422,
        3.9190041004420175,
        2.6513176244659378,
        2.993736489599992,
        -4.053111559341913,
        -4.450801801162238,
        -3.027184551913196,
        -2.353949890597345,
    ]
)
ADAM_1 = np.array(
    [
        0.7889791973017408,
        0.5023527440741749,
        0.8586918159203789,
        0.6579591153929213,
        0.747610883848348,
        1.697537897359327,
        0.8914325948147117,
        0.7020467393446147,
        1.6891939505415117,
        -1.0508020464078212,
        -1.3941340315784612,
        -1.2843369730699878,
        -1.0711376814874036,
    ]
)


def network(p):
    inputs = jnp.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    hidden = jax.nn.sigmoid(inputs @ p[:6].reshape(3, 2).T + p[6:9][None, :])
    return jnp.sum(jax.nn.sigmoid(hidden @ p[9:12] + p[12]))


def after(optimizer, num_steps):
    return np.asarray(minimize(network, optimizer, START, num_steps=num_steps, save_every=num_steps).value)


def test_gradient_descent_meets_its_published_baseline():
    np.testing.assert_allclose(after(optax.sgd(0.1), 1001), SGD_1001, rtol=0, atol=1e-13)


def test_rmsprop_meets_its_published_baseline():
    optimizer = optax.rmsprop(0.1, decay=0.99, eps=1e-8, eps_in_sqrt=False)
    np.testing.assert_allclose(after(optimizer, 1001), RMSPROP_1001, rtol=0, atol=1e-13)


def test_eps_hat_meets_its_published_baseline_and_algorithm_1_does_not():
    np.testing.assert_allclose(after(adam(1.0, eps_hat=True), 1), ADAM_1, rtol=0, atol=2e-15)
    # A difference of convention, and its size: the smallest gradients here are 3e-4, not far above ε/√(1−β₂) = 3e-7.
    apart = np.max(np.abs(after(optax.adam(1.0), 1) - ADAM_1))
    np.testing.assert_allclose(apart, 1.2e-4, rtol=0.05)
    np.testing.assert_allclose(after(adam(1.0), 1), after(optax.adam(1.0), 1), rtol=0, atol=1e-15)


def test_equals_optax_over_ten_thousand_steps():
    valley = landscapes.rosenbrock()
    ours, theirs = (minimize(valley.fn, o, valley.y0, num_steps=10_000) for o in (adam(0.003), optax.adam(0.003)))
    # The same operations in the same order. A compiler that contracts a product and a sum in one of the two only would
    # leave a rounding a step, which the valley damps: 1e-16 times the thousand steps it takes to forget.
    np.testing.assert_allclose(ours.history.y, theirs.history.y, rtol=0, atol=1e-13)
    assert ours.ok


PAIRS = {
    "adam": (lambda r, a, b, e: adam(r, a, b, e), lambda r, a, b, e: optax.adam(r, a, b, e)),
    "decay": (
        lambda r, a, b, e: adam(r, a, b, e, weight_decay=0.03),
        lambda r, a, b, e: optax.adamw(r, a, b, e, weight_decay=0.03),
    ),
    "amsgrad": (lambda r, a, b, e: adam(r, a, b, e, amsgrad=True), lambda r, a, b, e: optax.amsgrad(r, a, b, e)),
    "no correction": (
        lambda r, a, b, e: adam(r, a, b, e, amsgrad=True, bias_correction=False),
        lambda r, a, b, e: optax.chain(
            optax.scale_by_amsgrad(a, b, e, bias_correction_mu=False, bias_correction_nu=False), optax.scale(-r)
        ),
    ),
    # The original PyTorch form: maximum of v before its correction, which stands in the rate (counted from 1).
    "maximum first": (
        lambda r, a, b, e: adam(r, a, b, e, amsgrad=True, correct_first=False, eps_hat=True),
        lambda r, a, b, e: optax.chain(
            optax.scale_by_amsgrad(a, b, e, bias_correction_nu=False),
            optax.scale_by_schedule(lambda n: -r * jnp.sqrt(1 - jnp.power(b, n + 1.0))),
        ),
    ),
}


@partial(jax.jit, static_argnames="name")
def both(name, gradients, rate, b1, b2, eps):
    """Steps of ours and of Optax's for the same gradients, and their largest difference in units of the rate."""
    with jax.numpy_dtype_promotion("standard"):
        steps = []
        for make in PAIRS[name]:
            optimizer, y0 = make(rate, b1, b2, eps), jnp.linspace(-1.0, 2.0, gradients.shape[1])

            def body(state, g, optimizer=optimizer, y0=y0):
                step, state = optimizer.update(g, state, y0)
                return state, step

            steps.append(jax.lax.scan(body, optimizer.init(y0), gradients)[1])
    return steps, jnp.max(jnp.abs(steps[0] - steps[1])) / jnp.maximum(rate, jnp.max(jnp.abs(steps[1])))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    scale=st.floats(-8, 4),
    rate=st.floats(1e-4, 1.0),
    b1=st.floats(0.0, 0.99),
    b2=st.floats(0.5, 0.9999),
    eps=st.sampled_from([1e-12, 1e-8, 1e-4]),
)
@pytest.mark.parametrize("name", PAIRS)
def test_equals_optax_on_any_gradients(name, seed, scale, rate, b1, b2, eps):
    gradients = np.random.default_rng(seed).normal(size=(40, 3)) * 10.0**scale
    _, apart = both(name, gradients, rate, b1, b2, eps)
    # The same operations in the same order: equal bit for bit, unless a compiler contracts one of the two otherwise.
    # Where the maximum comes first Optax needs a schedule for it: four roundings apart, of 1e-16 each.
    assert apart < 1e-15, float(apart)


def test_the_two_orders_of_maximum_and_correction_are_far_apart(rng):
    gradients = rng.normal(size=(40, 3))
    first, _ = both("amsgrad", gradients, 0.1, 0.9, 0.999, 1e-8)
    second, _ = both("maximum first", gradients, 0.1, 0.9, 0.999, 1e-8)
    assert np.max(np.abs(first[0] - second[0])) > 0.01


@pytest.mark.parametrize("k", [1, 13])
def test_n_steps_are_k_and_n_minus_k(k, rng):
    optimizer, gradients = adam(0.1, amsgrad=True, weight_decay=0.1), rng.normal(size=(30, 3))

    @partial(jax.jit, static_argnames="n")
    def go(y, state, gradients, n):
        def body(carry, g):
            y, state = carry
            step, state = optimizer.update(g, state, y)
            return (y + step, state), None

        return jax.lax.scan(body, (y, state), gradients, length=n)[0]

    start = jnp.ones(3)
    whole = go(start, optimizer.init(start), gradients, 30)
    parts = go(*go(start, optimizer.init(start), gradients[:k], k), gradients[k:], 30 - k)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


def test_coordinates_do_not_know_their_order(rng):
    gradients, order = rng.normal(size=(20, 5)), np.array([3, 1, 4, 0, 2])
    steps = both("adam", gradients, 0.1, 0.9, 0.999, 1e-8)[0][0]
    np.testing.assert_array_equal(both("adam", gradients[:, order], 0.1, 0.9, 0.999, 1e-8)[0][0], steps[:, order])


def test_equals_plain_numpy():
    def gradient(x):
        return np.array([2 * (x[0] - 1) - 400 * x[0] * (x[1] - x[0] ** 2), 200 * (x[1] - x[0] ** 2)])

    x, m, v = np.array([-1.2, 1.0]), np.zeros(2), np.zeros(2)
    for t in range(1, 101):
        g = gradient(x)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - 0.02 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    valley = landscapes.rosenbrock()
    np.testing.assert_allclose(minimize(valley.fn, adam(0.02), valley.y0, num_steps=100).value, x, rtol=1e-13)


def test_eps_hat_is_algorithm_1_with_an_eps_that_shrinks(rng):
    gradients = rng.normal(size=(20, 4)) * 1e-7
    hat = adam(1.0, eps=1e-8, eps_hat=True)
    state = hat.init(jnp.zeros(4))
    for t, g in enumerate(gradients, 1):
        first = adam(1.0, eps=1e-8 / np.sqrt(1 - 0.999**t))
        expected, _ = first.update(jnp.asarray(g), state)
        step, state = hat.update(jnp.asarray(g), state)
        np.testing.assert_allclose(step, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("options", "gradient", "length"),
    [
        ({}, 1e-6, 1 / 1.01),
        ({"eps_hat": True}, 1e-6, 1 / (1 + 0.01 / np.sqrt(0.001))),
        ({"bias_correction": False}, 1.0, 0.1 / (np.sqrt(0.001) + 1e-8)),
    ],
)
def test_first_step(options, gradient, length):
    optimizer = adam(1.0, **options)
    step, _ = optimizer.update(jnp.array([gradient]), optimizer.init(jnp.zeros(1)))
    np.testing.assert_allclose(step, -length, rtol=1e-12)  # 1 − 0.999 cancels three digits


def test_steps_do_not_know_the_scale_of_the_loss(rng):
    optimizer = adam(0.1, eps=0.0)
    a = b = optimizer.init(jnp.zeros(3))
    for g in rng.normal(size=(30, 3)):
        step, a = optimizer.update(jnp.asarray(g), a)
        scaled, b = optimizer.update(jnp.asarray(1e4 * g), b)
        np.testing.assert_allclose(step, scaled, rtol=1e-14)
        assert np.max(np.abs(step)) < 0.1 * 1.0001 * (1 / np.sqrt(0.001)) * 0.1  # η (1−β₁)/√(1−β₂), never more


def test_amsgrad_example_of_reddi_kale_and_kumar():
    # On [−1, 1] the mean of the slopes is positive, so −1 is best; Adam forgets the one large slope and climbs to +1.
    def end(optimizer):
        def body(carry, t):
            x, state = carry
            slope = jnp.where(t % 101 == 1, 1010.0, -10.0)
            step, state = optimizer.update(slope, state, x)
            return (jnp.clip(x + step, -1.0, 1.0), state), None

        start = jnp.zeros(())
        (x, _), _ = jax.lax.scan(body, (start, optimizer.init(start)), jnp.arange(1, 300_001))
        return float(x)

    def rate(count):
        return 0.5 / jnp.sqrt(count.astype(float) + 1.0)

    assert end(adam(rate, b2=0.99)) > 0.99
    with jax.numpy_dtype_promotion("standard"):
        assert end(optax.amsgrad(rate, b2=0.99)) < 0.0


def test_derivative_through_adam_also_at_a_vanishing_gradient():
    # The second coordinate starts at rest in the minimum: g = 0, v = 0, where a plain root would give NaN.
    def last(rate):
        return minimize(bowl.fn, adam(rate), jnp.array([1.0, 0.0]), num_steps=20).history.value[-1]

    bowl = landscapes.quadratic((1.0, 10.0))
    slope = jax.grad(last)(0.05)
    np.testing.assert_allclose(slope, (last(0.05 + 1e-6) - last(0.05 - 1e-6)) / 2e-6, rtol=1e-7)
    np.testing.assert_allclose(jax.jvp(last, (0.05,), (1.0,))[1], slope, rtol=1e-10)


def test_trees_are_flat_vectors_in_disguise(rng):
    g = rng.normal(size=5)
    flat, tree = jnp.asarray(g), {"a": jnp.asarray(g[:2]), "b": (jnp.asarray(g[2:]),)}
    optimizer = adam(0.1)
    one, _ = optimizer.update(flat, optimizer.init(flat))
    many, _ = optimizer.update(tree, optimizer.init(tree))
    np.testing.assert_array_equal(one, np.concatenate([many["a"], many["b"][0]]))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_lower_precision_stays_and_steps_right(dtype):
    optimizer = adam(0.1)
    g = jnp.array([1.0, -2.0], dtype)
    step, state = optimizer.update(g, optimizer.init(g))
    assert step.dtype == state.mean.dtype == state.square.dtype == dtype
    np.testing.assert_allclose(step.astype(jnp.float32), [-0.1, 0.1], rtol=8 * float(jnp.finfo(dtype).eps) + 1e-4)


def test_no_new_compilation_for_a_new_rate():
    traces = []

    @jax.jit
    def step(rate, g):
        traces.append(None)
        optimizer = adam(rate)
        return optimizer.update(g, optimizer.init(g))[0]

    step(0.1, jnp.ones(2)), step(0.2, jnp.ones(2))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        ((-0.1,), {}, "learning_rate"),
        ((np.nan,), {}, "learning_rate"),
        (("0.1",), {}, "learning_rate"),
        ((None,), {}, "learning_rate"),
        ((0.1, 1.0), {}, "b1"),
        ((0.1, 0.9, -0.1), {}, "b2"),
        ((0.1, 0.9, 0.999, -1e-8), {}, "eps"),
        ((0.1,), {"eps_hat": 1}, "eps_hat"),
        ((0.1,), {"bias_correction": "no"}, "bias_correction"),
        ((0.1,), {"amsgrad": None}, "amsgrad"),
        ((0.1,), {"correct_first": 0}, "correct_first"),
        ((0.1,), {"weight_decay": -0.1}, "weight_decay"),
    ],
)
def test_bad_arguments_are_named(arguments, options, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        adam(*arguments, **options)
