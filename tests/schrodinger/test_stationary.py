"""Stationary states against closed forms on the grid and a dense solver, their derivatives against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum.schrodinger import Grid, Periodic, Transparent, Walls, energy, norm, stationary_states

GRID = Grid(-9.0, 9.0, 241)
X = np.asarray(GRID.x)
V = X**2 / 2 + 0.4 * np.sin(X) + 0.3 * X  # nothing is symmetric
DX = float(GRID.dx)


def dense(v, order, dx=DX, factor=0.5):
    n = len(v) - 2
    second = (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)) * factor / dx**2
    if order == 4:
        second = np.linalg.solve(np.eye(n) * 10 / 12 + (np.eye(n, k=1) + np.eye(n, k=-1)) / 12, second)
    return (second + second.T) / 2 + np.diag(v[1:-1])


@pytest.mark.parametrize("order", [2, 4])
def test_energies_and_states_are_those_of_the_matrix(order):
    energies, states = stationary_states(V, GRID, num_states=6, space_order=order)
    truth, vectors = np.linalg.eigh(dense(V, order))
    # A rounding of the largest eigenvalue, 6/2dx² + V = 600.
    assert_allclose(energies, truth[:6], atol=1e-11)
    assert_allclose(np.abs(np.asarray(states)[:, 1:-1] @ vectors[:, :6]) * np.sqrt(DX), np.eye(6), atol=1e-10)
    assert_allclose(np.asarray(states) @ np.asarray(states).T * DX, np.eye(6), atol=1e-13)
    assert_allclose(norm(states, GRID), np.ones(6), rtol=1e-13)
    assert (np.asarray(states)[:, [0, -1]] == 0).all()
    assert (np.take_along_axis(np.asarray(states), np.abs(states).argmax(axis=1)[:, None], axis=1) > 0).all()
    assert_allclose(energy(states, GRID, V, space_order=order), energies, rtol=1e-10)


@pytest.mark.parametrize(("order", "constant"), [(2, -1 / 32), (4, None)])
def test_oscillator_converges_with_its_order(order, constant):
    # Second differences lower the ground state by dx²/32; Numerov's error is of fourth order.
    errors, spacings = [], []
    for half in (8.0, 10.0):
        grid = Grid(-half, half, 241)
        found, _ = stationary_states(np.asarray(grid.x) ** 2 / 2, grid, num_states=6, space_order=order)
        errors.append(np.asarray(found) - np.arange(6) - 0.5)
        spacings.append(float(grid.dx))
    slopes = np.log(np.abs(errors[1] / errors[0])) / np.log(spacings[1] / spacings[0])
    assert_allclose(slopes, order, atol=0.05)
    if constant is not None:
        assert_allclose(errors[0][0], constant * spacings[0] ** 2, rtol=5e-3)


def test_box_has_the_energies_of_the_grid():
    grid = Grid(0.0, 1.0, 241)
    for order in (2, 4):
        energies, states = stationary_states(None, grid, num_states=6, space_order=order, mass=2.0, hbar=0.5)
        symbol = 1 - np.cos(np.pi * np.arange(1, 7) / 240)
        truth = 0.25 / 2 * 240**2 * (symbol if order == 2 else symbol / (1 - symbol / 6))
        assert_allclose(energies, truth, rtol=1e-9)  # eps of 4ħ²/2m dx² = 2e4, relative to 0.6
        assert_allclose(np.abs(states[2]), np.abs(np.sqrt(2) * np.sin(3 * np.pi * np.asarray(grid.x))), atol=1e-9)


def test_poschl_teller_well_has_its_bound_states():
    # λ = 2: -2 and -1/2, and the box makes the rest positive.
    grid = Grid(-12.0, 12.0, 241)
    energies, _ = stationary_states(-3 / np.cosh(np.asarray(grid.x)) ** 2, grid, num_states=6, space_order=4)
    assert_allclose(energies[:2], [-2.0, -0.5], atol=1e-4)  # dx⁴⟨k⁶⟩/480
    assert (np.asarray(energies[2:]) > 0).all()


def test_two_deep_wells_keep_apart_though_their_energies_do_not():
    # Tunneling splits the pairs by 1e-13 and less: the states must still be orthogonal, and solve their equation.
    v = 2.0 * (np.abs(X) - 4.0) ** 2
    energies, states = stationary_states(v, GRID, num_states=6, space_order=2)
    pairs = np.asarray(energies).reshape(3, 2)
    assert_allclose(pairs[:, 0], pairs[:, 1], atol=1e-3)
    assert_allclose(np.asarray(states) @ np.asarray(states).T * DX, np.eye(6), atol=1e-12)
    inner = np.asarray(states)[:, 1:-1]
    assert_allclose(inner @ dense(v, 2), np.asarray(energies)[:, None] * inner, atol=1e-9)


def test_hard_walls_inside_the_grid_are_no_obstacle():
    # V = 1e7 beyond |x| = 5, far above 12 ħ²/2m dx²: Numerov's pivots change their sign there.
    v = np.where(np.abs(X) < 5, 0.0, 1e7)
    energies, states = stationary_states(v, GRID, num_states=6, space_order=4)
    truth, vectors = np.linalg.eigh(dense(v, 4))
    assert_allclose(energies, truth[:6], rtol=1e-6)  # eps of 1e7
    assert_allclose(np.abs(np.asarray(states)[0, 1:-1] @ vectors[:, 0]) * np.sqrt(DX), 1.0, atol=1e-9)


def test_ring_has_the_energies_of_the_grid():
    ring = Grid(0.0, 7.9, 80)
    energies, states = stationary_states(None, ring, num_states=5, boundary=Periodic())
    symbol = (1 - np.cos(2 * np.pi * np.array([0, 1, 1, 2, 2]) / 80)) / 0.01
    assert_allclose(energies, symbol, atol=1e-11)
    assert_allclose(np.asarray(states) @ np.asarray(states).T * 0.1, np.eye(5), atol=1e-12)


DIRECTION = np.sin(1.3 * X) / (1 + X**2)


def measured(strength, mass, hbar, order, boundary, grid=GRID, v=V, direction=DIRECTION):
    """Return the energies and a functional of the states that sees signs and places."""
    energies, states = stationary_states(
        jnp.asarray(v) + strength * direction,
        grid,
        num_states=3,
        space_order=order,
        mass=mass,
        hbar=hbar,
        boundary=boundary,
    )
    weight = jnp.cos(0.7 * jnp.asarray(grid.x)) + 0.3
    return jnp.concatenate([energies, states @ weight, (states**2) @ weight])


def test_derivatives_are_those_of_differences():
    order = 4
    fn = jax.jit(lambda p: measured(p[0], p[1], p[2], order, Walls()))
    at = jnp.array([0.3, 1.2, 0.9])
    forward = jax.jit(jax.jacfwd(fn))(at)
    reverse = jax.jit(jax.jacrev(fn))(at)
    assert_allclose(forward, reverse, rtol=1e-9, atol=1e-10)
    steps = 1e-4 * np.eye(3)
    # Fourth-order differences: truncation h⁴ = 1e-16, rounding 1e-12/1e-4.
    central = np.stack(
        [(8 * (fn(at + h) - fn(at - h)) - (fn(at + 2 * h) - fn(at - 2 * h))) / 12e-4 for h in steps], axis=1
    )
    assert_allclose(forward, central, atol=2e-7 * np.abs(central).max())
    # The slope of an energy is the mean of what is added to the potential.
    _, states = stationary_states(V + 0.3 * DIRECTION, GRID, num_states=3, space_order=order, mass=1.2, hbar=0.9)
    assert_allclose(forward[:3, 0], np.asarray(states) ** 2 @ DIRECTION * DX, rtol=1e-9)


def test_second_derivative_of_an_energy_is_that_of_perturbation_theory():
    truth, vectors = np.linalg.eigh(dense(V, 2))
    elements = vectors.T @ (DIRECTION[1:-1, None] * vectors)
    second = 2 * np.sum(elements[0, 1:] ** 2 / (truth[0] - truth[1:]))
    fn = lambda s: stationary_states(jnp.asarray(V) + s * DIRECTION, GRID, num_states=1)[0][0]  # noqa: E731
    assert_allclose(jax.jit(jax.hessian(fn))(0.0), second, rtol=1e-7)


def test_states_on_a_ring_have_derivatives():
    ring = Grid(0.0, 7.9, 80)
    x = np.asarray(ring.x)
    v, direction = np.cos(2 * np.pi * x / 8) + 0.3 * np.sin(4 * np.pi * x / 8), np.sin(2 * np.pi * x / 8)
    fn = jax.jit(lambda s: measured(s, 1.0, 1.0, 4, Periodic(), ring, v, direction))
    forward = jax.jit(jax.jacfwd(fn))(0.2)
    h = 1e-4
    central = (8 * (fn(0.2 + h) - fn(0.2 - h)) - (fn(0.2 + 2 * h) - fn(0.2 - 2 * h))) / (12 * h)
    assert_allclose(forward, central, atol=1e-7 * np.abs(central).max())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": 3}, "`grid` must be a `Grid"),
        ({"potential": V[1:]}, r"`potential` must have shape \(241,\)"),
        ({"potential": lambda x: x}, "`potential` must be an array here"),
        ({"potential": V + 0j}, "`potential` must be real"),
        ({"num_states": 0}, "`num_states` must be an integer of at least 1"),
        ({"num_states": 240}, "`num_states` must be at most 239"),
        ({"num_states": 2.5}, "`num_states` must be an integer"),
        ({"mass": -1.0}, "`mass` must be a finite positive number"),
        ({"hbar": 0.0}, "`hbar` must be a finite positive number"),
        ({"space_order": 6}, "`space_order` must be 2 or 4"),
        ({"boundary": "walls"}, "`boundary` must be `Walls"),
        ({"boundary": Transparent()}, "`boundary` must be `Walls"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        stationary_states(**({"potential": V, "grid": GRID, "num_states": 2} | arguments))
    assert "\n" not in str(error.value)
