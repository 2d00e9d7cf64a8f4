import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnum import Status
from jaxnum.numerics.descent import Step, descend

CURVATURES = np.array([1.0, 4.0])


def bowl(y, args):
    return jnp.sum(jnp.asarray(CURVATURES, y.dtype) * (y - args) ** 2) / 2


def run(optimizer, y0=(1.0, 1.0), args=0.0, **options):
    return descend(bowl, optimizer, jnp.asarray(y0), args, **{"num_steps": 10} | options)


def test_rows_are_powers():
    solution = run(optax.sgd(0.1), num_steps=10, save_every=4)
    steps = np.array([0, 4, 8, 10])
    exact = (1 - 0.1 * CURVATURES)[None, :] ** steps[:, None]
    np.testing.assert_array_equal(solution.history.step, steps)
    np.testing.assert_allclose(solution.history.y, exact, rtol=1e-14)
    np.testing.assert_allclose(solution.history.value, exact**2 @ CURVATURES / 2, rtol=1e-14)
    np.testing.assert_allclose(solution.history.gradient_norm, np.linalg.norm(CURVATURES * exact, axis=1), rtol=1e-14)
    np.testing.assert_array_equal(solution.residual, solution.history.gradient_norm[-1])
    np.testing.assert_array_equal(solution.value, solution.history.y[-1])
    assert solution.ok
    assert solution.num_steps == 10


@pytest.mark.parametrize("save_every", [1, 7, 120])
def test_chunks_change_no_bit_of_the_way(save_every):
    optimizer = optax.adam(0.1)
    plain = run(optimizer, num_steps=240, save_every=save_every)
    shown = run(optimizer, num_steps=240, save_every=save_every, progress=lambda *_: None)
    np.testing.assert_array_equal(plain.history.y, shown.history.y)
    np.testing.assert_array_equal(plain.value, shown.value)
    # What is only observed is compiled in another neighborhood, where a sum may be fused differently: one ulp.
    for name in ("value", "gradient_norm"):
        np.testing.assert_allclose(plain.history[name], shown.history[name], rtol=1e-15, err_msg=name)


def test_growth_is_diverged():
    solution = run(optax.sgd(0.51), num_steps=3)  # |1 − 0.51·4| = 1.04
    assert solution.status == Status.diverged
    assert solution.num_steps == 3


@pytest.mark.parametrize("save_every", [1, 50])
def test_the_first_step_that_is_not_finite_is_told_even_between_rows(save_every):
    solution = run(optax.sgd(1e100), num_steps=50, save_every=save_every)
    assert solution.status == Status.nonfinite
    # |y| grows by 4e100 a step: the value, y², overflows at row 2 already (1.6e201 squared).
    assert solution.num_steps == 2
    fine = run(optax.sgd(0.1), num_steps=50, save_every=save_every)
    assert fine.ok


def test_a_run_that_comes_back_from_infinity_is_not_ok():
    def fn(y, _args):
        return jnp.where(y > 1.5, jnp.full_like(y, jnp.nan), (y - 1) ** 2)

    # 0 → 1.6, where the value is NaN and so is the slope; NaNs zeroed, the next steps stay; the last value is NaN.
    solution = descend(fn, optax.chain(optax.zero_nans(), optax.sgd(0.8)), jnp.zeros(()), None, num_steps=4)
    assert solution.status == Status.nonfinite
    assert solution.num_steps == 1


def test_a_nan_in_the_middle_is_remembered():
    def fn(y, _args):
        return jnp.where(jnp.abs(y - 2) < 0.5, y * jnp.nan, -y)

    def step(_params):
        def update(_g, count, _p=None):
            return jnp.ones(()), count + 1

        return optax.GradientTransformation(lambda _p: jnp.zeros((), jnp.int32), update)

    solution = descend(fn, step(None), jnp.zeros(()), None, num_steps=5)  # 0, 1, 2 (NaN), 3, 4, 5
    assert np.isfinite(solution.history.value[-1])
    assert solution.status == Status.nonfinite
    assert solution.num_steps == 2


def test_line_searches_get_what_they_need():
    solution = run(optax.lbfgs(), args=jnp.array([0.3, -0.7]), num_steps=12)
    np.testing.assert_allclose(solution.value, [0.3, -0.7], atol=1e-9)


def test_new_arguments_cost_no_compilation():
    traces = []

    def fn(y, args):
        traces.append(None)
        return jnp.sum((y - args) ** 2)

    optimizer = optax.sgd(0.1)
    descend(fn, optimizer, jnp.ones(2), 1.0, num_steps=5)
    before = len(traces)
    descend(fn, optimizer, 3 * jnp.ones(2), 2.0, num_steps=5)
    assert len(traces) == before


def test_derivative_in_the_arguments_is_exact():
    def end(center):
        return run(optimizer, args=center, num_steps=6).value[1]

    optimizer = optax.sgd(0.1)
    exact = 1 - 0.6**6  # y_n = c + (y_0 − c) 0.6ⁿ
    np.testing.assert_allclose(jax.grad(end)(0.4), exact, rtol=1e-14)
    np.testing.assert_allclose(jax.jvp(end, (0.4,), (1.0,))[1], exact, rtol=1e-14)


def test_derivative_in_the_learning_rate_is_exact():
    # The rate is hidden in the closure of the optimizer, and can be differentiated all the same.
    def end(rate):
        return run(optax.sgd(rate), num_steps=6).value[1]

    np.testing.assert_allclose(jax.grad(end)(0.1), 6 * 0.6**5 * -4, rtol=1e-13)


def test_one_step_by_itself():
    step = Step(bowl, optax.sgd(0.25))
    y, _, bad = step((jnp.ones(2), step.optimizer.init(jnp.ones(2)), jnp.int32(-1)), 0.0, jnp.int32(0))
    np.testing.assert_allclose(y, [0.75, 0.0], rtol=1e-15)
    assert bad == -1
    assert step == Step(bowl, step.optimizer)


def test_single_precision_stays():
    solution = run(optax.adam(0.1), y0=np.float32([1, 1]), args=np.float32(0))
    assert {x.dtype for x in (solution.value, solution.residual, solution.history.value)} == {np.dtype(np.float32)}
