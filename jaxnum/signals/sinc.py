"""The modified sinc kernel: as flat in the passband as Savitzky-Golay, without its side lobes.

    k(t) ∝ w(t) [sinc((p + 4) t/2) + Σ_j κ_j t sin((2j + ν) π t)],    t = (x - x_i)/b in [-1, 1],  ν = 1 or 2
    w(t) = exp(-4t²) + exp(-4(t - 2)²) + exp(-4(t + 2)²) - 2 exp(-4) - exp(-36)

with the published corrections κ for the degrees p = 6, 8, 10; p = 2 and 4 have none. Beyond the ends the signal is
continued by a straight line fitted to its last samples. Constants and straight lines are kept up to the ends.

The d-th derivative is that of the kernel, plus the polynomial under w that makes it exact for degree d.

Reference:
    Schmid, Rath & Diebold (2022), https://doi.org/10.1021/acsmeasuresciau.1c00054
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxnum._checks import as_count, refuse
from jaxnum._typing import is_traced
from jaxnum.signals.edges import LinearFit
from jaxnum.signals.kernel import checked_edge, convolve, uniform_spacing
from jaxnum.signals.local import Fit, Plan, as_bandwidth, polynomial_row

# κ = a + b/(c - m)³ of the published tables, m the samples on one side; one row for each j.
_CORRECTIONS = {
    2: (),
    4: (),
    6: ((0.001717576, 0.02437382, 1.64375),),
    8: ((0.0043993373, 0.088211164, 2.359375), (0.006146815, 0.024715371, 3.6359375)),
    10: ((0.0011840032, 0.04219344, 2.746875), (0.0036718843, 0.12780383, 2.7703125)),
}
_MOST = 2  # order of derivatives: beyond, the cut at |t| = 1 shows


@partial(jax.tree_util.register_dataclass, data_fields=["bandwidth", "edge"], meta_fields=["degree", "window"])
@dataclass(frozen=True)
class ModifiedSinc:
    """Convolution with a windowed sinc: the replacement for Savitzky-Golay on uniform samples.

    Waves longer than about 4 b/(p + 4) pass, shorter ones are suppressed without side lobes. A peak narrower than that
    rings, as it does under any filter with a flat passband.

    Attributes:
        bandwidth: b, half the width of the kernel, in units of x; at least p/2 + 3 samples.
        degree: p, 2, 4, 6, 8 or 10: flatness of the passband, that of a Savitzky-Golay filter of this degree.
        edge: What stands beyond the ends; by default a straight line fitted to the samples near the end.
        window: Samples on each side that take part; None for as many as the kernel covers.
    """

    bandwidth: ArrayLike
    degree: int = 6
    edge: Any = field(default_factory=LinearFit)
    window: int | None = field(default=None, kw_only=True)

    def prepare(self, x: Any, weights: Any, derivative: int) -> tuple["ModifiedSinc", Plan]:
        """Check the settings against the samples; return them in the dtype of `x`, and what is known beforehand."""
        bandwidth = as_bandwidth(self.bandwidth, x)
        if as_count("method.degree", self.degree) not in _CORRECTIONS:
            refuse("method.degree", "be 2, 4, 6, 8 or 10", f"is {self.degree}")
        if derivative > _MOST:
            refuse("derivative", f"be at most {_MOST} for ModifiedSinc", f"is {derivative}")
        if not hasattr(self.edge, "fold"):
            refuse("method.edge", "be an edge that continues the signal, such as LinearFit()", f"is {self.edge!r}")
        edge = checked_edge(self.edge, x, weights)
        window, n = self.window, len(x)
        if window is None and is_traced((self.bandwidth, x)):
            window = max(n - 1, 1)
        elif window is None:
            samples = float(self.bandwidth) / (float(x[-1] - x[0]) / max(n - 1, 1)) if n > 1 else 1.0
            fewest = self.degree // 2 + 3
            if samples < fewest * (1 - 1e-6):
                refuse(
                    "method.bandwidth",
                    f"be at least {fewest} samples long for degree {self.degree}",
                    f"is {samples:.3g} samples long",
                )
            window = min(int(np.ceil(samples)), max(n - 1, 1))
        window = as_count("method.window", window)
        return replace(self, bandwidth=bandwidth, edge=edge, window=None), Plan(window)

    def fit(self, y: Array, x: Array, weights: Array, derivative: int, plan: Plan) -> Fit:
        """Convolve; traced."""
        spacing = uniform_spacing(x)
        offset = spacing * jnp.arange(-plan.window, plan.window + 1, dtype=x.dtype)
        samples = self.bandwidth / spacing
        edge = self.edge
        if isinstance(edge, LinearFit):
            # The published length: a share of the distance to the kernel's first zero.
            share = 0.7 + 0.14 * float(np.exp(-0.6 * (self.degree - 4)))
            edge = edge.in_samples(spacing, share * samples / (1.5 + 0.5 * self.degree))
        fitted = convolve(y, edge, self._kernel(offset, samples, 0))
        if not derivative:
            return Fit(fitted[0], fitted[1] / weights[0], fitted[0], fitted[1] / weights[0], fitted[2])
        value, variance, _ = convolve(y, edge, self._kernel(offset, samples, derivative))
        return Fit(value, variance / weights[0], fitted[0], fitted[1] / weights[0], fitted[2])

    def search(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[str, float, float]:
        """Return the parameter that sets the smoothness, and the range of it that makes sense for these samples."""
        del y, weights  # a bandwidth has no unit of y, and weights are alike
        low = (self.degree // 2 + 3) * float(x[-1] - x[0]) / (len(x) - 1)
        return "bandwidth", low, max(float(x[-1] - x[0]) / 2, 2 * low)

    def _kernel(self, offset: Float[Array, " k"], samples: Array, derivative: int) -> Float[Array, " k"]:
        # The corrections are published for whole m, and smooth in it.
        kappa = [a + b / (c - (samples - 1)) ** 3 for a, b, c in _CORRECTIONS[self.degree]]
        first = 1 if self.degree // 2 % 2 else 2

        def shape(t):
            wave = jnp.sinc((self.degree + 4) / 2 * t)
            for j, k in enumerate(kappa):
                wave = wave + k * t * jnp.sin((2 * j + first) * jnp.pi * t)
            return wave * _bell(t)

        t = offset / self.bandwidth
        inside = jnp.abs(t) < 1
        if derivative == 0:
            row = jnp.where(inside, jax.vmap(shape)(t), 0)
            return row / jnp.sum(row)
        slope = shape
        for _ in range(derivative):
            slope = jax.grad(slope)
        # Applied to the samples at x_i + offset: the kernel is even, so that its derivative changes sign or not.
        row = (-1.0) ** derivative * jnp.where(inside, jax.vmap(slope)(t), 0)
        row = row / jnp.sum(jnp.where(inside, jax.vmap(shape)(t), 0)) / self.bandwidth**derivative
        return row + _moments(offset, jnp.where(inside, _bell(t), 0), row, derivative)


def _bell(t):
    return (
        jnp.exp(-4 * t**2)
        + jnp.exp(-4 * (t - 2) ** 2)
        + jnp.exp(-4 * (t + 2) ** 2)
        - (2 * float(np.exp(-4.0)) + float(np.exp(-36.0)))
    )


def _moments(offset, weight, row, derivative: int):
    """Return weight times the polynomial that gives `row` the moments of a derivative, up to its own degree."""
    # For each degree below or at d: what the row makes of the polynomial of that degree, and what it should.
    scale = offset[-1]
    t = offset / scale
    correction = jnp.zeros_like(row)
    for d in range(derivative + 1):
        part = polynomial_row(t, weight, derivative, d)  # derivative d of the fit: its moments are d! at d, else 0
        factorial = float(np.prod(np.arange(1, d + 1)))
        wanted = factorial / scale**derivative if d == derivative else 0.0
        correction = correction + part * (wanted - jnp.sum(row * t**d)) / factorial
    return correction
