import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnum.optimize import (
    Adam,
    AveragedMomentum,
    Momentum,
    Nesterov,
    Sgd,
    growth_factor,
    optimal_momentum,
    optimal_rate,
    predicted_steps,
    stability_limit,
)

CURVATURES = np.array([1.0, 3.0, 10.0])


def averaged(rate, beta):
    return optax.chain(optax.ema(beta, debias=False), optax.scale(-rate))


# The family, the same method in Optax, and its limit for curvatures 1, 3, 10 (the closed forms evaluated by hand).
METHODS = {
    "sgd": (Sgd(), lambda rate: optax.chain(optax.trace(0.0), optax.scale(-rate)), 0.2),
    "momentum 0.5": (Momentum(0.5), lambda rate: optax.sgd(rate, momentum=0.5), 0.3),
    "momentum 0.9": (Momentum(0.9), lambda rate: optax.sgd(rate, momentum=0.9), 0.38),
    "momentum 0.99": (Momentum(0.99), lambda rate: optax.sgd(rate, momentum=0.99), 0.398),
    "nesterov 0.5": (Nesterov(0.5), lambda rate: optax.sgd(rate, momentum=0.5, nesterov=True), 0.15),
    "nesterov 0.9": (Nesterov(0.9), lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True), 0.1357142857142857),
    "averaged 0.5": (AveragedMomentum(0.5), lambda rate: averaged(rate, 0.5), 0.6),
    "averaged 0.9": (AveragedMomentum(0.9), lambda rate: averaged(rate, 0.9), 3.8),
    "adam": (Adam(0.9), lambda rate: averaged(rate, 0.9), 3.8),
}


def spectral_radius(make, rate):
    """Spectral radius of one Optax step on the quadratic, from the Jacobian of that very step."""
    curvature = jnp.asarray(CURVATURES)

    def step(pair):
        x, memory = pair
        optimizer = make(rate)
        state = optimizer.init(x)
        leaves, structure = jax.tree.flatten(state)
        leaves = [memory if jnp.shape(leaf) == (3,) else leaf for leaf in leaves]
        update, state = optimizer.update(curvature * x, jax.tree.unflatten(structure, leaves), x)
        [memory] = [leaf for leaf in jax.tree.leaves(state) if jnp.shape(leaf) == (3,)]
        return x + update, memory

    jacobian = jax.jacobian(step)((jnp.zeros(3), jnp.zeros(3)))
    return np.max(np.abs(np.linalg.eigvals(np.block([[np.asarray(b) for b in row] for row in jacobian]))))


@pytest.mark.parametrize("name", METHODS)
def test_limit_is_where_the_jacobian_of_one_optax_step_leaves_the_unit_circle(name):
    family, make, by_hand = METHODS[name]
    limit = float(stability_limit(family, 10.0))
    np.testing.assert_allclose(limit, by_hand, rtol=1e-15)
    low, high = 0.9 * limit, 1.1 * limit
    for _ in range(42):  # 0.2 · 2^-42 = 5e-14, relative
        middle = (low + high) / 2
        low, high = (middle, high) if spectral_radius(make, middle) < 1 else (low, middle)
    np.testing.assert_allclose(low, limit, rtol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_growth_factor_is_that_spectral_radius(name):
    family, make, _ = METHODS[name]
    for share in (0.03, 0.5, 0.9, 1.2):
        rate = share * float(stability_limit(family, 10.0))
        ours = np.max(growth_factor(family, rate, CURVATURES))
        # A double eigenvalue is known to √eps only; none of these shares meets one.
        np.testing.assert_allclose(ours, spectral_radius(make, rate), rtol=1e-10, err_msg=f"{share=}")


@pytest.mark.parametrize(("share", "fate"), [(0.999, "converges"), (1.001, "overflows")])
@pytest.mark.parametrize("name", ["sgd", "momentum 0.9", "nesterov 0.9", "averaged 0.9"])
def test_a_thousandth_either_side_decides(name, share, fate):
    family, make, _ = METHODS[name]
    optimizer = make(share * float(stability_limit(family, 10.0)))
    curvature = jnp.asarray(CURVATURES)

    def step(carry, _):
        x, state = carry
        update, state = optimizer.update(curvature * x, state, x)
        return (x + update, state), None

    start = jnp.ones(3)
    (x, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=1_500_000)
    size = float(jnp.max(jnp.abs(x)))
    assert (size < 1e-12) if fate == "converges" else not np.isfinite(size), size


def test_best_rate_of_gradient_descent_is_exact():
    rate = optimal_rate(1.0, 10.0)
    np.testing.assert_allclose(rate, 2 / 11, rtol=1e-15)
    np.testing.assert_allclose(growth_factor(Sgd(), rate, [1.0, 10.0]), 9 / 11, rtol=1e-14)  # (κ−1)/(κ+1)


@pytest.mark.parametrize("family", [Sgd(), Momentum(0.3), Nesterov(0.3), AveragedMomentum(0.3), Adam(0.2)])
def test_no_rate_is_better_than_the_best(family):
    spectrum = np.array([1.0, 40.0])
    rates = np.linspace(0.01, 1, 400) * float(stability_limit(family, 40.0))
    growth = np.max(growth_factor(family, rates[:, None], np.stack([spectrum] * 400)), axis=1)
    best = np.max(growth_factor(family, optimal_rate(*spectrum, family), spectrum))
    assert best <= growth.min() + 1e-12, (best, growth.min())
    assert best >= growth.min() - 0.02, (best, growth.min())


def test_best_momentum_reaches_the_square_root_of_the_condition():
    rate, beta = optimal_momentum(1.0, 64.0)
    np.testing.assert_allclose(beta, (7 / 9) ** 2, rtol=1e-14)  # √κ = 8
    # Both ends are double eigenvalues: rounding in the discriminant costs √eps.
    np.testing.assert_allclose(growth_factor(Momentum(float(beta)), rate, [1.0, 64.0]), 7 / 9, rtol=1e-7)


def test_predicted_steps_are_what_gradient_descent_needs():
    x, rate, steps = np.array([1.0, 1.0, 1.0]), float(optimal_rate(1.0, 10.0)), 0
    while np.max(np.abs(x)) > 1e-6:
        x, steps = x - rate * CURVATURES * x, steps + 1
    assert steps == int(np.ceil(predicted_steps(Sgd(), rate, 1.0, 10.0, factor=1e-6)))


def test_a_diverging_run_is_predicted_too():
    assert np.isinf(predicted_steps(Sgd(), 0.21, 1.0, 10.0, factor=1e-6))
    np.testing.assert_allclose(predicted_steps(Sgd(), 0.21, 1.0, 10.0, factor=1e6), np.log(1e6) / np.log(1.1))


def test_rosenbrock_limit_at_the_minimum():
    # H = [[802, −400], [−400, 200]]
    largest = 501 + np.sqrt(301**2 + 400**2)
    np.testing.assert_allclose(stability_limit(Sgd(), largest), 1.9968e-3, rtol=1e-5)


@pytest.mark.parametrize("family", [Sgd(), Momentum(0.9), Nesterov(0.9), Adam()])
def test_growth_can_be_differentiated(family):
    for h in (0.1, 1.3, 3.9):
        slope = jax.grad(lambda rate: growth_factor(family, rate, 1.0))
        central = (growth_factor(family, h + 1e-6, 1.0) - growth_factor(family, h - 1e-6, 1.0)) / 2e-6
        np.testing.assert_allclose(slope(h), central, rtol=1e-7, atol=1e-9)  # differences: eps / 1e-6
        np.testing.assert_allclose(jax.jvp(lambda r: growth_factor(family, r, 1.0), (h,), (1.0,))[1], slope(h))


def test_single_precision_stays():
    curvature = np.float32([1.0, 2.0])
    assert stability_limit(Momentum(0.9), curvature).dtype == np.float32
    assert growth_factor(Nesterov(0.9), np.float32(0.1), curvature).dtype == np.float32
    assert optimal_rate(np.float32(1), np.float32(2)).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: stability_limit(Sgd(), 0.0), "`curvature` must be positive"),
        (lambda: stability_limit(Sgd(), np.nan), "`curvature` must be finite"),
        (lambda: stability_limit(Sgd(), None), "`curvature` must"),
        (lambda: stability_limit(Sgd(), []), "`curvature` must have at least"),
        (lambda: stability_limit(Sgd(), np.array([1, 2])), "`curvature` must be floating"),
        (lambda: stability_limit(Sgd(), 1j), "`curvature` must be real"),
        (lambda: stability_limit("sgd", 1.0), "`family` must be"),
        (lambda: Momentum(1.0), "`beta` must be"),
        (lambda: Nesterov(np.nan), "`beta` must be"),
        (lambda: AveragedMomentum("0.9"), "`beta` must be"),
        (lambda: Adam(-0.1), "`b1` must be"),
        (lambda: growth_factor(Sgd(), -0.1, 1.0), "`learning_rate` must not be negative"),
        (lambda: optimal_rate(2.0, 1.0), "`smallest` must not exceed"),
        (lambda: predicted_steps(Sgd(), 0.1, 1.0, 2.0, factor=0.0), "`factor` must be positive"),
    ],
)
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ValueError, match="Argument") as error:
        call()
    assert says in str(error.value), error.value
    assert "\n" not in str(error.value)
