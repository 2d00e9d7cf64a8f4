import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum.signals import ConstantEdge, Nearest, OddReflection, Reflect, Wrap
from jaxnum.signals.edges import extend

RULES = {
    "odd": (OddReflection(), dict(mode="reflect", reflect_type="odd")),
    "reflect": (Reflect(), dict(mode="symmetric")),
    "nearest": (Nearest(), dict(mode="edge")),
    "wrap": (Wrap(), dict(mode="wrap")),
    "constant": (ConstantEdge(1.5), dict(mode="constant", constant_values=1.5)),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("n", "reach"), [(7, 3), (7, 6), (5, 23), (2, 9), (1, 4)])
def test_extended_as_numpy_pads(name, n, reach, rng):
    # Also when the kernel reaches over the signal several times.
    edge, options = RULES[name]
    y = rng.normal(size=n)
    wanted = np.full(n + 2 * reach, y[0]) if (name, n) == ("odd", 1) else np.pad(y, reach, **options)
    assert_allclose(extend(jnp.asarray(y), edge, reach), wanted, rtol=0, atol=1e-13)


def test_the_constant_beyond_the_ends_can_be_differentiated():
    slope = jax.jacfwd(lambda c: extend(jnp.ones(3), ConstantEdge(c), 2))(1.5)
    assert_allclose(slope, [1, 1, 0, 0, 0, 1, 1])
