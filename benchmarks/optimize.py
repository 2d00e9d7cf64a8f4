"""Adam on Rosenbrock: one compiled scan against a PyTorch loop and a NumPy loop of the same rule; a map of many runs.

Times are those of the fastest of several warm calls; the first call, which traces and compiles, stands apart. The last
column is the distance of the end from NumPy's: rounding, until Adam has arrived. From there on it jitters on the scale
of its learning rate, because v forgets and ε is small, and rounding decides where it is caught.

python benchmarks/optimize.py [--x32]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from stopwatch import stopwatch

import jaxnum
from jaxnum import optimize

try:
    import torch
except ImportError:
    torch = None


def numpy_adam(y, num_steps, rate, b1=0.9, b2=0.999, eps=1e-8):
    y, m, v = np.array(y, np.float64), np.zeros(2), np.zeros(2)
    for t in range(1, num_steps + 1):
        bend = y[1] - y[0] ** 2
        g = np.array([2 * (y[0] - 1) - 400 * y[0] * bend, 200 * bend])
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        y = y - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    return y


def torch_adam(y, num_steps, rate):
    """The usual loop: zero_grad, forward, backward, step."""
    p = torch.tensor(np.array(y), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([p], lr=rate)
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
        loss.backward()
        optimizer.step()
    return p.detach().numpy()


def steps(valley, rate):
    print(f"{'steps':>8}  {'who':<24}  {'first s':>8}  {'best s':>9}  {'us/step':>8}  {'off from NumPy':>14}")
    per_step = {}
    for num_steps in (1_000, 10_000, 100_000):
        truth = numpy_adam(valley.y0, num_steps, rate)
        rows = {"NumPy loop": lambda n=num_steps: numpy_adam(valley.y0, n, rate)}
        if torch is not None and num_steps == 1_000:
            rows["PyTorch loop"] = lambda n=num_steps: torch_adam(valley.y0, n, rate)
        for name, optimizer in {"jaxnum adam": optimize.adam(rate), "optax adam": optax.adam(rate)}.items():
            for every in (1, num_steps):
                rows[f"{name}, rows {num_steps // every + 1}"] = lambda o=optimizer, e=every, n=num_steps: (
                    optimize.minimize(valley.fn, o, valley.y0, num_steps=n, save_every=e).value
                )
        for name, fn in rows.items():
            timing = stopwatch(fn, repeats=2 if "loop" in name else 5)
            error = 0.0 if name == "NumPy loop" else np.max(np.abs(np.asarray(fn()) - truth))
            per_step[name] = 1e6 * timing.best / num_steps
            numbers = f"{timing.first:8.3f}  {timing.best:9.5f}  {per_step[name]:8.3f}  {error:14.1e}"
            print(f"{num_steps:>8}  {name:<24}  {numbers}")
    ours = per_step["jaxnum adam, rows 2"]
    print(f"\nper step, jaxnum without rows against the NumPy loop: {per_step['NumPy loop'] / ours:.0f} times faster")
    if torch is None:
        print("PyTorch is not installed here: no comparison (pip install torch)")
    else:
        ratio = per_step["PyTorch loop"] / ours
        print(
            f"per step, jaxnum without rows against the loop of PyTorch {torch.__version__}: {ratio:.0f} times faster"
        )
    return per_step


def trace_once(valley):
    """Count how often the optimizer is traced while its learning rate changes."""
    traces = []

    def make(rate):
        traces.append(None)
        return optax.adam(rate)

    for rate in (0.1, 0.2, 0.3, 0.4):
        optimize.learning_rate_map(valley.fn, make, valley.y0, [rate], num_steps=10)
    assert len(traces) == 1, traces
    print(f"four learning rates, {len(traces)} trace")


def maps(valley, per_step):
    """256 × 256 runs of 1000 steps in one call, and the same runs in loops, extrapolated from one run."""
    n, num_steps = 256, 1000
    rates, betas = jnp.geomspace(1e-5, 1e-2, n), jnp.linspace(0.0, 0.99, n)

    def heavy_ball(rate, beta):
        return optax.sgd(rate, momentum=beta)

    timing = stopwatch(
        lambda: optimize.learning_rate_map(valley.fn, heavy_ball, valley.y0, rates, betas, num_steps=num_steps),
        repeats=2,
    )
    runs = n * n * num_steps
    print(f"\nmap of {n} x {n} runs of {num_steps} steps in one call:")
    print(f"  first {timing.first:.3f} s, best {timing.best:.3f} s, {1e9 * timing.best / runs:.2f} ns a step and run")
    for name in ("NumPy loop", "PyTorch loop"):
        if name in per_step:
            seconds = 1e-6 * per_step[name] * runs
            print(
                f"  the same {n * n} runs in a {name}, EXTRAPOLATED from {per_step[name]:.1f} us a step (of Adam): "
                f"{seconds:.0f} s, {seconds / timing.best:.0f} times as long"
            )


def main():
    if "--x32" not in sys.argv:
        jaxnum.enable_x64()
    valley, rate = optimize.landscapes.rosenbrock(), 0.003
    device = jax.devices()[0]
    print(f"{device.platform} {device.device_kind}, {valley.y0.dtype}, JAX {jax.__version__}")
    per_step = steps(valley, rate)
    trace_once(valley)
    maps(valley, per_step)


if __name__ == "__main__":
    main()
