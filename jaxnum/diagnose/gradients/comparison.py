"""A claimed and a true gradient side by side at several points: what agrees, and what numbers say of the rest."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxnum.diagnose.report import Table
from jaxnum.diagnose.truth import Parameters


@dataclass(frozen=True)
class Comparison:
    """A claimed and a true gradient at several points.

    Attributes:
        at: Structure of the parameters.
        points: Where, (points, parameters); the first is `at` itself.
        true: True gradient, same shape.
        claimed: Claimed gradient, same shape.
        error: Estimated error of the true one, same shape.
        tolerance: Relative difference that counts as none.
        samples: Numbers of samples that are in sight, to recognize factors by.
    """

    at: Parameters
    points: np.ndarray
    true: np.ndarray
    claimed: np.ndarray
    error: np.ndarray
    tolerance: float
    samples: tuple[int, ...] = ()

    def leaf(self, values: np.ndarray, i: int) -> np.ndarray:
        """Return the part of leaf `i`, (points, size)."""
        return values[:, self.at.slices[i]]

    @property
    def count(self) -> int:
        """Number of leaves."""
        return len(self.at.shapes)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Typical size of the gradient in each leaf, not taken at one point where it may vanish."""
        lengths = np.array([np.linalg.norm(self.leaf(self.true, i), axis=1) for i in range(self.count)])
        overall = np.median(np.linalg.norm(self.true, axis=1))
        # What one leaf loses in rounding of numbers as large as the others'.
        return np.maximum(np.median(lengths, axis=1), 1e-9 * overall)

    @cached_property
    def slack(self) -> np.ndarray:
        """Difference that counts as none in each leaf at each point, (points, leaves)."""
        own = [np.linalg.norm(self.leaf(self.error, i), axis=1) for i in range(self.count)]
        here = np.array([np.linalg.norm(self.leaf(self.true, i), axis=1) for i in range(self.count)])
        return (self.tolerance * np.maximum(self.sizes[:, None], here) + 10 * np.array(own)).T

    def agrees(self, values: np.ndarray, i: int | None = None) -> bool:
        """Whether values (points, size) equal what is claimed, in one leaf or in all."""
        leaves = range(self.count) if i is None else (i,)
        for n in leaves:
            part = values if i is not None else self.leaf(values, n)
            if np.any(np.linalg.norm(part - self.leaf(self.claimed, n), axis=1) > self._allowed(n)):
                return False
        return True

    def _allowed(self, n: int) -> np.ndarray:
        # A factor magnifies the error of the truth along with the truth.
        grown = np.linalg.norm(self.leaf(self.claimed, n), axis=1)
        return self.slack[:, n] * max(1.0, float(np.median(grown)) / max(self.sizes[n], 1e-300))

    @cached_property
    def right(self) -> tuple[bool, ...]:
        """Which leaves are right at all points."""
        gaps = [np.linalg.norm(self.leaf(self.claimed - self.true, i), axis=1) for i in range(self.count)]
        return tuple(bool(np.all(gap <= self.slack[:, i])) for i, gap in enumerate(gaps))

    @cached_property
    def wrong(self) -> tuple[int, ...]:
        """Indices of the leaves that are not right."""
        return tuple(i for i, good in enumerate(self.right) if not good)

    def name(self, i: int) -> str:
        """Return what a leaf is called."""
        return self.at.names[i] or "the gradient"

    def component(self, k: int) -> str:
        """Return what a component of the flat vector is called."""
        i = next(i for i, s in enumerate(self.at.slices) if s.start <= k < s.stop)
        index = np.unravel_index(k - self.at.slices[i].start, self.at.shapes[i] or (1,))
        name = self.at.names[i] or "x"
        return f"{name}[{', '.join(map(str, index))}]" if self.at.shapes[i] else name

    @cached_property
    def cosine(self) -> np.ndarray:
        """Cosine between claimed and true, the whole vector, at each point; 0 where either vanishes."""
        lengths = np.linalg.norm(self.claimed, axis=1) * np.linalg.norm(self.true, axis=1)
        dots = np.einsum("pn,pn->p", self.claimed, self.true)
        return np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)

    def factor(self, i: int | None = None) -> float:
        """Return the factor that fits best, of one leaf or of all."""
        u, g = (self.claimed, self.true) if i is None else (self.leaf(self.claimed, i), self.leaf(self.true, i))
        size = np.linalg.norm(g, axis=1)
        use = size > 1e-6 * np.max(size, initial=0.0)  # a stationary point says nothing about a factor
        u, g = u[use] / size[use, None], g[use] / size[use, None]
        return float(np.sum(u * g) / np.sum(g * g)) if np.any(use) else 0.0

    @property
    def here(self) -> int:
        """The first point where the true gradient does not vanish: the numbers of the evidence are those there."""
        lengths = np.linalg.norm(self.true, axis=1)
        return int(np.argmax(lengths > 1e-8 * np.median(lengths)))

    def evidence(self) -> dict:
        """Return the numbers that belong to every finding."""
        here = self.here
        lengths = [float(np.linalg.norm(v[here])) for v in (self.claimed, self.true)]
        total = sum(lengths)
        gap = float(np.linalg.norm(self.claimed[here] - self.true[here]))
        return {
            "cosine": float(np.median(self.cosine)),
            "norm_ratio": lengths[0] / lengths[1] if lengths[1] else math.inf,
            "relative_difference": gap / total if total else 0.0,
            "wrong_leaves": [self.at.names[i] for i in self.wrong],
        }

    def table(self) -> Table:
        """Leaf by leaf: angle, factor, and what a factor leaves over."""
        rows = []
        for i in range(self.count):
            u, g, factor = self.leaf(self.claimed, i), self.leaf(self.true, i), self.factor(i)
            lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(g, axis=1)
            use = lengths > 0
            dots = np.einsum("pn,pn->p", u, g)
            cosine = float(np.median(dots[use] / lengths[use])) if np.any(use) else 0.0
            left = np.linalg.norm(u - factor * g, axis=1) / np.maximum(np.linalg.norm(u, axis=1), 1e-300)
            rest = float(np.median(left)) if np.any(u) else 0.0
            verdict = "right" if self.right[i] else "zero" if not np.any(u) else "wrong"
            rows.append((self.name(i), str(self.at.shapes[i]), cosine, factor, rest, verdict))
        heads = ("parameter", "shape", "cosine", "factor", "left over", "verdict")
        return Table(f"Claimed against true gradient, medians over {len(self.points)} points", heads, tuple(rows))


# Words ----------------------------------------------------------------------------------------------------------


def plural(names: Iterable[str]) -> str:
    """Join names as in a sentence."""
    names = list(names)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def meaning(factor: float, samples: tuple[int, ...] = ()) -> str:
    """Say what a constant factor usually comes from."""
    size, slack = abs(factor), 1e-6
    causes = []
    for n in dict.fromkeys(s for s in samples if s > 1):
        for power, words in (
            (n, f"a sum over {n} where the loss takes a mean"),
            (1 / n, f"a mean over {n} where the loss takes a sum"),
            (2 * n, f"a sum over {n} where the loss takes a mean, and a 2 too many"),
            (n / 2, f"a sum over {n} where the loss takes a mean, and the 2 of the square forgotten"),
            (2 / n, f"a mean over {n} where the loss takes a sum, and a 2 too many"),
            (0.5 / n, f"a mean over {n} where the loss takes a sum, and the 2 of the square forgotten"),
            (1 / n**2, f"a mean over {n} taken twice"),
        ):
            if abs(size / power - 1) < slack and abs(power - 1) > slack:
                causes.append(words)
    if abs(size - 2) < slack:
        causes.insert(0, "a 2 that the ½ of the loss cancels, or one of the two halves of a symmetric term twice")
    elif abs(size - 0.5) < slack:
        causes.insert(0, "the 2 of a derived square forgotten")
    elif not causes:
        whole = round(size) if size > 1 else round(1 / size)
        if 2 < whole < 10_000 and abs((size if size > 1 else 1 / size) / whole - 1) < slack:
            causes.append(
                f"a sum over {whole} where the loss takes a mean"
                if size > 1
                else f"a mean over {whole} where the loss takes a sum"
            )
    return "; or ".join(causes)
