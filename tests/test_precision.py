import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnum import PrecisionError
from jaxnum._precision import check_tolerance


def without_x64(code):
    """Run code in a fresh process where JAX computes in single precision."""
    code = "import warnings; import numpy as np; import jax; import jax.numpy as jnp; import jaxnum\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_narrowing_is_said_and_what_is_single_already_is_not():
    without_x64("""
from jaxnum._checks import as_array
from jaxnum._precision import check_tolerance
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for x in (np.ones(2), np.ones(2, complex), np.float64(1.5)):
        y = as_array("psi0", x, complex_ok=True)
        assert y.dtype in (np.float32, np.complex64), y.dtype
assert len(caught) == 3, caught
for w in caught:
    text = str(w.message)
    assert issubclass(w.category, jaxnum.PrecisionWarning)
    assert "`psi0`" in text and "jaxnum.enable_x64()" in text and "\\n" not in text, text
with warnings.catch_warnings():
    warnings.simplefilter("error")
    for x in (np.ones(2, np.float32), jnp.ones(2), [1.0, 2.0], 3.0, [1, 2], 1j, [1j, 2.0]):
        y = as_array("psi0", x, complex_ok=True)
        assert y.dtype in (np.float32, np.complex64), (x, y.dtype)
try:
    check_tolerance("rtol", 1e-8, jnp.float32)
except jaxnum.PrecisionError as error:
    text = str(error)
    assert "`rtol`" in text and "float32" in text and "enable_x64" in text and "\\n" not in text, text
else:
    raise AssertionError("1e-8 passed in single precision")
jaxnum.enable_x64()
assert jnp.ones(2).dtype == np.float64
with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert as_array("psi0", np.ones(2)).dtype == np.float64
check_tolerance("rtol", 1e-8, jnp.float64)
""")


def test_warning_points_at_the_line_of_the_caller():
    without_x64("""
from jaxnum import signals
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    signals.smooth(np.ones(20), method=signals.LocalPolynomial(2.0))
assert len(caught) == 1, [str(w.message) for w in caught]
assert "`y`" in str(caught[0].message)
""")


def test_importing_sets_no_flag_and_starts_no_backend():
    without_x64("""
assert not jax.config.jax_enable_x64
from jax._src import xla_bridge
assert not xla_bridge._backends, xla_bridge._backends
import sys
assert "matplotlib" not in sys.modules
""")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_floor_of_a_tolerance_is_a_hundred_roundings(dtype):
    floor = 100 * float(jnp.finfo(dtype).eps)
    check_tolerance("rtol", floor * 1.01, dtype)
    with pytest.raises(PrecisionError, match=r"Argument `rtol` must be at least"):
        check_tolerance("rtol", floor * 0.99, dtype)


@pytest.mark.parametrize("bad", [0, -1e-3, np.nan, None, "small", 1j, [1e-3, 1e-3], True, np.inf])
def test_a_tolerance_that_is_no_positive_number_is_refused(bad):
    with pytest.raises(ValueError, match="Argument `rtol`") as refusal:
        check_tolerance("rtol", bad, jnp.float64)
    assert not isinstance(refusal.value, PrecisionError)
    assert "\n" not in str(refusal.value)


def test_a_traced_tolerance_is_left_to_the_status():
    jax.jit(lambda rtol: check_tolerance("rtol", rtol, jnp.float32) or rtol)(1e-30)
