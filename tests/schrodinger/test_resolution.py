"""A run whose resolution was chosen, against exact solutions: its error is below what was asked, and not far below."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum import PrecisionError
from jaxnum.schrodinger import Grid, Periodic, choose_resolution, exact, gaussian_packet, norm, propagate

FREE = functools.partial(exact.free_packet, center=-10.0, momentum=2.0)
SWING = functools.partial(exact.coherent_state, center=3.0)
CROSSING = functools.partial(exact.poschl_teller_packet, center=-10.0, momentum=2.0)


def distance(psi, truth, grid):
    return float(norm(np.asarray(psi) - np.asarray(truth), grid))


def parabola(x):
    return x**2 / 2


def well(x):
    return -1 / jnp.cosh(x) ** 2


def share(state, potential, where, t1, tol, **options):
    """Return the measured error over the tolerance."""

    def start(x):
        return state(x, 0.0)

    grid, steps = choose_resolution(start, potential, where, t1=t1, tol=tol, **options)
    v = None if potential is None else potential(grid.x)
    found = propagate(start(grid.x), v, grid, t1=t1, num_steps=steps, **options)
    return distance(found.value, state(grid.x, t1), grid) / tol


@pytest.mark.parametrize(
    ("state", "potential", "where", "t1", "tol"),
    [
        (FREE, None, (-40.0, 40.0), 5.0, 1e-2),
        (SWING, parabola, (-12.0, 12.0), 2 * np.pi, 1e-3),
        (CROSSING, well, (-40.0, 40.0), 8.0, 1e-5),
    ],
    ids=["free packet", "coherent state", "well"],
)
def test_measured_error_is_below_the_tolerance_and_not_far_below(state, potential, where, t1, tol):
    found = share(state, potential, where, t1, tol)
    assert 1 / 30 < found < 1, found


def test_jump_in_the_potential_is_noticed_by_its_own_order():
    # Numerov's order four falls to one at a jump between two points; believing in four would miss by far.
    def step(x):
        return jnp.where(x < 0.1234, 0.0, 1.5)

    def start(x):
        return gaussian_packet(x, center=-4.0, momentum=1.5)

    grid, steps = choose_resolution(start, step, (-15.0, 15.0), t1=4.0, tol=5e-2)
    found = propagate(start(grid.x), step(grid.x), grid, t1=4.0, num_steps=steps).value
    fine = Grid(-15.0, 15.0, 16 * (grid.num_points - 1) + 1)
    truth = propagate(start(fine.x), step(fine.x), fine, t1=4.0, num_steps=steps).value[::16]
    assert distance(found, truth, grid) < 5e-2


def test_arrays_are_resampled_by_their_series_also_on_a_ring():
    ring = Grid(0.0, 9.9, 100)  # a period of 10
    packet = functools.partial(exact.free_packet, center=5.0, sigma=0.8)
    psi0 = np.asarray(packet(ring.x, 0.0))
    grid, steps = choose_resolution(psi0, None, ring, t1=0.5, tol=1e-4, boundary=Periodic())
    assert grid.num_points * float(grid.dx) == pytest.approx(10.0, rel=1e-12)
    found = propagate(packet(grid.x, 0.0), None, grid, t1=0.5, num_steps=steps, boundary=Periodic()).value
    assert 1 / 30 < distance(found, packet(grid.x, 0.5), grid) / 1e-4 < 1


def start(x):
    return gaussian_packet(x)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"grid_or_bounds": (1.0, 1.0)}, ValueError, "`grid_or_bounds` must be increasing"),
        ({"grid_or_bounds": 3.0}, ValueError, "`grid_or_bounds` must be a `Grid` or a pair"),
        ({"grid_or_bounds": ("a", 1.0)}, ValueError, r"`grid_or_bounds\[0\]` must be a finite number"),
        ({"psi0": np.ones(9)}, ValueError, "`psi0` must be a function of x where no grid is given"),
        ({"psi0": np.ones(9), "grid_or_bounds": Grid(0.0, 1.0, 8)}, ValueError, r"`psi0` must have shape \(8,\)"),
        ({"potential": np.ones(9)}, ValueError, "`potential` must be a function of x"),
        ({"potential": lambda x: x[:3]}, ValueError, "`potential` must return shape"),
        ({"t1": 0.0}, ValueError, "`t1` must be later than `t0`"),
        ({"t1": np.nan}, ValueError, "`t1` must be a finite number"),
        ({"tol": 0.0}, ValueError, "`tol` must be a finite positive number"),
        ({"tol": 1e-16}, PrecisionError, "`tol` must be at least"),
        ({"mass": 0.0}, ValueError, "`mass` must be a finite positive number"),
        ({"hbar": None}, ValueError, "`hbar` must be a finite positive number"),
        ({"method": "numerov"}, ValueError, "`method` must be"),
    ],
)
def test_bad_input_is_named(arguments, error, message):
    good = {"psi0": start, "potential": None, "grid_or_bounds": (-10.0, 10.0), "t1": 1.0, "tol": 1e-2}
    with pytest.raises(error, match=message) as raised:
        choose_resolution(**(good | arguments))
    assert "\n" not in str(raised.value)
