"""Tune a learning rate by its own gradient: differentiate the end of a run through every one of its steps.

python examples/tune_learning_rate.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnum
from jaxnum import optimize

NUM_STEPS = 60


@jax.jit
def height_reached(settings):
    """Return ln of the mean value over the last ten steps, for settings (ln of the rate, logit of b1)."""
    valley = optimize.landscapes.rosenbrock(1.0, 2.0)
    adam = optimize.adam(jnp.exp(settings[0]), b1=jax.nn.sigmoid(settings[1]))
    run = optimize.minimize(valley.fn, adam, jnp.array([3.0, 3.0]), num_steps=NUM_STEPS)
    return jnp.log(jnp.mean(run.history.value[-10:]))


def main():
    """Print the derivative beside its central differences, and what a few steps along it achieve."""
    jaxnum.enable_x64()
    settings = jnp.array([jnp.log(0.05), jnp.log(9.0)])  # b1 = 0.9
    slope = jax.grad(height_reached)(settings)
    shifts = 1e-5 * jnp.eye(2)
    central = np.array([height_reached(settings + h) - height_reached(settings - h) for h in shifts]) / 2e-5
    print(f"derivative in ln rate and logit b1: autodiff {slope}, central differences {central}")

    tuned = optimize.minimize(height_reached, optax.adam(0.3), settings, num_steps=30, save_every=10)
    for (log_rate, logit), log_height in zip(tuned.history.y, tuned.history.value, strict=True):
        rate, b1 = jnp.exp(log_rate), jax.nn.sigmoid(logit)
        print(f"rate {rate:.4f}, b1 {b1:.3f}: mean value {jnp.exp(log_height):.1e} at the end of {NUM_STEPS} steps")
    return slope, central


if __name__ == "__main__":
    main()
