"""Paths over a landscape, races, how much tuning they needed, and maps over hyperparameters."""

from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator

from jaxnum._checks import refuse
from jaxnum.optimize import Landscape, Race
from jaxnum.plot import canvas

_SAMPLES = 161  # points along each side of a contour plot: finer than the screen shows


def paths(
    landscape: Landscape,
    race: Race,
    *,
    bounds: tuple[tuple[float, float], tuple[float, float]] | None = None,
    ax: Axes | None = None,
) -> list:
    """Draw the way that each optimizer took over a landscape in two dimensions.

    Args:
        landscape: What was descended.
        race: Runs from `optimize.race`.
        bounds: Lowest and highest coordinate to draw on each axis; by default what holds the start, the minima and
            the runs that stayed finite. Others leave the picture.
        ax: Axes to draw on; new ones by default.

    Returns:
        Lines drawn, in the order of the race.

    Raises:
        ValueError: If the landscape has more than two dimensions.
    """
    if landscape.minima.shape[1] != 2:
        refuse("landscape", "have two dimensions to be drawn", f"has {landscape.minima.shape[1]}")
    ax = canvas.axes(ax)
    ways = {name: np.asarray(s.history.y) for name, s in race.solutions.items()}
    if bounds is None:
        kept = [way for name, way in ways.items() if race.solutions[name].ok]
        points = np.concatenate([*kept, np.asarray(landscape.minima), np.asarray(race.y0)[None]])
        low, high = points.min(0), points.max(0)
        margin = 0.12 * np.maximum(high - low, 1e-3)
        bounds = tuple(zip(low - margin, high + margin, strict=True))
    x, y = (np.linspace(*side, _SAMPLES) for side in bounds)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.asarray(landscape.y0).dtype)
    height = np.asarray(jax.vmap(landscape.fn)(grid)).reshape(_SAMPLES, _SAMPLES) - landscape.minimum
    height = np.clip(height, 1e-4 * np.nanmax(height), None)
    levels = np.geomspace(height.min(), height.max(), 14)
    ax.contourf(x, y, height, levels, norm=LogNorm(), cmap="Greys", alpha=0.35)
    ax.contour(x, y, height, levels, norm=LogNorm(), colors="0.55", linewidths=0.5)
    lines = []
    for color, (name, way) in zip(_cycle(len(ways)), ways.items(), strict=True):
        way = way[np.isfinite(way).all(axis=1)]
        lines += ax.plot(*way.T, "o-", color=color, markersize=2.2, linewidth=1.2, label=name)
        ax.plot(*way[-1], "s", color=color, markersize=7, markeredgecolor="white")
    others = np.asarray(landscape.local_minima)
    inside = [(lo <= others[:, i]) & (others[:, i] <= hi) for i, (lo, hi) in enumerate(bounds)]
    others = others[inside[0] & inside[1]]
    if len(others):
        ax.plot(*others.T, "*", color="white", markeredgecolor="0.4", ms=9, label="higher minimum", zorder=4)
    ax.plot(*np.asarray(race.y0), "o", color=canvas.BLACK, markersize=7, label="start", zorder=5)
    ax.plot(
        *np.asarray(landscape.minima).T, "*", color=canvas.YELLOW, markeredgecolor="k", ms=15, label="minimum", zorder=5
    )
    ax.set(xlim=bounds[0], ylim=bounds[1], xlabel="x", ylabel="y")
    ax.set_title(f"{race.num_steps} steps each; a square marks where a run ends")
    ax.grid(visible=False)
    ax.legend(loc="best", frameon=True, framealpha=0.9)
    return lines


def race(race: Race, *, minimum: float = 0.0, ax: Axes | None = None) -> list:
    """Draw the value of each optimizer against its steps.

    Args:
        race: Runs from `optimize.race`.
        minimum: Lowest value of the function; what is drawn is the excess over it, on a logarithmic scale.
        ax: Axes to draw on; new ones by default.

    Returns:
        Lines drawn, in the order of the race. A run that stopped being finite ends in a cross.
    """
    ax = canvas.axes(ax)
    lines, start, low, top = [], 1.0, np.inf, 0.0
    for color, (name, solution) in zip(_cycle(len(race.solutions)), race.solutions.items(), strict=True):
        values = np.asarray(solution.history.value) - minimum
        step = np.asarray(solution.history.step)
        start = values[0]
        fine = np.isfinite(values) & (values > 0)
        lines += ax.semilogy(step[fine], values[fine], color=color, label=name)
        if solution.ok:
            low, top = min(low, values[fine].min(initial=np.inf)), max(top, values[fine].max(initial=0.0))
        elif str(solution.status) == "nonfinite":
            inside = int(np.argmax(~(fine & (values < 1e3 * start)))) - 1
            ax.plot(step[inside], values[inside], "x", color=color, markersize=9, markeredgewidth=2.5)
            top = max(top, 1e3 * start)
    # Scales are for those who arrive: a run on its way to infinity leaves through the top.
    ax.set_ylim(low / 3 if np.isfinite(low) else None, 3 * max(top, start))
    ax.set(xlabel="step", ylabel="value above the minimum")
    ax.set_title(f"{race.num_steps} steps from the same start, where the value is {start:.3g}")
    ax.legend(loc="best")
    return lines


def sensitivity(race: Race, *, minimum: float = 0.0, ax: Axes | None = None) -> list:
    """Draw the last value of each tuned optimizer against its learning rate, and the band of good rates below.

    Args:
        race: Race that was run with `rates`.
        minimum: Lowest value of the function; what is drawn is the excess over it, on a logarithmic scale.
        ax: Axes to draw on; new ones by default.

    Returns:
        Lines drawn, in the order of the race. Where a run blew up there is none.

    Raises:
        ValueError: If nobody was tuned.
    """
    if not race.tuning:
        refuse("race", "have been run with `rates`", "was not tuned")
    ax, lines = canvas.axes(ax), []
    start = float(next(iter(race.solutions.values())).history.value[0]) - minimum
    shown = [np.where(np.isfinite(t.values), t.values, np.nan) - minimum for t in race.tuning.values()]
    low = max(min(float(np.nanmin(v)) for v in shown), 1e-16 * start)
    for i, (name, found) in enumerate(race.tuning.items()):
        color, values = canvas.COLORS[i % len(canvas.COLORS)], np.maximum(shown[i], low)
        lines += ax.loglog(race.rates, np.where(values > 1e3 * start, np.nan, values), color=color, label=name)
        if found.band is not None:
            # Bands lie under each other below the curves, a little further down for each.
            place = 0.02 + 0.025 * i
            wide = found.band if found.band[1] > found.band[0] else (found.band[0] / 1.02, found.band[1] * 1.02)
            ax.hlines(place, *wide, colors=color, linewidth=5, transform=ax.get_xaxis_transform())
        ax.plot(found.best_rate, max(np.nanmin(shown[i]), low), "o", color=color, markersize=6)
    ax.axhline(max(race.target - minimum, low), color="0.5", linewidth=0.8, linestyle="--")
    ax.set(xlabel="learning rate", ylabel=f"value above the minimum after {race.num_steps} steps")
    ax.set_ylim(low / 30, 30 * start)
    ax.set_title(f"{len(race.rates)} rates for everybody; bars are good rates")
    ax.legend(loc="best")
    return lines


def learning_rate_map(
    values: ArrayLike,
    axes: tuple[ArrayLike, ...],
    *,
    labels: tuple[str, ...] = ("learning rate", "momentum"),
    minimum: float = 0.0,
    ax: Axes | None = None,
) -> Any:
    """Draw the value reached over one or two hyperparameters; runs that blew up are white.

    Args:
        values: What `optimize.learning_rate_map` returned.
        axes: Values of each hyperparameter, as given to it. The first is drawn on a logarithmic scale.
        labels: What the hyperparameters are.
        minimum: Lowest value of the function; what is drawn is the excess over it.
        ax: Axes to draw on; new ones by default.

    Returns:
        Line of one hyperparameter, or colored mesh of two; its colorbar stands beside it.

    Raises:
        ValueError: If the shape of `values` is not that of `axes`, or there are more than two.
    """
    values, axes = np.asarray(values) - minimum, [np.asarray(a) for a in axes]
    if len(axes) not in (1, 2) or values.shape != tuple(len(a) for a in axes):
        refuse("values", "have one or two axes, of the lengths of `axes`", f"has shape {values.shape}")
    ax = canvas.axes(ax)
    shown = np.where(np.isfinite(values), values, np.nan)
    lowest = max(np.nanmin(shown), 1e-16 * np.nanmax(shown), 1e-300)
    shown = np.maximum(shown, lowest)
    ax.set(xlabel=labels[0], xscale="log")
    if len(axes) == 1:
        [line] = ax.plot(axes[0], shown)
        ax.set(yscale="log", ylabel="value above the minimum")
        return line
    # Far above its start nobody cares how far: the colors are spent where runs end well.
    norm = LogNorm(max(lowest, 1e-8), min(np.nanmax(shown), 1e2))
    mesh = ax.pcolormesh(*axes, shown.T, norm=norm, cmap="viridis_r", shading="nearest", rasterized=True)
    ax.set(ylabel=labels[1], facecolor="white")
    ax.grid(visible=False)
    bar = ax.figure.colorbar(mesh, ax=ax, extend="both", label="value above the minimum")
    bar.locator = LogLocator(numticks=8)
    bar.update_ticks()
    return mesh


def _cycle(count: int) -> list[str]:
    return [canvas.COLORS[i % len(canvas.COLORS)] for i in range(count)]
