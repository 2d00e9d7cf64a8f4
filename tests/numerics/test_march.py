from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum.numerics.march import march, saved_steps

TRACES = []


def rotate(state, args, _n):
    """One step of a logistic map and a rotation: every bit of the past matters to the end."""
    TRACES.append(None)
    x, z = state
    return args["r"] * x * (1 - x), z * jnp.exp(0.3 * args["r"])


def watch(state, _args):
    return {"x": state[0], "z": state[1]}


def count(state, _args, n):
    return state + n.astype(state.dtype)


def look(state, _args):
    return state


START = (np.float64(0.3), np.float64(1e-3))
ARGS = {"r": 3.9}


def start():
    return jax.tree.map(jnp.asarray, START)


# Rows that divide the steps, rows that do not, one row at the end, a row every step, more rows than chunks of progress.
@pytest.mark.parametrize(("num_steps", "save_every"), [(12, 4), (13, 4), (7, None), (250, 1), (250, 100), (3, 50)])
def test_progress_changes_no_bit(num_steps, save_every):
    seen = []
    (x, z), rows = march(rotate, watch, start(), ARGS, num_steps=num_steps, save_every=save_every)
    (x2, z2), rows2 = march(
        rotate,
        watch,
        start(),
        ARGS,
        num_steps=num_steps,
        save_every=save_every,
        progress=lambda done, total: seen.append((done, total)),
    )
    np.testing.assert_array_equal([x, z], [x2, z2])
    np.testing.assert_array_equal(rows["x"], rows2["x"])
    np.testing.assert_array_equal(rows["z"], rows2["z"])
    done = [d for d, _ in seen]
    assert done[0] == 0
    assert done[-1] == num_steps
    assert done == sorted(done), done
    assert {total for _, total in seen} == {num_steps}


@pytest.mark.parametrize(("num_steps", "save_every"), [(10, 3), (10, 5), (4, None), (2, 9), (6, 1)])
def test_rows_stand_at_the_steps_they_claim(num_steps, save_every):
    steps = saved_steps(num_steps, save_every)
    assert steps[0] == 0
    assert steps[-1] == num_steps
    last, rows = march(count, look, jnp.zeros(()), None, num_steps=num_steps, save_every=save_every)
    np.testing.assert_array_equal(rows, steps * (steps - 1) / 2)  # 0 + 1 + ... + (n − 1)
    assert last == rows[-1]


def test_steps_are_numbered_across_chunks():
    _, rows = march(count, look, jnp.zeros(()), None, num_steps=230, save_every=1, progress=lambda *_: None)
    n = np.arange(231)
    np.testing.assert_array_equal(rows, n * (n - 1) / 2)


def test_new_arguments_and_states_cost_no_compilation():
    march(rotate, watch, start(), {"r": 3.7}, num_steps=21, save_every=7)
    before = len(TRACES)
    for r in (3.71, 3.72):
        march(rotate, watch, jax.tree.map(lambda x: x * 1.1, start()), {"r": r}, num_steps=21, save_every=7)
    assert len(TRACES) == before


@dataclass(frozen=True)
class Shift:
    """Equal records are equal steps."""

    by: float

    def __call__(self, state, _args, _n):
        TRACES.append(None)
        return state + self.by


def test_equal_records_share_one_compilation():
    march(Shift(1.5), look, jnp.zeros(2), None, num_steps=4)
    before = len(TRACES)
    last, _ = march(Shift(1.5), look, jnp.zeros(2), None, num_steps=4)
    assert len(TRACES) == before
    np.testing.assert_array_equal(last, 6.0)
    last, _ = march(Shift(2.5), look, jnp.zeros(2), None, num_steps=4)
    np.testing.assert_array_equal(last, 10.0)


def test_derivative_through_the_march_is_exact():
    def end(r):
        return march(rotate, watch, start(), {"r": r}, num_steps=9, save_every=4)[0][0]

    def by_hand(r, x=0.3):
        for _ in range(9):
            x = r * x * (1 - x)
        return x

    slope = jax.grad(end)(2.5)
    np.testing.assert_allclose(jax.jvp(end, (2.5,), (1.0,))[1], slope, rtol=1e-12)
    np.testing.assert_allclose(slope, (by_hand(2.5 + 1e-6) - by_hand(2.5 - 1e-6)) / 2e-6, rtol=1e-8)


def test_batches_march_side_by_side():
    ends = jax.vmap(lambda r: march(rotate, watch, start(), {"r": r}, num_steps=5)[0][0])(jnp.array([2.0, 3.0]))
    for r, end in zip((2.0, 3.0), ends, strict=True):
        np.testing.assert_allclose(march(rotate, watch, start(), {"r": r}, num_steps=5)[0][0], end, rtol=1e-15)


def test_the_bar_is_closed_when_a_step_fails():
    class Stop(Exception):
        pass

    def interrupt(done, _total):
        if done:
            raise Stop

    with pytest.raises(Stop):
        march(count, look, jnp.zeros(()), None, num_steps=300, progress=interrupt)
    # What was interrupted can be taken up again: nothing is left behind.
    last, _ = march(count, look, jnp.zeros(()), None, num_steps=300, progress=True)
    assert last == 300 * 299 / 2


def test_single_precision_stays():
    last, rows = march(count, look, jnp.zeros(3, jnp.float32), None, num_steps=5, save_every=2)
    assert last.dtype == rows.dtype == jnp.float32
