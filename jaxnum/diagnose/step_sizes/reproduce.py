"""Lines that compute the numbers of `step_size` again."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxnum.diagnose.report import Finding
from jaxnum.diagnose.reproduce import block, called
from jaxnum.diagnose.step_sizes.cures import _ALIVE
from jaxnum.diagnose.step_sizes.measured import Measured
from jaxnum.diagnose.step_sizes.surface import Surface
from jaxnum.diagnose.truth import caller
from jaxnum.diagnose.updates import probes

_START = "import jax, jaxnum, numpy as np; from jax.flatten_util import ravel_pytree; jaxnum.enable_x64()"
_FLAT = "p, back = ravel_pytree(jax.tree.map(lambda a: np.array(a, float), params))"


def of_step_size(
    loss: Callable, given: Any, gradient: Any, seen: Surface, m: Measured | None, budget: int | None
) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines for findings about a step size."""
    at = seen.parameters
    name = called(loss, "loss")
    star = "*" if caller("loss", loss, at.at) is not loss else ""
    x0 = at.flat()
    planned = "" if budget is None else f", num_steps={budget}"
    again = [
        "import numpy as np; from jaxnum.diagnose.step_sizes.step_size import measured",
        f"m = measured({name}, params, {called(given, 'optimizer_or_rate')}{planned})",
    ]

    def point(x: np.ndarray) -> str:
        return "" if np.array_equal(x, x0) else f"p = np.array({np.asarray(x).tolist()!r})"

    def curvatures(x: np.ndarray) -> list[str]:
        if seen.flat is None:
            return [*again, point(x) or "p = m.x0", "h = np.linalg.eigvalsh(m.surface.hessian(p))"]
        f = f"f = lambda p: jaxnum.lift({name})({star}back(p))"
        return [_START, _FLAT, point(x), f, "h = np.linalg.eigvalsh(jax.hessian(f)(p))"]

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        code, e = finding.code, finding.evidence
        if code == "inconclusive":
            step = 0.1 * (1 + np.abs(x0)) * np.cos(np.arange(x0.size))
            value = f"value = lambda x: float({name}({star}jax.tree.map(np.asarray, back(x))))"
            aside = "0.1 * (1 + np.abs(p)) * np.cos(np.arange(p.size))"
            last = f"p = np.asarray(p); print(value(p + {aside}) - value(p))  # change"
            change = float(seen.value(x0 + step) - seen.value(x0))
            return block(_START, _FLAT, value, last), {"change": change}
        if code == "wrong-gradient":
            mine = f"u = np.asarray(ravel_pytree({called(gradient, 'gradient')}({star}back(p)))[0])"
            true = f"g = np.asarray(jax.grad(lambda p: jaxnum.lift({name})({star}back(p)))(p))"
            start = [_START, _FLAT, point(e["point"])]
            if seen.flat is None:
                start[0] += "\nfrom jaxnum.numerics import differences"
                true = f"g = differences.derivative(lambda p: float({name}({star}back(p))), np.asarray(p)).value"
            last = "print(u @ g / (np.linalg.norm(u) * np.linalg.norm(g)))  # smallest_cosine"
            return block(*start, mine, true, last), {}
        if code == "wrong-sign":
            rule = given[0] if isinstance(given, tuple) and not hasattr(given, "update") else given
            first = float(probes.watch("optimizer_or_rate", rule).steps[0, 0])
            watch = f'watch("optimizer_or_rate", {called(given, "optimizer_or_rate")})'
            start = "from jaxnum.diagnose.updates.probes import watch"
            return block(start, f"print({watch}.steps[0, 0])  # first_step"), {"first_step": first}
        if code == "unbounded-below":
            return block(*curvatures(x0), "print(h[0], h[-1])  # smallest_curvature, largest_curvature"), {}
        if code == "rate-above-limit" and "sharpness" in e:
            return block(*again, "print(m.frozen.limits[-1])  # limit"), {}
        if code == "rate-above-limit":
            critical = m.response.critical * m.rule.rate / m.scale
            return block(*curvatures(e["point"]), f"print({critical:.15g} / h[-1])  # limit"), {}
        if code in ("rate-too-small", "ill-conditioned"):
            where = x0 if m.quadratic else m.bowl.minimum
            alive = f"h = h[h > {_ALIVE * x0.size!r} * h[-1]]"
            return block(*curvatures(where), alive, "print(h[-1] / h[0])  # condition"), {}
        if code == "budget-too-small":
            last = f"print(m.rule.rate * {budget}, np.abs(m.x0 - m.bowl.minimum).max())  # reach, distance"
            return block(*again, last), {}
        last = "fine = m.path.losses[m.path.finite]\nprint(fine[0], fine[-1])  # first, last"
        return block(*again, last), {}

    return write
