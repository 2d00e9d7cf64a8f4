"""What noisy measurements say about Jupiter: mass loading, background conductance and outer current, with errors."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxnum
from jaxnum.jupiter import JUPITER, Dipole, RadialCurrent, SmoothRamp, System, coupled

NAMES = "mass loading, kg/s", "background conductance, mho", "outer radial current, A"
TRUTH = np.log([1000.0, 0.05, 8e6])
OMEGA_AT, DENSITY_AT = np.linspace(6.0, 60.0, 30), np.linspace(10.0, 40.0, 10)
NOISE = np.repeat([0.02, 5e-10], [30, 10])  # of ω/Ω, and of j in A/m²


def measured(logs):
    """Return ω/Ω and j at the places of the measurements, in units of their noise."""
    loading, background, current = jnp.exp(logs)
    system = System(JUPITER.field_strength, JUPITER.radius, JUPITER.spin, loading)
    places = np.concatenate([OMEGA_AT, DENSITY_AT])
    outer = RadialCurrent(current)
    h = coupled(system, Dipole(), SmoothRamp(background), outer=outer, num_nodes=48, at=places, tol=1e-3).history
    return jnp.concatenate([h.omega[:30], h.current_density[30:]]) / NOISE


def step(logs, data):
    """Return where a Gauss-Newton step leads, the covariance of the logarithms, and what was predicted."""
    jacobian, predicted = jax.jacfwd(lambda p: (measured(p),) * 2, has_aux=True)(logs)
    covariance = jnp.linalg.inv(jacobian.T @ jacobian)
    # No number may change by more than a factor of 1.5 in a step: far out the model is not linear.
    return logs + jnp.clip(covariance @ (jacobian.T @ (data - predicted)), -0.4, 0.4), covariance, predicted


def main():
    """Print the estimates and their standard errors beside the true values."""
    jaxnum.enable_x64()
    improve = jax.jit(step)
    data = improve(TRUTH, np.zeros(40))[2] + np.random.default_rng(0).standard_normal(40)
    logs = np.log([2000.0, 0.03, 1.2e7])
    for _ in range(8):
        logs, covariance, _ = improve(logs, data)
    errors = jnp.sqrt(jnp.diagonal(covariance))
    for name, log, error, truth in zip(NAMES, logs, errors, TRUTH, strict=True):
        print(f"{name:28} {np.exp(log):10.4g} ± {100 * error:4.1f} %   true {np.exp(truth):.4g}")
    return logs, covariance


if __name__ == "__main__":
    main()
