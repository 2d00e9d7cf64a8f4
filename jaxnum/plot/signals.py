"""A smoothed signal over its samples, with the band its standard error allows."""

from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes

from jaxnum._checks import refuse
from jaxnum.plot.canvas import BLUE, ORANGE, RED, axes
from jaxnum.signals import Smoothed


def smoothed(
    result: Smoothed,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    label: str = "",
    ax: Axes | None = None,
) -> Any:
    """Draw a smoothed signal with its band of two standard errors, over the samples it was made from.

    Missing samples, NaN or of weight zero, are marked by ticks on the axis: there the curve is a guess, and its band
    says how good a one.

    Args:
        result: What `signals.smooth` or `signals.differentiate` returned.
        x: Positions of the samples, (n,).
        y: Samples, (n,); None for a derivative, which has none.
        weights: Their weights, (n,), if there were any.
        label: Name of the curve in the legend.
        ax: Axes to draw on; None makes new ones.

    Returns:
        The axes.

    Raises:
        ValueError: If `result` holds a batch of curves, or lengths differ.
    """
    ax = axes(ax)
    x, value, error = np.asarray(x), np.asarray(result.value), np.asarray(result.standard_error)
    if value.ndim != 1:
        refuse("result", "hold one curve", f"has shape {value.shape}; pick one, `jax.tree.map(lambda a: a[0], result)`")
    for name, other in (("x", x), ("y", y), ("weights", weights)):
        if other is not None and np.shape(other) != value.shape:
            refuse(name, f"have shape {value.shape}", f"has shape {np.shape(other)}")
    missing = np.zeros(len(x), bool) if weights is None else np.asarray(weights) <= 0
    if y is not None:
        y = np.asarray(y)
        missing = missing | ~np.isfinite(y)
        ax.plot(x[~missing], y[~missing], ".", color="0.55", markersize=4, label="samples", zorder=1)
    band = np.isfinite(error)  # no noise could be estimated: then there is no band to draw
    if band.any():
        low, high = value - 2 * error, value + 2 * error
        ax.fill_between(
            x, low, high, where=band, color=ORANGE, alpha=0.35, linewidth=0, label="± 2 standard errors", zorder=2
        )
    ax.plot(x, value, color=BLUE, label=label or ("smooth curve" if y is not None else "derivative"), zorder=3)
    if missing.any():
        # Ticks stand on the axis whatever the limits are.
        ax.plot(
            x[missing],
            np.zeros(missing.sum()),
            "|",
            color=RED,
            markersize=9,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
            label=f"{missing.sum()} missing",
            zorder=4,
        )
    ax.set_xlabel("x")
    ax.set_ylabel("y" if y is not None else "dy/dx")
    ax.legend(frameon=False)
    return ax
