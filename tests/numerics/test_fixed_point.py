import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum.numerics.fixed_point import Anderson, anderson_start, anderson_step


def accelerated(method, update, x, num_passes):
    """Return the residual norm before each pass."""

    @jax.jit
    def run(x):
        def body(carry, count):
            x, state = carry
            mapped = update(x)
            following, state = anderson_step(method, state, x, mapped, count)
            return (following, state), jnp.linalg.norm(mapped - x)

        return jax.lax.scan(body, (x, anderson_start(method, x)), jnp.arange(num_passes))[1]

    return np.asarray(run(x))


def test_linear_contraction_ends_after_as_many_passes_as_it_has_rates():
    # Three distinct rates: a minimal polynomial of degree 3, so Anderson is done after 3 + 2 passes, like GMRES.
    rates = jnp.array([0.9, 0.9, -0.5, 0.99, 0.99])
    norms = accelerated(Anderson(4, ridge=1e-15), lambda x: rates * x + 1.0, jnp.arange(5.0), 7)
    plain = float(jnp.linalg.norm((rates - 1) * rates**6 * (jnp.arange(5.0) - 1 / (1 - rates))))
    assert norms[6] < 1e-6 * norms[0], norms
    assert plain > 0.1 * norms[0]


def test_memory_is_a_ring_and_the_first_pass_is_plain():
    method = Anderson(2)
    x = jnp.array([1.0, 2.0])
    following, state = anderson_step(method, anderson_start(method, x), x, x + 3.0, jnp.int32(0))
    assert_allclose(following, x + 3.0)
    assert_allclose(state.changes, 0.0)
    # A slow nonlinear contraction, longer than the memory: 0.97 per pass, plainly.
    norms = accelerated(method, lambda x: x + 0.03 * (jnp.cos(x) - x), jnp.linspace(0.0, 1.0, 9), 40)
    assert norms[-1] < 1e-4 * 0.97**40 * norms[0], norms


def test_a_fixed_point_stays_where_it_is():
    norms = accelerated(Anderson(3), lambda x: 0.5 * x, jnp.zeros(4), 6)
    assert_allclose(norms, 0.0)


@pytest.mark.parametrize("kwargs", [{"memory": 0}, {"memory": 2.5}, {"ridge": -1.0}, {"ridge": np.nan}])
def test_nonsense_is_refused(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        Anderson(**kwargs)
