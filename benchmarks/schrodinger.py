"""Propagation side by side: one step, whole packets to a given accuracy, gradients, batches.

Every time stands beside the error of the same run, compilation stands apart, and the truth is a closed form. Peers that
are not installed are named as such.

python benchmarks/schrodinger.py [step] [packets] [gradient] [batch] [--quick] [--case NAME] [--figure FILE]
"""

import argparse
import contextlib
import io
import time
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from scipy.linalg import solve_banded
from scipy.linalg.lapack import zgttrf, zgttrs
from stopwatch import stopwatch

import jaxnum
from jaxnum.schrodinger import (
    Cayley,
    Grid,
    Periodic,
    Reversible,
    SplitOperator,
    Walls,
    cayley_matrices,
    exact,
    propagate,
)
from jaxnum.schrodinger.cayley import averaging_bands, energy_bands, shifted_bands
from jaxnum.schrodinger.splitting import GRADIENT, QUADRATIC, angles

try:
    import qutip
except ImportError:
    qutip = None
try:
    import qmsolve
except ImportError:
    qmsolve = None


# --- one step ---------------------------------------------------------------------------------------------------------


def packet_on(num_points):
    grid = Grid(-20.0, 20.0, num_points)
    x = np.asarray(grid.x)
    psi0 = np.exp(-((x + 5) ** 2) / 4 + 2j * x) / (2 * np.pi) ** 0.25
    psi0[[0, -1]] = 0
    return grid, x, psi0


def step_matrices(grid, x, dt):
    left, right = (np.asarray(m) for m in cayley_matrices(x**2 / 2, grid, dt))
    return left, right


def thomas(lower, diagonal, upper, b):
    """Thomas's elimination as it stands in a textbook."""
    n = len(b)
    c, d = np.zeros(n, complex), np.zeros(n, complex)
    c[0], d[0] = upper[0] / diagonal[0], b[0] / diagonal[0]
    for j in range(1, n):
        pivot = diagonal[j] - lower[j] * c[j - 1]
        c[j], d[j] = upper[j] / pivot, (b[j] - lower[j] * d[j - 1]) / pivot
    x = np.zeros(n, complex)
    x[-1] = d[-1]
    for j in range(n - 2, -1, -1):
        x[j] = d[j] - c[j] * x[j + 1]
    return x


def kept_zgttrs(bands):
    dl, d, du, du2, pivots, _ = zgttrf(bands[0, 1:], bands[1], bands[2, :-1])
    return lambda b: zgttrs(dl, d, du, du2, pivots, b)[0]


def numpy_steps(step, psi, count):
    for _ in range(count):
        psi = step(psi)
    return psi


def bandwidth():
    """Bytes per second of a copy that fits no cache."""
    source = np.ones(2**24)
    target = np.empty_like(source)
    timing = stopwatch(lambda: np.copyto(target, source), repeats=5)
    return 2 * source.nbytes / timing.best


def step_table(sizes, quick):
    rate = bandwidth()
    print(f"\nOne Crank-Nicolson step, complex128; memory copies {rate / 1e9:.1f} GB/s")
    print(f"{'points':>7}  {'who':<34}  {'us/step':>9}  {'of zgttrs':>9}  {'first s':>8}  {'off':>8}")
    for num_points in sizes[:1] if quick else sizes:
        step_rows(num_points, rate)


def step_rows(num_points, rate):
    grid, x, psi0 = packet_on(num_points)
    dt, steps = 0.002, 40 if num_points > 8000 else 200
    left, right = step_matrices(grid, x, dt)
    banded = np.zeros((3, num_points), complex)
    banded[0, 1:], banded[1], banded[2, :-1] = left[2, :-1], left[1], left[0, 1:]
    solve = kept_zgttrs(left)
    rows = {
        "solve_banded": lambda p, a=banded: 2 * solve_banded((1, 1), a, p) - p,
        "zgttrs, factors kept": lambda p, s=solve: 2 * s(p) - p,
    }
    if num_points <= 1024:
        dense = np.diag(right[1]) + np.diag(right[0, 1:], -1) + np.diag(right[2, :-1], 1)
        rows = {"dense product, Python Thomas": lambda p: thomas(*left, dense @ p)} | rows
    truth = numpy_steps(rows["zgttrs, factors kept"], psi0, steps)
    pure = stopwatch(lambda: solve(psi0), repeats=200, budget=0.5).best
    times = {}
    for name, step in rows.items():
        if "Python" in name:
            times[name] = stopwatch(lambda s=step: s(psi0), repeats=3).best, None, None
            continue
        timing = stopwatch(lambda s=step: numpy_steps(s, psi0, steps), budget=1)
        off = np.abs(numpy_steps(step, psi0, steps) - truth).max()
        times[name] = timing.best / steps, None, off
    times["zgttrs alone, one call"] = pure, None, None
    end = partial(propagate, jnp.asarray(psi0), x**2 / 2, grid, method=Cayley(2, 2))
    timings = {n: stopwatch(lambda n=n: end(t1=n * dt, num_steps=n).value, budget=2) for n in (steps, 3 * steps)}
    off = np.abs(np.asarray(end(t1=steps * dt, num_steps=steps).value) - truth).max()
    slope = (timings[3 * steps].best - timings[steps].best) / (2 * steps)
    times["jaxnum Cayley(2, 2)"] = slope, timings[steps].first, off
    reference = times["zgttrs, factors kept"][0]
    for name, (best, first, off) in times.items():
        print(
            f"{num_points:>7}  {name:<34}  {1e6 * best:9.1f}  {best / reference:9.2f}  "
            f"{'' if first is None else f'{first:.2f}':>8}  {'' if off is None else f'{off:.0e}':>8}"
        )
    # ψ in and out, five vectors of factors, two passes of the recurrence: 16 bytes each.
    print(f"{'':>7}  {'  memory bandwidth would allow':<34}  {1e6 * 10 * 16 * num_points / rate:9.1f}")


# --- whole packets ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A packet whose end is known."""

    name: str
    ends: tuple
    t1: float
    potential: object
    start: object
    error: object  # of (psi, x, dx)


def l2(truth):
    return lambda psi, x, dx: float(np.sqrt(dx * np.sum(np.abs(psi - np.asarray(truth(x))) ** 2)))


def coherent():
    state = partial(exact.coherent_state, center=5.0)
    return Case(
        "coherent state, x0 = 5, T = 10",
        (-14.0, 14.0),
        10.0,
        lambda x: x**2 / 2,
        lambda x: np.asarray(state(x, 0.0)),
        l2(lambda x: state(x, 10.0)),
    )


def poschl_teller():
    state = partial(exact.poschl_teller_packet, depth=1, center=-10.0, momentum=2.0, sigma=1.0)
    return Case(
        "Poeschl-Teller packet, T = 8",
        (-40.0, 40.0),
        8.0,
        lambda x: -1 / np.cosh(x) ** 2,
        lambda x: np.asarray(state(x, 0.0)),
        l2(lambda x: state(x, 8.0)),
    )


HEIGHT, WIDTH, SIGMA, K0 = 2.0, 1.6, 3.0, 2.0


def barrier():
    k = np.linspace(K0 - 4 / SIGMA, K0 + 4 / SIGMA, 4001)
    k = k[k > 0]
    weight = np.exp(-2 * SIGMA**2 * (k - K0) ** 2)
    share = np.asarray(exact.barrier_transmission(k**2 / 2, HEIGHT, WIDTH))
    truth = np.sum(weight * share) / np.sum(weight)

    def potential(x):
        # The mean value at a jump: the share of a point's cell that lies inside.
        dx = x[1] - x[0]
        return HEIGHT * np.clip((WIDTH / 2 - np.abs(x)) / dx + 0.5, 0, 1)

    def start(x):
        return (2 * np.pi * SIGMA**2) ** -0.25 * np.exp(-((x + 20) ** 2) / (4 * SIGMA**2) + 1j * K0 * x)

    def error(psi, x, dx):
        beyond = np.abs(psi) ** 2 * (x > 0)
        return float(abs(dx * np.sum(beyond) - truth))

    return Case("square barrier, transmission", (-80.0, 80.0), 25.0, potential, start, error)


def on_points(case, num_points, periodic):
    x_min, x_max = case.ends
    dx = (x_max - x_min) / (num_points if periodic else num_points - 1)
    return x_min + dx * np.arange(num_points), dx


def jaxnum_run(method, periodic):
    def prepare(case, num_points, steps):
        x, dx = on_points(case, num_points, periodic)
        grid = Grid(float(x[0]), float(x[-1]), num_points)
        psi0, v = jnp.asarray(case.start(x)), jnp.asarray(case.potential(x))
        boundary = Periodic() if periodic else Walls()

        def end(psi0, v):
            return propagate(psi0, v, grid, t1=case.t1, num_steps=steps, method=method, boundary=boundary).value

        # Everything but the numbers is settled before the clock starts, as it is for the peers.
        compiled = jax.jit(end)
        return lambda: compiled(psi0, v), x, dx

    return prepare


def lapack_run(time_order, space_order):
    def prepare(case, num_points, steps):
        x, dx = on_points(case, num_points, False)
        v, dt = jnp.asarray(case.potential(x)), case.t1 / steps
        energy = energy_bands(v, jnp.asarray(0.5 / dx**2), space_order)
        averaging = averaging_bands(num_points, space_order, float)
        bands = np.asarray(shifted_bands(energy, averaging, jnp.asarray(dt), time_order, complex))
        solves = [kept_zgttrs(b) for b in bands]

        def average(p):
            if space_order == 2:
                return p
            q = 10 * p
            q[1:] += p[:-1]
            q[:-1] += p[1:]
            return q / 12

        def run():
            p = case.start(x)
            for _ in range(steps):
                for solve in solves:
                    p = 2 * solve(average(p)) - p
            return p

        return run, x, dx

    return prepare


def scipy_fft_run(scheme):
    def prepare(case, num_points, steps):
        x, dx = on_points(case, num_points, True)
        dt = case.t1 / steps
        k = 2 * np.pi * np.fft.fftfreq(num_points, dx)
        kicks = np.exp(-1j * np.asarray(angles(scheme, case.potential(x)[None], jnp.asarray(dt), 0.5 / dx**2)))
        seam = kicks[-1] * kicks[0]
        flows = [np.exp(-1j * a * dt * k**2 / 2) for a in scheme.flows]

        def run():
            p = kicks[0] * case.start(x)
            for n in range(steps):
                for e, flow in enumerate(flows):
                    p = scipy.fft.ifft(flow * scipy.fft.fft(p, overwrite_x=True), overwrite_x=True)
                    p *= seam if e == len(flows) - 1 and n < steps - 1 else kicks[e + 1]
            return p

        return run, x, dx

    return prepare


def qutip_run(case, num_points, tolerance):
    """`steps` is -log10 of the tolerance; the kinetic energy is the full Fourier one."""
    x, dx = on_points(case, num_points, True)
    k = 2 * np.pi * np.fft.fftfreq(num_points, dx)
    kinetic = np.fft.ifft((k**2 / 2)[:, None] * np.fft.fft(np.eye(num_points), axis=0), axis=0)
    h = qutip.Qobj(kinetic + np.diag(case.potential(x)))
    psi0 = qutip.Qobj(case.start(x)[:, None])
    options = {"rtol": 10.0**-tolerance, "atol": 10.0**-tolerance, "nsteps": 10**7, "method": "vern9"}
    options |= {"progress_bar": False, "normalize_output": False}
    return lambda: qutip.sesolve(h, psi0, [0, case.t1], options=options).states[-1].full()[:, 0], x, dx


def qmsolve_run(method):
    def prepare(case, num_points, steps):
        extent = case.ends[1] - case.ends[0]
        center = (case.ends[1] + case.ends[0]) / 2
        h = qmsolve.Hamiltonian(
            particles=qmsolve.SingleParticle(),
            potential=lambda particle: case.potential(particle.x + center),
            spatial_ndim=1,
            N=num_points,
            extent=extent,
        )
        x = np.linspace(-extent / 2, extent / 2, num_points) + center
        simulation = qmsolve.TimeSimulation(hamiltonian=h, method=method)

        def run():
            psi0 = case.start(x)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                simulation.run(lambda _: psi0, total_time=case.t1, dt=case.t1 / steps, store_steps=1)
            return np.asarray(simulation.Ψ[-1])

        return run, x, x[1] - x[0]

    return prepare


def methods(quick):
    """Yield, for each method, its name, how to prepare a run, and the points and steps to try."""
    fft, fine = (80, 90, 96, 128, 192, 256), (512, 1024, 2048, 4096)
    many = (200, 280, 400, 560, 800, 1120, 1600, 3200, 6400, 12800)
    few = (16, 20, 28, 40, 56, 80, 112, 160, 224, 320, 640)
    yield "jaxnum SplitOperator(2)", jaxnum_run(SplitOperator(2), True), fft, many
    yield "jaxnum SplitOperator(4)", jaxnum_run(SplitOperator(4), True), fft, few
    yield "jaxnum SplitOperator(6)", jaxnum_run(SplitOperator(6), True), fft, few
    yield "jaxnum Cayley(4, 4)", jaxnum_run(Cayley(4, 4), False), fine, many
    yield "jaxnum Cayley(6, 4)", jaxnum_run(Cayley(6, 4), False), fine, few
    yield "jaxnum Cayley(8, 4)", jaxnum_run(Cayley(8, 4), False), fine, few
    yield "SciPy FFT, Strang", scipy_fft_run(QUADRATIC[2]), fft, many
    yield "SciPy FFT, Chin 4", scipy_fft_run(GRADIENT[4]), fft, few
    yield "SciPy FFT, Blanes-Moan 4", scipy_fft_run(QUADRATIC[4]), fft, few
    yield "SciPy FFT, Blanes-Moan 6", scipy_fft_run(QUADRATIC[6]), fft, few
    yield "SciPy FFT, our order 6", scipy_fft_run(GRADIENT[6]), fft, few
    yield "zgttrs, Crank-Nicolson", lapack_run(2, 2), fine, many
    yield "zgttrs, Numerov Pade 4", lapack_run(4, 4), fine, many
    yield "zgttrs, Numerov Pade 6", lapack_run(6, 4), fine, few
    yield "zgttrs, Numerov Pade 8", lapack_run(8, 4), fine, few
    if quick:
        return
    yield "QuTiP sesolve", qutip and qutip_run, fft, (5, 6, 7, 8, 9)
    yield "qmsolve split-step", qmsolve and qmsolve_run("split-step"), (256, 512, 1024), (400, 1600)
    yield "qmsolve Crank-Nicolson", qmsolve and qmsolve_run("crank-nicolson"), (512, 1024), (400, 1600)


def frontier(case, prepare, points, steps, *, slowest, goal):
    """Return (error, best, first, points, steps) of the runs that no other run beats in both."""
    found = []
    for num_points in points:
        before = np.inf
        for count in steps:
            try:
                run, x, dx = prepare(case, num_points, count)
                start = time.perf_counter()
                psi = np.asarray(jax.block_until_ready(run()))
            except Exception as error:  # a peer's failure is a result too
                print(f"    {num_points} points, {count}: {type(error).__name__}: {str(error)[:80]}")
                break
            first = took = time.perf_counter() - start
            off = case.error(psi, x, dx)
            if first > slowest:  # perhaps it was the compilation
                start = time.perf_counter()
                jax.block_until_ready(run())
                took = time.perf_counter() - start
            if took < slowest:
                timing = stopwatch(run, repeats=50, budget=0.3)
                found.append((off, timing.best, first, num_points, count))
            # More steps help no more: the error is that of the grid.
            if took > slowest or off > 0.8 * before or off < goal / 30:
                break
            before = off if off < 1 else np.inf
    found.sort()
    best, kept = np.inf, []
    for row in found:
        if row[1] < best:
            kept.append(row)
            best = row[1]
    return kept


def packets_table(quick, figure, chosen):
    goals = (1e-2, 1e-3, 1e-4, 1e-6)
    curves = {}
    for case in (case for case in (coherent(), poschl_teller(), barrier()) if case.name.startswith(chosen)):
        print(f"\n{case.name}: milliseconds to an error below")
        print(f"{'who':<28}" + "".join(f"  {g:>9.0e}" for g in goals) + "    least error, and how it was reached")
        for name, prepare, points, steps in methods(quick):
            if prepare is None:
                print(f"{name:<28}  not installed")
                continue
            if case.name.startswith(("Poeschl", "square")):
                points = tuple(2 * n for n in points)
            kept = frontier(case, prepare, points, steps, slowest=2.0 if quick else 8.0, goal=goals[-1])
            curves.setdefault(case.name, {})[name] = kept
            cells = []
            for goal in goals:
                times = [row[1] for row in kept if row[0] < goal]
                cells.append(f"{1e3 * min(times):9.2f}" if times else f"{'-':>9}")
            least = min(kept, default=None)
            tail = (
                "" if least is None else f"{least[0]:.1e}, {least[3]} points, {least[4]} steps, first {least[2]:.2f} s"
            )
            print(f"{name:<28}" + "".join(f"  {c}" for c in cells) + f"    {tail}", flush=True)
    if figure:
        draw(curves, figure)


def draw(curves, path):
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(curves), figsize=(5.2 * len(curves), 5.2), constrained_layout=True)
    names = sorted({name for case in curves.values() for name in case})
    colors = {name: plt.colormaps["tab20"](i) for i, name in enumerate(names)}
    for ax, (title, case) in zip(np.atleast_1d(axes), curves.items(), strict=True):
        for name, kept in case.items():
            if kept:
                error, seconds = np.array([row[:2] for row in kept]).T
                style = "-o" if name.startswith("jaxnum") else "--s"
                ax.loglog(error, 1e3 * seconds, style, color=colors[name], ms=4, label=name)
        ax.set(title=title, xlabel="error", xlim=(3, 1e-9))
        ax.grid(alpha=0.3)
    np.atleast_1d(axes)[0].set_ylabel("time / ms, compiled")
    handles = {h.get_label(): h for ax in np.atleast_1d(axes) for h in ax.get_legend_handles_labels()[0]}
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8)
    fig.savefig(path, dpi=130)
    print(f"\nwrote {path}")


# --- gradients and batches --------------------------------------------------------------------------------------------


def gradient_table():
    print("\nGradient in psi0 and V against the forward run, 1024 points, 1000 steps")
    print(f"{'who':<28}  {'forward ms':>10}  {'gradient ms':>11}  {'ratio':>6}  {'temporaries kB':>14}  {'off':>8}")
    for method in (Cayley(2, 2), Cayley(4, 4), SplitOperator(2), SplitOperator(4)):
        gradient_row(method)


def gradient_row(method):
    periodic = isinstance(method, SplitOperator)
    grid = Grid(-40.0, 40.0, 1024)
    x = np.asarray(grid.x)
    psi0, v = jnp.asarray(poschl_teller().start(x)), jnp.asarray(poschl_teller().potential(x))
    boundary = Periodic() if periodic else Walls()

    def loss(psi0, v):
        options = {"method": method, "boundary": boundary, "adjoint": Reversible()}
        end = propagate(psi0, v, grid, t1=2.0, num_steps=1000, **options).value
        return jnp.sum(end.real[512:] ** 2 + end.imag[512:] ** 2)

    forward = jax.jit(loss).lower(psi0, v).compile()
    gradient = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(psi0, v).compile()
    once, both = (stopwatch(f, psi0, v, budget=1) for f in (forward, gradient))
    slope = jnp.sum(gradient(psi0, v)[1][1] * jnp.cos(v))
    h = 1e-4
    central = (forward(psi0, v + h * jnp.cos(v)) - forward(psi0, v - h * jnp.cos(v))) / (2 * h)
    memory = gradient.memory_analysis()
    size = "?" if memory is None else f"{memory.temp_size_in_bytes / 1e3:.0f}"
    print(
        f"{f'{method}':<28}  {1e3 * once.best:10.1f}  {1e3 * both.best:11.1f}  {both.best / once.best:6.2f}"
        f"  {size:>14}  {abs(float(slope / central) - 1):8.0e}"
    )


def batch_table(sizes):
    print("\nMany states at once, Crank-Nicolson, 1024 points, static potential: us per step and state")
    print(f"{'states':>7}  {'us':>9}  {'of zgttrs':>9}  {'off':>8}")
    grid, x, psi0 = packet_on(1024)
    steps, dt = 100, 0.002
    solve = kept_zgttrs(step_matrices(grid, x, dt)[0])
    reference = stopwatch(lambda: numpy_steps(lambda p: 2 * solve(p) - p, psi0, steps), budget=1).best / steps
    truth = numpy_steps(lambda p: 2 * solve(p) - p, psi0, steps)
    for size in sizes:
        batch = jnp.asarray(np.exp(1j * np.arange(size))[:, None] * psi0)

        def ends(batch, n):
            run = partial(propagate, potential=x**2 / 2, grid=grid, t1=n * dt, num_steps=n, method=Cayley(2, 2))
            return jax.vmap(lambda p: run(p).value)(batch)

        run_all = jax.jit(ends, static_argnums=1)
        timed = {n: stopwatch(run_all, batch, n, budget=1) for n in (steps, 3 * steps)}
        each = (timed[3 * steps].best - timed[steps].best) / (2 * steps * size)
        off = np.abs(np.asarray(run_all(batch, steps))[0] - truth).max()
        print(f"{size:>7}  {1e6 * each:9.2f}  {each / reference:9.2f}  {off:8.0e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="step, packets, gradient, batch; all when none is named")
    parser.add_argument("--quick", action="store_true", help="a minute instead of many")
    parser.add_argument("--figure", help="file for the work-precision figure")
    parser.add_argument("--case", default="", help="packets whose name starts so: coherent, Poeschl, square")
    options = parser.parse_args()
    parts = options.parts or ["step", "packets", "gradient", "batch"]
    jaxnum.enable_x64()
    device = jax.devices()[0]
    print(f"{device.platform} {device.device_kind}, complex128, JAX {jax.__version__}, NumPy {np.__version__}")
    if "step" in parts:
        step_table((1024, 4096, 32768), options.quick)
    if "gradient" in parts:
        gradient_table()
    if "batch" in parts:
        batch_table((1, 64) if device.platform == "cpu" else (1, 64, 4096))
    if "packets" in parts:
        packets_table(options.quick, options.figure, options.case)


if __name__ == "__main__":
    main()
