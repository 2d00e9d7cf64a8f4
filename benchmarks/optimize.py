"""Adam on Rosenbrock: one compiled scan against a plain NumPy loop of the same rule, and a map against its runs.

The last column is the distance of the end from NumPy's: rounding, until Adam has arrived. From there on it jitters on
the scale of its learning rate, because v forgets and ε is small, and rounding decides where it is caught; Optax against
NumPy shows the same.

python benchmarks/optimize.py [--x32]
"""

import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnum
from jaxnum import optimize


class Timing(NamedTuple):
    """Seconds of the first call (trace, compile, run) and of the fastest warm one."""

    first: float
    best: float


def stopwatch(fn, repeats=5):
    def once():
        start = time.perf_counter()
        jax.block_until_ready(fn())
        return time.perf_counter() - start

    return Timing(once(), min(once() for _ in range(repeats)))


def numpy_adam(y, num_steps, rate, b1=0.9, b2=0.999, eps=1e-8):
    y, m, v = np.array(y, np.float64), np.zeros(2), np.zeros(2)
    for t in range(1, num_steps + 1):
        bend = y[1] - y[0] ** 2
        g = np.array([2 * (y[0] - 1) - 400 * y[0] * bend, 200 * bend])
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        y = y - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    return y


def main():
    if "--x32" not in sys.argv:
        jaxnum.enable_x64()
    valley, rate = optimize.landscapes.rosenbrock(), 0.003
    device = jax.devices()[0]
    print(f"{device.platform} {device.device_kind}, {valley.y0.dtype}, JAX {jax.__version__}")
    print(f"{'steps':>8}  {'who':<24}  {'first s':>8}  {'best s':>9}  {'us/step':>8}  {'off from NumPy':>14}")
    for num_steps in (1_000, 10_000, 100_000):
        truth = numpy_adam(valley.y0, num_steps, rate)
        rows = {"NumPy loop": lambda n=num_steps: numpy_adam(valley.y0, n, rate)}
        for name, optimizer in {"jaxnum adam": optimize.adam(rate), "optax adam": optax.adam(rate)}.items():
            for every in (1, num_steps):
                rows[f"{name}, rows {num_steps // every + 1}"] = lambda o=optimizer, e=every, n=num_steps: (
                    optimize.minimize(valley.fn, o, valley.y0, num_steps=n, save_every=e).value
                )
        for name, fn in rows.items():
            timing = stopwatch(fn, 3 if "NumPy" in name else 5)
            error = np.max(np.abs(np.asarray(fn()) - truth))
            per_step = 1e6 * timing.best / num_steps
            print(
                f"{num_steps:>8}  {name:<24}  {timing.first:8.3f}  {timing.best:9.5f}  {per_step:8.3f}  {error:14.1e}"
            )

    rates = jnp.geomspace(1e-4, 1e-1, 65_536)
    timing = stopwatch(lambda: optimize.learning_rate_map(valley.fn, optax.adam, valley.y0, rates, num_steps=100))
    print(f"map of {rates.size} runs of 100 steps: first {timing.first:.3f} s, best {timing.best:.4f} s,")
    print(f"  {1e9 * timing.best / (100 * rates.size):.2f} ns a step and run")


if __name__ == "__main__":
    main()
