"""How fine a grid and how many steps an accuracy needs: measured on pilot runs, by Richardson's differences.

    ψ(n, s) - ψ ≈ a n^-p + b s^-q,    a n^-p ≈ (ψ(n, s) - ψ(2n, s)) 2^p/(2^p - 1)

for n points and s steps. Three coarse runs give both terms, a fourth tells whether the grid's error falls as it should:
at a jump in the potential it does not, and then its own order is used. The pilots move towards the answer until it is
no more than a factor of four away. Four fifths of the error are given to the grid and one fifth to the steps, so that
they cannot cancel each other by accident, and the whole is aimed at a third of the tolerance.

Where the grid is spectral its error has no order: it falls about as exp(-(n/n₀)²), the tail of a packet among the wave
numbers, and pilots follow that curve until one of them is right.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from jaxnum._checks import as_array, check_finite, check_positive, refuse
from jaxnum._precision import check_tolerance
from jaxnum._typing import is_traced
from jaxnum.schrodinger.boundaries import WALLS, is_cyclic
from jaxnum.schrodinger.cayley import CAYLEY
from jaxnum.schrodinger.grid import Grid
from jaxnum.schrodinger.propagate import propagate

_AIM = 1 / 3  # of the tolerance, for the sum of both errors
_SPACE = 0.8  # part of the error that the grid may make
_REACH = 4.0  # refinement over the pilots that is trusted
_NEAR = 1.4  # and where no grid is refined along, so that one more pilot costs next to nothing
_LESS = 0.8  # and as little of the contrary
_COARSE = 0.3  # error beyond which a pilot is not yet on its way down
_ROUNDS = 12
_MOST_POINTS = 2**18


def choose_resolution(
    psi0: Callable | ArrayLike,
    potential: Callable | ArrayLike | None,
    grid_or_bounds: Grid | tuple[float, float],
    *,
    t1: ArrayLike,
    tol: float,
    t0: ArrayLike = 0.0,
    mass: ArrayLike = 1.0,
    hbar: ArrayLike = 1.0,
    args: Any = None,
    method: Any = CAYLEY,
    boundary: Any = WALLS,
) -> tuple[Grid, int]:
    """Choose a grid and a number of steps for which the error at t1 is below `tol`, and not far below.

    The error is the L2 distance from the solution between these ends, relative to the norm; of `propagate` with the
    same settings. Walls, absorbers and everything else about the ends are part of the problem, not of the error. It
    costs a few runs coarser than the one it chooses, and compiles each.

    Args:
        psi0: Wave function at t0 as a function of x; or its values on the grid, which are then resampled by their sine
            or Fourier series and must be smooth.
        potential: V(x), V(x, t) or V(x, t, args); or values on the grid, resampled likewise; or None.
        grid_or_bounds: First and last position, (x_min, x_max); on a ring x_max is where x_min comes again. Or a
            `Grid`, whose ends are kept.
        t1: Time to stop at.
        tol: Largest relative L2 error.
        t0: Time to start from.
        mass: Particle mass.
        hbar: Reduced Planck constant.
        args: Pytree handed to the potential.
        method: As in `propagate`.
        boundary: As in `propagate`.

    Returns:
        Grid and number of steps.

    Raises:
        ValueError: If an argument makes no sense, or no grid of 262144 points is fine enough; the message names it.
        PrecisionError: If the working precision cannot hold `tol`.

    Example:
        >>> from jaxnum.schrodinger import choose_resolution, gaussian_packet, propagate
        >>> start = lambda x: gaussian_packet(x, center=-5.0, momentum=2.0)
        >>> grid, num_steps = choose_resolution(start, None, (-20.0, 20.0), t1=4.0, tol=1e-2)
        >>> propagate(start(grid.x), None, grid, t1=4.0, num_steps=num_steps).ok
        True
    """
    cyclic = is_cyclic(boundary)
    low, high = _bounds(grid_or_bounds, cyclic)
    for name, value in {"t0": t0, "t1": t1}.items():
        check_finite(name, value)
    if not float(t0) < float(t1):
        refuse("t1", f"be later than `t0`, {float(t0):g}", f"is {float(t1):g}")
    check_positive("mass", mass)
    check_positive("hbar", hbar)
    start = _sampler("psi0", psi0, grid_or_bounds, cyclic, even=False)
    law, moves = _law(potential, grid_or_bounds, cyclic)
    space, time = _orders(method, moves)

    def grid_of(n: int) -> Grid:
        return Grid(low, high - (high - low) / n if cyclic else high, n)

    def run(n: int, steps: int) -> np.ndarray:
        grid = grid_of(n)
        v = law if moves or law is None else np.asarray(law(grid.x))
        found = propagate(
            start(grid.x),
            v,
            grid,
            t0=t0,
            t1=t1,
            num_steps=steps,
            mass=mass,
            hbar=hbar,
            args=args,
            method=method,
            boundary=boundary,
        )
        return np.asarray(found.value)

    x = np.asarray(grid_of(4097 if not cyclic else 4096).x)
    first = np.asarray(start(x))
    check_tolerance("tol", tol, first.real.dtype)
    values = np.zeros_like(x) if law is None else _at_start(law, moves, x, t0, args)
    n, steps = _pilot(first, values, x, float(t1) - float(t0), float(mass), float(hbar), space, time)
    last: tuple = ()
    refined = grown = False
    seen: list = []
    for _ in range(_ROUNDS):
        fine = 2 * n if cyclic else 2 * n - 1
        whole = run(n, steps)
        size = math.sqrt(float(np.sum(np.abs(whole) ** 2)))
        finer = run(fine, steps)
        grid_error = _distance(whole, finer[::2], size)
        step_error = _distance(whole, run(n, 2 * steps), size) * _whole(time)
        if space is not None:
            grid_error *= _whole(space)
            if not last and grid_error < _COARSE:
                # Once, while it is cheap: does the error fall as it should?
                finest = run(2 * fine if cyclic else 2 * fine - 1, steps)
                rest = _distance(finer, finest[::2], math.sqrt(2.0) * size) * _whole(space)
                last = (n / 2, steps, grid_error * grid_error / max(rest, 1e-300), step_error)
        orders = _observed(space, time, last, (n, steps, grid_error, step_error))
        last = (n, steps, grid_error, step_error)
        # What is wrong already in the first digit tells nothing about the others.
        if not (grid_error < _COARSE and step_error < _COARSE):
            n = n if grid_error < _COARSE else _refined(n, 1.6)
            steps = steps if step_error < _COARSE else math.ceil(1.6 * steps)
            refined = True
            continue
        floor = 30 * float(np.finfo(first.real.dtype).eps) * steps
        if space is None:
            # Near its end the curve is as good as straight, and steeper than that of the packet alone or less so.
            seen = [*seen[-1:], (n, math.log(max(grid_error, floor)))]
            better = _spectral(seen, math.log(min(tol * _AIM * _SPACE, _COARSE)))
            if better > n or (better < n and not grown):
                # What is coarser must be measured; once it was too coarse there is no way back.
                n, grown = _refined(n, better / n), grown or better > n
                more_steps = _factor(step_error, tol * _AIM, orders[1], floor)
                steps = max(4, math.ceil(steps * min(max(more_steps, 0.25), _REACH)))
                continue
        more_points = _factor(grid_error, tol * _AIM * _SPACE, orders[0], floor)
        more_steps = _factor(step_error, tol * _AIM * (1 - _SPACE if space is not None else 1.0), orders[1], floor)
        if more_steps < _LESS and not refined and steps > 4:
            # Steps may err by a higher order than theirs before they are small; what is coarser must be measured.
            steps = max(4, math.ceil(steps * more_steps))
            continue
        if max(more_points, more_steps) <= (_REACH if space is not None else _NEAR):
            return grid_of(_refined(n, more_points)), max(1, math.ceil(more_steps * steps))
        # Not all the way: half of it, and measure again.
        n, refined = _refined(n, _half(more_points)), True
        steps = math.ceil(steps * _half(more_steps))
    return refuse("tol", "be reachable", f"is {tol:g}; at {last[0]} points the error is still {last[2] + last[3]:.2g}")


def _pilot(psi, v, x, duration, mass, hbar, space, time) -> tuple[int, int]:
    """Return points and steps that just resolve the shortest wave and the fastest phase in sight."""
    n, dx = len(x), float(x[1] - x[0])
    power = np.abs(np.fft.fft(psi)) ** 2
    k = np.abs(2 * np.pi * np.fft.fftfreq(n, dx))
    order = np.argsort(k)
    below = np.cumsum(power[order]) / power.sum()
    fastest = float(k[order][min(int((below < 1 - 1e-4).sum()), n - 1)])
    seen = np.abs(psi) ** 2 > 1e-4 * np.max(np.abs(psi) ** 2)
    kinetic = hbar**2 * fastest**2 / (2 * mass)
    # Where V is lowest, the packet is fastest.
    span = kinetic + max(0.0, float(v[seen].max()) - float(v.min()))
    shortest = math.sqrt(2 * mass * span) / hbar
    length = float(x[-1] - x[0])
    # Radians of the shortest wave from one point to the next, where π is the limit, and of the fastest phase in a step.
    points = length * shortest / (2.4 if space is None else 1.0 if space > 2 else 0.5)
    steps = duration * span / hbar / (0.5 if time == 2 else 1.0)
    return max(16, math.ceil(points)), max(4, math.ceil(steps))


def _observed(space, time, last, now) -> tuple[float | None, float]:
    """Return the orders to extrapolate with: those of the method, or lower ones that were seen."""
    if not last:
        return space, time
    orders: list = [space, time]
    for place in (0, 1):
        ratio = now[place] / last[place]
        if orders[place] is not None and ratio > 1.2 and max(last[place + 2], now[place + 2]) < _COARSE:
            seen = math.log(max(last[place + 2], 1e-300) / max(now[place + 2], 1e-300)) / math.log(ratio)
            orders[place] = min(orders[place], max(seen, 0.5))
    return orders[0], orders[1]


def _factor(error: float, wanted: float, order: float | None, floor: float) -> float:
    """Return by which factor to refine; below the rounding of the pilots nothing was measured, nor is needed."""
    if error <= floor and order is not None:
        return 0.5
    if order is None:  # spectral, and found to be right
        return 1.0
    return (error / wanted) ** (1 / order)


def _half(more: float) -> float:
    """Return a factor on the way to a larger one."""
    return min(max(more / 2, math.sqrt(more), 1.0), 8.0)


def _spectral(seen: list[tuple[int, float]], wanted: float) -> int:
    """Return how many points make the wanted error, given logarithms of errors; as many as before where they do."""
    n, error = seen[-1]
    # A third of the tolerance is wanted and a thirtieth allowed; half of that is left for what an estimate may be off.
    if wanted - math.log(5) < error <= wanted:
        return n
    aim = wanted - math.log(2)
    # The tail of a fast packet is steeper than one around zero: not all the way.
    better = n + 0.6 * n * (math.sqrt(aim / error) - 1)
    if len(seen) > 1 and seen[0][0] != n and (seen[0][1] - error) * (n - seen[0][0]) > 0:
        better = n + (error - aim) * (n - seen[0][0]) / (seen[0][1] - error)
    if error <= wanted:
        return max(min(16, n), math.ceil(min(max(better, 0.5 * n), n)))
    return max(n + 1, math.ceil(min(better, 1.5 * n)))


def _refined(n: int, factor: float) -> int:
    n = max(16, math.ceil(n * factor))
    if n > _MOST_POINTS:
        refuse("tol", f"be reachable with {_MOST_POINTS} points", f"asks for {n}")
    return n


def _whole(order: int) -> float:
    """Return the error of a run over its difference from one twice as fine."""
    return 2**order / (2**order - 1)


def _distance(a: np.ndarray, b: np.ndarray, size: float) -> float:
    return math.sqrt(float(np.sum(np.abs(a - b) ** 2))) / size


def _orders(method: Any, moves: bool) -> tuple[int | None, int]:
    """Return the orders in space, None where it is spectral, and in time."""
    space = getattr(method, "space_order", None)
    if space is None:
        if not hasattr(method, "order"):
            refuse("method", "be a scheme, as `Cayley()`", f"is {method!r}")
        return None, method.order
    # Gauss's two points in a step keep order four.
    return space, min(method.time_order, 4) if moves else method.time_order


def _bounds(where: Any, cyclic: bool) -> tuple[float, float]:
    if isinstance(where, Grid):
        low, high = float(where.x_min), float(where.x_max)
        return low, high + float(where.dx) * cyclic
    if not isinstance(where, tuple | list) or len(where) != 2:
        refuse("grid_or_bounds", "be a `Grid` or a pair (x_min, x_max)", f"is {type(where).__name__}")
    check_finite("grid_or_bounds[0]", where[0])
    check_finite("grid_or_bounds[1]", where[1])
    if is_traced(where) or not float(where[0]) < float(where[1]):
        refuse("grid_or_bounds", "be increasing numbers", f"is {where}")
    return float(where[0]), float(where[1])


def _law(potential: Any, where: Any, cyclic: bool) -> tuple[Callable | None, bool]:
    """Return the potential as a function, and whether it depends on time."""
    if potential is None:
        return None, False
    if not callable(potential):
        return _sampler("potential", potential, where, cyclic, even=True), False
    code = getattr(potential, "__code__", None)
    count = code.co_argcount - len(potential.__defaults__ or ()) if code is not None else 1
    return potential, count > 1


def _at_start(law: Callable, moves: bool, x: np.ndarray, t0: Any, args: Any) -> np.ndarray:
    when = () if not moves else (t0,) if args is None else (t0, args)
    values = np.asarray(law(x, *when))
    if values.shape not in ((), x.shape):
        refuse("potential", f"return shape {x.shape}", f"returns shape {values.shape}")
    return np.broadcast_to(values.real, x.shape)


def _sampler(name: str, values: Any, where: Any, cyclic: bool, *, even: bool) -> Callable:
    """Return a function of x: the one given, or the series of an array on the grid."""
    if callable(values):
        return values
    if not isinstance(where, Grid):
        refuse(name, "be a function of x where no grid is given", f"is {type(values).__name__}")
    array = np.asarray(as_array(name, values, shape=(where.num_points,), complex_ok=not even))
    low, n = float(where.x_min), where.num_points
    length = float(where.x_max) - low + float(where.dx) * cyclic
    if cyclic:
        coefficients, k = np.fft.fft(array) / n, 2 * np.pi * np.fft.fftfreq(n, length / n)

        def series(x):
            rows = np.exp(1j * np.outer(np.asarray(x) - low, k)) @ coefficients
            return rows.real if array.dtype.kind == "f" else rows

        return series
    # Between walls: psi continues as an odd function, a potential as an even one.
    k = np.pi * np.arange(n) / length
    j = np.arange(n)
    if even:
        weights = np.where((j == 0) | (j == n - 1), 0.5, 1.0)
        table = np.cos(np.pi * np.outer(j, j) / (n - 1))
        coefficients = 2 / (n - 1) * weights * (table @ (weights * array))
        return lambda x: np.cos(np.outer(np.asarray(x) - low, k)) @ coefficients
    coefficients = 2 / (n - 1) * (np.sin(np.pi * np.outer(j, j) / (n - 1)) @ array)
    return lambda x: np.sin(np.outer(np.asarray(x) - low, k)) @ coefficients
