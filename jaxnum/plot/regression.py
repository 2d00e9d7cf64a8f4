"""Fitted polynomials, what descent does along each curvature, and how soon it arrives."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes

from jaxnum._checks import as_array, refuse
from jaxnum.plot import canvas

Curve = Callable[[Any], Any]

_SAMPLES = 401  # points along a curve: finer than the screen shows


def polynomial(
    fit: Callable[[Any], Any] | Mapping[str, Callable[[Any], Any]],
    x: ArrayLike,
    y: ArrayLike,
    *,
    ax: Axes | None = None,
) -> list:
    """Draw data and the polynomial, or any other curve, that was fitted to them.

    Args:
        fit: What `regression.fit_polynomial` returned, or any function of positions; or several of them by name.
        x: Positions of the data, (n,).
        y: Data, (n,).
        ax: Axes to draw on; new ones by default.

    Returns:
        Markers of the data, then one line for each fit. Curves may leave the picture: its height is that of the data.

    Raises:
        ValueError: If `x` and `y` are no vectors of one length, or a fit is not callable.
    """
    x = np.asarray(as_array("x", x, ndim=1))
    y = np.asarray(as_array("y", y, shape=x.shape))
    fits = dict(fit) if isinstance(fit, Mapping) else {"fit": fit}
    for name, curve in fits.items():
        if not callable(curve):
            refuse("fit", "be a function of positions", f"holds {curve!r:.60} under {name!r}")
    ax = canvas.axes(ax)
    drawn = ax.plot(x, y, "o", color=canvas.BLACK, ms=5, alpha=0.7, label="data", zorder=3)
    margin = 0.04 * (np.ptp(x) or 1.0)
    fine = np.linspace(x.min() - margin, x.max() + margin, _SAMPLES).astype(x.dtype)
    for color, (name, curve) in zip(_colors(len(fits)), fits.items(), strict=True):
        drawn += ax.plot(fine, np.asarray(curve(fine)), color=color, label=name)
    height = np.ptp(y) or 1.0
    ax.set(xlabel="x", ylabel="y", ylim=(y.min() - 0.15 * height, y.max() + 0.15 * height))
    ax.legend()
    return drawn


def growth(curvatures: ArrayLike, rates: Mapping[str, float], *, ax: Axes | None = None) -> list:
    """Draw the factor by which gradient descent multiplies the error along each curvature in every step.

    Args:
        curvatures: Eigenvalues of the Hessian, (p,).
        rates: Learning rates by name.
        ax: Axes to draw on; new ones by default.

    Returns:
        Markers of each rate, in order. What lies above one grows.
    """
    curvatures = np.asarray(as_array("curvatures", curvatures, ndim=1))
    ax = canvas.axes(ax)
    line = np.geomspace(curvatures.min() / 2, curvatures.max() * 1.6, _SAMPLES)
    drawn = []
    for color, (name, rate) in zip(_colors(len(rates)), rates.items(), strict=True):
        ax.plot(line, np.abs(1 - rate * line), color=color, lw=1.0, alpha=0.6)
        drawn += ax.plot(curvatures, np.abs(1 - rate * curvatures), "o", color=color, label=name)
    ax.axhline(1, color=canvas.BLACK, lw=1)
    middle = line[_SAMPLES // 2]
    ax.annotate("grows", (middle, 1), (0, 3), textcoords="offset points", va="bottom")
    ax.annotate("dies out", (middle, 1), (0, -3), textcoords="offset points", va="top")
    ax.set(xscale="log", xlabel="curvature λ", ylabel="factor per step, |1 − ηλ|")
    ax.legend()
    return drawn


def descents(runs: Mapping[str, ArrayLike], *, goal: float | None = None, ax: Axes | None = None) -> list:
    """Draw what several descents have left of the loss's excess over its minimum.

    Args:
        runs: Excess after 0, 1, 2, ... steps by name; each may have its own length.
        goal: Excess at which a run has arrived; a line is drawn there.
        ax: Axes to draw on; new ones by default.

    Returns:
        Lines drawn, in order. Both axes are logarithmic, with steps counted from one.
    """
    ax = canvas.axes(ax)
    drawn = []
    for color, (name, values) in zip(_colors(len(runs)), runs.items(), strict=True):
        values = np.asarray(as_array(f"runs[{name!r}]", values, ndim=1, finite=False))
        fine = np.isfinite(values) & (values > 0)
        drawn += ax.plot(1 + np.flatnonzero(fine), values[fine], color=color, label=name)
    if goal is not None:
        ax.axhline(goal, color="0.4", lw=1, ls="--")
        ax.text(0.995, goal, "arrived", ha="right", va="bottom", transform=ax.get_yaxis_transform(), color="0.35")
    ax.set(xscale="log", yscale="log", xlabel="1 + steps", ylabel="loss above its minimum")
    ax.legend()
    return drawn


def shares(parts: Mapping[str, float], *, ax: Axes | None = None) -> Any:
    """Draw what a direction is made of: the share of each parameter or feature, between 0 and 1.

    Args:
        parts: Share by name.
        ax: Axes to draw on; new ones by default.

    Returns:
        Container of bars, the first name at the top, each with its number.
    """
    ax = canvas.axes(ax)
    names, values = list(parts), 100 * np.array(list(parts.values()), float)
    bars = ax.barh(names[::-1], values[::-1], color=canvas.BLUE)
    ax.bar_label(bars, [f"{v:.3g} %" for v in values[::-1]], padding=3)
    ax.set(xlim=(0, 118), xlabel="share of the direction, %")
    ax.grid(visible=False, axis="y")
    return bars


def _colors(count: int) -> list[str]:
    # Red is for what blows up; these figures are read beside it.
    return [canvas.COLORS[i % len(canvas.COLORS)] for i in range(count)]
