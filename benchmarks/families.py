"""One workload for each family, of the size that people sweep: what `gpu.py` and `scaling.py` run many of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnum import jupiter, networks, optimize
from jaxnum import schrodinger as qm

XOR_X = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
XOR_Y = np.array([[0.0], [1.0], [1.0], [0.0]])


@dataclass(frozen=True)
class Workload:
    """A function of one member, and what a member is."""

    fn: Callable[[Any], Any]
    what: str
    parameters: Callable[[int, Any], Any]


def transmitted(p):
    """Probability that a packet gets through a barrier."""
    dtype = p["height"].dtype
    grid = qm.Grid(-60.0, 60.0, 1024)
    x = grid.x.astype(dtype)
    psi0 = qm.gaussian_packet(x, center=-20.0, sigma=3.0, momentum=2.0)
    barrier = p["height"] * jnp.exp(-(x**2))
    end = qm.propagate(psi0, barrier, grid, t1=20.0, num_steps=200, method=qm.Cayley(2, 2))
    return qm.probability(end.value, grid, 0.0, 60.0)


def descended(p):
    """Value that momentum reaches on the bent valley."""
    valley = optimize.landscapes.rosenbrock(1.0, 2.0)
    y0 = jnp.asarray([3.0, 3.0], p["rate"].dtype)
    run = optimize.minimize(valley.fn, optax.sgd(p["rate"], momentum=p["beta"]), y0, num_steps=1000, save_every=1000)
    return run.history.value[-1]


def trained(p):
    """Loss of a small network after training."""
    dtype = p["rate"].dtype
    model = networks.perceptron((3, 4, 1), final_activation=jax.nn.sigmoid, key=p["key"])
    model = jax.tree.map(lambda w: w.astype(dtype) if hasattr(w, "astype") else w, model)
    x, y = jnp.asarray(XOR_X, dtype), jnp.asarray(XOR_Y, dtype)
    run = networks.train(model, optax.sgd(p["rate"]), x, y, num_steps=1000, save_every=1000)
    return run.history.value[-1]


def coupled(p):
    """Peak current of a magnetosphere with precipitation feedback."""
    system = jupiter.System(jupiter.JUPITER.field_strength, jupiter.JUPITER.radius, jupiter.JUPITER.spin, p["loading"])
    tol = 1e-6 if p["outer"].dtype == jnp.float64 else 1e-4  # single precision holds no more
    outer = jupiter.CurrentDensity(p["outer"])
    solution = jupiter.coupled(system, jupiter.Dipole(), jupiter.SmoothRamp(), outer=outer, tol=tol)
    return {"peak": jnp.max(solution.history.current), "status": solution.status}


WORKLOADS = {
    "propagate": Workload(
        transmitted, "1024 points, 200 Cayley steps", lambda n, dtype: {"height": np.linspace(0.5, 3.0, n, dtype=dtype)}
    ),
    "minimize": Workload(
        descended,
        "2 parameters, 1000 steps",
        lambda n, dtype: {
            "rate": np.geomspace(1e-4, 1e-2, n, dtype=dtype),
            "beta": np.linspace(0, 0.9, n, dtype=dtype),
        },
    ),
    "train": Workload(
        trained,
        "3-4-1 network, 1000 steps",
        lambda n, dtype: {"rate": np.full(n, 0.5, dtype), "key": jax.random.split(jax.random.key(0), n)},
    ),
    "coupled": Workload(
        coupled,
        "96 nodes, Newton",
        lambda n, dtype: {
            "loading": np.linspace(500.0, 2000.0, n, dtype=dtype),
            "outer": np.full(n, -1e-10, dtype),
        },
    ),
}
