"""The magnetosphere with feedback: collocation against SciPy's boundary-value solver, with gradients and batches.

Both solve the dipole with the smooth ramp and j at 100 R that of the pole; errors are the largest in ω/Ω and in j
(relative to its largest) at nine distances, against a solution on 320 nodes. SciPy is given the equations in ln x,
vectorized, with the closed form for a constant conductance as its guess, for several tolerances; the row to compare
with is the first whose errors are as small as ours.

OMP_NUM_THREADS=1 python benchmarks/jupiter.py [--coverage]

--coverage instead repeats the inference of examples/infer_magnetosphere.py on a hundred synthetic data sets.
"""

import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_bvp
from stopwatch import stopwatch

import jaxnum
from jaxnum.jupiter import (
    JUPITER,
    CurrentDensity,
    CurrentSheet,
    Dipole,
    RadialCurrent,
    SmoothRamp,
    System,
    coupled,
    exact,
    pole_current_density,
)

AT = np.array([7.0, 10.0, 15.0, 20.0, 25.0, 30.0, 45.0, 60.0, 90.0])
UNIT = 1e-8


def law(j):
    """Return Σ and its slope, in NumPy."""
    root, q = np.sqrt(j**2 + 1e-16), (j / 2.5e-7) ** 8
    ramp = np.where(j < 0, 0.5e-16 / (root - np.minimum(j, 0)), 0.5 * (root + j))
    rise = 1e5 + 9.9e6 * (1 + q) ** -0.125
    steep = -9.9e6 * (1 + q) ** -1.125 * (j / 2.5e-7) ** 7 / 2.5e-7
    return 0.05 + rise * ramp, steep * ramp + rise * ramp / root


def scipy_solve(tol, edge):
    """Return ω/Ω and j at the distances, by collocation of fourth order on a mesh that SciPy refines."""
    k, c0 = float(JUPITER.coupling), float(JUPITER.current_density_scale)

    def rhs(s, y):
        x, (w, z) = np.exp(s), y
        sigma, slope = law(z * UNIT)
        dw = k * sigma * x**-4 * (1 - w) - 2 * w
        dj = (z * UNIT * x**-1 / c0 + sigma * (x**-1 * (1 - w) + dw / x)) / (slope / x * (1 - w))
        return np.stack([dw, dj / UNIT])

    def ends(a, b):
        return np.array([(1 - a[0]) - 2 / (k * law(a[1] * UNIT)[0] * 5.0**-4 + 6), b[1] - edge / UNIT])

    s = np.linspace(np.log(5.0), np.log(100.0), 200)
    guess = np.stack([np.asarray(exact.corotation(np.exp(s), exact.hill_distance(JUPITER, 0.1))), 0 * s])
    found = solve_bvp(rhs, ends, s, guess, tol=tol, max_nodes=100_000)
    w, z = found.sol(np.log(AT))
    return (w, z * UNIT), found.x.size, found.success


def coverage(repeats=100):
    """Infer from synthetic data of many noises at once, and count how often the truth lies inside two sigma."""
    example = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "infer_magnetosphere.py"))
    truth, step = example["TRUTH"], example["step"]
    improve = jax.jit(jax.vmap(step, in_axes=(0, 0)))
    clean = jax.jit(step)(truth, np.zeros(40))[2]
    data = clean + np.random.default_rng(1).standard_normal((repeats, 40))
    logs = np.tile(np.log([2000.0, 0.03, 1.2e7]), (repeats, 1))
    for _ in range(10):
        logs, covariance, _ = improve(logs, data)
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    off = (np.asarray(logs) - truth) / sigma
    print(f"truth inside two standard errors, {repeats} synthetic repeats, expected 95.4 %:")
    for name, row in zip(example["NAMES"], off.T, strict=True):
        print(f"  {name:28} {100 * np.mean(np.abs(row) < 2):5.1f} %   mean {row.mean():+.2f}, spread {row.std():.2f}")
    # All three at once: the ellipsoid that holds 95.4 % of a normal distribution of three numbers is 8.02.
    difference = np.asarray(logs) - truth
    chi = np.einsum("ri,rij,rj->r", difference, np.linalg.inv(covariance), difference)
    print(f"  all three at once: {100 * np.mean(chi < 8.02):.1f} %")


def main():
    jaxnum.enable_x64()
    if "--coverage" in sys.argv:
        coverage()
        return
    field, ramp = Dipole(), SmoothRamp()
    edge = pole_current_density(JUPITER, ramp)
    device = jax.devices()[0]
    print(f"{device.platform} {device.device_kind}, float64, JAX {jax.__version__}")

    given = CurrentDensity(edge)

    def ours(nodes, outer=given, field=field, **kwargs):
        return coupled(JUPITER, field, ramp, outer=outer, num_nodes=nodes, at=AT, tol=1.0, **kwargs)

    truth = ours(320).history

    def errors(w, j):
        peak = np.max(np.abs(truth.current_density))
        return np.max(np.abs(w - truth.omega)), np.max(np.abs(j - truth.current_density)) / peak

    print(f"{'who':<28}  {'first s':>8}  {'best ms':>8}  {'error ω':>8}  {'error j':>8}  {'estimate':>8}")
    for nodes in (48, 64, 96):
        timing = stopwatch(lambda n=nodes: ours(n).value, repeats=15)
        h, estimate = ours(nodes).history, float(ours(nodes).residual)
        e = errors(h.omega, h.current_density)
        print(
            f"{f'jaxnum, {nodes} nodes':<28}  {timing.first:8.2f}  {1e3 * timing.best:8.2f}  {e[0]:8.1e}  {e[1]:8.1e}"
            f"  {estimate:8.1e}"
        )
    for tol in (1e-3, 1e-4, 1e-5, 1e-6):
        timing = stopwatch(lambda t=tol: scipy_solve(t, float(edge))[0], repeats=3)
        (w, j), mesh, success = scipy_solve(tol, float(edge))
        e = errors(w, j)
        name = f"scipy, tol {tol:.0e}, {mesh} nodes" + ("" if success else " (failed)")
        print(f"{name:<28}  {timing.first:8.2f}  {1e3 * timing.best:8.2f}  {e[0]:8.1e}  {e[1]:8.1e}")

    def peak(numbers):
        strength, radius, spin, loading, background, density = numbers
        system, law = System(strength, radius, spin, loading), SmoothRamp(background)
        h = coupled(system, field, law, outer=CurrentDensity(density * UNIT), at=AT).history
        return h.current_density[3] / UNIT

    numbers = jnp.array([426400e-9, 71723e3, 1.75e-4, 1000.0, 0.05, edge / UNIT])
    both = jax.jit(jax.value_and_grad(peak))
    timing = stopwatch(lambda: both(numbers)[1], repeats=15)
    print(f"j at 20 R and its six derivatives, 96 nodes: {1e3 * timing.best:.2f} ms (first {timing.first:.1f} s)")
    densities = jnp.linspace(-4e-8, 1e-8, 64)
    many = jax.jit(jax.vmap(lambda j: ours(96, CurrentDensity(j)).value))
    timing = stopwatch(lambda: many(densities), repeats=3)
    print(f"64 outer conditions at once, 96 nodes: {1e3 * timing.best / 64:.2f} ms each (first {timing.first:.1f} s)")
    sheet = CurrentSheet()
    for outer in (CurrentDensity(-UNIT), RadialCurrent(1e8)):
        for nodes in (96, 192, 320):
            found = ours(nodes, outer, sheet)
            print(
                f"current sheet, {type(outer).__name__}, {nodes} nodes: {int(found.num_steps)} steps, "
                f"estimated error {float(found.residual):.1e}"
            )


if __name__ == "__main__":
    main()
