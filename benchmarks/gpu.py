"""Every device-bound path in one call: rates, the share of the copy bandwidth, gradients, and compile time apart.

The copy bandwidth is measured first: reading and writing an array that is far larger than any cache. A Cayley step must
at least read and write the wave function, so two complex numbers per point and step is the traffic no program can go
below; `of copy` is that traffic against the copy. `first` holds tracing and compiling, `best` is the fastest warm call.
Arrays are made on the device; every result is waited for.

python benchmarks/gpu.py [--small] [--json FILE]          small sizes are the default where there is no GPU
"""

import json
import platform
import sys
from datetime import date
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from families import WORKLOADS, XOR_X, XOR_Y
from stopwatch import stopwatch

import jaxnum
from jaxnum import networks, optimize
from jaxnum import schrodinger as qm

STEPS = 20  # Cayley steps in a call: enough to hide the launch of the call, too few to take minutes


def copy_bandwidth(num_bytes):
    """Return the bytes per second that a copy moves, reading and writing counted."""
    x = jnp.ones(num_bytes // 4, jnp.float32)
    copy = jax.jit(lambda x: x + 1)  # a plain copy could be optimized away
    return 2 * x.nbytes / stopwatch(copy, x, repeats=10).best


def cayley(num_states, num_points, dtype):
    """Return a function of momenta that takes the Cayley steps of many states on one grid."""
    complex_dtype = np.result_type(dtype, np.complex64)
    grid = qm.Grid(-100.0, 100.0, num_points)

    def one(momentum):
        x = grid.x.astype(dtype)
        psi0 = qm.gaussian_packet(x, sigma=5.0, momentum=momentum).astype(complex_dtype)
        potential = 0.5 * jnp.exp(-(x**2))
        return qm.propagate(psi0, potential, grid, t1=0.2, num_steps=STEPS, method=qm.Cayley(2, 2)).value

    return jax.jit(jax.vmap(one)), (jnp.linspace(0.5, 2.0, num_states, dtype=dtype),)


def transmission(num_points, dtype):
    """Return a scalar of a propagation, to be differentiated in the height of a barrier."""
    grid = qm.Grid(-100.0, 100.0, num_points)

    def fn(height):
        x = grid.x.astype(dtype)
        psi0 = qm.gaussian_packet(x, center=-10.0, sigma=3.0, momentum=2.0)
        end = qm.propagate(psi0, height * jnp.exp(-(x**2)), grid, t1=5.0, num_steps=200, method=qm.Cayley(2, 2))
        return qm.probability(end.value, grid, 0.0, 100.0)

    return fn


def attempt(rows, what, size, dtype, work, unit, build, share=None):
    """Time one workload and add a row; a size that does not fit is a row as well."""
    row = {"what": what, "size": size, "dtype": np.dtype(dtype).name, "unit": unit}
    try:
        fn, args = build()
        timing = stopwatch(fn, *args)
        row |= {"first_s": timing.first, "best_s": timing.best, "rate": work / timing.best}
        row |= share(timing.best) if share else {}
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "memory" not in str(error).lower():
            raise
        row["does_not_fit"] = True
    rows.append(row)
    print(line(row), flush=True)
    return row


def line(row):
    head = f"{row['what']:<22} {row['size']:<24} {row['dtype']:<8}"
    if "does_not_fit" in row:
        return f"{head} does not fit"
    text = f"{head} first {row['first_s']:8.3f} s  best {row['best_s']:10.6f} s  {row['rate']:.3g} {row['unit']}/s"
    for key, words in {"of_copy": "of copy", "over_forward": "times forward"}.items():
        if key in row:
            text += f"  {row[key]:.3g} {words}"
    return text


def main():
    jaxnum.enable_x64()
    device = jax.devices()[0]
    small = "--small" in sys.argv or device.platform == "cpu"
    bandwidth = copy_bandwidth(2**26 if small else 2**31)
    head = {
        "date": date.today().isoformat(),
        "device": f"{device.platform}: {device.device_kind}",
        "host": platform.machine(),
        "jax": jax.__version__,
        "copy_bytes_per_s": bandwidth,
    }
    print(f"{head['date']}, {head['device']}, JAX {head['jax']}, copy {bandwidth / 1e9:.1f} GB/s", flush=True)
    rows = []

    states, points = ((1, 16, 64), (1024, 4096)) if small else ((1, 16, 256, 4096), (1024, 8192, 65536))
    for dtype in (np.float64, np.float32):
        for n in points:
            for m in states:
                # Bytes that no program can avoid: one complex number read and one written, for each point and step.
                traffic = m * n * STEPS * 4 * np.dtype(dtype).itemsize
                attempt(
                    rows,
                    "Cayley steps",
                    f"{m} states, {n} points",
                    dtype,
                    m * n * STEPS,
                    "points",
                    lambda m=m, n=n, dtype=dtype: cayley(m, n, dtype),
                    lambda best, traffic=traffic: {"of_copy": traffic / best / bandwidth},
                )

    n = 2048 if small else 16384
    for dtype in (np.float64, np.float32):
        fn, height = transmission(n, dtype), (jnp.asarray(1.0, dtype),)
        size, work = f"{n} points", 200 * n
        forward = attempt(
            rows, "200 steps", size, dtype, work, "points", lambda fn=fn, height=height: (jax.jit(fn), height)
        )
        attempt(
            rows,
            "200 steps, gradient",
            size,
            dtype,
            work,
            "points",
            lambda fn=fn, height=height: (jax.jit(jax.value_and_grad(fn)), height),
            lambda best, forward=forward: {"over_forward": best / forward["best_s"]} if "best_s" in forward else {},
        )

    side, many = (64, 256) if small else (1024, 16384)
    valley = optimize.landscapes.rosenbrock(1.0, 2.0)
    for dtype in (np.float64, np.float32):
        rates, betas = np.geomspace(1e-4, 1e-2, side, dtype=dtype), np.linspace(0, 0.9, side, dtype=dtype)
        y0 = np.asarray([3.0, 3.0], dtype)

        def learning_rates(rates=rates, betas=betas, y0=y0):
            return optimize.learning_rate_map(valley.fn, heavy_ball, y0, rates, betas, num_steps=100)

        attempt(
            rows, "learning_rate_map", f"{side} x {side}, 100 steps", dtype, 100 * side**2, "steps",
            lambda f=learning_rates: (f, ()),
        )  # fmt: skip

        def training(dtype=dtype):
            keys, x, y = jax.random.split(jax.random.key(0), many), XOR_X.astype(dtype), XOR_Y.astype(dtype)
            return networks.train_many(perceptron, SGD, x, y, keys=keys, num_steps=100, save_every=100).residual

        if dtype == np.float64:  # the models are made in the default precision
            attempt(
                rows,
                "train_many",
                f"{many} networks, 100 steps",
                dtype,
                100 * many,
                "steps",
                lambda f=training: (f, ()),
            )

    families = {}
    for dtype in (np.float64, np.float32):
        for name, work in WORKLOADS.items():
            n = {"coupled": 64}.get(name, 256) if small else {"coupled": 4096}.get(name, 65536)
            given = work.parameters(n, dtype)
            fn = jax.jit(jax.vmap(work.fn))
            size = sum(np.dtype(x.dtype).itemsize for x in jax.tree.leaves(jax.eval_shape(fn, given))) + 20
            row = attempt(rows, name, f"{n} members", dtype, n, "members", lambda f=fn, g=given: (f, (g,)))
            if "rate" in row:
                families.setdefault(name, {})[row["dtype"]] = {
                    "what": work.what,
                    "members_per_s": row["rate"],
                    "bytes_each": size,  # what it returns, and 20 for residual, status and steps
                }
    if "--json" in sys.argv:
        file = Path(sys.argv[sys.argv.index("--json") + 1])
        file.write_text(json.dumps({**head, "rows": rows, "families": families}, indent=2) + "\n")
        print(f"written to {file}")


def heavy_ball(rate, beta):
    return optax.sgd(rate, momentum=beta)


def perceptron(key):
    return networks.perceptron((3, 4, 1), final_activation=jax.nn.sigmoid, key=key)


SGD = optax.sgd(0.5)

if __name__ == "__main__":
    main()
