"""Gradients: walked back, checkpointed and stored must agree, with each other and with central differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum.schrodinger import (
    Absorber,
    Cayley,
    Checkpointed,
    Direct,
    Grid,
    Periodic,
    Reversible,
    SplitOperator,
    Walls,
    gaussian_packet,
    propagate,
)

GRID = Grid(-8.0, 8.0, 65)


def pulse(x, t, args):
    return x**2 / 2 * args["spring"] - args["field"] * x * jnp.sin(2.1 * t)


# Static and moving potentials, linear and not, both flows, both ends; rows that divide the steps and rows that do not.
CASES = {
    "walls": {"method": Cayley(6, 4), "boundary": Walls()},
    "ring, moving": {"method": Cayley(4, 4), "boundary": Periodic(), "moving": True},
    "walls, nonlinear": {"method": Cayley(2, 4), "boundary": Walls(), "nonlinear": True},
    "split": {"method": SplitOperator(4), "boundary": Periodic()},
    "split, moving, nonlinear": {
        "method": SplitOperator(2),
        "boundary": Periodic(),
        "moving": True,
        "nonlinear": True,
    },
}


def run(p, method, boundary, moving=False, nonlinear=False, **options):
    psi0 = jax.lax.complex(p["real"], p["imag"])
    if moving:
        options |= {"args": {"spring": p["spring"], "field": p["field"]}}
    if nonlinear:
        options |= {"nonlinearity": p["g"]}
    return propagate(
        psi0,
        pulse if moving else p["potential"],
        GRID,
        t0=p["t0"],
        t1=p["t1"],
        mass=p["mass"],
        hbar=p["hbar"],
        num_steps=13,
        save_every=5,
        method=method,
        boundary=boundary,
        **options,
    )


def loss(p, case, adjoint):
    solution = run(p, adjoint=adjoint, **case)
    weight = jnp.exp(-((GRID.x - 1.0) ** 2))
    # Something of the end, of its phase, and of the rows on the way.
    rows = jnp.sum(solution.history.position**2) + jnp.sum(solution.history.energy)
    return jnp.sum(weight * jnp.abs(solution.value) ** 2) + jnp.sum(weight * solution.value.real) + rows / 10


def parameters():
    x = np.asarray(GRID.x)
    psi0 = jnp.asarray(np.asarray(gaussian_packet(x, center=1.0, momentum=0.5)) * (1 - (x / 8) ** 2))
    scalars = {"t0": 0.1, "t1": 1.4, "mass": 1.2, "hbar": 0.9, "spring": 0.8, "field": 0.4, "g": 1.1}
    return {
        "real": psi0.real,
        "imag": psi0.imag,
        "potential": 0.4 * GRID.x**2,
        **{name: jnp.asarray(value) for name, value in scalars.items()},
    }


def relative(a, b):
    """Largest difference of each part, in units of that part's largest entry in b."""
    pairs = zip(map(np.asarray, jax.tree.leaves(a)), map(np.asarray, jax.tree.leaves(b)), strict=True)
    return max(np.abs(x - y).max() / max(np.abs(y).max(), 1e-3) for x, y in pairs)


@pytest.mark.parametrize("name", CASES)
def test_three_ways_are_one_gradient_and_the_true_one(name, rng):
    p, case = parameters(), CASES[name]
    both = jax.jit(jax.value_and_grad(partial(loss, case=case, adjoint=Reversible())))
    found = both(p)[1]
    adjoint = Checkpointed(2) if name == "walls" else Direct()
    want = jax.jit(jax.grad(partial(loss, case=case, adjoint=adjoint)))(p)
    assert relative(found, want) < 1e-12
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)) * 0.1, p)
    h = 1e-4  # h⁴ of the five-point difference against eps / h of rounding
    at = {s: both(jax.tree.map(lambda x, d, s=s: x + s * h * d, p, direction))[0] for s in (-2, -1, 1, 2)}
    central = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h)
    along = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(found), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(along, central, rtol=1e-7)


@pytest.mark.parametrize("name", ["walls", "split", "ring, moving", "walls, nonlinear"])
def test_a_part_of_the_gradient_alone_is_that_part(name):
    # What is not asked for is not computed: for ψ0 not even ψ goes back.
    p, case = parameters(), CASES[name]

    def of_some(some, rest):
        return loss({**rest, **some}, case, Reversible())

    def gradient(*names):
        some = {key: p[key] for key in names}
        return jax.jit(jax.grad(of_some))(some, {key: p[key] for key in p if key not in names})

    whole = gradient(*p)
    alone = ("t1", "mass") if name == "walls" else ("spring",) if "moving" in case else ("potential",)
    for names in (("real", "imag"), *((name,) for name in alone)):
        assert relative(gradient(*names), {key: whole[key] for key in names}) < 1e-13


def test_forward_mode_and_hessian_with_direct():
    p = parameters()

    def of_field(field, adjoint):
        return loss({**p, "field": field}, CASES["split, moving, nonlinear"], adjoint)

    reverse = jax.jit(jax.grad(partial(of_field, adjoint=Reversible())))
    slope = jax.jit(lambda f: jax.jvp(partial(of_field, adjoint=Direct()), (f,), (jnp.ones(()),))[1])(p["field"])
    np.testing.assert_allclose(slope, reverse(p["field"]), rtol=1e-12)
    bend = jax.jit(jax.hessian(partial(of_field, adjoint=Direct())))(p["field"])
    h = 1e-4
    np.testing.assert_allclose(bend, (reverse(p["field"] + h) - reverse(p["field"] - h)) / (2 * h), rtol=1e-6)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(partial(of_field, adjoint=Reversible()), (p["field"],), (jnp.ones(()),))


def test_memory_does_not_grow_with_the_number_of_steps():
    grid = Grid(-40.0, 40.0, 1024)

    def temporaries(num_steps, **options):
        def loss(psi0, potential):
            end = propagate(psi0, potential, grid, t1=1.0, num_steps=num_steps, **options).value
            return jnp.sum(jnp.abs(end[:512]) ** 2)

        shapes = jax.ShapeDtypeStruct((1024,), complex), jax.ShapeDtypeStruct((1024,), float)
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    found = temporaries(100_000)
    assert temporaries(1_000) == found
    # Two matrices of five vectors, 16 kB each, twice as long as one of them is made, and what a step works with.
    assert found <= 500_000
    # The checkpoints do grow, with the root: 316 states of 16 kB, and six such vectors of each step between two.
    assert temporaries(100_000, adjoint=Checkpointed()) < 8 * 316 * 1024 * 16


def test_absorber_is_differentiated_though_it_cannot_be_walked_back():
    case = {"method": Cayley(2, 2), "boundary": Absorber(3.0, 4.0)}
    p = parameters()
    want = jax.jit(jax.grad(partial(loss, case=case, adjoint=Direct())))(p)
    found = jax.jit(jax.grad(partial(loss, case=case, adjoint=Reversible())))(p)
    assert relative(found, want) < 1e-12


def test_the_check_measures_what_walking_back_misses():
    p, case = parameters(), CASES["walls"]
    plain, checked = (run(p, **case, adjoint=Reversible(check=c)) for c in (False, True))
    np.testing.assert_array_equal(plain.value, checked.value)
    assert plain.residual <= checked.residual < 1e-12
    # In single precision the walk back misses by its own rounding: the residual says so where the norm may not.
    single = jax.tree.map(lambda x: x.astype(np.float32), p)
    x = np.linspace(-8, 8, 65, dtype=np.float32)
    psi0 = jax.lax.complex(single["real"], single["imag"])
    coarse = propagate(psi0, 0.4 * x**2, GRID, t1=1.4, num_steps=200, adjoint=Reversible(check=True))
    assert np.finfo(np.float32).eps / 10 < coarse.residual < 1e-3


def test_bad_records_are_named():
    with pytest.raises(ValueError, match="Argument `every` must be an integer of at least 1, but is 0"):
        Checkpointed(0)
    with pytest.raises(ValueError, match=r"Argument `adjoint` must be `Reversible\(\)`, `Checkpointed\(\)` or `Dir"):
        run(parameters(), **CASES["walls"], adjoint="reverse")
