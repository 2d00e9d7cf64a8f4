"""Two thousand runs, interrupted halfway: finished chunks are kept in a folder, and the same call goes on.

python examples/sweep.py
"""

import tempfile

import jax.numpy as jnp
import optax

import jaxnum
from jaxnum import ensemble, optimize


def run(p):
    """Follow momentum down a bent valley; pure, so that it can be compiled once and run anywhere."""
    valley = optimize.landscapes.rosenbrock(1.0, 2.0)
    optimizer = optax.sgd(p["learning_rate"], momentum=p["momentum"])
    return optimize.minimize(valley.fn, optimizer, jnp.array([3.0, 3.0]), num_steps=100, save_every=100)


class Interruption(Exception):
    """Somebody pulls the plug."""


def interrupt(done, total):
    """Pull it halfway."""
    if done > total // 2:
        raise Interruption(f"stopped after {done} of {total} members")


def main():
    """Start a sweep, be interrupted, finish it, and say what came of it."""
    jaxnum.enable_x64()
    folder = tempfile.mkdtemp()
    axes = ensemble.grid(learning_rate=jnp.geomspace(1e-3, 0.1, 64), momentum=jnp.linspace(0.0, 0.99, 32))
    try:
        ensemble.sweep(run, axes, chunk_size=256, directory=folder, progress=interrupt)
    except Interruption as interruption:
        print(interruption)
    solution = ensemble.sweep(run, axes, chunk_size=256, directory=folder)
    print(ensemble.outcomes(solution))
    values = jaxnum.load(folder).history.value[..., -1]
    best = jnp.unravel_index(jnp.nanargmin(values), values.shape)
    rate, momentum = (float(v[i]) for v, i in zip(solution.history.parameters.values(), best, strict=True))
    print(f"lowest value {values[best]:.2e} at learning rate {rate:.4f}, momentum {momentum:.3f}")
    return solution


if __name__ == "__main__":
    main()
