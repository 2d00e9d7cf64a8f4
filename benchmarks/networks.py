"""XOR: a 2-3-1 network trained by full-batch descent, one and a thousand, against a NumPy loop of the same formulas.

Times are those of the fastest of several warm calls; the first call, which traces and compiles, stands apart. The last
column is the largest difference of the weights from NumPy's, from the same start: rounding.

python benchmarks/networks.py [--x32]
"""

import sys

import jax
import numpy as np
import optax
from stopwatch import stopwatch

import jaxnum
from jaxnum import networks

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])


def numpy_train(model, num_steps, rate):
    """Backpropagation by hand, as it is written in every tutorial."""
    (w1, w2), (b1, b2) = (tuple(np.array(a, np.float64) for a in part) for part in (model.weights, model.biases))
    for _ in range(num_steps):
        h = 1 / (1 + np.exp(-(X @ w1.T + b1)))
        p = 1 / (1 + np.exp(-(h @ w2.T + b2)))
        d2 = 2 * (p - Y) / p.size * p * (1 - p)
        d1 = d2 @ w2 * h * (1 - h)
        w2 = w2 - rate * d2.T @ h
        b2 = b2 - rate * d2.sum(0)
        w1 = w1 - rate * d1.T @ X
        b1 = b1 - rate * d1.sum(0)
    return w1, w2, b1, b2


def difference(model, arrays):
    ours = (*model.weights, *model.biases)
    return max(float(np.max(np.abs(np.asarray(a) - b))) for a, b in zip(ours, arrays, strict=True))


def make(key):
    return networks.perceptron((2, 3, 1), key=key)


def main():
    if "--x32" not in sys.argv:
        jaxnum.enable_x64()
    num_steps, rate, members = 5000, 1.0, 1000
    sgd, device = optax.sgd(rate), jax.devices()[0]
    keys = jax.random.split(jax.random.key(0), members)
    model = make(keys[0])
    print(f"{device.platform} {device.device_kind}, {model.weights[0].dtype}, JAX {jax.__version__}")
    print(f"{'who':<34}  {'first s':>8}  {'best s':>8}  {'us/step':>8}  {'times':>6}  {'off from NumPy':>14}")

    loop = stopwatch(lambda: numpy_train(model, num_steps, rate), repeats=3)
    base = 1e6 * loop.best / num_steps
    print(f"{'NumPy loop, 1 network':<34}  {'':>8}  {loop.best:8.3f}  {base:8.3f}  {1:6.1f}")
    truth = numpy_train(model, num_steps, rate)

    def one():
        return networks.train(model, sgd, X, Y, num_steps=num_steps, save_every=num_steps)

    def many():
        return networks.train_many(make, sgd, X, Y, keys=keys, num_steps=num_steps, save_every=num_steps)

    for name, run, count in (("train, 1 network", one, 1), (f"train_many, {members} networks, each", many, members)):
        timing = stopwatch(lambda run=run: run().residual, repeats=5 if count == 1 else 2)
        each = 1e6 * timing.best / num_steps / count
        value = run().value
        first = value if count == 1 else jax.tree.map(lambda a: a[0], value)
        print(
            f"{name:<34}  {timing.first:8.3f}  {timing.best:8.3f}  {each:8.3f}  {base / each:6.1f}  "
            f"{difference(first, truth):14.1e}"
        )
    print()
    print(networks.outcomes(many(), target=0.01))


if __name__ == "__main__":
    main()
