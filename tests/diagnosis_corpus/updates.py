"""Hand-written update rules in the styles people use: closures, classes, arrays written in place, dicts, Optax."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import optax

from diagnosis_corpus.case import UNKNOWN, Case, program
from jaxnum import diagnose

RIGHT = {
    "start": "0",
    "count": "t = t + 1",
    "first": "m = b1 * m + (1 - b1) * g",
    "second": "v = b2 * v + (1 - b2) * g**2",
    "correct_first": "mh = m / (1 - b1**t)",
    "correct_second": "vh = v / (1 - b2**t)",
    "step": "step = -rate * mh / (np.sqrt(vh) + eps)",
}
TUPLE = """
rate, b1, b2, eps = {constants}

def update(g, state):
    m, v, t = state or (0.0, 0.0, {start})
    {count}
    {first}
    {second}
    {correct_first}
    {correct_second}
    {step}
    return step, (m, v, t)
"""
DICT = """
rate, b1, b2, eps = {constants}

def update(g, state=None):
    if state is None:
        state = {'m': np.zeros_like(g), 'v': np.zeros_like(g), 't': {start}}
    m, v, t = state['m'], state['v'], state['t']
    {count}
    {first}
    {second}
    {correct_first}
    {correct_second}
    {step}
    return step, {'m': m, 'v': v, 't': t}
"""
# What a course teaches: an object with a memory, called through a thin function.
CLASS = """
class Optimizer:
    def __init__(self):
        self.rate, self.b1, self.b2, self.eps = {constants}
        self.m, self.v, self.t = 0.0, 0.0, {start}

    def step(self, g):
        rate, b1, b2, eps, m, v, t = self.rate, self.b1, self.b2, self.eps, self.m, self.v, self.t
        {count}
        {first}
        {second}
        {correct_first}
        {correct_second}
        {step}
        self.m, self.v, self.t = m, v, t
        return step

def update(g, state):
    state = state or Optimizer()
    return state.step(g), state
"""
# Memory in arrays that are written in place.
IN_PLACE = """
rate, b1, b2, eps = {constants}

def update(g, state):
    if state is None:
        state = [np.zeros(np.shape(g)), np.zeros(np.shape(g)), {start}]
    m, v, t = state
    {count}
    {first_in_place}
    {second_in_place}
    state[2] = t
    {correct_first}
    {correct_second}
    {step}
    return step, state
"""
PLACED = {
    "first_in_place": "m *= b1; m += (1 - b1) * g",
    "second_in_place": "v *= b2; v += (1 - b2) * g**2",
}
# A transformation in Optax's form, in JAX.
TRANSFORMATION = """
rate, b1, b2, eps = {constants}

def init(params):
    return (np.zeros_like(params), np.zeros_like(params), {start})

def inner(g, state, params=None):
    m, v, t = state
    {count}
    {first}
    {second}
    {correct_first}
    {correct_second}
    {step}
    return step, (m, v, t)

update = optax.GradientTransformation(init, inner)
"""
PLAIN = {"correct_first": "mh = m", "correct_second": "vh = v"}
MISTAKES = {
    "no-bias-correction": PLAIN,
    "first-moment-not-corrected": {"correct_first": "mh = m"},
    "second-moment-not-corrected": {"correct_second": "vh = v"},
    "power-of-time-forgotten": {"correct_first": "mh = m / (1 - b1)", "correct_second": "vh = v / (1 - b2)"},
    "time-off-by-one": {"start": "1"},
    "time-starts-at-zero": {
        "correct_first": "mh = m / (1 - b1 ** (t - 1))",
        "correct_second": "vh = v / (1 - b2 ** (t - 1))",
    },
    "correction-multiplied": {"correct_first": "mh = m * (1 - b1**t)", "correct_second": "vh = v * (1 - b2**t)"},
    "correction-written-back": {
        "correct_first": "m = m / (1 - b1**t); mh = m",
        "correct_second": "v = v / (1 - b2**t); vh = v",
    },
    "wrong-complement": {
        **PLAIN,
        "step": "step = -rate * np.sqrt(1 - (1 - b2**t)) / (1 - b1**t) * mh / (np.sqrt(vh) + eps)",
    },
    "root-forgotten": {"step": "step = -rate * mh / (vh + eps)"},
    "square-instead-of-root": {"step": "step = -rate * mh / (vh**2 + eps)"},
    "root-taken-twice": {"step": "step = -rate * mh / (np.sqrt(np.sqrt(vh)) + eps)"},
    "eps-inside-root": {"step": "step = -rate * mh / np.sqrt(vh + eps)"},
    "second-moment-of-mean": {"second": "v = b2 * v + (1 - b2) * m**2"},
    "betas-swapped": {
        "first": "m = b2 * m + (1 - b2) * g",
        "second": "v = b1 * v + (1 - b1) * g**2",
        "correct_first": "mh = m / (1 - b2**t)",
        "correct_second": "vh = v / (1 - b1**t)",
    },
    "memory-reset": {"first": "m = (1 - b1) * g", "second": "v = (1 - b2) * g**2"},
    "decay-to-the-t": {"first": "m = b1**t * m + (1 - b1**t) * g"},
    "first-moment-not-averaged": {"first": "m = b1 * m + g"},
    "wrong-sign": {"step": "step = rate * mh / (np.sqrt(vh) + eps)"},
    "unknown, cube root": {"step": "step = -rate * mh / (vh ** (1 / 3) + eps)"},
    "unknown, two means": {"first": "m = 0.5 * b1 * m + (1 - b1) * g"},
}
UNUSUAL = {
    "folded correction": {
        **PLAIN,
        "step": "step = -rate * np.sqrt(1 - b2**t) / (1 - b1**t) * mh / (np.sqrt(vh) + eps)",
    },
    "lerp": {"first": "m = m + (1 - b1) * (g - m)", "second": "v = v + (1 - b2) * (g * g - v)"},
    "power half": {"step": "step = -(rate / (vh**0.5 + eps)) * mh"},
    "heavy ball": {**PLAIN, "first": "m = b1 * m + g", "step": "step = -rate * m"},
    "velocity with the rate inside": {**PLAIN, "first": "m = b1 * m - rate * g", "step": "step = m"},
    "averaged momentum": {**PLAIN, "step": "step = -rate * m"},
    "RMSprop": {**PLAIN, "step": "step = -rate * g / (np.sqrt(v) + eps)"},
    "gradient descent": {**PLAIN, "step": "step = -rate * g"},
}
STYLES = {
    "tuple": (TUPLE, MISTAKES, False),
    "class": (CLASS, dict(list(MISTAKES.items())[::2]), False),
    "dict": (DICT, dict(list(MISTAKES.items())[1::3]), False),
    "in place": (IN_PLACE, dict(list(MISTAKES.items())[:11:2]), True),
    "optax": (TRANSFORMATION, dict(list(MISTAKES.items())[1::2]), True),
}
# Constants that nobody's library was tuned on, for the styles held out.
CONSTANTS = {False: "0.01, 0.9, 0.999, 1e-8", True: "0.003, 0.85, 0.995, 1e-7"}


def _case(name: str, template: str, slots: dict, held_out: bool, expected: tuple, library: object) -> Case:
    def run():
        user = program(template, slots, np=library, optax=optax)
        rate = float(CONSTANTS[held_out].split(",")[0])
        return diagnose.update_rule(user["update"], learning_rate=rate)

    return Case(f"update_rule/{name}", expected, held_out, run)


def cases() -> Iterator[Case]:
    """Yield every case."""
    for style, (template, mistakes, held_out) in STYLES.items():
        library = jnp if style == "optax" else np
        todo: list[tuple[str, dict, tuple]] = [("right", {}, ())]
        todo += [(f"right, {words}", change, ()) for words, change in UNUSUAL.items()]
        if style == "in place":
            todo = [t for t in todo if not {"first", "second"} & set(t[1])]
            mistakes = {m: c for m, c in mistakes.items() if not {"first", "second"} & set(c)}
        if style in ("class", "dict"):
            todo = todo[:4]
        for mistake, change in mistakes.items():
            code = mistake.split(",")[0]
            todo.append((mistake, change, UNKNOWN if code == "unknown" else (code,)))
        for words, change, expected in todo:
            slots = {**PLACED, **RIGHT, "constants": CONSTANTS[held_out], **change}
            yield _case(f"{style}/{words}", template, slots, held_out, expected, library)
