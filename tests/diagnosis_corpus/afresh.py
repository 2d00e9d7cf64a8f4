"""Programs of kinds that nothing was developed on: written down first, then asked about.

Deep networks in columns and einsum, generalized linear models, robust losses, factorizations, tied weights, a
recurrence unrolled by hand, momentum in its several forms, decoupled decay, and loops, rates and refinements of other
problems than those of the remaining corpus.
"""

from collections.abc import Callable, Iterator

import numpy as np

from diagnosis_corpus.case import UNKNOWN, Case, program
from jaxnum import diagnose
from jaxnum.optimize import Momentum

# Three hidden layers, samples in columns, cross entropy of softmax, every product an einsum.
DEEP = """
def softmax(z):
    e = np.exp(z - z.max(axis=0))
    return e / e.sum(axis=0)

def run(p):
    a1 = np.tanh(np.einsum('oi,in->on', p['W1'], X) + p['b1'])
    a2 = np.tanh(np.einsum('oi,in->on', p['W2'], a1) + p['b2'])
    a3 = np.tanh(np.einsum('oi,in->on', p['W3'], a2) + p['b3'])
    return a1, a2, a3, softmax(np.einsum('oi,in->on', p['W4'], a3) + p['b4'])

def loss(p):
    return -np.sum(T * np.log(run(p)[-1])) / T.shape[1]

def gradient(p):
    a1, a2, a3, q = run(p)
    d4 = (q - T) / T.shape[1]
    d3 = np.einsum('oi,on->in', p['W4'], d4) * (1 - a3**2)
    d2 = np.einsum('oi,on->in', p['W3'], d3) * (1 - a2**2)
    d1 = np.einsum('oi,on->in', p['W2'], d2) * (1 - a1**2)
    return {
        'W1': np.einsum('on,in->oi', d1, X), 'b1': d1.sum(1, keepdims=True),
        'W2': np.einsum('on,in->oi', d2, a1), 'b2': d2.sum(1, keepdims=True),
        'W3': np.einsum('on,in->oi', d3, a2), 'b3': d3.sum(1, keepdims=True),
        'W4': np.einsum('on,in->oi', d4, a3), 'b4': d4.sum(1, keepdims=True),
    }
"""
# Logistic regression, classes ±1, the weights penalized and the intercept not.
RIDGED = """
def loss(w, c):
    margin = s * (x @ w + c)
    return np.mean(np.log1p(np.exp(-margin))) + 0.5 * lam * np.dot(w, w)

def gradient(w, c):
    margin = s * (x @ w + c)
    pull = -s / (1 + np.exp(margin)) / len(s)
    return x.T @ pull + lam * w, pull.sum()
"""
POISSON = """
def loss(beta):
    eta = x @ beta
    return np.mean(np.exp(eta) - counts * eta)

def gradient(beta):
    mu = np.exp(x @ beta)
    return x.T @ (mu - counts) / len(counts)
"""
HUBER = """
def loss(w):
    r = x @ w - y
    return np.sum(np.where(np.abs(r) < delta, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta)))

def gradient(w):
    r = x @ w - y
    return x.T @ np.where(np.abs(r) < delta, r, delta * np.sign(r))
"""
FACTORS = """
def loss(U, V):
    E = mask * (U @ V.T - R)
    return 0.5 * np.sum(E**2) + 0.5 * lam * (np.sum(U**2) + np.sum(V**2))

def gradient(U, V):
    E = mask * (U @ V.T - R)
    gU = E @ V + lam * U
    gV = E.T @ U + lam * V
    return gU, gV

def step(U, V):
    E = mask * (U @ V.T - R)
    U = U - 0.05 * (E @ V + lam * U)
    {again}
    V = V - 0.05 * (E.T @ U + lam * V)
    return U, V
"""
TIED = """
def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def loss(W, b, c):
    code = sigmoid(x @ W + b)
    out = sigmoid(code @ W.T + c)
    return np.sum((out - x) ** 2) / len(x)

def gradient(W, b, c):
    code = sigmoid(x @ W + b)
    out = sigmoid(code @ W.T + c)
    d_out = 2 * (out - x) * out * (1 - out) / len(x)
    d_code = (d_out @ W) * code * (1 - code)
    gW = x.T @ d_code + d_out.T @ code
    return gW, d_code.sum(0), d_out.sum(0)
"""
# h_t = tanh(x_t Wx + h_{t-1} Wh + b), read out at the end; back through time by hand.
RECURRENT = """
def unroll(Wx, Wh, b):
    hs = [np.zeros((series.shape[1], Wh.shape[0]))]
    for x_t in series:
        hs.append(np.tanh(x_t @ Wx + hs[-1] @ Wh + b))
    return hs

def loss(Wx, Wh, b, Wo):
    return 0.5 * np.mean((unroll(Wx, Wh, b)[-1] @ Wo - goal) ** 2)

def gradient(Wx, Wh, b, Wo):
    hs = unroll(Wx, Wh, b)
    d_out = (hs[-1] @ Wo - goal) / goal.size
    gWx, gWh, gb = np.zeros(np.shape(Wx)), np.zeros(np.shape(Wh)), np.zeros(np.shape(b))
    dh = d_out @ Wo.T
    for t in range(len(series), 0, -1):
        dz = dh * (1 - hs[t] ** 2)
        gWx = gWx + series[t - 1].T @ dz
        gWh = gWh + hs[t - 1].T @ dz
        gb = gb + dz.sum(0)
        dh = dz @ Wh.T
    return gWx, gWh, gb, hs[-1].T @ d_out
"""
# Program, names of what it is asked about, wrong versions: expected codes, what to replace by what.
GRADIENTS = {
    "deep columns": (
        DEEP,
        "deep",
        {
            "half a slope in the middle": (
                ("other-slope",),
                "d2 = np.einsum('oi,on->in', p['W3'], d3) * (1 - a2**2)",
                "d2 = np.einsum('oi,on->in', p['W3'], d3) * a2 * (1 - a2)",
            ),
            "slope at the outputs": (UNKNOWN, "* (1 - a3**2)", "* (1 - q**2)"),
            "no slope in the first layer": (("missing-slope",), "* (1 - a1**2)", "* 1.0"),
            "mean of the biases": (("bias-averaged",), ".sum(1, keepdims=True)", ".mean(1, keepdims=True)"),
            "not averaged": (("constant-factor",), "d4 = (q - T) / T.shape[1]", "d4 = q - T"),
            "softmax entry by entry": (
                ("slope-twice", "softmax-elementwise"),
                "d4 = (q - T) / T.shape[1]",
                "d4 = (q - T) * q * (1 - q) / T.shape[1]",
            ),
        },
    ),
    "ridged logistic": (
        RIDGED,
        "vector",
        {
            "the intercept is penalized": (("weight-decay",), "pull.sum()", "pull.sum() + lam * c"),
            "no penalty": (("missing-penalty",), "+ lam * w, pull", ", pull"),
            "penalty doubled": (("weight-decay", "missing-penalty"), "+ lam * w, pull", "+ 2 * lam * w, pull"),
            "sign of the margin": (UNKNOWN, "np.exp(margin)) / len(s)", "np.exp(-margin)) / len(s)"),
        },
    ),
    "Poisson": (
        POISSON,
        "beta",
        {
            "sign": (("wrong-sign",), "(mu - counts)", "(counts - mu)"),
            "sum": (("constant-factor",), " / len(counts)", ""),
            "slope of a logistic": (UNKNOWN, "(mu - counts)", "((mu - counts) * mu)"),
            "exponential forgotten": (UNKNOWN, "mu = np.exp(x @ beta)", "mu = x @ beta"),
        },
    ),
    "Huber": (
        HUBER,
        "beta",
        {
            "no sign in the tails": (UNKNOWN, "delta * np.sign(r)", "delta"),
            "squares everywhere": (UNKNOWN, "np.where(np.abs(r) < delta, r, delta * np.sign(r))", "r"),
            "twice": (("constant-factor",), "return x.T @ np.where", "return 2 * x.T @ np.where"),
        },
    ),
    "factorization": (
        FACTORS,
        "factors",
        {
            "mask forgotten": (UNKNOWN, "    E = mask * (U @ V.T - R)\n    gU", "    E = U @ V.T - R\n    gU"),
            "one leaf doubled": (("leaf-factor",), "gU = E @ V + lam * U", "gU = 2 * (E @ V + lam * U)"),
            "penalty left out of V": (("missing-penalty",), "gV = E.T @ U + lam * V", "gV = E.T @ U"),
        },
    ),
    "tied weights": (
        TIED,
        "tied",
        {
            "decoder alone": (UNKNOWN, "gW = x.T @ d_code + d_out.T @ code", "gW = d_out.T @ code"),
            "slope of the code left out": (UNKNOWN, "(d_out @ W) * code * (1 - code)", "d_out @ W"),
            "bias averaged": (("leaf-factor", "bias-averaged"), "d_code.sum(0), d_out", "d_code.mean(0), d_out"),
        },
    ),
    "recurrence": (
        RECURRENT,
        "recurrent",
        {
            "cut after one step": (UNKNOWN, "dh = dz @ Wh.T", "dh = 0 * dz"),
            "state of the same time": (UNKNOWN, "hs[t - 1].T @ dz", "hs[t].T @ dz"),
            "averaged over time": (
                ("leaf-factor",),
                "return gWx, gWh, gb,",
                "return gWx / len(series), gWh / len(series), gb / len(series),",
            ),
            "not transposed": (UNKNOWN, "dh = dz @ Wh.T", "dh = dz @ Wh"),
        },
    ),
}
# Right in other words: program, what it is asked about, what to replace by what.
UNUSUAL = {
    "Huber, clipped": (
        HUBER,
        "beta",
        "np.where(np.abs(r) < delta, r, delta * np.sign(r))",
        "np.clip(r, -delta, delta)",
    ),
    "Poisson, flat": (POISSON, "beta", "x.T @ (mu - counts) / len(counts)", "np.mean(x * (mu - counts)[:, None], 0)"),
    "tied weights, concatenated": (
        TIED,
        "tied",
        "return gW, d_code.sum(0), d_out.sum(0)",
        "return np.concatenate([gW.ravel(), d_code.sum(0), d_out.sum(0)])",
    ),
    "deep columns, tensordot": (
        DEEP,
        "deep",
        "np.einsum('on,in->oi', d2, a1)",
        "np.tensordot(d2, a1, axes=([1], [1]))",
    ),
}


def _inputs(kind: str) -> tuple[dict, object]:
    rng = np.random.default_rng(sum(kind.encode()))
    x = rng.normal(size=(8, 3))
    if kind == "deep":
        sizes, n = (3, 5, 4, 3, 3), 6
        at = {}
        for k in range(1, 5):
            at[f"W{k}"] = 0.8 * rng.normal(size=(sizes[k], sizes[k - 1]))
            at[f"b{k}"] = 0.3 * rng.normal(size=(sizes[k], 1))
        return {"X": rng.normal(size=(3, n)), "T": np.eye(3)[:, rng.integers(3, size=n)]}, at
    if kind == "vector":
        return {"x": x, "s": np.sign(rng.normal(size=8)), "lam": 0.3}, (rng.normal(size=3), 0.4)
    if kind == "beta":
        y = x @ np.array([1.0, -2.0, 0.5]) + rng.standard_t(2, size=8)
        return {"x": x, "y": y, "delta": 0.7, "counts": rng.poisson(2.0, size=8)}, 0.5 * rng.normal(size=3)
    if kind == "factors":
        names = {"R": rng.normal(size=(5, 4)), "mask": (rng.uniform(size=(5, 4)) < 0.7).astype(float), "lam": 0.2}
        return names, (rng.normal(size=(5, 2)), rng.normal(size=(4, 2)))
    if kind == "tied":
        data = rng.uniform(0.1, 0.9, size=(7, 4))
        return {"x": data}, (rng.normal(size=(4, 2)), 0.3 * rng.normal(size=2), 0.3 * rng.normal(size=4))
    names = {"series": rng.normal(size=(4, 5, 2)), "goal": rng.normal(size=(5, 1))}
    at = (rng.normal(size=(2, 3)), 0.7 * rng.normal(size=(3, 3)), 0.2 * rng.normal(size=3), rng.normal(size=(3, 1)))
    return names, at


def _gradient(name: str, source: str, kind: str, expected: tuple) -> Case:
    def run():
        names, at = _inputs(kind)
        user = program(source, {"again": ""}, np=np, **names)
        return diagnose.gradient(user["loss"], user["gradient"], at)

    return Case(f"gradient/{name}", expected, True, run)


def _step(name: str, again: str, expected: tuple) -> Case:
    def run():
        names, at = _inputs("factors")
        user = program(FACTORS, {"again": again}, np=np, **names)
        return diagnose.training_step(user["step"], user["loss"], at, learning_rate=0.05)

    return Case(f"training_step/{name}", expected, True, run)


MU, RATE = 0.8, 0.02


def _looking_ahead(g, state):
    v = MU * (state or 0.0) - RATE * g
    return MU * v - RATE * g, v


def _looking_back(g, state):
    old = state or 0.0
    v = MU * old - RATE * g
    return -MU * old + (1 + MU) * v, v


class _Accelerated:
    def __init__(self):
        self.buf = None

    def step(self, params, grads):
        self.buf = grads if self.buf is None else MU * self.buf + grads
        return params - RATE * (grads + MU * self.buf)


def _back_with_the_wrong_sign(g, state):
    old = state or 0.0
    v = MU * old - RATE * g
    return MU * old + (1 + MU) * v, v


def _rate_twice(g, state):
    v = MU * (state or 0.0) + RATE * g
    return -RATE * v, v


def _uphill(g, state):
    v = MU * (state or 0.0) + RATE * g
    return v, v


def _decoupled(params, grads):
    return params - RATE * grads - RATE * 0.1 * params


def _adagrad(g, state):
    total = (state or 0.0) + g**2
    return -RATE * g / (np.sqrt(total) + 1e-10), total


def _adagrad_without_root(g, state):
    total = (state or 0.0) + g**2
    return -RATE * g / (total + 1e-10), total


# Rule, what it claims to be, expected codes.
RULES = {
    "Nesterov, looking ahead": (_looking_ahead, None, ()),
    "Nesterov, looking back": (_looking_back, None, ()),
    "Nesterov, a class": (_Accelerated, None, ()),
    "Nesterov, wrong sign": (_back_with_the_wrong_sign, None, UNKNOWN),
    "momentum, rate twice": (_rate_twice, None, ("learning-rate-factor",)),
    "momentum, uphill": (_uphill, None, ("wrong-sign",)),
    "decoupled decay": (_decoupled, None, ()),
    "Adagrad": (_adagrad, None, ()),
    "Adagrad without the root": (_adagrad_without_root, None, (*UNKNOWN, "root-forgotten")),
}


def _rule(name: str, update: object, claims: object, expected: tuple) -> Case:
    return Case(
        f"update_rule/{name}",
        expected,
        True,
        lambda: diagnose.update_rule(update, claims=claims, learning_rate=RATE),
    )


def _sor(omega: float) -> Callable:
    a = 4.0 * np.eye(6) + np.diag(-np.ones(5), 1) + np.diag(-np.ones(5), -1)

    def update(x):
        x = np.array(x)
        for i in range(6):
            x[i] += omega * (1.0 - a[i] @ x) / a[i, i]
        return x

    return update


def _newton(x):
    return x - (x**2 - 3.0) / (2 * x)


def _simple(x):
    return x - 0.9 * (x**2 - 3.0)


def _kepler(e):
    return 0.9 * np.sin(e) + 1.0


LOOPS = {
    "relaxed Gauss-Seidel": (_sor(1.2), np.zeros(6), ()),
    "overrelaxed beyond two": (_sor(2.1), np.zeros(6), ("unstable-iteration",)),
    "Newton": (_newton, np.array([1.5, 2.5]), ()),
    "slope replaced by a constant": (_simple, np.array([1.7]), ("unstable-iteration", "limit-cycle")),
    "Kepler": (_kepler, np.array([1.2]), ()),
}


def _euler(n):
    y, h = 1.0, 1.0 / n
    for _ in range(n):
        y = y + h * (-2 * y + np.exp(-y))
    return y


def _midpoint(n):
    y, h = 1.0, 1.0 / n
    for _ in range(n):
        middle = y + h / 2 * -2 * y
        y = y + h * -2 * middle
    return y


def _poisson(first_order_end: bool) -> Callable:
    """u'' = -sin x on [0, π/2], u(0) = 0, u'(π/2) = 0: sin x."""

    def solve(n):
        x = np.linspace(0, np.pi / 2, n + 1)
        h = x[1]
        a, f = np.zeros((n + 1, n + 1)), -np.sin(x)
        for i in range(1, n):
            a[i, i - 1 : i + 2] = np.array([1.0, -2.0, 1.0]) / h**2
        a[0, 0], f[0] = 1.0, 0.0
        if first_order_end:
            a[n, n - 1 :], f[n] = np.array([-1.0, 1.0]) / h, 0.0
        else:
            a[n, n - 2 :], f[n] = np.array([0.5, -2.0, 1.5]) / h, 0.0
        return x, np.linalg.solve(a, f)

    return solve


def _stencil(n):
    h = 2.0**-n
    return (np.exp(1 + h) - np.exp(1 - h)) / (2 * h)


ORDERS = {
    "midpoint": (_midpoint, np.exp(-2.0), [16, 32, 64, 128], 2, ()),
    "midpoint, thought of order three": (_midpoint, np.exp(-2.0), [16, 32, 64, 128], 3, ("lower-order",)),
    "another equation": (_euler, np.exp(-2.0), [16, 32, 64, 128], 1, ("wrong-limit",)),
    "one-sided end": (_poisson(True), np.sin, [16, 32, 64, 128], 2, ("boundary-order",)),
    "second-order end": (_poisson(False), np.sin, [16, 32, 64, 128], 2, ()),
}


def _logistic_rate(rate: float) -> Callable:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(30, 2)) * np.array([1.0, 30.0])
    t = (x @ np.array([1.0, 0.02]) + 0.3 * rng.normal(size=30) > 0).astype(float)

    def loss(w):
        z = x @ w
        return np.mean(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - t * z) + 0.05 * np.sum(w**2)

    return lambda: diagnose.step_size(loss, np.zeros(2), rate)


def _factor_rate(rate: float) -> Callable:
    r = np.outer([1.0, 2.0, -1.0], [0.5, 1.5])

    def loss(p):
        u, v = p[:3], p[3:]
        return 0.5 * np.sum((u[:, None] * v[None, :] - r) ** 2)

    return lambda: diagnose.step_size(loss, np.array([0.7, 1.2, -0.4, 0.4, 1.0]), (Momentum(0.5), rate))


RATES = {
    # λ = mean x²/4 + 0.1 is about 225 at the start
    "logistic, features of other sizes": (_logistic_rate(0.5), ("rate-above-limit",)),
    "logistic, small": (_logistic_rate(5e-3), ()),
    # At a minimum λ ≥ ‖u‖² + ‖v‖² ≥ 2 σ = 2 √6 √2.5 = 7.75, and the limit at most 3/7.75
    "factorization, long steps": (_factor_rate(0.6), ("rate-above-limit", "diverged")),
    "factorization": (_factor_rate(0.05), ()),
}


def cases() -> Iterator[Case]:
    """Yield every case."""
    for name, (source, kind, mistakes) in GRADIENTS.items():
        yield _gradient(f"{name}/right", source, kind, ())
        for words, (expected, old, new) in mistakes.items():
            assert old in source, words
            yield _gradient(f"{name}/{words}", source.replace(old, new), kind, expected)
    for name, (source, kind, old, new) in UNUSUAL.items():
        assert old in source, name
        yield _gradient(f"{name}/right", source.replace(old, new), kind, ())
    for words, again in (("one error for both", ""), ("in turns", "E = mask * (U @ V.T - R)")):
        yield _step(f"factorization, {words}", again, ("weights-updated-early",))
    for name, (update, claims, expected) in RULES.items():
        yield _rule(name, update, claims, expected)
    for name, (update, x, expected) in LOOPS.items():
        yield Case(f"fixed_point/{name}", expected, True, lambda u=update, x=x: diagnose.fixed_point(u, x))
    for name, (solve, truth, sizes, promised, expected) in ORDERS.items():
        run = lambda s=solve, t=truth, n=sizes, p=promised: diagnose.order(s, t, n, expected=p)  # noqa: E731
        yield Case(f"order/{name}", expected, True, run)
    for name, (run, expected) in RATES.items():
        yield Case(f"step_size/{name}", expected, True, run)
