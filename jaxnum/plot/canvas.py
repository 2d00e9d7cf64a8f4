"""Paper and ink: one look for every figure, legible in a talk, in print and for colour-blind eyes."""

from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

# Okabe & Ito (2008): distinguishable with every common kind of colour blindness.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#222222"
COLORS = (BLUE, RED, GREEN, ORANGE, PINK, SKY, BLACK)

STYLE = {
    "axes.grid": True,
    "axes.prop_cycle": matplotlib.cycler(color=COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "font.size": 10.0,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.fontsize": "small",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def figure(
    num_rows: int = 1, num_columns: int = 1, *, size: tuple[float, float] | None = None, **options: Any
) -> tuple[Figure, Any]:
    """Return a figure and its axes in jaxnum's look, known to no window and no global state.

    Args:
        num_rows: Rows of axes.
        num_columns: Columns of axes.
        size: Width and height in inches; by default 6.4 by 4 for one pair of axes.
        options: Anything `Figure.subplots` takes.
    """
    with matplotlib.rc_context(STYLE):
        width = 6.4 if num_columns == 1 else 4.6 * num_columns
        paper = Figure(figsize=size or (width, 3.4 * num_rows + 0.6), layout="constrained")
        return paper, paper.subplots(num_rows, num_columns, **options)


def axes(ax: Axes | None = None, *, size: tuple[float, float] = (6.4, 4.0)) -> Axes:
    """Return `ax`, or new axes in jaxnum's look that interactive sessions display."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        return pyplot.subplots(figsize=size, layout="constrained")[1]


def rectangle(x: float, y: float, width: float, height: float, color: str) -> Rectangle:
    """Return a filled rectangle with a white rim, to be added to axes."""
    return Rectangle((x, y), width, height, facecolor=color, edgecolor="white", linewidth=0.8)
