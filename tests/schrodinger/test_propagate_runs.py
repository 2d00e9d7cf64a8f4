"""Long runs: stopped, taken up again, watched, and many at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnum
from jaxnum.schrodinger import Cayley, Grid, Periodic, SplitOperator, gaussian_packet, propagate

GRID = Grid(-10.0, 10.0, 65)
PSI0 = gaussian_packet(GRID.x, center=-2.0, momentum=1.0)


def swing(x, t):
    return x**2 / 2 + 0.3 * x * jnp.cos(t)


RUNS = {
    "static": {"potential": GRID.x**2 / 2},
    "moving, nonlinear": {
        "potential": swing,
        "method": SplitOperator(2),
        "boundary": Periodic(),
        "nonlinearity": 0.5,
    },
}


def stop_at(step):
    def progress(done, _total):
        if done >= step:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_stopped_and_taken_up_differs_in_no_bit(name, tmp_path):
    options = {"grid": GRID, "t1": 3.7, "num_steps": 230, "save_every": 50, **RUNS[name]}
    whole = propagate(PSI0, **options)
    watched = propagate(PSI0, **options, progress=lambda *_: None)
    np.testing.assert_array_equal(whole.value, watched.value)

    stopped = propagate(PSI0, **options, progress=stop_at(103))
    assert stopped.status == "interrupted"
    assert 103 <= stopped.num_steps < 230
    with pytest.raises(jaxnum.SolveError, match="interrupted from the keyboard"):
        stopped.unwrap()
    # Rows: 0, 50, 100, and where it stopped.
    assert len(stopped.history.t) == 4
    np.testing.assert_array_equal(stopped.history.psi[-1], stopped.value)
    np.testing.assert_array_equal(stopped.history.psi[:3], whole.history.psi[:3])

    saved = jaxnum.load(stopped.save(tmp_path / "run.npz"))
    rest = propagate(saved.value, **options, first_step=int(saved.num_steps))
    assert rest.ok
    assert rest.num_steps == 230
    np.testing.assert_array_equal(rest.value, whole.value)
    assert rest.history.t[-1] == whole.history.t[-1]
    np.testing.assert_allclose(rest.history.t[0], 3.7 * int(saved.num_steps) / 230, rtol=1e-15)


def test_history_holds_what_is_asked_for():
    options = {"grid": GRID, "t1": 1.0, "num_steps": 23, "potential": None}
    for every, rows in ((None, [0, 23]), (10, [0, 10, 20, 23]), (50, [0, 23])):
        solution = propagate(PSI0, **options, save_every=every)
        np.testing.assert_allclose(solution.history.t, np.array(rows) / 23, rtol=1e-15)
        assert solution.history.psi.shape == (len(rows), 65)


def test_forward_memory_is_that_of_the_rows():
    def temporaries(num_steps, save_every):
        def end(psi0):
            return propagate(psi0, None, GRID, t1=1.0, num_steps=num_steps, save_every=save_every).value

        compiled = jax.jit(end).lower(jax.ShapeDtypeStruct((65,), complex)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(1_000, None) == temporaries(1_000_000, None)


def eliminations(jaxpr):
    """Yield the shapes that come out of every scan that divides, however deep: those are the eliminations."""
    for equation in jaxpr.eqns:
        inner = [getattr(v, "jaxpr", v) for v in jax.tree.leaves(tuple(equation.params.values()), is_leaf=callable)]
        inner = [v for v in inner if hasattr(v, "eqns")]
        for one in inner:
            yield from eliminations(one)
        if equation.primitive.name == "scan" and any(e.primitive.name == "div" for e in inner[0].eqns):
            yield from (v.aval.shape for v in equation.outvars)


def test_a_batch_of_states_shares_one_elimination():
    batch = jnp.stack([PSI0, PSI0 * (1 + 0j), gaussian_packet(GRID.x, center=1.0)])

    def end(psi0):
        return propagate(psi0, GRID.x**2 / 2, GRID, t1=1.0, num_steps=40, method=Cayley(2, 2)).value

    together = jax.vmap(end)(batch)
    for one, psi0 in zip(together, batch, strict=True):
        np.testing.assert_allclose(one, end(psi0), atol=1e-14)
    # A batched elimination would have an axis of 3 more.
    shapes = list(eliminations(jax.make_jaxpr(end)(PSI0).jaxpr))
    assert len(shapes) >= 2
    assert shapes == list(eliminations(jax.make_jaxpr(jax.vmap(end))(batch).jaxpr))
    # And it would be seen: with a potential for each member it is there.
    each = jnp.stack([GRID.x**2 / 2] * 3)

    def end_in(psi0, potential):
        return propagate(psi0, potential, GRID, t1=1.0, num_steps=40, method=Cayley(2, 2)).value

    assert shapes != list(eliminations(jax.make_jaxpr(jax.vmap(end_in))(batch, each).jaxpr))


def test_first_step_out_of_the_run_is_refused():
    with pytest.raises(ValueError, match="Argument `first_step` must be less than `num_steps`, 5, but is 5"):
        propagate(PSI0, None, GRID, t1=1.0, num_steps=5, first_step=5)
