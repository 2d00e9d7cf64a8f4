from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnum import Status
from jaxnum.optimize import adam, keep_within, landscapes, minimize

CATALOGUE = landscapes.catalogue()

# Value at the usual start: Moré, Garbow & Hillstrom where they give one, else the formula by hand.
AT_START = {
    "rosenbrock": 24.2,
    "beale": 14.203125,
    "freudenstein_roth": 400.5,
    "helical_valley": 2500.0,
    "powell_singular": 215.0,
    "wood": 19192.0,
    "powell_badly_scaled": 1 + (1 + np.exp(-1) - 1.0001) ** 2,
    "brown_badly_scaled": (1 - 1e6) ** 2 + (1 - 2e-6) ** 2 + 1,
    "booth": 22.0**2 + 20.0**2,
    "himmelblau": 170.0,
    "quadratic": 5.5,
}


# Lowest values as the paper prints them: most are truncated, some rounded. The value, and one unit of its last digit.
PUBLISHED = {
    ("jennrich_sampson", ()): (124.362, 1e-3),
    ("bard", ()): (8.21487e-3, 1e-8),
    ("gaussian", ()): (1.12793e-8, 1e-13),
    ("meyer", ()): (87.9458, 1e-4),
    ("kowalik_osborne", ()): (3.07505e-4, 1e-9),
    ("brown_dennis", ()): (85822.2, 0.1),
    ("osborne_1", ()): (5.46489e-5, 1e-10),
    ("osborne_2", ()): (4.01377e-2, 1e-7),
    ("watson", (6,)): (2.28767e-3, 1e-8),
    ("watson", (9,)): (1.39976e-6, 1e-11),
    ("watson", (12,)): (4.72238e-10, 1e-15),
    ("penalty_1", (4,)): (2.24997e-5, 1e-10),
    ("penalty_1", (10,)): (7.08765e-5, 1e-10),
    ("penalty_2", (4,)): (9.37629e-6, 1e-11),
    ("penalty_2", (10,)): (2.93660e-4, 1e-9),
    ("linear_full_rank", (5, 10)): (5, 1e-9),
    ("linear_rank_one", (5, 10)): (45 / 21, 1e-9),
    ("linear_rank_one_with_zeros", (5, 10)): (62 / 17, 1e-9),
    ("chebyquad", (8,)): (3.51687e-3, 1e-8),
    ("chebyquad", (10,)): (4.77271e-3, 1e-8),
}
# Higher values that it prints too: freely standing minima, and one that is a saddle.
PUBLISHED_TOO = {
    ("freudenstein_roth", (), "local_minima", 0): (48.9842, 1e-4),
    ("brown_almost_linear", (), "local_minima", 0): (1.0, 1e-9),
    ("trigonometric", (), "local_minima", 0): (2.79506e-5, 1e-10),
    ("chebyquad", (10,), "local_minima", 0): (6.50395e-3, 1e-8),
    ("biggs_exp6", (), "saddles", 0): (5.65565e-3, 1e-8),
}


@partial(jax.jit, static_argnums=0)
def evaluate(fn, point):
    return fn(point)


@partial(jax.jit, static_argnums=0)
def expand(fn, point):
    """Value, gradient and Hessian at a point."""
    return fn(point), jax.grad(fn)(point), jax.hessian(fn)(point)


def check_minimum(landscape):
    eps = np.finfo(float).eps
    if landscape.residuals is not None and landscape.minimum < 1e-20:
        # A sum of squares that vanishes is lowest. The point is stored to half a unit in its last place, and each
        # residual is off by its slope times that, and by the rounding of its terms, which are of the same size.
        for point in landscape.minima:
            rest = evaluate(landscape.residuals, point)
            nudged = evaluate(landscape.residuals, np.asarray(point) * (1 + 1e-7) + 1e-7)
            size = np.max(np.abs(nudged - rest)) / 1e-7
            assert np.max(np.abs(rest)) <= 16 * eps * max(1.0, size), (landscape, point)
        return
    for point in landscape.minima:
        value, gradient, hessian = expand(landscape.fn, point)
        stiffness = np.linalg.norm(hessian, 2) * max(1.0, float(jnp.max(jnp.abs(point))))
        # The point is stored to half a unit in its last place, so value and slope are off by curvature times that.
        np.testing.assert_allclose(value, landscape.minimum, rtol=16 * eps, atol=stiffness * eps, err_msg=f"{point}")
        free = np.ones(len(point), bool)
        if landscape.within is not None:  # at a wall the slope must point outwards, and nothing is asked across it
            low, high = landscape.within
            free = (point > low) & (point < high)
            outwards = np.where(point >= high, -gradient, gradient)
            assert np.all(outwards[~free] > 0), (landscape, gradient)
        assert np.linalg.norm(gradient[free]) <= 16 * eps * stiffness, (landscape, point, gradient)
        if free.any():
            lowest = np.linalg.eigvalsh(hessian[np.ix_(free, free)])[0]
            assert lowest >= -16 * eps * np.linalg.norm(hessian, 2), (landscape, lowest)


@pytest.mark.parametrize("name", CATALOGUE)
def test_minima_are_minima(name):
    landscape = CATALOGUE[name]
    assert landscape.name == name
    assert landscape.minima.shape[1] == len(landscape.y0)
    check_minimum(landscape)
    for point in landscape.local_minima[:12]:
        value, gradient, hessian = expand(landscape.fn, point)
        assert value > landscape.minimum + 1e-5
        assert np.linalg.norm(gradient) < 1e-12 * np.linalg.norm(hessian, 2)
        assert np.linalg.eigvalsh(hessian)[0] > -1e-14
    for point in landscape.saddles:
        value, gradient, hessian = expand(landscape.fn, point)
        assert np.linalg.norm(gradient) < 1e-12 * np.linalg.norm(hessian, 2)
        lowest, *_, highest = np.linalg.eigvalsh(hessian)
        assert lowest < -1e-5 * highest, (point, lowest)
    # Single precision in, single precision out.
    single = landscape.y0.astype(jnp.float32)
    assert jax.eval_shape(landscape.fn, single).dtype == jnp.float32
    if landscape.residuals is not None:
        assert jax.eval_shape(landscape.residuals, single).dtype == jnp.float32


@pytest.mark.parametrize("name", ["rosenbrock", "bard", "eggholder", "ackley", "helical_valley"])
def test_single_precision_is_near(name):
    landscape = CATALOGUE[name]
    value = landscape.fn(landscape.y0.astype(jnp.float32))
    np.testing.assert_allclose(value, landscape.fn(landscape.y0), rtol=1e-5)


def test_all_35_are_there_as_residuals():
    problems = landscapes.more_garbow_hillstrom()
    for number, (name, problem) in enumerate(problems.items(), 1):
        assert f"problem {number}" in problem.reference, name
        assert problem.residuals is not None
    assert len(problems) == 35


@pytest.mark.parametrize(("name", "sizes"), PUBLISHED)
def test_lowest_values_are_those_published(name, sizes):
    landscape, (value, unit) = getattr(landscapes, name)(*sizes), PUBLISHED[name, sizes]
    assert abs(landscape.minimum - value) < unit
    if sizes and name in ("watson", "penalty_1", "penalty_2", "chebyquad"):
        check_minimum(landscape)


@pytest.mark.parametrize(("name", "sizes", "kind", "number"), PUBLISHED_TOO)
def test_higher_values_are_those_published(name, sizes, kind, number):
    landscape, (value, unit) = getattr(landscapes, name)(*sizes), PUBLISHED_TOO[name, sizes, kind, number]
    assert abs(float(landscape.fn(getattr(landscape, kind)[number])) - value) < unit


@pytest.mark.parametrize("n", [*range(1, 8), 9])
def test_equal_weight_quadrature_is_exact(n):
    # Chebyshev's own property: the mean over the nodes is the integral of every power up to n.
    [nodes] = landscapes.chebyquad(n).minima
    powers = np.arange(1, n + 1)
    np.testing.assert_allclose(
        np.mean(np.asarray(nodes)[None, :] ** powers[:, None], axis=1), 1 / (powers + 1), rtol=1e-13
    )


def test_the_second_minimum_of_a_long_valley():
    fn = landscapes.rosenbrock(num_dimensions=6)
    check_minimum(fn)
    [point] = fn.local_minima
    value, gradient, hessian = expand(fn.fn, point)
    # Shang & Qiu (2006) give 3.97394 for six dimensions, at (−0.9866, 0.9834, 0.9721, 0.9474, 0.8987, 0.8076).
    np.testing.assert_allclose(value, 3.97394, atol=1e-5)
    np.testing.assert_allclose(point, [-0.9866, 0.9834, 0.9721, 0.9474, 0.8987, 0.8076], atol=1e-4)
    assert np.linalg.norm(gradient) < 1e-11
    assert np.linalg.eigvalsh(hessian)[0] > 0


@pytest.mark.parametrize("name", AT_START)
def test_value_at_the_start(name):
    landscape = CATALOGUE[name]
    np.testing.assert_allclose(landscape.fn(landscape.y0), AT_START[name], rtol=1e-14)


def test_published_second_minimum_of_freudenstein_and_roth():
    [point] = CATALOGUE["freudenstein_roth"].local_minima
    np.testing.assert_allclose(point, [11.41278, -0.896805], rtol=1e-6)
    np.testing.assert_allclose(CATALOGUE["freudenstein_roth"].fn(point), 48.98425368, rtol=1e-9)


def test_wood_has_its_saddle():
    [point] = CATALOGUE["wood"].saddles
    value, gradient, hessian = expand(CATALOGUE["wood"].fn, point)
    assert np.linalg.norm(gradient) < 1e-11
    eigenvalues = np.linalg.eigvalsh(hessian)
    assert (eigenvalues < 0).sum() == 1
    np.testing.assert_allclose(value, 7.87697, atol=5e-6)
    np.testing.assert_allclose(eigenvalues[0], -0.12, atol=5e-3)


def test_rosenbrock_curvature_at_the_minimum():
    *_, hessian = expand(CATALOGUE["rosenbrock"].fn, jnp.ones(2))
    np.testing.assert_allclose(hessian, [[802, -400], [-400, 200]], rtol=1e-14)


def test_powell_singular_is_singular_at_its_minimum():
    *_, hessian = expand(CATALOGUE["powell_singular"].fn, jnp.zeros(4))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), [0, 0, 20, 202], atol=1e-12)


def test_helical_valley_equals_its_piecewise_definition(rng):
    for x, z, w in rng.normal(size=(20, 3)):
        theta = np.arctan(z / x) / (2 * np.pi) + (0.5 if x < 0 else 0.0)
        piecewise = 100 * ((w - 10 * theta) ** 2 + (np.hypot(x, z) - 1) ** 2) + w**2
        np.testing.assert_allclose(
            expand(CATALOGUE["helical_valley"].fn, jnp.array([x, z, w]))[0], piecewise, rtol=1e-12
        )


def test_a_noisy_bowl_ends_in_a_cloud_of_known_size():
    bowl, rate = landscapes.noisy_quadratic((1.0, 10.0), 0.1), 0.05
    run = minimize(bowl.fn, optax.sgd(rate), bowl.y0, bowl.args, sample=bowl.sample, num_steps=40_000)
    cloud = np.var(np.asarray(run.history.y)[1000:], axis=0)
    h = rate * np.array([1.0, 10.0])
    # Variance noise² h/(2 − h). Neighbors correlate like (1 − h)ⁿ: 40 000 steps are 1000 independent ones in the slower
    # direction, whose variance scatters by √(2/1000) = 4.5 %; three times that.
    np.testing.assert_allclose(cloud, 0.01 * h / (2 - h), rtol=0.14)
    np.testing.assert_allclose(run.history.value[0], bowl.fn(bowl.y0), rtol=1e-15)  # rows are of the bowl at rest


def test_reddi_sends_adam_the_wrong_way():
    line, rate = landscapes.reddi(), lambda count: 0.5 / jnp.sqrt(count.astype(float) + 1.0)
    options = {"sample": line.sample, "num_steps": 300_000, "save_every": 300_000}

    def end(**more):
        optimizer = optax.chain(adam(rate, b2=0.99, **more), keep_within(-1.0, 1.0))
        return minimize(line.fn, optimizer, line.y0, line.args, **options)

    ends = end(), end(amsgrad=True, bias_correction=False)
    assert ends[0].value > 0.99
    assert ends[0].status == Status.diverged  # it ends above its start
    assert ends[1].value < 0.0


def test_beale_is_flat_through_its_start():
    np.testing.assert_allclose([CATALOGUE["beale"].fn(jnp.array([x, 1.0])) for x in (-7.0, 0.0, 3.0)], 14.203125)


def test_parameters_move_the_minimum():
    landscape = landscapes.rosenbrock(2.0, 7.0)
    np.testing.assert_array_equal(landscape.minima, [[2, 4]])
    assert landscape.fn == landscapes.rosenbrock(2.0, 7.0).fn  # equal functions share one compilation
    assert landscape.fn != landscapes.rosenbrock().fn
    assert landscapes.rastrigin(5).minima.shape == (1, 5)
    three = landscapes.styblinski_tang(3)
    np.testing.assert_allclose(three.fn(three.minima[0]), three.minimum, rtol=1e-15)


@pytest.mark.parametrize("name", [name for name, x in CATALOGUE.items() if x.bounds])
def test_what_is_drawn_contains_start_and_minima(name):
    landscape = CATALOGUE[name]
    low, high = np.array(landscape.bounds, float).T
    for point in [landscape.y0, *landscape.minima]:
        assert (low <= point).all(), (name, point)
        assert (point <= high).all(), (name, point)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: landscapes.rosenbrock(a=np.nan), "`a`"),
        (lambda: landscapes.rosenbrock(b=0.0), "`b`"),
        (lambda: landscapes.rosenbrock(b="100"), "`b`"),
        (lambda: landscapes.rastrigin(0), "`num_dimensions`"),
        (lambda: landscapes.styblinski_tang(2.5), "`num_dimensions`"),
        (lambda: landscapes.quadratic([1.0, -1.0]), "`curvatures"),
        (lambda: landscapes.rosenbrock(2.0, num_dimensions=3), "`a`"),
        (lambda: landscapes.rosenbrock(num_dimensions=1), "`num_dimensions`"),
        (lambda: landscapes.watson(7), "`num_dimensions`"),
        (lambda: landscapes.chebyquad(11), "`num_dimensions`"),
        (lambda: landscapes.extended_rosenbrock(3), "`num_dimensions`"),
        (lambda: landscapes.extended_powell_singular(6), "`num_dimensions`"),
        (lambda: landscapes.linear_rank_one(5, 4), "`num_residuals`"),
        (lambda: landscapes.ravine(0.5), "`condition`"),
        (lambda: landscapes.noisy_quadratic(noise=0.0), "`noise`"),
        (lambda: keep_within(1.0, 0.0), "`high`"),
        (lambda: keep_within(np.nan, 0.0), "`low`"),
        (lambda: landscapes.quadratic([]), "`curvatures`"),
    ],
)
def test_bad_arguments_are_named(call, argument):
    with pytest.raises(ValueError, match="must") as error:
        call()
    assert argument in str(error.value)
