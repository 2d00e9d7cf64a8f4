"""Penalized least squares with a local penalty: the common ground of Whittaker's smoother, splines and total variation.

    minimize  Σ_j w_j (y_j - u_j)² + λ Σ_i (D u)_i²    <=>    (W + λ DᵀD) u = W y

Every row of D touches a few neighboring unknowns only, so that the matrix is banded and everything costs O(n): the
solution, the trace of the smoother Σ w_j (A⁻¹)_jj, the variances (A⁻¹ W A⁻¹)_jj, the likelihood of λ.

A = W + λ DᵀD is as ill conditioned as the square of a derivative; solved as it stands, it would lose a digit for every
factor of ten in λ. The product Wu + λ Dᵀ(Du) rounds far less, and two refinements with it give the digits back.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnum._checks import check_positive, refuse
from jaxnum._typing import is_traced
from jaxnum.numerics import banded
from jaxnum.numerics.march import in_turn
from jaxnum.signals.local import Fit, stretch

_REFINEMENTS = 2
_ONE_SUFFICES = 1e-8  # λ|D|²/w in units of 1/eps up to which one refinement leaves nothing but rounding
_SHARPEST = 1e-2  # largest λ|D|²/w in units of 1/eps: beyond, refinement no longer recovers the digits


class Rows(NamedTuple):
    """A matrix D whose row i touches the unknowns stride * i, ..., stride * i + reach; several rows may share an i.

    `entries` has shape (rows that share an i, number of i, reach + 1); a sample comes every `stride` unknowns. Where
    all i are alike, one of them stands for `count`.
    """

    entries: Float[Array, "r i reach+1"]
    stride: int
    count: int | None = None

    @property
    def _count(self) -> int:
        return self.count or self.entries.shape[1]

    def shortened(self, by: int) -> "Rows":
        """Return the rows, all alike, of a signal with fewer samples."""
        return self._replace(count=self._count - by) if by else self

    def apply(self, u: Float[Array, " n"]) -> Float[Array, "r i"]:
        """Return D u."""
        return sum(self.entries[:, :, a] * self._place(u, a)[None] for a in range(self.entries.shape[2]))

    def transposed(self, v: Float[Array, "r i"]) -> Float[Array, " n"]:
        """Return Dᵀ v."""
        parts = [(jnp.sum(self.entries[:, :, a] * v, axis=0), a) for a in range(self.entries.shape[2])]
        return self._placed_back(parts)

    def transposed_once(self, v: Float[Array, "r i"]) -> Float[Array, " n"]:
        """Return Dᵀ v, every entry of v read once.

        A compiler may compute v = Du anew for each of its uses, with one rounding here and two there; neighbors would
        then be pushed apart by forces that do not cancel. What a loop is fed it computes once.
        """
        rows, _, width = self.entries.shape
        keep = width - self.stride

        def loop(entries, v):
            entries = tuple(tuple(entries[r, :, a] for a in range(width)) for r in range(rows))
            alike = jax.tree.map(lambda e: e[0], entries) if self.count else None

            def step(pending, row):
                values, own = row
                pending = [*pending, *[jnp.zeros((), v.dtype)] * self.stride]
                for value, weights in zip(values, alike or own, strict=True):
                    pending = [p + e * value for p, e in zip(pending, weights, strict=True)]
                return tuple(pending[self.stride :]), tuple(pending[: self.stride])

            last, done = jax.lax.scan(step, (jnp.zeros((), v.dtype),) * keep, (tuple(v), None if alike else entries))
            return jnp.concatenate([_interleaved(done), jnp.stack(last)])

        return in_turn(loop, self.entries, v)

    def normal_bands(self, scale: Float[Array, "r i"] | None = None) -> Float[Array, "reach+1 n"]:
        """Return the lower bands of Dᵀ diag(scale) D."""
        rows, count, width = self.entries.shape[0], self._count, self.entries.shape[2]
        entries = jnp.broadcast_to(self.entries, (rows, count, width))
        scaled = entries if scale is None else entries * scale[:, :, None]
        bands = []
        for k in range(width):
            products = [(jnp.sum(scaled[:, :, a] * entries[:, :, a - k], axis=0), a) for a in range(k, width)]
            bands.append(self._placed_back(products))
        return jnp.stack(bands)

    def _place(self, u, a):
        first = a // self.stride
        return u.reshape(-1, self.stride)[first : first + self._count, a % self.stride]

    def _placed_back(self, parts):
        """Return the sum of what `_place` took for each a, where it came from."""
        length = self._count + (self.entries.shape[2] - 1) // self.stride
        columns = [jnp.zeros(length, self.entries.dtype)] * self.stride
        for part, a in parts:
            first = a // self.stride
            columns[a % self.stride] += jnp.pad(part, (first, length - self._count - first))
        return _interleaved(columns)


class Readout(NamedTuple):
    """Rows that turn the unknowns into the curve or its derivative: `entries[i]` @ u[start[i] : start[i] + width]."""

    start: Array
    entries: Float[Array, "n width"]


def divided_differences(x: Float[Array, " n"], order: int) -> Float[Array, "i order+1"]:
    """Return rows whose product with samples at `x` is their derivative of that order, exact for its polynomials."""
    count = len(x) - order
    at = jnp.stack([x[a : a + count] for a in range(order + 1)], axis=1)
    gaps = at[:, :, None] - at[:, None, :] + jnp.eye(order + 1, dtype=x.dtype)[None]
    return float(np.prod(np.arange(1, order + 1))) / jnp.prod(gaps, axis=2)


def stencil(x: Float[Array, " n"], derivative: int) -> Readout:
    """Return the derivative of the polynomial through the nearest points, which are centered away from the ends.

    Its degree is the derivative's order plus two, or plus three where that is odd: on a uniform grid the error is of
    fourth order in the spacing, far below what any smoothing does.
    """
    n = len(x)
    degree = min(derivative + 2 + derivative % 2, n - 1)
    start = jnp.clip(jnp.arange(n) - degree // 2, 0, n - 1 - degree)

    def at(i, here):
        near = jax.lax.dynamic_slice_in_dim(x, here, degree + 1) - x[i]
        scale = jnp.max(jnp.abs(near))
        row = jnp.stack([_cardinal(near / scale, j, derivative) for j in range(degree + 1)])
        return row / scale**derivative

    return Readout(start, jax.vmap(at)(jnp.arange(n), start))


def _cardinal(points, j, derivative):
    """Return a derivative at 0 of the polynomial that is 1 at points[j] and 0 at the others.

    The lowest coefficients of ∏ (t - t_k): sums of products, each right to the last digit however close two points are.
    """
    zero = jnp.zeros((), points.dtype)
    lowest, size = [zero + 1] + [zero] * derivative, zero + 1
    for k in range(points.shape[0]):
        if k != j:
            lowest = [a - points[k] * b for a, b in zip([zero, *lowest[:-1]], lowest, strict=True)]
            size = size * (points[j] - points[k])
    return math.factorial(derivative) * lowest[derivative] / size


def matrix(weights, rows: Rows, strength, scale=None) -> Array:
    """Return the bands of W + λ Dᵀ diag(scale) D."""
    bands = strength * rows.normal_bands(scale)
    return bands.at[0].add(_at_samples(weights, rows))


class Plan(NamedTuple):
    """What is known before tracing.

    `short`: where samples are uniform and weights alike, how many of them suffice to know the ends and one sample
    between, which is like all others: for the variances and for the elimination; None for all.
    """

    short: int | None = None
    num_refinements: int = _REFINEMENTS


def solve(y, weights, rows: Rows, strength, plan: Plan | None = None) -> tuple[Array, Array, Array]:
    """Return the unknowns, the bands of the matrix, and how much the last refinement changed the unknowns.

    With a plan that says that a shorter signal tells all, the bands are those of that.
    """
    plan, n = plan or Plan(), len(y)
    few = plan.short or n
    bands = matrix(weights[:few], rows.shortened(n - few), strength)
    factors = banded.factor(jax.lax.stop_gradient(bands))
    if few < n:
        # Elimination forgets where it began as fast as the curve does: rows far from it are alike.
        longer = jax.vmap(lambda row: stretch(row, n * rows.stride, rows.stride))
        factors = banded.Factors(longer(factors.lower), longer(factors.pivots[None])[0])

    def product(u):
        return strength * rows.transposed(rows.apply(u)) + _at_samples(weights * u[:: rows.stride], rows)

    def careful(u):
        return strength * rows.transposed_once(rows.apply(u)) + _at_samples(weights * u[:: rows.stride], rows)

    u, change = banded.solve(
        bands,
        _at_samples(weights * y, rows),
        factors=factors,
        product=product,
        careful=careful,
        num_refinements=plan.num_refinements,
        has_change=True,
    )
    return u, bands, change


def _at_samples(values: Array, rows: Rows) -> Array:
    """Return one number for each unknown: those of the samples, and zero between."""
    return _interleaved([values, *[jnp.zeros_like(values)] * (rows.stride - 1)])


def _interleaved(columns: Any) -> Array:
    return columns[0] if len(columns) == 1 else jnp.stack(columns, axis=1).reshape(-1)


def missed(error: Array, right: Array) -> Array:
    """Return the largest error of an equation relative to its right side; not differentiated."""
    size = jnp.max(jnp.abs(right))
    return jax.lax.stop_gradient(jnp.max(jnp.abs(error)) / jnp.where(size > 0, size, 1))


def fit(y, weights, rows: Rows, strength, readout: Readout | None, plan: Plan) -> Fit:
    """Fit, and read off the curve and what is wanted of it; `readout` None wants the curve.

    Args:
        y: Samples, (n,).
        weights: Their weights, (n,).
        rows: D.
        strength: λ.
        readout: Rows for the derivative wanted.
        plan: What is known before tracing.
    """
    u, bands, residual = solve(y, weights, rows, strength, plan)
    return describe(u, bands, weights, rows, readout, residual)


def describe(u, bands, weights, rows: Rows, readout: Readout | None, residual) -> Fit:
    """Return the curve held by the unknowns, and the variances that the matrix of their equation gives it.

    The matrix may be that of a shorter signal, whose ends and one sample between say it all.
    """
    n, stride = len(weights), rows.stride
    weights = weights[: bands.shape[1] // stride]
    reach = bands.shape[0] - 1 if readout is None else max(bands.shape[0], readout.entries.shape[1]) - 1
    inverse, spread = banded.inverse_diagonal_of(bands, _at_samples(weights, rows), reach)
    variance = stretch(spread[0, ::stride], n)
    trace = jnp.sum(stretch(weights * inverse[0, ::stride], n))
    value = fitted = u[::stride]
    fitted_variance = variance
    if readout is not None:
        width = readout.entries.shape[1]

        def one(start, row):
            return row @ jax.lax.dynamic_slice_in_dim(u, start, width)

        def spread_of(start, row):
            near = jax.lax.dynamic_slice(spread, (0, start), (spread.shape[0], width))
            square = row[0] ** 2 * near[0, 0]
            for a in range(1, width):
                square = square + row[a] ** 2 * near[0, a]
                for b in range(a):
                    square = square + 2 * row[a] * row[b] * near[a - b, a]
            return square

        value = jax.vmap(one)(readout.start, readout.entries)
        few = len(weights)
        keep = np.r_[: few // 2, n - (few - few // 2) : n]  # the readout of both ends and of one sample between
        start = jnp.where(keep < few // 2, readout.start[keep], readout.start[keep] - (n - few) * stride)
        variance = stretch(jax.vmap(spread_of)(start, readout.entries[keep]), n)
    return Fit(value, variance, fitted, fitted_variance, trace, residual)


def restricted_likelihood(y, weights, rows: Rows, strength, nullity: int) -> Array:
    """Return minus twice the logarithm of the marginal likelihood of λ, up to a constant; noise and trend are free.

    The penalty is the logarithm of a Gaussian prior, improper in the `nullity` directions that it does not see.
    """
    u, bands, _ = solve(y, weights, rows, strength)
    count = jnp.sum(weights > 0).astype(y.dtype) - nullity
    squares = jnp.sum(weights * (y - u[:: rows.stride]) ** 2) + strength * jnp.sum(rows.apply(u) ** 2)
    return count * jnp.log(squares) + banded.log_determinant(bands) - (bands.shape[1] - nullity) * jnp.log(strength)


def check_samples(weights: Any, n: int, fewest: int) -> None:
    """Refuse fewer samples than the directions that a penalty leaves free."""
    alive = n if is_traced(weights) else int((np.asarray(weights) > 0).sum())
    if alive < fewest:
        refuse("y", f"have at least {fewest} samples of positive weight", f"has {alive}")


def as_strength(strength: Any, x: Any) -> Any:
    """Return a strength in the dtype of `x`, or refuse it."""
    check_positive("method.strength", strength)
    return jnp.asarray(strength, x.dtype)


def known_rows(rows_of: Any, x: Any) -> Rows | None:
    """Return the rows of a penalty as numbers, also while something else is traced; None where `x` itself is."""
    if is_traced(x):
        return None
    with jax.ensure_compile_time_eval():
        return rows_of(x)


def check_precision(strength: Any, weights: Any, rows: Any) -> int:
    """Refuse a strength beyond which the samples are lost in rounding, or so small that its inverse is no number.

    Returns:
        How many refinements it needs.
    """
    if rows is None or is_traced((strength, weights)):
        return _REFINEMENTS
    dtype = rows.entries.dtype
    # What the samples do not hold, the penalty alone does, and a variance is the square of its inverse.
    softest = np.min(np.sum(np.square(np.asarray(rows.entries, float)), axis=(0, 2)), initial=1.0)
    least = 100 * float(np.finfo(dtype).tiny) ** 0.5 / max(softest, 1e-100)
    if float(strength) < least:
        must = f"be at least {least:.2g} for these samples in {dtype}, below which the curve is the samples"
        refuse("method.strength", must, f"is {float(strength):g}")
    limit = precision_limit(rows.entries, weights, dtype)
    if float(strength) > limit:
        cure = " or call jaxnum.enable_x64() before creating arrays" if dtype == np.float32 else ""
        must = f"be at most {limit:.2g} for these samples in {dtype}, beyond which rounding hides them"
        refuse("method.strength", must, f"is {float(strength):g}; use fewer samples{cure}")
    return 1 if float(strength) < limit / _SHARPEST * _ONE_SUFFICES else _REFINEMENTS


def precision_limit(entries: Any, weights: Any, dtype: Any) -> float:
    """Return the largest strength for which the samples are not lost in the rounding of the penalty."""
    w = np.asarray(weights, float)
    stiffest = np.max(np.sum(np.square(np.asarray(entries, float)), axis=(0, 2)), initial=0.0)
    return _SHARPEST / float(np.finfo(dtype).eps) / max(stiffest, 1e-300) * float(np.median(w[w > 0]))
