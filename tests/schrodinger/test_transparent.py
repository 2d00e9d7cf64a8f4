"""Transparent ends against a grid so long that nothing comes back from its ends, and against the closed form."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import eval_legendre

from jaxnum.schrodinger import Absorber, Cayley, Direct, Grid, Reversible, Transparent, propagate
from jaxnum.schrodinger.transparent import kernel

STEPS, T1 = 200, 0.02
NEAR, FAR = Grid(0.0, 1.0, 151), Grid(-14.0, 15.0, 14 * 150 + 151 + 14 * 150)


def well(x):
    """A well and a step between the ends: what is reflected inside must leave on both sides."""
    # No jump falls on a point, where the rounding of x would decide.
    return np.where(x > 0.503, 300.0, 0.0) - 2000 * np.exp(-(((x - 0.7) / 0.04) ** 2)) * (np.abs(x - 0.7) < 0.25)


def packet(x):
    return np.exp(40j * x - 120 * (x - 0.5) ** 2) * (np.abs(x - 0.5) < 0.493)


def moving(x, t):
    inside = jnp.where(jnp.abs(x - 0.5) < 0.397, jnp.cos(40 * (x - 0.5)) * jnp.sin(300 * t), 0)
    return 500 * inside


POTENTIALS = {"static": (well, Cayley(2, 2)), "pade": (well, Cayley(4, 4)), "moving": (moving, Cayley(4, 4))}


def propagate_near(psi0, potential, method):
    # With the check, which walks home between the ends: one program for all that asks about the residual.
    options = {"t1": T1, "num_steps": STEPS, "method": method, "boundary": Transparent()}
    return propagate(psi0, potential, NEAR, **options, adjoint=Reversible(check=True))


def compiled(fn):
    # Of a moving potential between open ends JAX 0.10 makes a wrong program with the two flags that the suite saves
    # time by, older kernels and no optimization at all; with either alone, and with those of users, it is right.
    fast = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
    return jax.jit(fn, compiler_options={"xla_backend_optimization_level": 1} if fast else None)


@pytest.mark.parametrize("name", POTENTIALS)
def test_nothing_is_reflected(name):
    potential, method = POTENTIALS[name]
    v = {grid: potential if name == "moving" else potential(np.asarray(grid.x)) for grid in (NEAR, FAR)}
    near = compiled(lambda psi0: propagate_near(psi0, v[NEAR], method))(packet(np.asarray(NEAR.x)))
    far = propagate(packet(np.asarray(FAR.x)), v[FAR], FAR, t1=T1, num_steps=STEPS, method=method)
    assert near.ok, near
    # Its tail at the ends, 1e-12, is part of the residual; the walk home adds no more than rounding.
    assert near.residual < 1e-11
    inside = np.asarray(far.value)[14 * 150 : 14 * 150 + 151]
    assert np.abs(np.asarray(near.value) - inside).max() < 1e-11
    # The packet has met the ends: less than two thirds of it is left.
    assert near.history.norm[-1] < 0.8 * near.history.norm[0]


def test_kernel_is_the_closed_form():
    # Arnold's kernel for Crank-Nicolson in Legendre polynomials, for the sum of two neighboring coefficients.
    for dt, dx, v in ((0.01, 0.05, 0.7), (0.02, 0.1, -2.0)):
        found = np.asarray(kernel(jnp.asarray(v), jnp.asarray(0.5 / dx**2), jnp.asarray(dt), 2, 2, 300))[:, 0, 0]
        r, s, n = 4 * dx**2 / dt, 2 * dx**2 * v, np.arange(300)
        phi = np.arctan2(2 * r * (s + 2), r**2 - 4 * s - s**2)
        mu = (r**2 + 4 * s + s**2) / np.sqrt((r**2 + s**2) * (r**2 + (s + 4) ** 2))
        alpha = 0.5j * ((r**2 + s**2) * (r**2 + (s + 4) ** 2)) ** 0.25 * np.exp(0.5j * phi)
        legendre = eval_legendre(n, mu)
        closed = alpha * np.exp(-1j * n * phi) * (legendre - np.r_[0, 0, legendre[:-2]]) / (2 * n - 1)
        closed[:2] += 1 - 0.5j * r + s / 2, 1 + 0.5j * r + s / 2
        np.testing.assert_allclose(found + np.r_[0, found[:-1]], closed, atol=1e-12)


@pytest.mark.parametrize("space_order", [2, 4])
def test_a_factor_does_not_know_those_after_it(space_order):
    first = np.asarray(kernel(jnp.asarray(1.0), jnp.asarray(200.0), jnp.asarray(0.01), 4, space_order, 200))[0]
    assert abs(first[0, 1]) < 1e-12
    assert abs(first[1, 0]) > 0.1


# A grid of its own, small, for derivatives: everything that can be differentiated, in the moving case too.
SMALL = Grid(0.0, 1.0, 41)


def bump(x, t, args):
    inside = jnp.where(jnp.abs(x - 0.5) < 0.3, jnp.cos(5 * (x - 0.5)) ** 2, 0)
    return args["height"] * inside * (1 + jnp.sin(args["pace"] * t)) + args["floor"]


# Two factors, Numerov's rows, two exponentials in a step: whatever there is.
def test_gradient_is_that_of_the_stored_path_and_of_differences(rng):
    x = np.asarray(SMALL.x)
    psi0 = np.exp(15j * x - 60 * (x - 0.5) ** 2) * (np.abs(x - 0.5) < 0.45)
    scalars = {"t1": 0.03, "mass": 1.2, "hbar": 0.9, "height": 50.0, "pace": 90.0, "floor": 3.0}
    p = {"real": psi0.real, "imag": psi0.imag, **scalars}
    p = {name: jnp.asarray(value) for name, value in p.items()}

    def loss(p, adjoint):
        args = {name: p[name] for name in ("height", "pace", "floor")}
        solution = propagate(
            jax.lax.complex(p["real"], p["imag"]),
            bump,
            SMALL,
            args=args,
            num_steps=23,
            save_every=10,
            method=Cayley(4, 4),
            boundary=Transparent(),
            adjoint=adjoint,
            **{name: p[name] for name in ("t1", "mass", "hbar")},
        )
        rows = jnp.sum(solution.history.norm) + jnp.sum(solution.history.position)
        return jnp.sum(jnp.abs(solution.value) ** 2 * x) + jnp.sum(solution.value.real) + rows

    both = compiled(jax.value_and_grad(lambda p: loss(p, Reversible())))
    found = both(p)[1]
    stored = compiled(jax.grad(lambda p: loss(p, Direct())))(p)
    for name in p:
        scale = np.abs(stored[name]).max()
        assert np.abs(found[name] - stored[name]).max() < 1e-12 * max(scale, 1.0), name
    direction = {name: jnp.asarray(rng.normal(size=v.shape)) * v for name, v in p.items()}
    h = 1e-4
    at = {s: both({n: v + s * h * direction[n] for n, v in p.items()})[0] for s in (-2, -1, 1, 2)}
    central = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h)
    np.testing.assert_allclose(sum(jnp.vdot(found[n], direction[n]) for n in p), central, rtol=1e-7)


def test_a_tail_at_the_ends_is_counted():
    x = np.asarray(NEAR.x)
    wide = np.exp(40j * x - 30 * (x - 0.5) ** 2)
    solution = propagate_near(wide, None, Cayley(2, 2))
    assert solution.status == "not_converged"
    # Numerov's average reaches one point further in, so the last two count.
    assert solution.residual == pytest.approx(np.exp(-30 * (0.5 - 1 / 150) ** 2), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": Cayley(6, 4)}, "Argument `method` must have a time order of 2 or 4 with `Transparent"),
        ({"nonlinearity": 1.0}, "Argument `nonlinearity` must be zero with `Transparent"),
        ({"first_step": 3}, "Argument `first_step` must be 0 with `Transparent"),
        ({"potential": np.linspace(0, 9, 151)}, "Argument `potential` must be constant from the first two points"),
        ({"potential": lambda x, t: 0 * x + t}, "Argument `potential` must be constant from the first two points"),
        ({"boundary": Absorber}, r"Argument `boundary` must be `Walls\(\)`, .*, but is the class Absorber"),
    ],
)
def test_what_it_does_not_cover_is_refused_by_name(options, message):
    options = {"potential": None, "t1": T1, "num_steps": 10, "boundary": Transparent(), **options}
    with pytest.raises(ValueError, match=message):
        propagate(packet(np.asarray(NEAR.x)), grid=NEAR, **options)
