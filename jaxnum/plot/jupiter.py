"""Pictures of a magnetosphere, and of an iteration that blows up on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxnum.jupiter import colatitude
from jaxnum.plot import canvas

_DISTANCE = "equatorial distance ρ / R"


def magnetosphere(
    solution: Any,
    *,
    field: Any = None,
    reference: Any = None,
    label: str = "",
    reference_label: str = "",
    ax: Any = None,
):
    """Draw angular velocity, radial current, current density and conductance against distance or colatitude.

    Args:
        solution: Solution of `jaxnum.jupiter.coupled`, `sweeps` or `corotation`, or its history.
        field: Magnetic field that maps the equator to the ionosphere: with it the abscissa is the colatitude.
        reference: A second one, drawn dashed behind it.
        label: Name of the solution in the legend.
        reference_label: Name of the reference in the legend.
        ax: Four axes; new ones by default.

    Returns:
        The four axes, as a flat array.
    """
    if ax is None:
        _, ax = canvas.figure(2, 2, size=(8.6, 6.2), sharex=True)
    panels = np.ravel(ax)
    history = getattr(solution, "history", solution)
    rows = (
        ("omega", 1.0, "ω / Ω", "Angular velocity: corotation breaks down"),
        ("current", 1e-6, "I$_ρ$ / MA", "Radial current, both hemispheres"),
        ("current_density", 1e6, "j / (µA/m²)", "Field-aligned current density, upward > 0"),
        ("conductance", 1.0, "Σ / mho", "Pedersen conductance, one hemisphere"),
    )

    def abscissa(history):
        x = np.asarray(history["x"])
        return x if field is None else np.rad2deg(np.asarray(colatitude(field, x)))

    for panel, (name, scale, unit, title) in zip(panels, rows, strict=True):
        if reference is not None:
            old = getattr(reference, "history", reference)
            x, y = abscissa(old), scale * np.asarray(old[name])
            panel.plot(x, y, "--", color=canvas.BLACK, linewidth=1.1, label=reference_label)
        panel.plot(abscissa(history), scale * np.asarray(history[name]), color=canvas.BLUE, label=label)
        panel.set(ylabel=unit, title=title)
        if name == "current_density":
            panel.axhline(0, color=canvas.BLACK, linewidth=0.6)
    for panel in panels[2:]:
        panel.set_xlabel(_DISTANCE if field is None else "ionospheric colatitude θ / degrees")
    if label or reference_label:
        panels[0].legend()
    return panels


def passes(envelopes: Sequence[tuple[str, Any, Any, Any]], solution: Any, *, limit: float, ax: Any = None):
    """Draw what passes of a loop make of the current density, beside the solution.

    Args:
        envelopes: For each axes a title, positions, lowest and highest current density around each position, in A/m².
        solution: Converged solution, or its history.
        limit: Half the height of each axes, in µA/m²; what lies beyond is cut off and said in the axes.
        ax: As many axes; by default new ones in rows of three.

    Returns:
        The axes, as a flat array.
    """
    if ax is None:
        rows = -(-len(envelopes) // 3)
        _, ax = canvas.figure(rows, 3, size=(10.0, 2.8 * rows), sharex=True, sharey=True, squeeze=False)
        for panel in ax[-1]:
            panel.set_xlabel("ρ / R")
        for panel in ax[:, 0]:
            panel.set_ylabel("j / (µA/m²)")
    panels = np.ravel(ax)
    for panel in panels[len(envelopes) :]:
        panel.set_visible(False)
    panels = panels[: len(envelopes)]
    history = getattr(solution, "history", solution)
    for panel, (title, x, low, high) in zip(panels, envelopes, strict=True):
        low, high = 1e6 * np.asarray(low), 1e6 * np.asarray(high)
        # An envelope may be thinner than a hair where nothing is wrong: its edges are drawn as lines.
        panel.fill_between(x, low, high, color=canvas.RED, linewidth=1.0, label="the loop")
        panel.plot(
            np.asarray(history["x"]),
            1e6 * np.asarray(history["current_density"]),
            color=canvas.BLACK,
            linewidth=1.2,
            label="solution",
        )
        panel.set(title=title, ylim=(-limit, limit))
        worst = max(np.abs(low).max(), np.abs(high).max())
        if worst > limit:
            panel.text(
                0.97,
                0.05,
                f"up to {_large(worst)} µA/m²",
                transform=panel.transAxes,
                ha="right",
                color=canvas.RED,
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
            )
    panels[0].legend(loc="upper right")
    return panels


def _large(x: float) -> str:
    if x < 1e4:
        return f"{x:.2g}" if x < 10 else f"{x:,.0f}"
    power = int(np.floor(np.log10(x)))
    return rf"${x / 10.0**power:.1f}\times 10^{{{power}}}$"


def blow_up(errors: Mapping[int, Any], rates: Mapping[int, float], *, unit: str, ax: Axes | None = None) -> Axes:
    """Draw the error after each pass for several grids, with the growth predicted for each.

    Args:
        errors: Number of points -> error after each pass, (passes,).
        rates: Number of points -> predicted growth per pass.
        unit: Label of the vertical axis.
        ax: Axes; new ones by default.

    Returns:
        The axes.
    """
    ax = canvas.axes(ax)
    for color, (n, values) in zip(canvas.COLORS, errors.items(), strict=False):
        values = np.asarray(values)
        number = np.arange(1, values.size + 1)
        ax.semilogy(number, values, "o-", color=color, label=f"{n:,} points")
        # Anchor the prediction where growth has taken over but the nonlinearity has not.
        at = int(np.argmax(values > 1e3 * values[0])) or values.size - 1
        ax.semilogy([at + 1, at + 2], values[at] * np.array([1, rates[n]]), ":", color=color, linewidth=2.4)
    ax.plot([], [], ":", color=canvas.BLACK, linewidth=2.4, label="predicted growth")
    ax.set(xlabel="pass", ylabel=unit)
    ax.legend()
    return ax


def gain(sizes: Any, radii: Any, predicted: Any, *, mark: int | None = None, ax: Axes | None = None) -> Axes:
    """Draw the largest gain of a pass against the number of grid points.

    Args:
        sizes: Numbers of points.
        radii: Measured spectral radii.
        predicted: Predicted ones at the same sizes.
        mark: Number of points to be named "the script".
        ax: Axes; new ones by default.

    Returns:
        The axes.
    """
    ax = canvas.axes(ax)
    sizes, radii = np.asarray(sizes), np.asarray(radii)
    ax.loglog(sizes, predicted, color=canvas.BLACK, linewidth=1.1, label="ℓ / h")
    ax.loglog(sizes, radii, "o", color=canvas.BLUE, label="Arnoldi with jvp")
    ax.axhline(1, color=canvas.GREEN, linestyle="--", linewidth=1.1)
    ax.text(sizes[-1], 1.25, "stable below 1", color=canvas.GREEN, ha="right")
    if mark is not None:
        at = int(np.argmin(np.abs(sizes - mark)))
        ax.annotate(
            "the script",
            (sizes[at], radii[at]),
            (-8, -60),
            textcoords="offset points",
            ha="center",
            arrowprops={"arrowstyle": "->", "color": canvas.BLACK},
        )
    ax.set(xlabel="grid points", ylabel="largest gain of one pass", ylim=(0.5, None))
    ax.legend()
    return ax


def growth(errors: Mapping[int, Any], rates: Mapping[int, float], sizes: Any, radii: Any, predicted: Any, *, mark: int):
    """Draw `blow_up` and `gain` side by side.

    Args:
        errors: Number of points -> error of j after each pass, in µA/m².
        rates: Number of points -> predicted growth per pass.
        sizes: Numbers of points.
        radii: Measured spectral radii.
        predicted: Predicted ones.
        mark: Number of points to be named "the script".

    Returns:
        The two axes.
    """
    _, (left, right) = canvas.figure(1, 2, size=(10.0, 4.2))
    blow_up(errors, rates, unit="largest error of j / (µA/m²)", ax=left)
    left.set_title("Started on the solution: rounding grows")
    gain(sizes, radii, predicted, mark=mark, ax=right)
    right.set_title("A finer grid makes it worse")
    return np.array([left, right])


def mode(x: Any, envelope: Any, near_x: Any, near: Any, *, ax: Any = None):
    """Draw an eigenvector of a pass: where it lives, and its ripple cell by cell.

    Args:
        x: Positions.
        envelope: Its magnitude there, decimated.
        near_x: Neighboring grid points around its peak.
        near: Its real part at those.
        ax: Two axes; new ones by default.

    Returns:
        The two axes.
    """
    if ax is None:
        _, ax = canvas.figure(1, 2, size=(10.0, 3.8))
    left, right = np.ravel(ax)
    left.fill_between(x, 0, envelope, color=canvas.RED, alpha=0.8, linewidth=0)
    left.set(xlabel=_DISTANCE, ylabel="magnitude of the mode", title="Where the fastest mode lives")
    cells = np.arange(len(near))
    right.plot(cells, near, "o-", color=canvas.RED, markersize=4)
    right.axhline(0, color=canvas.BLACK, linewidth=0.6)
    right.set(xlabel=f"grid cell, from ρ = {float(near_x[0]):.2f} R", ylabel="real part of the mode")
    right.set_xticks(cells[::4])
    right.set_title("Its wavelength: four cells")
    return np.ravel(ax)
