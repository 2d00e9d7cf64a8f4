"""Gradients of plain functions, written by hand: one wrong term, index, factor or sign."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from diagnosis_corpus.case import UNKNOWN, Case, program
from jaxnum import diagnose

_COMPONENTS = ("wrong-components",)
# Function, its gradient, a point, and wrong versions: expected codes, what to replace by what.
ROSENBROCK = """
def loss(p):
    return np.sum(100.0 * (p[1:] - p[:-1] ** 2) ** 2 + (1.0 - p[:-1]) ** 2)

def gradient(p):
    bend = p[1:] - p[:-1] ** 2
    left = -400.0 * p[:-1] * bend - 2.0 * (1.0 - p[:-1])
    right = 200.0 * bend
    return (np.concatenate([left, np.zeros(1)]) + np.concatenate([np.zeros(1), right]))
"""
HIMMELBLAU = """
def loss(p):
    x, y = p
    return (x**2 + y - 11.0) ** 2 + (x + y**2 - 7.0) ** 2

def gradient(p):
    x, y = p
    a, b = x**2 + y - 11.0, x + y**2 - 7.0
    return np.array([4.0 * x * a + 2.0 * b, 2.0 * a + 4.0 * y * b])
"""
RIDGE = """
def loss(w):
    return np.mean((x @ w - y) ** 2) + 0.1 * np.sum(w**2)

def gradient(w):
    return 2.0 * x.T @ (x @ w - y) / len(y) + 0.2 * w
"""
LOGISTIC = """
def loss(w, b):
    p = 1 / (1 + np.exp(-(x @ w + b)))
    return -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))

def gradient(w, b):
    p = 1 / (1 + np.exp(-(x @ w + b)))
    return x.T @ (p - t) / len(t), np.mean(p - t)
"""
# Springs in a chain: sums in a loop.
CHAIN = """
def loss(q):
    total = 0.0
    for i in range(len(q) - 1):
        total = total + 0.5 * (q[i + 1] - q[i] - 1.0) ** 2 + 0.25 * q[i] ** 4
    return total

def gradient(q):
    g = [0.0] * len(q)
    for i in range(len(q) - 1):
        stretch = q[i + 1] - q[i] - 1.0
        g[i] = g[i] - stretch + q[i] ** 3
        g[i + 1] = g[i + 1] + stretch
    return np.array(g)
"""
PROGRAMS = {
    "rosenbrock": (
        ROSENBROCK,
        np.array([-1.2, 1.0, 0.4]),
        False,
        {
            "last term": (_COMPONENTS, "right = 200.0 * bend", "right = 200.0 * bend * np.array([1.0, 0.0])"),
            "no x": ((*_COMPONENTS, *UNKNOWN), "-400.0 * p[:-1] * bend", "-400.0 * bend"),
            "half": (("constant-factor",), "return (np.conc", "return 0.5 * (np.conc"),
            "sign": (("wrong-sign",), "return (np.conc", "return -(np.conc"),
        },
    ),
    "himmelblau": (
        HIMMELBLAU,
        np.array([0.7, -1.9]),
        False,
        {
            "extra x in component 1": (_COMPONENTS, "2.0 * a + 4.0 * y * b", "x * (2.0 * a + 4.0 * y * b)"),
            "component 0 doubled": (_COMPONENTS, "4.0 * x * a + 2.0 * b", "8.0 * x * a + 4.0 * b"),
            "component 1 forgotten": (_COMPONENTS, "2.0 * a + 4.0 * y * b", "0.0"),
            "exchanged": (
                UNKNOWN,
                "[4.0 * x * a + 2.0 * b, 2.0 * a + 4.0 * y * b]",
                "[2.0 * a + 4.0 * y * b, 4.0 * x * a + 2.0 * b]",
            ),
        },
    ),
    "ridge": (
        RIDGE,
        np.array([0.5, -1.0, 2.0]),
        False,
        {
            "penalty forgotten": (("missing-penalty",), " + 0.2 * w", ""),
            "penalty halved": (("weight-decay", "missing-penalty"), "0.2 * w", "0.1 * w"),
            "no mean": (("unknown-cause", "wrong-direction", "weight-decay", "missing-penalty"), " / len(y)", ""),
        },
    ),
    "logistic": (
        LOGISTIC,
        (np.array([0.3, -0.6, 1.1]), 0.2),
        True,
        {
            "sign": (
                ("wrong-sign",),
                "return x.T @ (p - t) / len(t), np.mean(p - t)",
                "return x.T @ (t - p) / len(t), np.mean(t - p)",
            ),
            "sum": (
                ("constant-factor",),
                "return x.T @ (p - t) / len(t), np.mean(p - t)",
                "return x.T @ (p - t), np.sum(p - t)",
            ),
            "bias summed": (("leaf-factor",), "np.mean(p - t)", "np.sum(p - t)"),
            "slope too much": (UNKNOWN, "x.T @ (p - t)", "x.T @ ((p - t) * p * (1 - p))"),
            "bias forgotten": (("missing-leaf", "bias-left-out"), "np.mean(p - t)", "0.0"),
        },
    ),
    "chain": (
        CHAIN,
        np.array([0.2, 1.5, 2.1, 3.6]),
        True,
        {
            "last spring": (
                _COMPONENTS,
                "g[i + 1] = g[i + 1] + stretch",
                "g[i + 1] = g[i + 1] + stretch * (i < len(q) - 2)",
            ),
            "power": (UNKNOWN, "q[i] ** 3", "q[i] ** 2"),
            "overwritten": (UNKNOWN, "g[i] = g[i] - stretch", "g[i] = -stretch"),
        },
    ),
}


def _case(name, source, at, held_out, expected, library):
    def run():
        rng = np.random.default_rng(len(name))
        x, y = rng.normal(size=(9, 3)), rng.normal(size=9)
        user = program(source, {}, np=library, x=x, y=y, t=(y > 0).astype(float))
        return diagnose.gradient(user["loss"], user["gradient"], at)

    return Case(f"gradient/{name}", expected, held_out, run)


def cases() -> Iterator[Case]:
    """Yield every case."""
    for name, (source, at, held_out, mistakes) in PROGRAMS.items():
        yield _case(f"{name}/right", source, at, held_out, (), np)
        if name != "chain":  # its loop over a tracer is slow to compile
            yield _case(f"{name}/right, jax", source, at, held_out, (), jnp)
        for words, (expected, old, new) in mistakes.items():
            assert old in source, words
            yield _case(f"{name}/{words}", source.replace(old, new), at, held_out, expected, np)
