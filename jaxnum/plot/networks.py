"""Training curves, one or many, layer by layer; what became of many starts, what a network says, where it stands."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.ticker import LogLocator

from jaxnum._checks import as_array, check_positive, refuse
from jaxnum._solution import Solution
from jaxnum.networks import mean_squared_error
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


def layers(solution: Solution, *, ax: Any = None) -> list:
    """Draw what happened inside each layer: how strong its gradient was, and how much of it was at rest.

    Args:
        solution: What `networks.train` returned for a perceptron.
        ax: Two pairs of axes to draw on; new ones by default.

    Returns:
        Lines drawn: the gradient norm of each layer, then its share of saturated answers.

    Raises:
        ValueError: If the solution holds nothing about layers, or is one of many networks.
    """
    history = getattr(solution, "history", ())
    if not {"step", "layer_gradient_norm", "saturation", "dead_units"} <= set(history):
        refuse("solution", "come from `networks.train` of a perceptron", f"is {solution!r:.60}")
    norms, shares = np.asarray(history.layer_gradient_norm), np.asarray(history.saturation)
    if norms.ndim != 2:
        refuse("solution", "be that of one network", f"holds {len(norms)} networks")
    above, below = canvas.figure(2, 1, sharex=True)[1] if ax is None else ax
    step, dead, lines = np.asarray(history.step), np.asarray(history.dead_units), []
    names = [*(f"hidden layer {i + 1}" for i in range(norms.shape[1] - 1)), "output layer"]
    for i, name in enumerate(names):
        color = canvas.COLORS[i % len(canvas.COLORS)]
        shown = np.where(norms[:, i] > 0, norms[:, i], np.nan)
        lines += above.semilogy(step, shown, color=color, label=name)
    for i, name in enumerate(names):
        color = canvas.COLORS[i % len(canvas.COLORS)]
        count = int(dead[-1, i])
        label = name + (f", {count} dead at the end" if count else "")
        lines += below.plot(step, 100 * shares[:, i], color=color, label=label)
    above.set(ylabel="norm of the gradient", title="Inside the layers")
    below.set(xlabel="step", ylabel="saturated, %", ylim=(-3, 103))
    above.legend()
    below.legend()
    return lines


def loss_landscape(
    model: Any,
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: Any = mean_squared_error,
    other: Any = None,
    extent: float = 1.0,
    key: Any = None,
    ax: Axes | None = None,
) -> Any:
    """Draw the loss on a plane through a network, in the space of its weights.

    A plane is two directions out of very many: a minimum in it may be a saddle in another. Random directions are
    brought to the length of the weights, array by array, so that the picture does not change when a layer is scaled up
    and the next one down.

    Args:
        model: Equinox module, such as what `networks.train` returned as `value`; it stands in the middle.
        x: Samples, (samples, features).
        y: Targets, (samples, outputs).
        loss: Loss to draw.
        other: Another network of the same architecture, such as the start, which the first direction leads to; it
            then lies at (1, 0).
        extent: How far to draw, in units of the directions.
        key: Random key of the directions; `jax.random.key(0)` by default.
        ax: Axes to draw on; new ones by default.

    Returns:
        Filled contours of the loss; their colorbar stands beside them.

    Raises:
        ValueError: If the networks differ in architecture, or `extent` is not positive.

    Reference:
        Li, Xu, Taylor, Studer & Goldstein (2018), https://arxiv.org/abs/1712.09913
    """
    check_positive("extent", extent)
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(params)
    if not leaves:
        refuse("model", "have floating-point arrays", f"has none in {type(model).__name__}")
    first, second = _directions(leaves, jax.random.key(0) if key is None else key)
    if other is not None:
        there = jax.tree.leaves(eqx.filter(other, eqx.is_inexact_array))
        if [leaf.shape for leaf in there] != [leaf.shape for leaf in leaves]:
            refuse("other", "have the architecture of `model`", "has other shapes")
        first = [b - a for a, b in zip(leaves, there, strict=True)]
    x, y = (jnp.asarray(v).astype(leaves[0].dtype) for v in (as_array("x", x, ndim=2), as_array("y", y, ndim=2)))

    def height(a, b):
        moved = [p + a * u + b * v for p, u, v in zip(leaves, first, second, strict=True)]
        return loss(jax.vmap(eqx.combine(jax.tree.unflatten(structure, moved), rest))(x), y)

    side = np.linspace(-extent, extent, 81)
    if other is not None:
        side = np.linspace(-0.4 * extent, 1.4 * extent, 81)
    across = np.linspace(-extent, extent, 81)
    grid = np.stack(np.meshgrid(side, across), axis=-1).reshape(-1, 2).astype(leaves[0].dtype)
    values = np.asarray(jax.jit(jax.vmap(height))(grid[:, 0], grid[:, 1])).reshape(len(across), len(side))
    fine = np.where(np.isfinite(values), values, np.nan)
    low = max(float(np.nanmin(fine)), 1e-6 * float(np.nanmax(fine)), 1e-300)
    levels = np.geomspace(low, max(float(np.nanmax(fine)), low * 1.01), 25)
    ax = canvas.axes(ax)
    filled = ax.contourf(side, across, np.maximum(fine, low), levels, norm=LogNorm(), cmap="viridis")
    ax.plot(0, 0, "o", color="white", markeredgecolor=canvas.BLACK, markersize=8, label="the network")
    if other is not None:
        ax.plot(1, 0, "s", color="white", markeredgecolor=canvas.BLACK, markersize=7, label="the other one")
    names = ("towards the other network" if other is not None else "first direction", "random direction")
    ax.set(xlabel=names[0], ylabel=names[1], title=f"Loss around a network, where it is {float(height(0.0, 0.0)):.3g}")
    ax.grid(visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    bar = ax.figure.colorbar(filled, ax=ax, label="loss")
    bar.locator = LogLocator(numticks=8)
    bar.update_ticks()
    return filled


def _directions(leaves: list, key: Any) -> tuple[list, list]:
    """Return two random directions, each array of the length that the weights have."""
    found = []
    for k in jax.random.split(key, 2):
        parts = []
        for kk, leaf in zip(jax.random.split(k, len(leaves)), leaves, strict=True):
            step = jax.random.normal(kk, leaf.shape, leaf.dtype)
            size = jnp.linalg.norm(leaf)
            # Arrays at zero, such as biases at their start, have no length to give: a tenth stands in for it.
            size = jnp.where(size > 0, size, jnp.full_like(size, 0.1))
            parts.append(step * size / jnp.linalg.norm(step))
        found.append(parts)
    return found[0], found[1]
