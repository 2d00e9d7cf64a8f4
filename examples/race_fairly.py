"""Race optimizers fairly: everybody tries the same learning rates, and the band of good ones is told beside the best.

python examples/race_fairly.py
"""

from functools import partial

import jax.numpy as jnp
import optax

import jaxnum
from jaxnum import optimize


def main():
    """Predict the limit of descent from the curvature, race, and see the prediction in the band of good rates."""
    jaxnum.enable_x64()
    valley = optimize.landscapes.rosenbrock()
    ends = optimize.curvature(valley.fn, valley.minima[0])
    limit = float(optimize.stability_limit(optimize.Sgd(), ends.largest))
    print(f"curvature at the minimum from {ends.smallest:.4g} to {ends.largest:.6g}, condition {ends.condition:.0f}")
    print(f"descent cannot stay there with a rate above {limit:.4g}\n")

    racers = {
        "descent": optax.sgd,
        "momentum 0.9": partial(optax.sgd, momentum=0.9),
        "adam": optimize.adam,
        "adam, eps-hat": partial(optimize.adam, eps_hat=True),
        "lbfgs": optax.lbfgs(),
    }
    rates = jnp.geomspace(1e-5, 1.0, 60)
    result = optimize.race(valley.fn, racers, valley.y0, num_steps=2000, rates=rates)
    print(result)
    return result, limit


if __name__ == "__main__":
    main()
