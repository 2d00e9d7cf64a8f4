"""The tables of a known signal, and the truths every linear smoother must keep."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

from jaxnum import signals
from jaxnum.signals import (
    ConstantEdge,
    GaussianKernel,
    LocalPolynomial,
    Nearest,
    OddReflection,
    Reflect,
    Renormalized,
    SavitzkyGolay,
    Wrap,
    smooth,
)

N = 401
X = np.linspace(0, 1, N)
H = X[1] - X[0]
Y = 2 + 3 * X + 0.5 * np.sin(9 * X)
SLOPE = 3 + 4.5 * np.cos(9 * X)
SIGMA = 12 * H
INTERIOR = (X >= 0.25) & (X <= 0.75)
EDGE = (np.arange(N) < 48) | (np.arange(N) >= N - 48)

SMALL = 61
GRID = np.linspace(0, 1, SMALL)
UNEVEN = np.sort(np.concatenate([[0, 1], np.random.default_rng(5).random(SMALL - 2)]))
KERNELS = [GaussianKernel(0.05, edge) for edge in (OddReflection(), Reflect(), Nearest(), Wrap(), ConstantEdge(0.7))]
ANYWHERE = [GaussianKernel(0.05, Renormalized()), LocalPolynomial(0.05, 2)]
METHODS = [*KERNELS, *ANYWHERE, SavitzkyGolay(11, 3)]


def label(method):
    return f"{type(method).__name__}-{type(getattr(method, 'edge', None)).__name__}-{getattr(method, 'degree', '')}"


def two_digits(x):
    return float(f"{x:.1e}")


# Rows: value at the end, value inside, slope of the values (differenced) at the edge and inside, own slope likewise.
# The kernels are cut at four standard deviations, as the table they reproduce was.
TABLE = {
    "zero": (GaussianKernel(SIGMA, ConstantEdge(0.0), window=48), (2.5, 1.8e-2, 68, 0.16, None, None)),
    "nearest": (GaussianKernel(SIGMA, Nearest(), window=48), (8.8e-2, 1.8e-2, 3.7, 0.16, None, None)),
    "reflect": (GaussianKernel(SIGMA, Reflect(), window=48), (0.17, 1.8e-2, 7.0, 0.16, None, None)),
    "renormalized": (GaussianKernel(SIGMA, Renormalized(), window=48), (0.17, 1.8e-2, 4.7, 0.16, None, None)),
    "odd": (GaussianKernel(SIGMA, OddReflection(), window=48), (0, 1.8e-2, 0.54, 0.16, None, None)),
    "linear": (LocalPolynomial(SIGMA, 1), (7.8e-3, 1.8e-2, 0.54, 0.16, 0.75, 0.16)),
    "quadratic": (LocalPolynomial(SIGMA, 2), (1.1e-3, 3.2e-4, 0.15, 3.3e-3, 0.20, 0.16)),
    "cubic": (LocalPolynomial(SIGMA, 3), (6.2e-5, 3.2e-4, 1.2e-2, 3.3e-3, 1.7e-2, 2.9e-3)),
    "savgol 2": (SavitzkyGolay(97, 2), (2.3e-2, 2.4e-3, 1.3, 2.2e-2, 1.3, 0.51)),
    "savgol 3": (SavitzkyGolay(97, 3), (5.6e-3, 2.4e-3, None, None, 0.48, 1.2e-2)),
}


@pytest.mark.parametrize("name", TABLE)
def test_table_of_biases(name):
    method, wanted = TABLE[name]
    value = np.asarray(smooth(Y, X, method=method).value)
    error, slope = np.abs(value - Y), np.abs(np.gradient(value, H) - SLOPE)
    found = [max(error[0], error[-1]), error[INTERIOR].max(), slope[EDGE].max(), slope[INTERIOR].max()]
    if wanted[4] is not None:
        own = np.abs(np.asarray(signals.differentiate(Y, X, method=method).value) - SLOPE)
        found += [own[EDGE].max(), own[INTERIOR].max()]
    for have, want in zip(found, wanted, strict=False):
        if want is not None:
            # Printed to two digits: half a unit of the second, plus the table's own rounding of ties.
            assert_allclose(
                have, want, rtol=0.051 / two_digits(want or 1) * 10 ** np.floor(np.log10(want or 1)), atol=1e-12
            )


# Standard error for unit noise: value inside, value at the end, slope inside, slope at the end.
GAINS = {1: (0.153, 0.373, 3.61, 9.5), 2: (0.199, 0.500, 3.61, 29.6), 3: (0.199, 0.605, 6.70, 60.7)}


@pytest.mark.parametrize("degree", GAINS)
def test_table_of_noise_gains(degree):
    method = LocalPolynomial(SIGMA, degree)
    value = smooth(Y, X, method=method, noise=1.0).standard_error
    slope = smooth(Y, X, method=method, derivative=1, noise=1.0).standard_error
    found = [value[N // 2], value[0], slope[N // 2], slope[0]]
    for have, want, digits in zip(found, GAINS[degree], (3, 3, 2, 1), strict=True):
        assert_allclose(have, want, rtol=0, atol=0.51 * 10.0**-digits)  # half a unit of the last digit printed


@pytest.mark.parametrize("degree", [0, 2, 4])
def test_polynomials_are_kept_up_to_the_ends(degree):
    polynomial = np.polynomial.Polynomial(np.random.default_rng(degree).normal(size=degree + 1))
    method = LocalPolynomial(0.08, degree, window=SMALL - 1)
    for d in {0, degree // 2}:
        for x in (GRID, UNEVEN):
            value = smooth(polynomial(x), x, method=method, derivative=d, noise=1.0).value
            # A derivative is a difference over one bandwidth: rounding grows by that factor at each order.
            wanted = polynomial.deriv(d)(x) if d else polynomial(x)
            assert_allclose(value, wanted, rtol=0, atol=1e-12 / 0.02**d)


def test_savitzky_golay_keeps_polynomials_on_irregular_samples():
    for x in (GRID, UNEVEN):
        assert_allclose(smooth(x**3 - x, x, method=SavitzkyGolay(11, 3)).value, x**3 - x, atol=1e-12)


@pytest.mark.parametrize("method", [*KERNELS[:4], *ANYWHERE, SavitzkyGolay(11)], ids=label)
def test_constants_are_kept(method):
    assert_allclose(smooth(np.full(SMALL, 3.7), GRID, method=method).value, 3.7, rtol=1e-13)


def test_a_constant_beyond_the_ends_is_right_only_for_that_constant():
    for inside, kept in ((0.7, True), (1.7, False)):
        value = smooth(np.full(SMALL, inside), GRID, method=KERNELS[-1]).value
        assert np.allclose(value, inside, rtol=1e-13) == kept, value
    # Half of the kernel and half of its central sample lie inside.
    zero = smooth(np.ones(N), method=GaussianKernel(12.0, ConstantEdge(0.0))).value
    assert_allclose(zero[0], 0.5 + 0.5 / (12 * np.sqrt(2 * np.pi)), rtol=1e-6)
    assert_allclose([zero[0], zero[12]], [0.52, 0.85], atol=5e-3)


def test_a_line_is_kept_by_the_odd_reflection_alone():
    line = 1 + 2 * GRID
    assert_allclose(smooth(line, GRID, method=KERNELS[0]).value, line, rtol=1e-13)
    assert_allclose(smooth(line, GRID, method=KERNELS[0], derivative=1).value, 2, rtol=1e-11)
    assert np.max(np.abs(smooth(line, GRID, method=KERNELS[2]).value - line)) > 0.01


def test_the_odd_reflection_passes_through_the_end_samples(rng):
    y = rng.normal(size=SMALL)
    result = smooth(y, GRID, method=KERNELS[0], noise=1.0)
    assert_allclose(result.value[np.array([0, -1])], y[[0, -1]], rtol=1e-12)
    assert_allclose(result.standard_error[np.array([0, -1])], 1, rtol=1e-12)


@pytest.mark.parametrize(("edge", "mode"), [(Reflect(), "reflect"), (Nearest(), "nearest"), (Wrap(), "wrap")])
def test_agrees_with_scipy_gaussian_filter(edge, mode, rng):
    sigma = 20.0 if mode == "reflect" else 2.3  # also a kernel wider than the signal
    y, window = rng.normal(size=SMALL), int(4 * sigma + 0.5)
    value = smooth(y, method=GaussianKernel(sigma, edge, window=window)).value
    assert_allclose(value, gaussian_filter1d(y, sigma, mode=mode), rtol=0, atol=1e-14 * window)


@pytest.mark.parametrize("derivative", [0, 2])
def test_agrees_with_scipy_savgol(derivative, rng):
    y = rng.normal(size=SMALL)
    value = smooth(y, GRID, method=SavitzkyGolay(15, 3), derivative=derivative).value
    oracle = savgol_filter(y, 15, 3, deriv=derivative, delta=GRID[1], mode="interp")
    assert_allclose(value, oracle, rtol=0, atol=1e-12 * np.max(np.abs(oracle)))


@pytest.mark.parametrize(
    ("method", "derivative"),
    [*((method, 0) for method in METHODS), (KERNELS[0], 1), (KERNELS[3], 2), (ANYWHERE[1], 1)],
    ids=lambda p: p if isinstance(p, int) else label(p),
)
def test_standard_error_and_freedom_are_those_of_the_linear_operator(method, derivative, rng):
    y = jnp.asarray(rng.normal(size=SMALL))
    run = lambda y: smooth(y, GRID, method=method, derivative=derivative, noise=0.3)  # noqa: E731

    @jax.jit
    def everything(y):
        return run(y), jax.jacfwd(lambda y: run(y).value)(y), run(0 * y).value

    result, operator, constant = everything(y)
    assert_allclose(operator @ y + constant, result.value, rtol=1e-12, atol=1e-12 * np.max(np.abs(result.value)))
    assert_allclose(0.3 * np.linalg.norm(operator, axis=1), result.standard_error, rtol=1e-10)
    if derivative == 0:
        assert_allclose(np.trace(operator), result.degrees_of_freedom, rtol=1e-11)


@pytest.mark.parametrize("method", [ANYWHERE[1]], ids=label)
def test_a_missing_sample_is_a_deleted_sample(method, rng):
    y, gone = rng.normal(size=SMALL), np.array([0, 7, 8, SMALL - 1])
    weights = rng.uniform(0.5, 2, SMALL)
    kept = np.setdiff1d(np.arange(SMALL), gone)
    holes, weights_with_holes = y.copy(), weights.copy()
    holes[gone], weights_with_holes[gone] = np.nan, 0
    for derivative in (1,):
        full = smooth(holes, UNEVEN, method=method, weights=weights_with_holes, derivative=derivative)
        less = smooth(y[kept], UNEVEN[kept], method=method, weights=weights[kept], derivative=derivative)
        scale = np.max(np.abs(less.value))
        assert_allclose(full.value[kept], less.value, rtol=0, atol=1e-11 * scale)
        assert_allclose(full.standard_error[kept], less.standard_error, rtol=1e-10)
        assert_allclose(full.degrees_of_freedom, less.degrees_of_freedom, rtol=1e-11)
        assert_allclose(full.noise, less.noise, rtol=1e-11)
        assert np.isfinite(full.value).all()  # at the gap the curve goes on

    # Gradients stay finite, and a missing sample has none.
    gradient = jax.grad(lambda y: jnp.sum(smooth(y, UNEVEN, method=method, weights=weights_with_holes).value ** 2))
    gradient = gradient(jnp.asarray(holes))
    assert np.isfinite(gradient).all()
    assert_allclose(gradient[gone], 0, atol=0)


@pytest.mark.parametrize("method", [LocalPolynomial(0.05, 2), KERNELS[0]], ids=label)
def test_standard_errors_against_monte_carlo(method, rng):
    # A line is kept by both methods, so what scatters is the noise alone, here of four unequal sizes.
    line, trials, sigma = 1 + 2 * GRID, 4000, 0.2
    weights = np.ones(SMALL) if isinstance(method, GaussianKernel) else np.repeat([1.0, 4.0, 0.25, 2.0], 16)[:SMALL]
    noise = rng.normal(size=(trials, SMALL)) * sigma / np.sqrt(weights)
    for derivative in (0, 1):
        run = jax.vmap(lambda y, d=derivative: smooth(y, GRID, method=method, derivative=d, weights=weights))
        result = run(jnp.asarray(line + noise))
        claimed = smooth(line, GRID, method=method, derivative=derivative, weights=weights, noise=sigma).standard_error
        # The standard deviation of a standard deviation is 1/√(2 trials) = 1.1 %; five of them over 61 samples.
        assert_allclose(np.std(result.value, axis=0), claimed, rtol=5 / np.sqrt(2 * trials))
        # σ² is unbiased; its own scatter over 4000 trials is about √(2/freedom/trials), 0.4 %.
        assert_allclose(np.mean(np.square(result.noise)), sigma**2, rtol=0.02)


@pytest.mark.parametrize("method", [KERNELS[0], ANYWHERE[1]], ids=label)
def test_derivatives_in_bandwidth_and_data(method, rng):
    y, direction = jnp.asarray(rng.normal(size=SMALL)), jnp.asarray(rng.normal(size=SMALL))

    def loss(log_bandwidth, y):
        changed = type(method)(jnp.exp(log_bandwidth), *([method.edge] if hasattr(method, "edge") else [3]))
        result = smooth(y, GRID, method=changed, derivative=1)
        parts = result.value / 30, result.standard_error, result.degrees_of_freedom / 10, result.noise
        return sum(jnp.sum(jnp.sin(part)) for part in parts)

    at, tangent = (jnp.log(0.06), y), (jnp.asarray(0.7), direction)
    step = 1e-5  # error step² = 1e-10 of the third derivative, rounding 1e-16/step = 1e-11

    @jax.jit
    def everything(b, y):
        reverse = jax.grad(loss, (0, 1))(b, y)
        moved = jax.vmap(lambda s: loss(b + s * 0.7 * step, y + s * step * direction))(jnp.array([1.0, -1.0]))
        forward = jax.jvp(loss, (b, y), tangent)[1]
        return forward, reverse[0] * tangent[0] + reverse[1] @ tangent[1], (moved[0] - moved[1]) / 2 / step

    forward, reverse, central = everything(*at)
    assert_allclose(forward, reverse, rtol=1e-10)
    assert_allclose(forward, central, rtol=1e-7)


@pytest.mark.parametrize("method", [KERNELS[0], ANYWHERE[1]], ids=label)
def test_a_traced_bandwidth_gives_the_same_curve(method, rng):
    y, bandwidths = jnp.asarray(rng.normal(size=SMALL)), jnp.asarray([0.03, 0.05, 0.09])
    curves = jax.vmap(lambda b: smooth(y, GRID, method=type(method)(b)).value)(bandwidths)
    for bandwidth, curve in zip(bandwidths, curves, strict=True):
        known = smooth(y, GRID, method=type(method)(float(bandwidth))).value
        assert_allclose(curve, known, rtol=0, atol=1e-13)


def test_new_values_compile_nothing_new(rng):
    from jaxnum.signals.smooth import _smooth

    for bandwidth in (0.05, 0.0501):
        smooth(rng.normal(size=SMALL), GRID, method=LocalPolynomial(bandwidth))
    size = _smooth._cache_size()
    for bandwidth in (0.051, 0.052, 0.053):
        smooth(rng.normal(size=SMALL), GRID, method=LocalPolynomial(bandwidth))
    assert _smooth._cache_size() == size


def test_long_signals_are_done_in_blocks(rng):
    # Above 2**18 numbers the rows are mapped block by block: the same curve.
    from jaxnum.signals import local

    y = rng.normal(size=3001)
    x = np.linspace(0, 1, 3001) ** 1.01  # not uniform: every sample has a row of its own
    method = LocalPolynomial(0.01)
    blocks = smooth(y, x, method=method)
    assert local._BLOCK < 3001 * 257
    middle = slice(1200, 1800)
    part = smooth(y[middle], x[middle], method=method, noise=blocks.noise)
    keep = slice(270, 330)  # nine bandwidths from the ends of the part
    assert_allclose(blocks.value[middle][keep], part.value[keep], rtol=0, atol=1e-12)
    assert_allclose(blocks.standard_error[middle][keep], part.standard_error[keep], rtol=1e-11)


def test_single_precision_in_is_single_precision_out(rng):
    y = rng.normal(size=SMALL).astype(np.float32)
    for method in (KERNELS[4], ANYWHERE[1]):
        single = smooth(y, GRID.astype(np.float32), method=method, derivative=1)
        double = smooth(y.astype(float), GRID, method=method, derivative=1)
        for name in ("value", "standard_error", "degrees_of_freedom", "noise", "misfit", "residual"):
            have, want = getattr(single, name), getattr(double, name)
            assert have.dtype == np.float32
            assert_allclose(have, want, rtol=0, atol=1e-4 * np.max(np.abs(want)) + 1e-6)  # 1e3 roundings


def test_single_precision_without_x64():
    code = (
        "import numpy as np, warnings; warnings.simplefilter('error')\n"
        "from jaxnum import signals as s\n"
        "y = np.linspace(0, 1, 50, dtype=np.float32)**2\n"
        "r = s.smooth(y, method=s.LocalPolynomial(3.0)); k = s.smooth(y, method=s.GaussianKernel(3.0))\n"
        "assert r.value.dtype == np.float32 and k.value.dtype == np.float32\n"
        "assert abs(r.value - y).max() < 1e-5, abs(r.value - y).max()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


BAD = {
    "y": [
        (dict(y=np.full(SMALL, np.nan)), "weights` that are zero where y is missing"),
        (dict(y=[]), "at least 1 element"),
        (dict(y=np.arange(SMALL)), "floating point"),
        (dict(y=GRID + 1j), "real"),
        (dict(y=np.ones((3, 3))), "1 axis"),
        (dict(y=None), "numbers"),
        (dict(y="abc"), "numbers"),
        (dict(y=np.ones(2), x=None), "at least 3 samples"),
    ],
    "x": [
        (dict(x=GRID[1:]), "shape"),
        (dict(x=GRID[::-1]), "increase"),
        (dict(x=np.zeros(SMALL)), "increase"),
        (dict(x=GRID * np.nan), "finite"),
        (dict(x=UNEVEN, method=GaussianKernel(0.1, Nearest())), "Nearest needs uniform samples"),
    ],
    "method": [
        (dict(method=None), "method"),
        (dict(method="gauss"), "method"),
        (dict(method=LocalPolynomial), "method"),
    ],
    "method.bandwidth": [
        (dict(method=LocalPolynomial(0.0)), "positive"),
        (dict(method=LocalPolynomial(-1.0)), "positive"),
        (dict(method=GaussianKernel(np.nan)), "positive"),
        (dict(method=GaussianKernel("1")), "positive"),
        (dict(method=LocalPolynomial(1e-3)), "reach at least 3 samples"),
        (dict(method=GaussianKernel(1e-3), derivative=1), "at least"),
        (dict(x=np.append(GRID[:-1], 9.0)), "reach at least 3 samples"),
    ],
    "method.degree": [
        (dict(method=LocalPolynomial(0.1, 1), derivative=2), "order of the derivative"),
        (dict(method=LocalPolynomial(0.1, 1.5)), "integer"),
    ],
    "method.window": [
        (dict(method=SavitzkyGolay(10)), "odd"),
        (dict(method=SavitzkyGolay(99)), "odd and at most"),
        (dict(method=SavitzkyGolay(3, 3)), "larger than the degree"),
        (dict(method=SavitzkyGolay(3), weights=(np.arange(SMALL) % 3 > 0) * 1.0), "positive weight"),
        (dict(method=GaussianKernel(0.1, window=0)), "integer"),
    ],
    "method.edge": [
        (dict(method=GaussianKernel(0.1, "reflect")), "edge"),
        (dict(method=GaussianKernel(0.1, Wrap)), "edge"),
    ],
    "method.edge.value": [(dict(method=GaussianKernel(0.1, ConstantEdge(np.inf))), "finite")],
    "derivative": [(dict(derivative=-1), "integer"), (dict(derivative=0.5), "integer")],
    "weights": [
        (dict(weights=-np.ones(SMALL)), "negative"),
        (dict(weights=np.zeros(SMALL)), "positive"),
        (dict(weights=np.ones(3)), "shape"),
        (dict(weights=GRID * np.nan), "finite"),
        (dict(weights=1 + GRID, method=GaussianKernel(0.1)), "equal for the edge OddReflection"),
    ],
    "noise": [(dict(noise=-1.0), "negative"), (dict(noise=np.nan), "negative"), (dict(noise="x"), "negative")],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused_by_name(name):
    for change, says in BAD[name]:
        arguments = dict(y=GRID**2, x=GRID, method=LocalPolynomial(0.1)) | change
        with pytest.raises(ValueError, match="Argument") as refusal:
            smooth(**arguments)
        text = str(refusal.value)
        assert f"`{name}`" in text, (change, text)
        assert says in text, (change, text)
        assert "\n" not in text, text


def test_exact_samples_leave_no_noise_and_nothing_left_is_said():
    assert smooth(np.zeros(SMALL), GRID, method=LocalPolynomial(0.1)).noise == 0
    gradient = jax.grad(lambda y: smooth(y, GRID, method=LocalPolynomial(0.1)).noise)(jnp.zeros(SMALL))
    assert np.isfinite(gradient).all()
    # A window of three and degree two returns its samples: there is no residual to estimate noise from.
    through = smooth(GRID**2, GRID, method=SavitzkyGolay(3, 2))
    assert np.isnan(through.noise), through
    assert "degrees_of_freedom=61" in repr(through)
