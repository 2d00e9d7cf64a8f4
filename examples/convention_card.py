"""Which Adam is this? Ask an optimizer by probing it, Optax's or your own, whatever way it is written.

python examples/convention_card.py
"""

import numpy as np
import optax

import jaxnum
from jaxnum import diagnose


class MyAdam:
    """An Adam as many people write it: the correction is folded into the rate, which moves the place of epsilon."""

    def __init__(self, rate=0.01, decay=0.1):
        self.m, self.v, self.t, self.rate, self.decay = 0.0, 0.0, 0, rate, decay

    def step(self, weights, gradients):
        """Change the weights in place."""
        gradients = gradients + self.decay * weights
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradients
        self.v = 0.999 * self.v + 0.001 * gradients**2
        rate = self.rate * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        weights -= rate * self.m / (np.sqrt(self.v) + 1e-8)


def main():
    """Print both cards, and what the difference between them amounts to."""
    jaxnum.enable_x64()
    theirs, mine = diagnose.convention_card(optax.adamw(0.01, weight_decay=0.1)), diagnose.convention_card(MyAdam())
    print(theirs, "\n\n", mine, "\n", sep="")
    print(diagnose.update_rule(MyAdam(), claims=optax.adamw(0.01, weight_decay=0.1)))
    return theirs, mine


if __name__ == "__main__":
    main()
