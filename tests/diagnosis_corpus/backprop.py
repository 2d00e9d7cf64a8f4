"""Hand-written backpropagation in the styles people use, right and with a line or two wrong.

A style is a template whose slots are the lines of the backward pass; a mistake is other text in a slot.
"""

import itertools
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from diagnosis_corpus.case import UNKNOWN, Case, program
from jaxnum import diagnose

# Activation: formula, slope at the hidden values h, slope at the outputs o, the slope of another one.
ACTIVATIONS = {
    "sigmoid": ("1 / (1 + np.exp(-z))", "h * (1 - h)", "o * (1 - o)", "1 - h**2"),
    "tanh": ("np.tanh(z)", "1 - h**2", "1 - o**2", "h * (1 - h)"),
}
LINES = {
    "loss": "np.mean((o - y) ** 2)",
    "error": "2 * (o - y) / y.size",
    "delta_o": "error * ({slope_o})",
    "delta_h": "(delta_o @ w2.T) * ({slope_h})",
    "gw2": "h.T @ delta_o",
    "gb2": "delta_o.sum(axis=0)",
    "gw1": "x.T @ delta_h",
    "gb1": "delta_h.sum(axis=0)",
}

FUNCTIONS = """
def act(z):
    return {act}

def forward(w1, b1, w2, b2):
    z1 = x @ w1 + b1
    h = act(z1)
    z2 = h @ w2 + b2
    return z1, h, z2, act(z2)

def loss(w1, b1, w2, b2):
    z1, h, z2, o = forward(w1, b1, w2, b2)
    return {loss}

def gradient(w1, b1, w2, b2):
    z1, h, z2, o = forward(w1, b1, w2, b2)
    error = {error}
    delta_o = {delta_o}
    delta_h = {delta_h}
    return {gw1}, {gb1}, {gw2}, {gb2}
"""
CLASS = """
class Network:
    def set(self, w1, b1, w2, b2):
        self.w1, self.b1, self.w2, self.b2 = w1, b1, w2, b2
        return self

    def act(self, z):
        return {act}

    def forward(self, x):
        self.z1 = np.dot(x, self.w1) + self.b1
        self.h = self.act(self.z1)
        self.z2 = np.dot(self.h, self.w2) + self.b2
        self.o = self.act(self.z2)
        return self.o

    def backward(self, x, y):
        w1, b1, w2, b2 = self.w1, self.b1, self.w2, self.b2
        act, z1, h, z2, o = self.act, self.z1, self.h, self.z2, self.o
        error = {error}
        delta_o = {delta_o}
        delta_h = {delta_h}
        self.gw1 = {gw1}
        self.gb1 = {gb1}
        self.gw2 = {gw2}
        self.gb2 = {gb2}
        return self.gw1, self.gb1, self.gw2, self.gb2

net = Network()

def loss(w1, b1, w2, b2):
    o = net.set(w1, b1, w2, b2).forward(x)
    return {loss}

def gradient(w1, b1, w2, b2):
    net.set(w1, b1, w2, b2).forward(x)
    return net.backward(x, y)
"""
EINSUM = FUNCTIONS.replace("x @ w1", "np.einsum('ni,ij->nj', x, w1)").replace("h @ w2", "np.einsum('ni,ij->nj', h, w2)")
EINSUM_LINES = {
    **LINES,
    "delta_h": "np.einsum('nk,jk->nj', delta_o, w2) * ({slope_h})",
    "gw2": "np.einsum('nj,nk->jk', h, delta_o)",
    "gw1": "np.einsum('ni,nj->ij', x, delta_h)",
}
# Samples are columns: the layout of many courses.
COLUMNS = """
def act(z):
    return {act}

def forward(w1, b1, w2, b2):
    z1 = w1 @ x.T + b1
    h = act(z1)
    z2 = w2 @ h + b2
    return z1, h, z2, act(z2)

def loss(w1, b1, w2, b2):
    z1, h, z2, o = forward(w1, b1, w2, b2)
    return np.mean((o - y.T) ** 2)

def gradient(w1, b1, w2, b2):
    z1, h, z2, o = forward(w1, b1, w2, b2)
    error = {error}
    delta_o = {delta_o}
    delta_h = {delta_h}
    return {gw1}, {gb1}, {gw2}, {gb2}
"""
COLUMN_LINES = {
    "error": "2 * (o - y.T) / y.size",
    "delta_o": "error * ({slope_o})",
    "delta_h": "(w2.T @ delta_o) * ({slope_h})",
    "gw2": "delta_o @ h.T",
    "gb2": "delta_o.sum(axis=1, keepdims=True)",
    "gw1": "delta_h @ x",
    "gb1": "delta_h.sum(axis=1, keepdims=True)",
}
# np.matrix: a star is a matrix product, elementwise products are np.multiply.
MATRIX = """
X, Y = np.matrix(x), np.matrix(y)

def act(z):
    return {act}

def forward(w1, w2):
    z1 = X * np.matrix(w1)
    h = act(z1)
    z2 = h * np.matrix(w2)
    return z1, h, z2, act(z2)

def loss(w1, w2):
    o = forward(w1, w2)[-1]
    return float(np.mean(np.square(o - Y)))

def gradient(w1, w2):
    z1, h, z2, o = forward(w1, w2)
    error = {error}
    delta_o = {delta_o}
    delta_h = {delta_h}
    return np.asarray({gw1}), np.asarray({gw2})
"""
MATRIX_SLOPES = {
    "sigmoid": ("np.multiply(h, 1 - h)", "np.multiply(o, 1 - o)", "1 - np.square(h)"),
    "tanh": ("1 - np.square(h)", "1 - np.square(o)", "np.multiply(h, 1 - h)"),
}
MATRIX_LINES = {
    "error": "2 * (o - Y) / Y.size",
    "delta_o": "np.multiply(error, {slope_o})",
    "delta_h": "np.multiply(delta_o * np.matrix(w2).T, {slope_h})",
    "gw2": "h.T * delta_o",
    "gw1": "X.T * delta_h",
}
# One sample after the other, sums by hand.
SAMPLES = """
def act(z):
    return {act}

def loss(w1, b1, w2, b2):
    total = 0.0
    for xi, yi in zip(x, y):
        o = act(act(xi @ w1 + b1) @ w2 + b2)
        total += np.sum((o - yi) ** 2)
    return total / len(x)

def gradient(w1, b1, w2, b2):
    gw1, gb1, gw2, gb2 = (np.zeros(np.shape(p)) for p in (w1, b1, w2, b2))
    for xi, yi in zip(x, y):
        z1 = xi @ w1 + b1
        h = act(z1)
        z2 = h @ w2 + b2
        o = act(z2)
        error = {error}
        delta_o = {delta_o}
        delta_h = {delta_h}
        gw2 += {gw2}
        gb2 += {gb2}
        gw1 += {gw1}
        gb1 += {gb1}
    return gw1, gb1, gw2, gb2
"""
SAMPLE_LINES = {
    "error": "2 * (o - yi) / len(x)",
    "delta_o": "error * ({slope_o})",
    "delta_h": "(w2 @ delta_o) * ({slope_h})",
    "gw2": "np.outer(h, delta_o)",
    "gb2": "delta_o",
    "gw1": "np.outer(xi, delta_h)",
    "gb1": "delta_h",
}
# Any depth, parameters in a list of layers.
LAYERS = """
def act(z):
    return {act}

def forward(layers):
    zs, hs = [], [x]
    for w, b in layers:
        zs.append(hs[-1] @ w + b)
        hs.append(act(zs[-1]))
    return zs, hs

def loss(layers):
    return np.mean((forward(layers)[1][-1] - y) ** 2)

def gradient(layers):
    zs, hs = forward(layers)
    o = hs[-1]
    error = {error}
    delta = {delta_o}
    grads = []
    for n in range(len(layers) - 1, -1, -1):
        w, b = layers[n]
        h = hs[n]
        grads.insert(0, ({gw}, {gb}))
        if n:
            z = zs[n - 1]
            delta = {delta_h}
    return grads
"""
LAYER_LINES = {
    "error": "2 * (o - y) / y.size",
    "delta_o": "error * ({slope_o})",
    "delta_h": "(delta @ w.T) * ({slope_h})",
    "gw": "h.T @ delta",
    "gb": "delta.sum(axis=0)",
}
SOFTMAX = """
def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)

def forward(w1, b1, w2, b2):
    z1 = x @ w1 + b1
    h = {hidden}
    return z1, h, softmax(h @ w2 + b2)

def loss(w1, b1, w2, b2):
    o = forward(w1, b1, w2, b2)[-1]
    return -np.mean(np.sum(y * np.log(o), axis=1))

def gradient(w1, b1, w2, b2):
    z1, h, o = forward(w1, b1, w2, b2)
    delta_o = {delta_o}
    delta_h = {delta_h}
    return {gw1}, {gb1}, {gw2}, {gb2}
"""
SOFTMAX_LINES = {
    "hidden": "np.tanh(z1)",
    "delta_o": "(o - y) / len(x)",
    "delta_h": "(delta_o @ w2.T) * (1 - h**2)",
    "gw2": "h.T @ delta_o",
    "gb2": "delta_o.sum(axis=0)",
    "gw1": "x.T @ delta_h",
    "gb1": "delta_h.sum(axis=0)",
}

# Mistakes of the row layout: expected codes, other lines.
ROWS = {
    "derivative-of-activation": {"slope_h": "act(h) * (1 - act(h))"},
    "derivative-of-activation, both layers": {
        "slope_h": "act(h) * (1 - act(h))",
        "slope_o": "act(o) * (1 - act(o))",
    },
    "derivative-of-sum": {"slope_h": "z1 * (1 - z1)"},
    "missing-slope": {"slope_h": "1.0"},
    "missing-slope, output": {"delta_o": "error"},
    "other-slope": {"slope_h": "{other}"},
    "slope-twice": {"slope_h": "({right_h}) ** 2"},
    "missing-slope-in-weights": {"gw2": "h.T @ error"},
    "missing-slope-in-back-sum": {"delta_h": "(error @ w2.T) * ({slope_h})"},
    "activation-sent-back": {"delta_h": "(o @ w2.T) * ({slope_h})"},
    "weights-skipped": {"delta_h": "delta_o.sum(axis=1, keepdims=True) * ({slope_h})"},
    "weight-for-activation": {"gw2": "w2 * delta_o.sum(axis=0)"},
    "weights-updated-early": {"delta_h": "(delta_o @ (w2 - 0.5 * (h.T @ delta_o)).T) * ({slope_h})"},
    "bias-averaged": {"gb1": "delta_h.mean(axis=0)", "gb2": "delta_o.mean(axis=0)"},
    "bias-from-one-sample": {"gb1": "delta_h[0]", "gb2": "delta_o[0]"},
    "wrong-sign": {"error": "2 * (y - o) / y.size"},
    "constant-factor, no 2": {"error": "(o - y) / y.size"},
    "constant-factor, sum": {"error": "2 * (o - y)"},
    "leaf-factor": {"gw1": "2 * (x.T @ delta_h)"},
    "missing-leaf": {"gb1": "np.zeros_like(b1)"},
    "weight-decay": {
        "gw1": "x.T @ delta_h + 0.01 * w1",
        "gw2": "h.T @ delta_o + 0.01 * w2",
        "gb1": "delta_h.sum(axis=0) + 0.01 * b1",
        "gb2": "delta_o.sum(axis=0) + 0.01 * b2",
    },
    "unknown, sine": {"gw1": "x.T @ delta_h + 0.1 * np.sin(3 * w1)"},
    "unknown, reversed weights": {"delta_h": "(delta_o @ w2[::-1].T) * ({slope_h})"},
    "unknown, rolled samples": {"gw1": "np.roll(x, 1, axis=0).T @ delta_h"},
}
IN_COLUMNS = {
    "derivative-of-activation": {"slope_h": "act(h) * (1 - act(h))"},
    "missing-slope": {"slope_h": "1.0"},
    "missing-slope, output": {"delta_o": "error"},
    "other-slope": {"slope_h": "{other}"},
    "missing-slope-in-weights": {"gw2": "error @ h.T"},
    "missing-slope-in-back-sum": {"delta_h": "(w2.T @ error) * ({slope_h})"},
    "bias-averaged": {
        "gb1": "delta_h.mean(axis=1, keepdims=True)",
        "gb2": "delta_o.mean(axis=1, keepdims=True)",
    },
    "wrong-sign": {"error": "2 * (y.T - o) / y.size"},
    "constant-factor": {"error": "(o - y.T) / y.size"},
    "weights-updated-early": {"delta_h": "((w2 - 0.5 * delta_o @ h.T).T @ delta_o) * ({slope_h})"},
    "unknown, reversed weights": {"delta_h": "(w2[:, ::-1].T @ delta_o) * ({slope_h})"},
}
IN_MATRICES = {
    "derivative-of-activation": {"slope_h": "np.multiply(act(h), 1 - act(h))"},
    "missing-slope": {"delta_h": "delta_o * np.matrix(w2).T"},
    "other-slope": {"slope_h": "{other}"},
    "missing-slope-in-weights": {"gw2": "h.T * error"},
    "missing-slope-in-back-sum": {"delta_h": "np.multiply(error * np.matrix(w2).T, {slope_h})"},
    "wrong-sign": {"error": "2 * (Y - o) / Y.size"},
    "constant-factor": {"error": "(o - Y)"},
    "unknown, reversed weights": {"delta_h": "np.multiply(delta_o * np.matrix(w2)[::-1].T, {slope_h})"},
}
IN_SAMPLES = {
    "derivative-of-activation": {"slope_h": "act(h) * (1 - act(h))"},
    "derivative-of-sum": {"slope_h": "z1 * (1 - z1)"},
    "missing-slope": {"slope_h": "1.0"},
    "missing-slope, output": {"delta_o": "error"},
    "other-slope": {"slope_h": "{other}"},
    "missing-slope-in-weights": {"gw2": "np.outer(h, error)"},
    "missing-slope-in-back-sum": {"delta_h": "(w2 @ error) * ({slope_h})"},
    "activation-sent-back": {"delta_h": "(w2 @ o) * ({slope_h})"},
    "weight-for-activation": {"gw2": "w2 * delta_o"},
    "bias-averaged": {"gb1": "delta_h / len(x)", "gb2": "delta_o / len(x)"},
    "wrong-sign": {"error": "2 * (yi - o) / len(x)"},
    "constant-factor": {"error": "2 * (o - yi)"},
    "missing-leaf": {"gb2": "0 * delta_o"},
    "unknown, power": {"gw1": "np.outer(xi**3 + 1, delta_h)"},
}
IN_LAYERS = {
    "derivative-of-activation": {"slope_h": "act(h) * (1 - act(h))"},
    "derivative-of-sum": {"slope_h": "z * (1 - z)"},
    "missing-slope": {"slope_h": "1.0"},
    "missing-slope, output": {"delta_o": "error"},
    "other-slope": {"slope_h": "{other}"},
    "slope-twice": {"slope_h": "({right_h}) ** 2"},
    "bias-averaged": {"gb": "delta.mean(axis=0)"},
    "bias-from-one-sample": {"gb": "delta[0]"},
    "wrong-sign": {"error": "2 * (y - o) / y.size"},
    "constant-factor": {"error": "(o - y) / y.size"},
    "unknown, reversed weights": {"delta_h": "(delta @ w[::-1].T) * ({slope_h})"},
}
IN_SOFTMAX = {
    "constant-factor": {"delta_o": "o - y"},
    "wrong-sign": {"delta_o": "(y - o) / len(x)"},
    "missing-slope": {"delta_h": "delta_o @ w2.T"},
    "other-slope": {"delta_h": "(delta_o @ w2.T) * (h * (1 - h))"},
    "bias-averaged": {"gb1": "delta_h.mean(axis=0)", "gb2": "delta_o.mean(axis=0)"},
    "slope-twice": {"delta_o": "(o - y) * o * (1 - o) / len(x)"},
}
PAIRS = (
    ("derivative-of-activation", "bias-averaged"),
    ("derivative-of-activation", "wrong-sign"),
    ("missing-slope", "constant-factor, sum"),
    ("other-slope", "missing-slope-in-weights"),
    ("missing-slope-in-back-sum", "bias-from-one-sample"),
    ("activation-sent-back", "constant-factor, no 2"),
    ("slope-twice", "bias-averaged"),
    ("missing-slope, output", "missing-slope"),
    ("weights-updated-early", "wrong-sign"),
    ("derivative-of-sum", "bias-averaged"),
)
# Right programs in other words.
UNUSUAL = {
    "half the loss": {"loss": "0.5 * np.mean((o - y) ** 2)", "error": "(o - y) / y.size"},
    "sum of squares": {"loss": "np.sum((o - y) ** 2)", "error": "2 * (o - y)"},
    "folded into the step": {
        "error": "(o - y) / y.size",
        "gw1": "2 * x.T @ delta_h",
        "gb1": "2 * delta_h.sum(0)",
        "gw2": "2 * h.T @ delta_o",
        "gb2": "2 * delta_o.sum(0)",
    },
    "minus minus": {"error": "-2 * (y - o) / y.size"},
    "means": {"loss": "((o - y) ** 2).mean(axis=0).mean()", "gw2": "(h[:, :, None] * delta_o[:, None, :]).sum(0)"},
    "delta in one line": {"delta_o": "2 / y.size * (o - y) * ({slope_o})"},
}


def _lines(lines, slopes, activation, change):
    formula, hidden, output, other = ACTIVATIONS[activation]
    if slopes is not None:
        hidden, output, other = slopes[activation]
    right = {"act": formula, "slope_h": hidden, "slope_o": output, "other": other, "right_h": hidden}
    return {**right, **lines, **change}


def _data(sizes, seed, num_samples=7):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(num_samples, sizes[0])), rng.uniform(0.1, 0.9, (num_samples, sizes[-1]))
    weights = [rng.normal(size=(a, b)) for a, b in itertools.pairwise(sizes)]
    return x, y, weights, [0.3 * rng.normal(size=b) for b in sizes[1:]]


def _codes(mistake):
    code = mistake.split(",")[0]
    if code == "unknown":
        return UNKNOWN
    # A bias whose gradient is zero has two names: the leaf is missing, the bias was left out.
    return (code, "bias-left-out") if code == "missing-leaf" else (code,)


def _case(name, template, slots, names, at, expected, held_out):
    def run():
        user = program(template, slots, **names)
        return diagnose.gradient(user["loss"], user["gradient"], at)

    return Case(f"gradient/{name}", expected, held_out, run)


def cases() -> Iterator[Case]:
    """Yield every case."""
    sizes = itertools.cycle([(2, 3, 1), (3, 4, 2), (2, 5, 3), (4, 3, 1)])
    acts = itertools.cycle(ACTIVATIONS)
    styles = (
        ("functions", FUNCTIONS, LINES, ROWS, "sigmoid tanh"),
        ("class", CLASS, LINES, ROWS, "sigmoid"),
        ("einsum", EINSUM, EINSUM_LINES, dict(list(ROWS.items())[:14:2]), "tanh"),
        ("jax", FUNCTIONS, LINES, dict(list(ROWS.items())[1::2]), "sigmoid"),
        ("columns", COLUMNS, COLUMN_LINES, IN_COLUMNS, "sigmoid tanh"),
        ("matrix", MATRIX, MATRIX_LINES, IN_MATRICES, "sigmoid tanh"),
        ("samples", SAMPLES, SAMPLE_LINES, IN_SAMPLES, "sigmoid tanh"),
        ("layers", LAYERS, LAYER_LINES, IN_LAYERS, "sigmoid tanh"),
        ("softmax", SOFTMAX, SOFTMAX_LINES, IN_SOFTMAX, "tanh"),
    )
    seed = 0
    for style, template, lines, mistakes, _ in styles:
        held_out = style in ("matrix", "samples", "layers", "softmax")
        todo = [(m, change, _codes(m)) for m, change in mistakes.items()]
        todo += [(f"right {n}", {}, ()) for n in range(4 if held_out else 3)]
        if style in ("functions", "class"):
            todo += [(f"right, {w}", change, ()) for w, change in UNUSUAL.items()]
            todo += [
                (f"{a} + {b}", {**ROWS[a], **ROWS[b]}, (*_codes(a), *_codes(b)))
                for a, b in PAIRS[:: 1 if style == "functions" else 3]
            ]
        for mistake, change, expected in todo:
            seed += 1
            activation, size = next(acts), next(sizes)
            if "derivative-of" in mistake or "right, " in mistake:
                activation = "sigmoid"  # the formula a (1 − a) is this one's
            if style == "layers":
                size = (*size[:2], 3, size[-1])
            x, y, weights, biases = _data(size, seed)
            if style == "softmax":
                y = y / y.sum(axis=1, keepdims=True) if size[-1] > 1 else np.hstack([y, 1 - y])
                if size[-1] == 1:
                    _, _, weights, biases = _data((*size[:-1], 2), seed)
            slopes = MATRIX_SLOPES if style == "matrix" else None
            names = {"np": jnp if style == "jax" else np, "x": x, "y": y}
            if style == "columns":
                weights, biases = [w.T for w in weights], [b[:, None] for b in biases]
            at = tuple(itertools.chain(*zip(weights, biases, strict=True)))
            if style == "matrix":
                at = tuple(weights)
            if style == "layers":
                at = list(zip(weights, biases, strict=True))
            slots = _lines(lines, slopes, activation, change)
            yield _case(f"{style}/{mistake}", template, slots, names, at, expected, held_out)
