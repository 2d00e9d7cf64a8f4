import os
import subprocess
import sys

SCRIPT = """
import warnings
warnings.simplefilter("error")
import jax.numpy as jnp, numpy as np
from jaxnum import diagnose
from jaxnum.schrodinger import *

grid = Grid(-12.0, 12.0, 193)
assert grid.x.dtype == jnp.float32
start = exact.free_packet(grid.x, 0.0, center=-3.0, momentum=2.0)
assert start.dtype == jnp.complex64
run = propagate(start, None, grid, t1=1.5, num_steps=60)
assert run.value.dtype == jnp.complex64 and run.ok, run
# Numerov errs by dx^4 k^6 t / 480, 1e-4 here. The average and the solve of a factor round by half an eps each, two
# factors a step; the same matrix rounds in the same sense every time, so that 60 steps add up.
assert norm(run.value - exact.free_packet(grid.x, 1.5, center=-3.0, momentum=2.0), grid) < 1e-3
assert run.residual < 60 * 2 * np.finfo(np.float32).eps

energies, states = stationary_states(grid.x**2 / 2, grid, num_states=4, space_order=4)
assert energies.dtype == states.dtype == jnp.float32
np.testing.assert_allclose(energies, np.arange(4) + 0.5, atol=1e-3)
found = ground_state(grid.x[::2] ** 2 / 2, Grid(-12.0, 12.0, 97), nonlinearity=3.1371)
assert found.ok and found.value.dtype == jnp.float32, found
np.testing.assert_allclose(found.history.chemical_potential[-1], 1.5265945, rtol=1e-4)

left, right = cayley_matrices(grid.x**2 / 2, grid, 0.01)
assert diagnose.scheme(left, right, dx=grid.dx, dt=0.01, potential=grid.x**2 / 2).ok
[finding] = diagnose.scheme(right, left, dx=grid.dx, dt=0.01, potential=grid.x**2 / 2).findings
assert finding.code == "swapped"
t = np.linspace(0.0, 1.5, 16)
rows = np.stack([exact.free_packet(grid.x, float(s), center=-3.0, momentum=2.0) for s in t])
found = diagnose.wavefunction(rows, np.asarray(grid.x), t)
assert found.ok, str(found)
assert diagnose.wavefunction(rows.conj(), np.asarray(grid.x), t).findings[0].code == "ehrenfest"
"""


def test_everything_works_while_x64_is_off():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | {"JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
