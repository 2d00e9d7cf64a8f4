"""A smoothed signal over its samples, with the band its standard error allows."""

from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes

from jaxnum.plot.canvas import BLUE, ORANGE, axes
from jaxnum.signals import Smoothed


def smoothed(
    result: Smoothed, x: ArrayLike, y: ArrayLike | None = None, *, label: str = "", ax: Axes | None = None
) -> Any:
    """Draw a smoothed signal with its band of two standard errors, over the samples it was made from.

    Args:
        result: What `signals.smooth` or `signals.differentiate` returned.
        x: Positions of the samples, (n,).
        y: Samples, (n,); None for a derivative, which has none.
        label: Name of the curve in the legend.
        ax: Axes to draw on; None makes new ones.

    Returns:
        The axes.
    """
    ax = axes(ax)
    x, value, error = np.asarray(x), np.asarray(result.value), np.asarray(result.standard_error)
    if y is not None:
        ax.plot(x, y, ".", color="0.55", markersize=4, label="samples", zorder=1)
    ax.fill_between(
        x, value - 2 * error, value + 2 * error, color=ORANGE, alpha=0.35, linewidth=0, label="± 2 standard errors"
    )
    ax.plot(x, value, color=BLUE, label=label or ("smooth curve" if y is not None else "derivative"), zorder=3)
    ax.set_xlabel("x")
    ax.set_ylabel("y" if y is not None else "dy/dx")
    ax.legend(frameon=False)
    return ax
