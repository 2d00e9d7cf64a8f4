"""Lines that compute the numbers of `gradient` and `training_step` again: u is the claim, g the truth."""

from typing import Any

import numpy as np

from jaxnum.diagnose.gradients.claim import Step, claim
from jaxnum.diagnose.report import Finding
from jaxnum.diagnose.reproduce import block, called
from jaxnum.diagnose.truth import Parameters, Truth, caller, double_precision, parameters, truth

_START = "import jax, jaxnum, numpy as np; from jax.flatten_util import ravel_pytree as flat; jaxnum.enable_x64()"
_GAP = "np.linalg.norm(u - g) / (np.linalg.norm(u) + np.linalg.norm(g))"


class Writer:
    """Writes the lines for one examination.

    Attributes:
        loss: The user's loss.
        claimed: The claimed gradient, or the training step.
        at: Parameters.
        truth: The true gradient.
        rate: Learning rate of a training step; None for a gradient.
        is_step: Whether it is a training step.
        base: Point of which the evidence speaks, flat.
        gap: Relative difference there.
        odd: Whether what the claim returns has to be brought into shape first.
        adds_up: Whether every call adds to the last.
        view: Arguments of `vectors` as text where complex parameters are looked at as pairs.
    """

    def __init__(self, loss: Any, claimed: Any, at: Parameters, found: Truth, is_step: bool):
        self.loss, self.claimed, self.at, self.truth, self.is_step = loss, claimed, at, found, is_step
        self.rate: float | None = None
        self.base, self.gap = at.flat(), 0.0
        self.odd = self.adds_up = False
        self.view = ""
        splat = caller("loss", loss, at.at) is not loss
        self.star = "*" if splat else ""
        self.of_loss = called(loss, "loss")
        self.of_claim = called(claimed, "step" if is_step else "claimed_gradient")
        if self.of_claim == self.of_loss:
            self.of_claim, self.of_loss = "step" if is_step else "claimed_gradient", "loss"

    def complex_as(self, loss: Any, claimed: Any, conjugate: bool) -> None:
        """Say that the functions are views of these, of complex parameters."""
        self.of_loss, self.of_claim = called(loss, "loss"), called(claimed, "claimed_gradient")
        self.view = f"*real_view({self.of_loss}, {self.of_claim}, at{', conjugate=True' if conjugate else ''})"

    def where(self) -> str:
        """Return the line that makes floating-point arrays of the parameters, at the point of the evidence."""
        if self.view:
            return ""
        if np.array_equal(self.base, self.at.flat()):
            return "at = jax.tree.map(lambda a: np.array(a, float), at)"
        leaves = [self.base[s].reshape(shape) for s, shape in zip(self.at.slices, self.at.shapes, strict=True)]
        values = ", ".join(f"np.array({leaf.tolist()!r})" for leaf in leaves)
        return f"at = jax.tree.unflatten(jax.tree.structure(at), [{values}])"

    def both(self, last: str) -> str:
        """Return lines that compute u and g, and print something of them."""
        call = f"{self.of_claim}({self.star}at)"
        if self.view:
            return block(
                "import numpy as np; from jaxnum.diagnose.gradients.complex_parameters import real_view",
                "from jaxnum.diagnose.gradients.reproduce import vectors",
                f"u, g = vectors({self.view})",
                last,
            )
        if self.odd:
            rate = f", rate={self.rate!r}" if self.is_step else ""
            start = "import numpy as np; from jaxnum.diagnose.gradients.reproduce import vectors"
            point = "" if np.array_equal(self.base, self.at.flat()) else f"import jax\n{self.where()}"
            both = f"u, g = vectors({self.of_loss}, {self.of_claim}, at{rate})"
            return block(start, point, both, last)
        mine = f"u = np.asarray(flat({call})[0])"
        if self.adds_up:
            mine = f"first = np.array(flat({call})[0])\nu = np.asarray(flat({call})[0]) - first"
        if self.is_step:
            rate = "" if self.rate in (None, 1.0) else f" / {self.rate!r}"
            mine = f"new = jax.tree.map(np.copy, at); told = {self.of_claim}({self.star}new)\n"
            mine += f"u = np.asarray(flat(at)[0] - flat(new if told is None else told)[0]){rate}"
        if self.truth.method.startswith("autodiff"):
            count = len(self.at.at) if self.star and isinstance(self.at.at, tuple) else 0
            numbers = f", argnums={tuple(range(count))}" if count else ""
            true = f"g = np.asarray(flat(jax.grad(jaxnum.lift({self.of_loss}){numbers})({self.star}at))[0])"
        else:
            true = f"value = {self.value()}\n"
            true += "g = jaxnum.numerics.differences.derivative(value, np.asarray(flat(at)[0])).value"
        return block(_START, self.where(), mine, true, last)

    def value(self) -> str:
        """Return the loss as a function of one vector, as text."""
        inside = f"{self.of_loss}({self.star}jax.tree.map(np.asarray, flat(at)[1](np.asarray(x))))"
        return f"lambda x: float(np.ravel({inside})[0])"

    def write(self, finding: Finding) -> tuple[str, dict[str, Any]]:
        """Return the lines of a finding, and numbers that they print and its evidence lacks."""
        code, e = finding.code, finding.evidence
        call = f"{self.of_claim}({self.star}at)"
        leaves = f"jax.tree.leaves({call}, is_leaf=lambda a: a is None)"
        if code == "gradient-fails":
            return block(
                _START,
                self.where(),
                "try:",
                f"    {call}",
                "except Exception as error:",
                "    print(type(error).__name__)  # error",
            ), {}
        if code == "complex-gradient":
            last = f"print(any(np.iscomplexobj(a) for a in {leaves}))  # complex"
            return block(_START, self.where(), last), {"complex": True}
        if code == "nonfinite-gradient":
            last = f"print(all(np.isfinite(a).all() for a in {leaves}))  # finite"
            return block(_START, self.where(), last), {"finite": False}
        if code == "not-numbers":
            return block(_START, self.where(), f"print(np.asarray({call}).dtype)  # dtype"), {}
        if code == "missing-leaf" and "given" in e:
            return block(_START, self.where(), f"print(len(jax.tree.leaves({call})))  # given"), {}
        if "given" in e and "shape" in e:
            return block(_START, self.where(), f"print(np.shape({leaves}[{e['number']}]))  # given"), {}
        if code == "changes-parameters":
            lines = [
                "before = jax.tree.map(np.copy, at)",
                call,
                "print(np.abs(flat(at)[0] - flat(before)[0]).max())  # change",
            ]
            return block(_START, self.where(), *lines), {}
        if code in ("accumulates", "not-repeatable"):
            last = f"print(np.abs(flat({call})[0] - first).max())  # difference"
            return block(_START, self.where(), f"first = np.array(flat({call})[0])", last), {}
        if code == "remembers":
            lines = [
                f"a, b, c = (np.array(flat({call})[0]) for _ in range(3))",
                "print((c - b) @ (b - a) / ((b - a) @ (b - a)))  # momentum",
            ]
            return block(_START, self.where(), *lines), {}
        if code == "inconclusive":
            return self._doubted()
        if "relative_difference" not in e and "scale" not in e:
            value = f"print(float(np.ravel({self.of_loss}({self.star}at))[0]))  # loss"
            return block(_START, self.where(), value), {"loss": float(self.truth.value(self.base))}
        if code in ("constant-factor", "wrong-sign", "zero-gradient") and "factor" in e:
            return self.both("print(u @ g / (g @ g))  # scale"), {}
        if "index" in e and e.get("here", False):
            return self.both(f"print(u[{e['index']}], g[{e['index']}])  # yours, true"), {}
        if "relative_difference" in e:
            return self.both(f"print({_GAP})  # relative_difference"), {}
        # Besides another mistake: what both make together.
        return self.both(f"print({_GAP})  # relative_difference"), {"relative_difference": self.gap}

    def _doubted(self) -> tuple[str, dict[str, Any]]:
        """A finite change of the loss beside what its gradient makes of it."""
        x = self.base
        step = aside_of(x)
        change = float(self.truth.value(x + step) - self.truth.value(x))
        promised = float(self.truth.gradient(x)[0] @ step)
        aside = "0.1 * (1 + np.abs(x)) * np.cos(np.arange(x.size))"
        return block(
            _START,
            self.where(),
            f"x = np.asarray(flat(at)[0]); value = {self.value()}",
            f"print(value(x + {aside}) - value(x))  # change",
        ), {"change": change, "promised": promised}


def aside_of(x: np.ndarray) -> np.ndarray:
    """Return a generic step that anybody can write down."""
    return 0.1 * (1 + np.abs(x)) * np.cos(np.arange(x.size))


def vectors(loss: Any, claimed: Any, at: Any, *, rate: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return claimed and true gradient at a point as vectors, whatever structure and shapes they come in.

    Args:
        loss: Function of the parameters.
        claimed: Claimed gradient; with a rate the training step.
        at: Parameters.
        rate: Learning rate of the step.
    """
    with double_precision():
        where = parameters(at, loss, claimed)
        step = None if rate is None else Step(rate)
        mine = claim(claimed, loss, where, step)
        return mine(where.flat()), truth(loss, where).gradient(where.flat())[0]
