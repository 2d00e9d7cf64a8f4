"""Training curves, one or many, what became of many starts, and what a network says about a plane."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from jaxnum._checks import as_array, refuse
from jaxnum._solution import Solution
from jaxnum.plot import canvas

_SAMPLES = 201  # points along each side of a decision surface: finer than the screen shows
_HUES = LinearSegmentedColormap.from_list("no-yes", (canvas.BLUE, "white", canvas.RED))


def training(solution: Solution, *, label: str = "loss", ax: Axes | None = None) -> list:
    """Draw how a training went: the loss and the norm of its gradient, or the losses of many networks.

    Args:
        solution: What `networks.train` or `networks.train_many` returned.
        label: Name of the loss in the legend and at the axis.
        ax: Axes to draw on; new ones by default.

    Returns:
        Lines drawn: loss and gradient norm of one network; of many the curve of each, then their median.

    Raises:
        ValueError: If the solution holds no losses along the way.
    """
    history = getattr(solution, "history", ())
    if not {"step", "value", "gradient_norm"} <= set(history):
        refuse("solution", "come from `networks.train` or `networks.train_many`", f"is {solution!r:.60}")
    ax, step, value = canvas.axes(ax), np.asarray(history.step), np.asarray(history.value)
    if value.ndim == 2:
        lines = fan(step, value, ax=ax)
        lines += ax.plot(step, np.median(value, axis=0), color=canvas.BLACK, label="median")
        ax.set_title(f"{len(value)} networks")
    else:
        lines = ax.plot(step, value, color=canvas.BLUE, label=label)
        lines += ax.plot(step, history.gradient_norm, color=canvas.ORANGE, lw=1.0, label="norm of its gradient")
        ax.set_title(f"{label.capitalize()} {value[0]:.3g} → {value[-1]:.3g} in {int(step[-1])} steps")
    ax.set(xlabel="step", ylabel=label, yscale="log")
    ax.legend()
    return lines


def fan(step: ArrayLike, losses: ArrayLike, *, stuck_above: float | None = None, ax: Axes | None = None) -> list:
    """Draw one thin loss curve for every start; those that end too high stand out.

    Args:
        step: Step numbers of the rows, (rows,).
        losses: Loss of every network at every row, (networks, rows).
        stuck_above: Last loss above which a network counts as stuck; None draws all alike.
        ax: Axes to draw on; new ones by default.

    Returns:
        Lines drawn, the networks that are not stuck first.

    Raises:
        ValueError: If the shapes do not fit each other.
    """
    step, losses = np.asarray(step), np.asarray(losses)
    if losses.ndim != 2 or step.shape != losses.shape[1:]:
        refuse("losses", f"have shape (networks, {step.size})", f"has shape {losses.shape}")
    ax = canvas.axes(ax)
    stuck = np.zeros(len(losses), bool) if stuck_above is None else losses[:, -1] > stuck_above
    lines = []
    for kind, color, words in ((~stuck, canvas.BLUE, "end below"), (stuck, canvas.RED, "end above")):
        drawn = ax.plot(step, losses[kind].T, color=color, linewidth=0.6, alpha=0.45)
        if stuck_above is not None:
            ax.plot([], [], color=color, label=f"{kind.sum()} {words} {stuck_above:g}")
        lines += drawn
    ax.set(xlabel="step", ylabel="loss", yscale="log")
    if stuck_above is not None:
        ax.legend()
    return lines


def outcomes(shares: Mapping[str, Sequence[float]], groups: Sequence[str], *, ax: Axes | None = None) -> list:
    """Draw shares as bars, side by side in groups, each with its number above it.

    Args:
        shares: Name of a series -> its share in each group, between 0 and 1.
        groups: Names of the groups.
        ax: Axes to draw on; new ones by default.

    Returns:
        One container of bars for each series.

    Raises:
        ValueError: If a series has another number of shares than there are groups.
    """
    ax, bars = canvas.axes(ax), []
    width, place = 0.8 / max(len(shares), 1), np.arange(len(groups), dtype=float)
    for number, (name, values) in enumerate(shares.items()):
        if len(values) != len(groups):
            refuse(f"shares[{name!r}]", f"hold {len(groups)} numbers, one for each group", f"holds {len(values)}")
        color = (canvas.RED, canvas.BLUE, canvas.ORANGE, canvas.GREEN)[number % 4]
        x = place + (number - (len(shares) - 1) / 2) * width
        bars.append(ax.bar(x, 100 * np.asarray(values), 0.92 * width, color=color, label=name))
        ax.bar_label(bars[-1], [f"{100 * v:.3g} %" for v in values], padding=2)
    ax.set_xticks(place, groups)
    ax.set(ylabel="share of the starts, %", ylim=(0, 1.15 * max(1.0, *(100 * np.max(v) for v in shares.values()))))
    ax.grid(visible=False, axis="x")
    ax.legend()
    return bars


def decision_surface(model: Any, x: ArrayLike, y: ArrayLike, *, ax: Axes | None = None) -> Any:
    """Draw what a network with one output says about the plane in which its samples lie.

    Args:
        model: Function of one sample (features,) to (1,), such as what `networks.train` returned as `value`.
        x: Samples, (samples, features). Two features must vary; others, such as a constant input, are held.
        y: Targets, (samples, 1), 0 or 1.
        ax: Axes to draw on; new ones by default.

    Returns:
        Filled contours of the output; their colorbar stands beside them.

    Raises:
        ValueError: If the samples do not vary in exactly two features, or the network has more than one output.
    """
    x, y = np.asarray(as_array("x", x, ndim=2)), np.asarray(as_array("y", y, ndim=2))
    free = np.flatnonzero(np.ptp(x, axis=0) > 0)
    if len(free) != 2:
        refuse("x", "vary in two features to be drawn", f"varies in {len(free)}")
    if y.shape != (len(x), 1):
        refuse("y", f"have shape ({len(x)}, 1)", f"has shape {y.shape}")
    low, high = x[:, free].min(0), x[:, free].max(0)
    margin = 0.3 * (high - low)
    sides = [np.linspace(a - m, b + m, _SAMPLES) for a, b, m in zip(low, high, margin, strict=True)]
    points = np.tile(x[0], (_SAMPLES**2, 1))
    points[:, free] = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    says = np.asarray(jax.vmap(model)(jnp.asarray(points, x.dtype)))
    if says.shape != (len(points), 1):
        refuse("model", "have one output", f"has outputs of shape {says.shape[1:]}")
    says = says.reshape(_SAMPLES, _SAMPLES)
    ax = canvas.axes(ax)
    filled = ax.contourf(*sides, says, np.linspace(0, 1, 21), cmap=_HUES, alpha=0.75, extend="both")
    ax.contour(*sides, says, [0.5], colors=canvas.BLACK, linewidths=1.2)
    for target, color in ((0, canvas.BLUE), (1, canvas.RED)):
        kind = (y[:, 0] > 0.5) == bool(target)
        place = x[kind][:, free].T
        ax.plot(*place, "o", color=color, markeredgecolor="white", markersize=10, label=f"target {target}")
    ax.set(xlabel=f"input {free[0] + 1}", ylabel=f"input {free[1] + 1}")
    ax.set_title("Output of the network; the line is 0.5")
    ax.grid(visible=False)
    # Samples may lie anywhere, so the legend stands outside.
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    ax.figure.colorbar(filled, ax=ax, label="output", ticks=np.linspace(0, 1, 6))
    return filled
