"""Update rules: the right ones, and the ways in which Adam is most often written wrong.

Every rule is a function from a sequence of gradients to the steps it takes, coordinate by coordinate, so that a rule
can be recognized from its steps alone. Written with

    m ← β₁ m + (1 − β₁) g,    v ← β₂ v + (1 − β₂) g²,    c₁ = 1 − β₁ᵗ,    c₂ = 1 − β₂ᵗ

the right step is −η (m/c₁)/(√(v/c₂) + ε), or, in the other convention, −η (√c₂/c₁) m/(√v + ε).

References:
    Kingma & Ba (2015), https://arxiv.org/abs/1412.6980
    Reddi, Kale & Kumar (2018), https://arxiv.org/abs/1904.09237 (AMSGrad)
    St John (2021), https://arxiv.org/abs/2110.10828 (AdamD)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Rule:
    """A way to turn gradients into steps.

    Attributes:
        code: Stable name in kebab case; of the finding, when the rule is wrong.
        title: What it is, in a few words.
        steps: Function `(gradients, rate, b1, b2, eps)` giving the steps; time runs along the first axis.
        parameters: Those of `rate`, `b1`, `b2`, `eps` that it depends on.
        cure: What to change, when the rule is wrong; empty when it is right.
        twin: Another mistake that takes the same steps; empty when there is none.
    """

    code: str
    title: str
    steps: Callable[..., np.ndarray]
    parameters: tuple[str, ...] = ("rate", "b1", "b2", "eps")
    cure: str = ""
    twin: str = ""

    @property
    def right(self) -> bool:
        """Whether this is what somebody means to write."""
        return not self.cure


def _over_time(one: Callable[..., tuple]) -> Callable[..., np.ndarray]:
    """Turn one step `(memory, t, g, b1, b2, eps) -> (memory, u)` into a function of a whole sequence."""

    def steps(gradients: Any, rate: Any, b1: Any, b2: Any, eps: Any) -> np.ndarray:
        gradients = np.asarray(gradients, float)
        memory, taken = (0.0, 0.0), []
        with np.errstate(all="ignore"):
            for t, g in enumerate(gradients, 1):
                memory, u = one(memory, t, g, b1, b2, eps)
                taken.append(-rate * u)
        return np.stack(np.broadcast_arrays(*taken))

    return steps


def _moments(memory, g, b1, b2):
    m, v = memory
    return b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g


def _quotient(first: Callable, second: Callable, bottom: Callable) -> Callable[..., np.ndarray]:
    """Rules that keep the right moments m, v and differ in how they correct and divide them."""

    def one(memory, t, g, b1, b2, eps):
        m, v = memory = _moments(memory, g, b1, b2)
        return memory, first(m, b1, t) / bottom(second(v, b2, t), eps)

    return _over_time(one)


def _corrected(x, b, t):
    return x / (1 - b**t)


def _plain(x, _b, _t):
    return x


def _root(v, eps):
    return np.sqrt(v) + eps


algorithm_1 = _quotient(_corrected, _corrected, _root)


@_over_time
def eps_hat(memory, t, g, b1, b2, eps):
    """Adam with the correction folded into the learning rate: ε stands beside an uncorrected root."""
    m, v = memory = _moments(memory, g, b1, b2)
    return memory, np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)


@_over_time
def _wrong_complement(memory, t, g, b1, b2, eps):
    m, v = memory = _moments(memory, g, b1, b2)
    return memory, np.sqrt(b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)


@_over_time
def _written_back(memory, t, g, b1, b2, eps):
    m, v = _moments(memory, g, b1, b2)
    m, v = m / (1 - b1**t), v / (1 - b2**t)
    return (m, v), m / (np.sqrt(v) + eps)


@_over_time
def _square_of_mean(memory, t, g, b1, b2, eps):
    m, v = memory
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * m * m
    return (m, v), _corrected(m, b1, t) / _root(_corrected(v, b2, t), eps)


@_over_time
def _swapped(memory, t, g, b1, b2, eps):
    m, v = memory = _moments(memory, g, b2, b1)
    return memory, _corrected(m, b2, t) / _root(_corrected(v, b1, t), eps)


@_over_time
def _reset(memory, t, g, b1, b2, eps):
    m, v = _moments((0.0, 0.0), g, b1, b2)
    return memory, _corrected(m, b1, t) / _root(_corrected(v, b2, t), eps)


@_over_time
def _all_reset(memory, _t, g, _b1, _b2, eps):
    return memory, g / (np.abs(g) + eps)


@_over_time
def _decay_to_the_t(memory, t, g, b1, b2, eps):
    m, v = memory
    m = b1**t * m + (1 - b1**t) * g
    v = b2 * v + (1 - b2) * g * g
    return (m, v), _corrected(m, b1, t) / _root(_corrected(v, b2, t), eps)


@_over_time
def _not_averaged(memory, t, g, b1, b2, eps):
    m, v = memory
    m, v = b1 * m + g, b2 * v + (1 - b2) * g * g
    return (m, v), _corrected(m, b1, t) / _root(_corrected(v, b2, t), eps)


@_over_time
def _rate_overwritten(memory, t, g, b1, b2, eps):
    (m, v), share = memory if isinstance(memory[0], tuple) else (memory, 1.0)
    m, v = _moments((m, v), g, b1, b2)
    share = share * np.sqrt(1 - b2**t) / (1 - b1**t)
    return ((m, v), share), share * m / (np.sqrt(v) + eps)


@_over_time
def _descent(memory, _t, g, _b1, _b2, _eps):
    return memory, g


@_over_time
def _momentum(memory, _t, g, b1, _b2, _eps):
    v = b1 * memory[0] + g
    return (v, 0.0), v


@_over_time
def _nesterov(memory, _t, g, b1, _b2, _eps):
    v = b1 * memory[0] + g
    return (v, 0.0), g + b1 * v


@_over_time
def _averaged(memory, _t, g, b1, _b2, _eps):
    m = b1 * memory[0] + (1 - b1) * g
    return (m, 0.0), m


@_over_time
def _averaged_corrected(memory, t, g, b1, _b2, _eps):
    m = b1 * memory[0] + (1 - b1) * g
    return (m, 0.0), m / (1 - b1**t)


@_over_time
def _rmsprop(memory, _t, g, _b1, b2, eps):
    v = b2 * memory[1] + (1 - b2) * g * g
    return (0.0, v), g / (np.sqrt(v) + eps)


@_over_time
def _rmsprop_inside(memory, _t, g, _b1, b2, eps):
    v = b2 * memory[1] + (1 - b2) * g * g
    return (0.0, v), g / np.sqrt(v + eps)


@_over_time
def _adagrad(memory, _t, g, _b1, _b2, eps):
    v = memory[1] + g * g
    return (0.0, v), g / (np.sqrt(v) + eps)


@_over_time
def _adagrad_optax(memory, t, g, _b1, _b2, eps):
    v = (0.1 if t == 1 else memory[1]) + g * g
    return (0.0, v), g / np.sqrt(v + eps)


@_over_time
def _sign(memory, _t, g, _b1, _b2, _eps):
    return memory, np.sign(g)


@_over_time
def _lion(memory, _t, g, b1, b2, _eps):
    m = memory[0]
    return (b2 * m + (1 - b2) * g, 0.0), np.sign(b1 * m + (1 - b1) * g)


@_over_time
def _amsgrad(memory, t, g, b1, b2, eps):
    (m, v), top = memory if isinstance(memory[0], tuple) else (memory, 0.0)
    m, v = _moments((m, v), g, b1, b2)
    top = np.maximum(top, v / (1 - b2**t))
    return ((m, v), top), m / (1 - b1**t) / (np.sqrt(top) + eps)


@_over_time
def _amsgrad_uncorrected(memory, t, g, b1, b2, eps):
    (m, v), top = memory if isinstance(memory[0], tuple) else (memory, 0.0)
    m, v = _moments((m, v), g, b1, b2)
    top = np.maximum(top, v)
    return ((m, v), top), m / (1 - b1**t) / (np.sqrt(top / (1 - b2**t)) + eps)


@_over_time
def _amsgrad_eps_hat(memory, t, g, b1, b2, eps):
    (m, v), top = memory if isinstance(memory[0], tuple) else (memory, 0.0)
    m, v = _moments((m, v), g, b1, b2)
    top = np.maximum(top, v)
    return ((m, v), top), np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(top) + eps)


@_over_time
def _amsgrad_plain(memory, _t, g, b1, b2, eps):
    (m, v), top = memory if isinstance(memory[0], tuple) else (memory, 0.0)
    m, v = _moments((m, v), g, b1, b2)
    top = np.maximum(top, v)
    return ((m, v), top), m / (np.sqrt(top) + eps)


@_over_time
def _nadam(memory, t, g, b1, b2, eps):
    m, v = memory = _moments(memory, g, b1, b2)
    ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
    return memory, ahead / _root(_corrected(v, b2, t), eps)


# The simplest first: when two rules explain the same steps, the first one is named, and the other beside it.
RIGHT = (
    Rule("gradient-descent", "gradient descent", _descent, ("rate",)),
    Rule("momentum", "heavy-ball momentum, v ← βv + g", _momentum, ("rate", "b1")),
    Rule("averaged-momentum", "averaged momentum, m ← βm + (1−β)g", _averaged, ("rate", "b1")),
    Rule("nesterov", "Nesterov's momentum", _nesterov, ("rate", "b1")),
    Rule("averaged-momentum-corrected", "averaged momentum with bias correction", _averaged_corrected, ("rate", "b1")),
    Rule("sign-descent", "sign descent", _sign, ("rate",)),
    Rule("adagrad", "Adagrad from a zero accumulator", _adagrad, ("rate", "eps")),
    Rule("adagrad-optax", "Adagrad from an accumulator of 0.1, ε inside the root", _adagrad_optax, ("rate", "eps")),
    Rule("rmsprop", "RMSprop with ε outside the root", _rmsprop, ("rate", "b2", "eps")),
    Rule("rmsprop-eps-inside", "RMSprop with ε inside the root", _rmsprop_inside, ("rate", "b2", "eps")),
    Rule("adam", "Adam, Algorithm 1", algorithm_1),
    Rule("adam-eps-hat", "Adam in the ε-hat form (bias correction folded into the learning rate)", eps_hat),
    Rule("amsgrad", "AMSGrad, maximum of the corrected v", _amsgrad),
    Rule("amsgrad-uncorrected", "AMSGrad, maximum of v before its correction", _amsgrad_uncorrected),
    Rule("amsgrad-eps-hat", "AMSGrad, maximum of v before its correction, in the ε-hat form", _amsgrad_eps_hat),
    Rule("amsgrad-without-correction", "AMSGrad without bias correction, as published", _amsgrad_plain),
    Rule("nadam", "Adam with Nesterov's look ahead", _nadam),
    Rule("lion", "Lion", _lion, ("rate", "b1", "b2")),
)

WRONG = (
    Rule(
        "no-bias-correction",
        "Adam without bias correction",
        _quotient(_plain, _plain, _root),
        cure="Divide m by 1 − β₁ᵗ and v by 1 − β₂ᵗ before using them.",
    ),
    Rule(
        "first-moment-not-corrected",
        "Adam whose m is not bias-corrected (published as AdamD, where it is meant)",
        _quotient(_plain, _corrected, _root),
        cure="Divide m by 1 − β₁ᵗ, unless AdamD is what you want.",
    ),
    Rule(
        "second-moment-not-corrected",
        "Adam whose v is not bias-corrected",
        _quotient(_corrected, _plain, _root),
        cure="Divide v by 1 − β₂ᵗ before taking its root.",
    ),
    Rule(
        "power-of-time-forgotten",
        "Adam that corrects by 1 − β where 1 − βᵗ belongs",
        _quotient(lambda m, b, _t: m / (1 - b), lambda v, b, _t: v / (1 - b), _root),
        cure="Use 1 − β₁ᵗ and 1 − β₂ᵗ, and check that t grows by one at each step.",
        twin="a step counter that is never incremented",
    ),
    Rule(
        "time-starts-at-zero",
        "Adam that counts its steps from 0: 0/0 at the first step",
        _quotient(lambda m, b, t: m / (1 - b ** (t - 1)), lambda v, b, t: v / (1 - b ** (t - 1)), _root),
        cure="Increment t before the correction, so that the first step has t = 1.",
    ),
    Rule(
        "time-off-by-one",
        "Adam that corrects with t + 1",
        _quotient(lambda m, b, t: m / (1 - b ** (t + 1)), lambda v, b, t: v / (1 - b ** (t + 1)), _root),
        cure="Use t = 1 at the first step.",
    ),
    Rule(
        "correction-multiplied",
        "Adam that multiplies m and v by the correction instead of dividing",
        _quotient(lambda m, b, t: m * (1 - b**t), lambda v, b, t: v * (1 - b**t), _root),
        cure="Divide: m/(1 − β₁ᵗ) and v/(1 − β₂ᵗ).",
    ),
    Rule(
        "correction-written-back",
        "Adam that overwrites m and v with their corrected values",
        _written_back,
        cure="Keep the corrected moments in variables of their own; m and v must go on uncorrected.",
    ),
    Rule(
        "wrong-complement",
        "Adam with √β₂ᵗ where √(1 − β₂ᵗ) belongs",
        _wrong_complement,
        cure="The factor is √(1 − β₂ᵗ)/(1 − β₁ᵗ); 1 was subtracted once too often.",
    ),
    Rule(
        "root-forgotten",
        "Adam that divides by v instead of √v",
        _quotient(_corrected, _corrected, lambda v, eps: v + eps),
        cure="Divide by √v + ε.",
    ),
    Rule(
        "square-instead-of-root",
        "Adam that divides by v² instead of √v",
        _quotient(_corrected, _corrected, lambda v, eps: v**2 + eps),
        cure="Divide by √v + ε.",
    ),
    Rule(
        "root-taken-twice",
        "Adam that takes the root of v twice",
        _quotient(_corrected, _corrected, lambda v, eps: np.sqrt(np.sqrt(v)) + eps),
        cure="Take one root: √v + ε.",
    ),
    Rule(
        "eps-inside-root",
        "Adam with ε inside the root",
        _quotient(_corrected, _corrected, lambda v, eps: np.sqrt(v + eps)),
        cure="Add ε after the root: √(v/c₂) + ε. Inside, gradients below √ε = 1e-4 hardly move anything.",
    ),
    Rule(
        "second-moment-of-mean",
        "Adam whose v averages m² instead of g²",
        _square_of_mean,
        cure="Feed the gradient itself into v: v ← β₂ v + (1 − β₂) g².",
    ),
    Rule(
        "betas-swapped",
        "Adam with β₁ and β₂ exchanged",
        _swapped,
        cure="β₁ = 0.9 belongs to m and β₂ = 0.999 to v.",
    ),
    Rule(
        "memory-reset",
        "Adam whose m and v start from zero at every step, while t counts on",
        _reset,
        cure="Keep m and v between steps: return them, or store them outside the function.",
    ),
    Rule(
        "memory-and-time-reset",
        "Adam whose m, v and t start anew at every step, which is sign descent",
        _all_reset,
        ("rate", "eps"),
        cure="Keep m, v and t between steps: return them, or store them outside the function.",
    ),
    Rule(
        "decay-to-the-t",
        "Adam that uses β₁ᵗ as the decay of m",
        _decay_to_the_t,
        cure="The decay of m is β₁; only the correction has a power of t.",
    ),
    Rule(
        "first-moment-not-averaged",
        "Adam with m ← β₁ m + g, the factor 1 − β₁ forgotten",
        _not_averaged,
        cure="m ← β₁ m + (1 − β₁) g; as it is the learning rate is 1/(1 − β₁) times what it says.",
    ),
    Rule(
        "learning-rate-overwritten",
        "Adam that overwrites the learning rate by its corrected value at every step",
        _rate_overwritten,
        cure="Put the corrected rate η √(1 − β₂ᵗ)/(1 − β₁ᵗ) into a variable of its own.",
    ),
)
