"""Lines that make an update rule take the step which gives it away."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxnum.diagnose.report import Finding
from jaxnum.diagnose.reproduce import block, called
from jaxnum.diagnose.updates import probes
from jaxnum.diagnose.updates.catalogue import algorithm_1
from jaxnum.diagnose.updates.recognize import Match


def of_update(
    update: Any, state: Any, seen: probes.Watched, best: Match | None = None, reference: probes.Watched | None = None
) -> Callable[[Finding], tuple[str, dict]]:
    """Return what writes the lines for findings about an update rule."""
    name = called(update, "update")
    watch = ["import numpy as np", "from jaxnum.diagnose.updates.probes import watch"]
    watch.append(f'seen = watch("update", {name}{"" if state is None else ", state"})')

    def write(finding: Finding) -> tuple[str, dict[str, Any]]:
        code = finding.code
        if code == "memory-leaks":
            return block(*watch, "print(seen.leaks)  # leaks"), {"leaks": True}
        if seen.failure is not None:
            kind = type(seen.failure).__name__
            return block(*watch, "print(type(seen.failure).__name__)  # raises"), {"raises": kind}
        if code == "nonfinite-step":
            return block(*watch, "print((~np.isfinite(seen.steps)).sum())  # count"), {}
        kind, steps, t, p = _telling(finding, seen, best, reference)
        told = {"step": float(steps[t, p])}
        if kind != "steps" or not seen.start:
            return block(*watch, f"print(seen.{kind}[{t}, {p}])  # step"), told
        return block(*_by_hand(name, seen.start, p, t + 1)), told

    return write


def _telling(finding, seen, best, reference) -> tuple[str, np.ndarray, int, int]:
    """Return which steps, and which of them, differ most from those of the rule that was meant."""
    if finding.code == "different-decay":
        return "held", seen.held, *_farthest(seen.held, reference.held)
    if finding.code in ("different-rule", "different-hyperparameter") and reference is not None:
        t, p = _farthest(seen.steps, reference.steps)
        gap = abs(seen.steps[t, p] - reference.steps[t, p])
        if gap <= 1e-9 * np.max(np.abs(seen.steps)) and seen.joint is not None:
            return "joint", seen.joint, *_farthest(seen.joint, reference.joint)
        return "steps", seen.steps, t, p
    if best is None or len(best.values) < 4 or finding.code in ("wrong-sign", "learning-rate-factor"):
        return "steps", seen.steps, 0, 0
    return "steps", seen.steps, *_farthest(seen.steps, algorithm_1(probes.sequences(), *best.values))


def _farthest(steps: np.ndarray, meant: np.ndarray) -> tuple[int, int]:
    """Return the first step that is at least half as far off as any, relative to its sequence."""
    size = np.maximum(np.nanmax(np.abs(steps), axis=0), 1e-300)
    gap = np.nan_to_num(np.abs(steps - meant) / size, nan=np.inf)
    if not np.any(gap > 0):
        return 0, 0
    t, p = np.argwhere(gap >= 0.5 * np.max(gap))[0]
    return int(t), int(p)


def _by_hand(name: str, start: str, p: int, count: int) -> list[str]:
    """A loop over the gradients of a probe sequence, for the two forms that are called plainly."""
    ones = f"[1.0] * {min(count, 10)}" + (f" + [0.0] * {count - 10}" if count > 10 else "")
    gradients = (
        f"[1.0] * {count}",
        f"[0.01] * {count}",
        f"[1e-6] * {count}",
        f"([1.0, -1.0] * {(count + 1) // 2})[:{count}]",
        ones,
    )[p]
    if start == "optax":
        return [
            "import jax.numpy as jnp",
            f"params = jnp.zeros(1)\nstate = {name}.init(params)",
            f"for g in {gradients}:",
            f"    step, state = {name}.update(jnp.full(1, g), state, params)",
            "print(step[0])  # step",
        ]
    return [
        "import numpy as np",
        f"state = {start}",
        f"for g in {gradients}:",
        f"    step, state = {name}(np.array([g]), state)",
        "print(float(np.ravel(step)[0]))  # step",
    ]
