import gc
import os
from importlib.metadata import version

os.environ.setdefault("MPLBACKEND", "Agg")
# Most programs of the suite run once, and compiling them well takes longer than running them badly. Set to 0 the suite
# tests what users run; the second run of .ci/run does.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1" and version("jaxlib").startswith("0.10."):
    # The older way to write a kernel compiles in half of the time; later versions do not know the flag, and stop at it.
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"

import jax
import numpy as np
import pytest

# A trace makes much that is soon gone: garbage is looked for less often.
gc.set_threshold(50_000, 20, 50)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Drop the compiled programs of a file when it is done.

    Each program holds several maps of memory, and a process may hold 65 530: a worker that keeps all of them dies.
    """
    yield
    jax.clear_caches()


@pytest.fixture
def key(request):
    """A PRNG key that differs per test but never between runs."""
    return jax.random.key(sum(request.node.nodeid.encode()))


@pytest.fixture
def rng(request):
    """A NumPy generator that differs per test but never between runs."""
    return np.random.default_rng(sum(request.node.nodeid.encode()))
