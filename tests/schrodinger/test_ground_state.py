"""Ground states of condensates: published values, the virial theorem, limits in closed form, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxnum import Status
from jaxnum.schrodinger import Grid, Periodic, exact, ground_state, norm, stationary_states

GRID = Grid(-8.0, 8.0, 97)
X = np.asarray(GRID.x)
TRAP = X**2 / 2
DX = float(GRID.dx)

# -φ''/2 + x²φ/2 + g φ³ = µφ: sinc collocation with Newton's method on two independent grids; the values of g are those
# of the tables of Bao & Du (2004) and of Muruganandam & Adhikari (2009).
TABLE = [
    (0.0, 0.5, 0.5, 0.70710678, 0.75112554),
    (3.1371, 1.52659450, 1.04409765, 0.89601854, 0.64596182),
    (31.371, 6.55268310, 3.98100419, 1.64169569, 0.45567294),
]


def slope(phi, x):
    """Return the derivative of what vanishes at both walls: its sine series turned into cosines, exactly."""
    n = len(x) - 1
    k = np.arange(1, n)
    waves = np.pi * np.outer((x - x[0]) / (x[-1] - x[0]), k)
    coefficients = np.sin(waves).T @ phi * 2 / n
    return np.cos(waves) @ (coefficients * np.pi * k / (x[-1] - x[0]))


@pytest.mark.parametrize(("g", "mu", "energy", "width", "top"), TABLE)
def test_harmonic_trap_as_in_the_table(g, mu, energy, width, top):
    found = ground_state(TRAP, GRID, nonlinearity=g)
    assert found.ok
    phi = np.asarray(found.value)
    # The table has eight decimals; the spectral derivative on 97 points errs by less than 1e-11.
    assert_allclose(found.history.chemical_potential[-1], mu, atol=6e-9)
    assert_allclose(found.history.energy[-1], energy, atol=6e-9)
    assert_allclose(np.sqrt(DX * phi**2 @ X**2), width, atol=6e-9)
    assert_allclose(phi[48], top, atol=6e-9)
    assert_allclose(norm(phi, GRID), 1.0, rtol=1e-13)
    assert (phi[1:-1] > 0).all()
    assert float(found.residual) < 1e-11


@pytest.mark.parametrize("g", [-3.0, 0.5, 31.371])
def test_virial_theorem_holds(g):
    found = ground_state(TRAP, GRID, nonlinearity=g)
    phi = np.asarray(found.value)
    kinetic = DX * np.sum(slope(phi, X) ** 2) / 2
    trap, interaction = DX * phi**2 @ TRAP, g / 2 * DX * np.sum(phi**4)
    assert_allclose(2 * kinetic - 2 * trap + interaction, 0.0, atol=1e-8 * trap)
    assert_allclose(found.history.energy[-1], kinetic + trap + interaction, rtol=1e-9)
    assert_allclose(found.history.chemical_potential[-1], kinetic + trap + 2 * interaction, rtol=1e-9)
    assert found.ok


def test_attraction_without_a_trap_makes_a_soliton():
    # η sech ηx has the norm 2η: g = -3 and norm one make η = 3/2 and µ = -η²/2.
    found = ground_state(None, GRID, nonlinearity=-3.0)
    assert_allclose(found.history.chemical_potential[-1], -(1.5**2) / 2, atol=1e-8)
    assert_allclose(
        found.value, np.abs(exact.bright_soliton(X, 0.0, height=1.5)) / np.sqrt(3.0), atol=2e-5
    )  # its tail at the walls


def test_strong_repulsion_is_thomas_and_fermi():
    # µ = (9/32)^(1/3) g^(2/3) at large g, where the kinetic energy, ln(µ)/µ² of it, is left out.
    g = 150.0
    found = ground_state(TRAP, GRID, nonlinearity=g)
    assert_allclose(found.history.chemical_potential[-1], (9 / 32) ** (1 / 3) * g ** (2 / 3), rtol=1e-2)


def test_flow_lowers_the_energy_and_newton_finishes():
    history = ground_state(TRAP, GRID, nonlinearity=31.371).history
    assert (np.diff(np.asarray(history.energy)[:30]) < 1e-12).all()
    assert history.residual[40] < history.residual[39] ** 1.5 + 1e-12
    assert set(history) == {"energy", "chemical_potential", "residual"}


def test_state_of_an_order_is_the_eigenvector_of_that_order():
    found = ground_state(TRAP + 0.2 * X, GRID, space_order=4)
    energies, states = stationary_states(TRAP + 0.2 * X, GRID, num_states=1, space_order=4)
    assert_allclose(found.value, states[0], atol=1e-10)
    assert_allclose(found.history.energy[-1], energies[0], rtol=1e-11)


def test_ring_with_repulsion_is_flat():
    ring = Grid(0.0, 9.5, 96)
    found = ground_state(None, ring, nonlinearity=2.0, boundary=Periodic())
    period = 96 * float(ring.dx)
    assert_allclose(found.value, np.full(96, period**-0.5), rtol=1e-10)
    assert_allclose(found.history.chemical_potential[-1], 2.0 / period, rtol=1e-10)


def test_derivatives_are_those_of_differences():
    @jax.jit
    def fn(p):
        found = ground_state(
            TRAP + p[0] * jnp.sin(jnp.asarray(X)), GRID, nonlinearity=p[1], mass=p[2], hbar=p[3], num_flow_steps=40
        )
        weight = jnp.cos(0.7 * jnp.asarray(X)) + 0.3
        state = found.value @ weight
        return jnp.stack([found.history.energy[-1], found.history.chemical_potential[-1], state, found.value[30]])

    at = jnp.array([0.3, 3.0, 1.2, 0.9])
    forward = jax.jit(jax.jacfwd(fn))(at)
    assert_allclose(jax.jit(jax.jacrev(fn))(at), forward, rtol=1e-9, atol=1e-11)
    h = 1e-4
    central = np.stack(
        [(8 * (fn(at + e) - fn(at - e)) - (fn(at + 2 * e) - fn(at - 2 * e))) / (12 * h) for e in h * np.eye(4)], axis=1
    )
    # Truncation h⁴ = 1e-16; the state is known to 1e-12, over 1e-4.
    assert_allclose(forward, central, atol=1e-7)
    # Hellmann and Feynman: dE/dg = ½∫φ⁴.
    found = ground_state(TRAP + 0.3 * np.sin(X), GRID, nonlinearity=3.0, mass=1.2, hbar=0.9)
    assert_allclose(forward[0, 1], DX * np.sum(np.asarray(found.value) ** 4) / 2, rtol=1e-9)


def test_too_few_steps_are_not_called_a_success():
    found = ground_state(TRAP, GRID, nonlinearity=300.0, num_flow_steps=1, num_newton_steps=1)
    assert found.status == Status.not_converged
    assert float(found.residual) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": None}, "`grid` must be a `Grid"),
        ({"grid": Grid(0.0, 1.0, 4001), "potential": None}, "`grid` must have at most 4000 points"),
        ({"potential": TRAP[:-1]}, r"`potential` must have shape \(97,\)"),
        ({"potential": TRAP * np.nan}, "`potential` must be finite"),
        ({"nonlinearity": np.inf}, "`nonlinearity` must be a finite number"),
        ({"nonlinearity": "3"}, "`nonlinearity` must be a finite number"),
        ({"mass": 0.0}, "`mass` must be a finite positive number"),
        ({"hbar": -1.0}, "`hbar` must be a finite positive number"),
        ({"space_order": 3}, "`space_order` must be 2 or 4"),
        ({"boundary": "ring"}, "`boundary` must be `Walls"),
        ({"num_flow_steps": 0}, "`num_flow_steps` must be an integer of at least 1"),
        ({"num_newton_steps": 1.5}, "`num_newton_steps` must be an integer"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        ground_state(**({"potential": TRAP, "grid": GRID} | arguments))
    assert "\n" not in str(error.value)
