"""Networks with a backward pass as people write it, layer by layer, with one or two mistakes where they are asked for.

Independent of the package: the mistakes are made in the middle of the loop, in plain NumPy.
"""

import itertools

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z, axis):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


FUNCTIONS = {
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(0, z), lambda z: np.where(z > 0, 1.0, 0.0)),
    "linear": (lambda z: z, np.ones_like),
}


def data(sizes, samples=5, seed=0, classes=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, sizes[0]))
    if classes:
        return x, np.eye(sizes[-1])[np.arange(samples) % sizes[-1]]
    return x, rng.uniform(0.1, 0.9, size=(samples, sizes[-1]))


def start(sizes, seed=1, columns=False, bias=True, width=0.8):
    rng = np.random.default_rng(seed)
    leaves = []
    for a, b in itertools.pairwise(sizes):
        leaves.append(rng.normal(size=(b, a) if columns else (a, b)) * width)
        if bias:
            leaves.append(rng.normal(size=(b, 1) if columns else (b,)) * width)
    return tuple(leaves)


def program(x, y, hidden="sigmoid", final="sigmoid", cost="squares", *, columns=False, bias=True, faults=(), rate=0.1):
    """Return a loss and its claimed gradient as functions of w1, b1, w2, b2, ..."""
    faults = (faults,) if isinstance(faults, str) else faults
    n = len(x)

    def layers(leaves):
        if not bias:
            return [(w.T if columns else w, 0.0) for w in leaves]
        return [(w.T if columns else w, b.ravel()) for w, b in zip(leaves[::2], leaves[1::2], strict=True)]

    def run(leaves):
        h, zs, hs = x, [], [x]
        pairs = layers(leaves)
        for k, (w, b) in enumerate(pairs):
            name = final if k == len(pairs) - 1 else hidden
            z = h @ w + b
            h = softmax(z, 1) if name == "softmax" else FUNCTIONS[name][0](z)
            zs.append(z)
            hs.append(h)
        return pairs, zs, hs

    def loss(*leaves):
        p = run(leaves)[2][-1]
        if cost == "squares":
            return np.mean((p - y) ** 2)
        if cost == "half squares":
            return 0.5 * np.sum((p - y) ** 2)
        if cost == "binary":
            return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
        return -np.sum(y * np.log(p)) / n

    def gradient(*leaves):
        pairs, zs, hs = run(leaves)
        p = hs[-1]
        if cost == "squares":
            error = 2 * (p - y) / p.size
        elif cost == "half squares":
            error = p - y
        elif cost == "binary":
            error = (p - y) / (p * (1 - p)) / p.size
        else:
            error = -y / p / n
        if "last sample only" in faults:
            error = error * (np.arange(n) == n - 1)[:, None]
        if "output" in faults:
            error = np.ones_like(p)
        out, raw = [], error
        for k in range(len(pairs) - 1, -1, -1):
            last = k == len(pairs) - 1
            name = final if last else hidden
            place = "output" if last else "hidden"
            if name == "softmax":
                delta = p * (error - np.sum(error * p, axis=1, keepdims=True))
                if "softmax elementwise" in faults:
                    delta = error * p * (1 - p)
            else:
                slope = FUNCTIONS[name][1](zs[k])
                if f"slope at activation {place}" in faults:
                    slope = FUNCTIONS[name][1](hs[k + 1])
                if f"slope of sum {place}" in faults:
                    slope = {"sigmoid": lambda z: z * (1 - z), "tanh": lambda z: 1 - z**2}.get(name, np.ones_like)(
                        zs[k]
                    )
                if f"no slope {place}" in faults:
                    slope = 1.0
                if f"other slope {place}" in faults:
                    a = hs[k + 1]
                    slope = 1 - a**2 if name == "sigmoid" else a * (1 - a)
                if f"half slope {place}" in faults:
                    slope = hs[k + 1]
                if f"slope twice {place}" in faults:
                    slope = slope**2
                if f"odd slope {place}" in faults:
                    slope = np.sqrt(np.abs(slope) + 0.1)
                delta = error * slope
            below = hs[k]
            if "sum for activation" in faults and k:
                below = zs[k - 1]
            dw = below.T @ delta
            if last and "no slope in last weights" in faults:
                dw = below.T @ error
            if last and "weight for activation" in faults:
                dw = pairs[k][0] * delta.sum(0)
            if "product of means" in faults:
                dw = np.outer(below.mean(0), delta.sum(0))
            db = delta.sum(0)
            if "bias averaged" in faults:
                db = delta.mean(0)
            if "bias first sample" in faults:
                db = delta[0]
            if "bias zero" in faults:
                db = np.zeros_like(db)
            if "bias all units" in faults:
                db = np.full_like(db, delta.sum())
            if "one entry" in faults and k == 0:
                dw[0, 1] *= leaves[0][0, 0]
            w = pairs[k][0]
            if "updated early" in faults:
                w = w - rate * dw
            error = delta @ w.T
            if last and "no slope in back sum" in faults:
                error = raw @ w.T
            if last and "activation sent back" in faults:
                error = p @ w.T
            if "weights skipped" in faults:
                error = np.repeat(delta.sum(1, keepdims=True), w.shape[0], 1)
            if "weights not transposed" in faults and w.shape[0] == w.shape[1]:
                error = delta @ w
            out = [dw.T if columns else dw, *([db[:, None] if columns else db] if bias else []), *out]
        if "sign" in faults:
            out = [-g for g in out]
        if "factor 2" in faults:
            out = [2 * g for g in out]
        if "sum for mean" in faults:
            out = [n * g for g in out]
        if "decay" in faults:
            out = [g + 0.01 * w for g, w in zip(out, leaves, strict=True)]
        if "first bias missing" in faults:
            out[1] = 0 * out[1]
        if "w2 twice" in faults:
            out[2] = 2 * out[2]
        if "w2 transposed" in faults:
            out[2] = out[2].T
        return tuple(out)

    return loss, gradient
