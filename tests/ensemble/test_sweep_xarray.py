"""Sweeps as xarray Datasets, where xarray is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import jaxnum
from jaxnum import ensemble
from jaxnum._xarray import dataset

AXES = {"rate": np.geomspace(1e-3, 1.0, 3), "beta": np.linspace(0.0, 0.9, 2)}


def fn(p):
    wave = jnp.repeat(jnp.exp(jax.lax.complex(p["rate"], p["beta"]))[None], 4)
    rows = jaxnum.History(t=jnp.arange(5.0), psi=wave)
    return jaxnum.Solution({"psi": wave, "n": 3}, rows, p["rate"], 7, jaxnum.Status.ok)


@pytest.fixture
def xarray():
    return pytest.importorskip("xarray")


def test_a_grid_becomes_dimensions_with_coordinates(xarray):
    solution = ensemble.sweep(fn, ensemble.grid(**AXES))
    data = solution.to_xarray()
    assert isinstance(data, xarray.Dataset)
    assert data["value.psi"].dims == ("rate", "beta", "value.psi_0")
    assert data["value.psi"].dtype == np.complex128
    assert_array_equal(data["value.psi"].sel(rate=1.0, beta=0.9), solution.value["psi"][2, 1])
    assert data["t"].dims == ("rate", "beta", "t_0")
    assert data["residual"].dims == data["num_steps"].dims == data["status"].dims == ("rate", "beta")
    assert data["status"].flag_meanings.split()[0] == "ok"
    assert_array_equal(data["rate"], AXES["rate"])


def test_rows_and_draws_become_coordinates_of_their_one_dimension(xarray):
    del xarray
    data = ensemble.sweep(lambda p: p["x"][0], {"x": np.ones((4, 2)), "a": np.arange(4.0)}).to_xarray()
    assert data["x"].dims == ("member", "x_0")
    assert data["value"].dims == data["a"].dims == ("member",)
    assert "a" in data.coords
    data = ensemble.sweep(jnp.square, np.arange(3.0)).to_xarray()
    assert_array_equal(data["parameters"], np.arange(3.0))
    drawn = ensemble.sweep(jnp.square, ensemble.draws(jax.random.key(0), 5, jax.random.normal)).to_xarray()
    assert drawn["value"].dims == ("draw",)


def test_a_single_solve_has_no_named_axes_but_all_its_arrays(xarray):
    del xarray
    solution = jaxnum.Solution(np.ones(3), jaxnum.History(t=np.arange(2.0), value=np.ones(2)), 0.0, 1, jaxnum.Status.ok)
    data = solution.to_xarray()
    assert data["value"].shape == (3,)
    assert data["history_value"].shape == data["t"].shape == (2,)


def test_complex_numbers_come_back_from_netcdf(xarray, tmp_path):
    pytest.importorskip("netCDF4")
    data = ensemble.sweep(fn, ensemble.grid(**AXES)).to_xarray()
    data.to_netcdf(tmp_path / "sweep.nc", engine="netcdf4", auto_complex=True)
    with xarray.open_dataset(tmp_path / "sweep.nc", engine="netcdf4", auto_complex=True) as back:
        xarray.testing.assert_identical(back.load(), data)


def test_without_xarray_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxnum\[io\]'"):
        dataset(ensemble.sweep(jnp.square, np.arange(3.0)))
