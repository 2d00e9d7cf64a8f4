"""One process of a test: sweeps against Python loops, on as many devices and processes as it is told.

python tests/ensemble/worker.py WHAT [RANK NUM PORT]       the number of devices is in JAX_NUM_CPU_DEVICES
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnum
from jaxnum import ensemble, jupiter, networks, optimize
from jaxnum import schrodinger as qm
from jaxnum.ensemble import devices
from jaxnum.ensemble.members import as_members

GRID = qm.Grid(-8.0, 8.0, 33)
X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])


def formula(p):
    return {"wave": jnp.exp(jax.lax.complex(-p["b"], p["a"])), "root": jnp.sqrt(p["a"] + jnp.arange(3.0))}


def propagated(p):
    psi0 = qm.gaussian_packet(GRID.x, momentum=p["a"])
    return qm.propagate(psi0, p["b"] * GRID.x**2, GRID, t1=0.5, num_steps=8)


def minimized(p):
    valley = optimize.landscapes.rosenbrock(1.0, 2.0)
    return optimize.minimize(valley.fn, optax.adam(0.1 * p["a"]), valley.y0, num_steps=8)


def trained(p):
    model = networks.perceptron((2, 3, 1), key=p["key"])
    return networks.train(model, optax.sgd(0.1 * p["a"]), X, Y, num_steps=8).history.value


def rotated(p):
    return jupiter.corotation(jupiter.JUPITER, jupiter.Dipole(), 0.1 * p["a"], num_points=9)


def coupled(p):
    outer = jupiter.CurrentDensity(-1e-10 * p["a"])
    law = jupiter.SmoothRamp()
    return jupiter.coupled(jupiter.JUPITER, jupiter.Dipole(), law, outer=outer, num_points=9)


def solved(p):
    """Call LAPACK and the FFT again and again, as many devices at once must not."""
    matrix = jnp.eye(60) * 3 + jnp.cos(p["b"] + jnp.arange(3600.0).reshape(60, 60))
    one = lambda _, x: jnp.linalg.solve(matrix * (1 + 1e-3 * x[0]), jnp.fft.ifft(jnp.fft.fft(x) * 0.5).real + 1.0)  # noqa: E731
    return jax.lax.fori_loop(0, 100, one, jnp.ones(60) * p["a"])


def several(p):
    """Call them with a batch."""
    return jax.vmap(lambda b: solved({"a": p["a"], "b": b}))(p["b"] + jnp.arange(4.0))


VERBS = {
    "formula": formula,
    "propagate": propagated,
    "minimize": minimized,
    "train": trained,
    "corotation": rotated,
    "coupled": coupled,
}


def parameters(num):
    keys = jax.random.split(jax.random.key(5), num)
    return {"a": np.linspace(0.3, 2.0, num), "b": np.linspace(0.0, 1.0, num), "key": keys}


def distance(ours, theirs):
    """Return the largest difference of two trees relative to the largest number in each of their arrays."""
    worst = 0.0
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, (a.shape, b.shape)
        if a.dtype.kind in "fc":
            worst = max(worst, np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))
        else:
            assert (a == b).all()
    return float(worst)


def loop(fn, given):
    """Return the results of a plain Python loop, stacked."""
    fn, num = jax.jit(fn), len(given["a"])
    members = [fn(jax.tree.map(lambda x, i=i: x[i], given)) for i in range(num)]
    parts = [m.value if isinstance(m, jaxnum.Solution) else m for m in members]
    return jax.tree.map(lambda *xs: np.stack(xs), *parts)


def compare(name, num, chunk_size=None, **options):
    given = parameters(num)
    solution = ensemble.sweep(VERBS[name], given, chunk_size=chunk_size, **options)
    return distance(solution.value, loop(VERBS[name], given))


def main(what, *process):
    if process:
        rank, count, port = map(int, process)
        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=count, process_id=rank)
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if "sizes" in what and not process:
        # Fewer members than devices, as many, a remainder, several chunks with and without one.
        for num, chunk in ((1, None), (3, 2), (8, None), (13, None), (13, 4), (16, 8), (17, 16)):
            print("formula", compare("formula", num, chunk))
        given = parameters(64)
        print("solved", distance(ensemble.sweep(solved, given).value, loop(solved, given)))
        print("several", distance(ensemble.sweep(several, given).value, loop(several, given)))
    if "verbs" in what and not process:
        for name in VERBS:
            print(name, compare(name, 5, 4))
        # On a processor those that call LAPACK or the FFT take one device, all others all.
        members, mesh = as_members(parameters(2)), devices.as_mesh(None)
        for name, fn in (VERBS | {"solved": solved, "several": several}).items():
            program, _ = sys.modules[ensemble.sweep.__module__]._look(fn, members, mesh)
            assert devices.has_calls(program, mesh) == (name in ("coupled", "solved", "several")), name
    if process:
        print(compare("formula", 13, 4, directory=what))
        if jax.process_index() == 0:  # as if it had been killed before this chunk
            (Path(what) / "chunk-000000000004-000000000008.npz").unlink()
        print(compare("formula", 13, 4, directory=what))
        print(compare("propagate", 5, 4))
        print(compare("coupled", 5, 4))
        try:
            compare("formula", 12, 4, directory=what)
        except (ValueError, RuntimeError) as error:
            print(type(error).__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
