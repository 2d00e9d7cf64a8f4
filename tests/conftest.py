import os

os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key(request):
    """A PRNG key that differs per test but never between runs."""
    return jax.random.key(sum(request.node.nodeid.encode()))


@pytest.fixture
def rng(request):
    """A NumPy generator that differs per test but never between runs."""
    return np.random.default_rng(sum(request.node.nodeid.encode()))
