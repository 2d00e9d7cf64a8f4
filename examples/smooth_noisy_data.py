"""Smooth noisy, irregular samples with a gap; choose the bandwidth from the data; differentiate the result in it.

python examples/smooth_noisy_data.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import jaxnum
from jaxnum import signals


def samples(num=160, noise=0.1, seed=0):
    """Return irregular positions, noisy samples of a known curve with some missing, their weights, and the curve."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.0, 1.0, num))
    truth = 2 + 3 * x + 0.5 * np.sin(9 * x)
    y = truth + noise * rng.normal(size=num)
    y[60:66] = np.nan
    return x, y, np.where(np.isnan(y), 0.0, 1.0), truth


def roughness(bandwidth, x, y, weights):
    """Mean square of the slope of the smooth curve: a number to differentiate in the bandwidth."""
    method = signals.LocalPolynomial(bandwidth, degree=2)
    return jnp.mean(signals.differentiate(y, x, method=method, weights=weights).value ** 2)


def main():
    """Print the fit, its honesty at the ends, and a derivative beside its central difference."""
    jaxnum.enable_x64()
    x, y, weights, truth = samples()
    chosen = signals.choose_bandwidth(y, x, signals.LocalPolynomial(0.1), weights=weights)
    bandwidth = float(chosen.unwrap())
    curve = signals.smooth(y, x, method=signals.LocalPolynomial(bandwidth), weights=weights)
    error = np.abs(curve.value - truth)
    print(
        f"bandwidth {bandwidth:.4f} by generalized cross-validation, {float(curve.degrees_of_freedom):.1f} parameters"
    )
    print(f"noise estimated {float(curve.noise):.3f}, put in 0.100")
    print(f"largest error {error.max():.3f} = {(error / curve.standard_error).max():.1f} standard errors")
    slope = signals.differentiate(y, x, method=signals.LocalPolynomial(bandwidth), weights=weights)
    ends, middle = slope.standard_error[0], slope.standard_error[len(x) // 4]
    print(f"slope at the end {slope.value[0]:.1f} ± {ends:.1f}, inside ± {middle:.1f}: the end is worth little")

    gradient = jax.grad(roughness)(bandwidth, x, y, weights)
    step = 1e-5
    difference = (roughness(bandwidth + step, x, y, weights) - roughness(bandwidth - step, x, y, weights)) / (2 * step)
    print(f"d roughness / d bandwidth: autodiff {gradient:.8g}, central difference {difference:.8g}")
    return gradient, difference


if __name__ == "__main__":
    main()
