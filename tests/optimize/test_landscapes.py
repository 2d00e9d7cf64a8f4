from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum.optimize import landscapes

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


@partial(jax.jit, static_argnums=0)
def expand(fn, point):
    """Value, gradient and Hessian at a point."""
    return fn(point), jax.grad(fn)(point), jax.hessian(fn)(point)


@pytest.mark.parametrize("name", CATALOGUE)
def test_minima_are_minima(name):
    landscape = CATALOGUE[name]
    assert landscape.name == name
    assert landscape.minima.shape[1] == len(landscape.y0)
    eps = np.finfo(float).eps
    for point in landscape.minima:
        value, gradient, hessian = expand(landscape.fn, point)
        stiffness = np.linalg.norm(hessian, 2) * max(1.0, float(jnp.max(jnp.abs(point))))
        # The point is stored to half a unit in its last place, so value and slope are off by curvature times that.
        np.testing.assert_allclose(value, landscape.minimum, rtol=16 * eps, atol=stiffness * eps, err_msg=f"{point}")
        assert np.linalg.norm(gradient) <= 16 * eps * stiffness, (name, point, gradient)
        lowest = np.linalg.eigvalsh(hessian)[0]
        assert lowest >= -16 * eps * np.linalg.norm(hessian, 2), (name, lowest)


@pytest.mark.parametrize("name", [name for name, x in CATALOGUE.items() if len(x.local_minima)])
def test_local_minima_are_higher_minima(name):
    landscape = CATALOGUE[name]
    for point in landscape.local_minima:
        value, gradient, hessian = expand(landscape.fn, point)
        assert value > landscape.minimum + 0.1
        assert np.linalg.norm(gradient) < 1e-12 * np.linalg.norm(hessian, 2)
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
    fn = CATALOGUE["wood"].fn
    point = jnp.array([-0.9679740249375923, 0.9471391408178403, -0.9695163103315919, 0.9512476657923268])
    value, gradient, hessian = expand(fn, point)
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


@pytest.mark.parametrize("name", CATALOGUE)
def test_single_precision_stays(name):
    landscape = CATALOGUE[name]
    value, gradient, _ = expand(landscape.fn, landscape.y0.astype(jnp.float32))
    assert value.dtype == gradient.dtype == jnp.float32
    np.testing.assert_allclose(value, landscape.fn(landscape.y0), rtol=1e-5)


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
        (lambda: landscapes.quadratic([]), "`curvatures`"),
    ],
)
def test_bad_arguments_are_named(call, argument):
    with pytest.raises(ValueError, match="must") as error:
        call()
    assert argument in str(error.value)
