"""Sweeps: a line over one axis, a map over two."""

from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from jaxnum._checks import refuse
from jaxnum._solution import Solution
from jaxnum.plot import canvas


def sweep(solution: Solution, values: ArrayLike | None = None, *, label: str = "value", ax: Axes | None = None) -> Any:
    """Draw one number of every member of a sweep over one or two axes; members that failed are left white.

    Args:
        solution: What `ensemble.sweep` returned for a grid of one or two axes.
        values: One number for each member; by default `solution.value`.
        label: What the numbers are.
        ax: Axes to draw on; new ones by default.

    Returns:
        Line over one axis, or colored mesh over two; its colorbar stands beside it. Axes and colors are logarithmic
        where the numbers are positive and spread that way.

    Raises:
        ValueError: If the sweep has no axes of numbers, or `values` are not one number for each member.
    """
    names = solution.axes
    known = dict(solution.history.items()).get("parameters")
    if not isinstance(known, dict) or tuple(known) != names or any(np.ndim(x) != 1 for x in known.values()):
        refuse("solution", "be a sweep over a grid of numbers", f"has the axes {names}")
    if len(names) > 2:
        refuse("solution", "have one or two axes to be drawn", f"has {len(names)}: {', '.join(names)}")
    values = np.asarray(solution.value if values is None else values)
    sides = [np.asarray(known[name]) for name in names]
    if values.shape != tuple(len(s) for s in sides) or values.dtype.kind not in "biuf":
        refuse("values", "be one real number for each member", f"has shape {values.shape} and dtype {values.dtype}")
    ax = canvas.axes(ax)
    failed = np.asarray(solution.status.code) != 0
    shown = np.where(np.isfinite(values) & ~failed, values, np.nan).astype(float)
    scales = ["log" if _is_geometric(side) else "linear" for side in sides]
    ax.set(xlabel=names[0], xscale=scales[0])
    spread = _spreads(shown)
    if len(names) == 1:
        [drawn] = ax.plot(sides[0], shown, ".-", markersize=4)
        ax.set(ylabel=label, yscale="log" if spread else "linear")
    else:
        norm = LogNorm(np.nanmin(shown), np.nanmax(shown)) if spread else None
        order = [np.argsort(side) for side in sides]
        mesh = [side[o] for side, o in zip(sides, order, strict=True)]
        drawn = ax.pcolormesh(*mesh, shown[np.ix_(*order)].T, norm=norm, cmap="viridis", shading="nearest")
        drawn.set_rasterized(True)
        ax.set(ylabel=names[1], yscale=scales[1], facecolor="white")
        ax.grid(visible=False)
        ax.figure.colorbar(drawn, ax=ax, label=label)
    lost = int(failed.sum())
    ax.set_title(f"{values.size} members" + (f", {lost} failed and left out" if lost else ""))
    return drawn


def _is_geometric(x: np.ndarray) -> bool:
    """Tell whether numbers are spaced evenly on a logarithmic scale, and not on a linear one."""
    if len(x) < 3 or (x <= 0).any():
        return False
    steps = np.diff(np.log(x))
    return bool(np.ptp(steps) < 1e-3 * np.abs(steps).max() and np.abs(np.log(x[-1] / x[0])) > np.log(3))


def _spreads(values: np.ndarray) -> bool:
    """Tell whether numbers are positive and reach over more than two decades."""
    there = values[np.isfinite(values)]
    return bool(there.size and there.min() > 0 and there.max() > 100 * there.min())
