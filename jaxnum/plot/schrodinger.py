"""Wave packets: where they are, and how their phase turns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colors
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from jaxnum._checks import as_count, check_positive, refuse
from jaxnum._solution import Solution
from jaxnum.plot import canvas
from jaxnum.schrodinger import Grid

_PHASES = "twilight"  # cyclic, as a phase is
_COLUMNS = 1200  # a picture has no more


def packet(
    solution: Solution, grid: Grid, *, ax: Axes | None = None, window: tuple[float, float] | None = None
) -> AxesImage:
    """Draw |ψ|² over position and time, with the mean position and one width to either side.

    Args:
        solution: What `propagate` returned with `save_every`.
        grid: Its grid.
        ax: Axes to draw in.
        window: Positions to show; by default where there is something to see.

    Returns:
        Image of |ψ|².

    Example:
        >>> from jaxnum import plot
        >>> from jaxnum.schrodinger import Grid, gaussian_packet, propagate
        >>> grid = Grid(-10.0, 10.0, 101)
        >>> run = propagate(gaussian_packet(grid.x), None, grid, t1=1.0, num_steps=10, save_every=1)
        >>> plot.packet(run, grid).get_array().shape
        (11, 101)
    """
    x, t, psi = _rows(solution, grid)
    ax = canvas.axes(ax)
    density = np.abs(psi) ** 2
    window = window or _window(x, density)
    every = max(1, len(x) // _COLUMNS)
    image = ax.pcolormesh(x[::every], t, np.sqrt(density[:, ::every]), cmap="magma", shading="nearest", rasterized=True)
    center, width = np.asarray(solution.history.position), np.asarray(solution.history.width)
    ax.plot(center, t, color="white", linewidth=1.2, label="mean position")
    ax.plot(center - width, t, color="white", linewidth=0.9, linestyle="--", label="one standard deviation")
    ax.plot(center + width, t, color="white", linewidth=0.9, linestyle="--")
    ax.set(xlim=window, ylim=(t[0], t[-1]), xlabel="position x", ylabel="time t", title="|ψ| of the packet")
    ax.grid(visible=False)
    legend = ax.legend(loc="upper left", facecolor="#333333", frameon=True, framealpha=0.6, edgecolor="none")
    for text in legend.get_texts():
        text.set_color("white")
    ax.figure.colorbar(image, ax=ax, label="|ψ|")
    return image


def phase_packet(
    psi: Any,
    x: Any,
    *,
    ax: Axes | None = None,
    window: tuple[float, float] | None = None,
    title: str = "",
    legend: bool = True,
) -> PolyCollection:
    """Draw |ψ| as a shape filled with the color of its phase, and Re ψ on top.

    Args:
        psi: Wave function, (n,).
        x: Positions, (n,).
        ax: Axes to draw in.
        window: Positions to show.
        title: Title.
        legend: Whether to label the lines.

    Returns:
        Colored cells under |ψ|.
    """
    x, psi = np.asarray(x), np.asarray(psi)
    if x.ndim != 1 or psi.shape != x.shape:
        refuse("psi", f"have shape {x.shape}, as `x`", f"has shape {psi.shape}")
    ax = canvas.axes(ax)
    size = np.abs(psi)
    window = window or _window(x, size[None] ** 2)
    seen = np.flatnonzero((x >= window[0]) & (x <= window[1]))
    left, right = seen[:-1], seen[1:]
    corners = np.stack(
        [
            np.stack([x[left], -size[left]], axis=1),
            np.stack([x[left], size[left]], axis=1),
            np.stack([x[right], size[right]], axis=1),
            np.stack([x[right], -size[right]], axis=1),
        ],
        axis=1,
    )
    cells = PolyCollection(
        list(corners), cmap=matplotlib.colormaps[_PHASES], norm=colors.Normalize(-np.pi, np.pi), linewidths=0.4
    )
    cells.set_array(np.angle((psi[left] + psi[right]) / 2))
    cells.set_edgecolor("face")
    ax.add_collection(cells)
    for sign, label in ((1, "|ψ| (upper edge)"), (-1, None)):
        ax.plot(x[seen], sign * size[seen], color=canvas.BLACK, linewidth=1.6, label=label)
    ax.plot(x[seen], psi.real[seen], color="white", linewidth=3.0)
    ax.plot(x[seen], psi.real[seen], color=canvas.BLUE, linewidth=1.4, label="Re ψ")
    top = 1.12 * float(size.max())
    ax.set(xlim=window, ylim=(-top, top), xlabel="position x", ylabel="wave function", title=title)
    if legend:
        ax.legend(loc="lower right", frameon=False)
    return cells


def phase_strip(
    rows: Any, times: Sequence[float], x: Any, *, window: tuple[float, float] | None = None, title: str = ""
) -> Any:
    """Return a figure of several times side by side, with one color bar for the phase.

    Args:
        rows: Wave functions, (times, n).
        times: Their times.
        x: Positions, (n,).
        window: Positions to show.
        title: Title of the figure.
    """
    figure, axes = canvas.figure(1, len(times), size=(3.4 * len(times) + 0.9, 3.6), sharey=True)
    axes = np.atleast_1d(axes)
    top = 1.12 * float(np.max(np.abs(rows)))
    for i, (ax, row, t) in enumerate(zip(axes, rows, times, strict=True)):
        # Where the packet has spread there is room for a legend.
        last = i == len(times) - 1
        cells = phase_packet(row, x, ax=ax, window=window, title=f"t = {t:g}", legend=last)
        ax.set(ylim=(-top, top), ylabel="wave function" if i == 0 else "")
    bar = figure.colorbar(cells, ax=list(axes), label="phase of ψ (rad)", ticks=[-np.pi, 0, np.pi])
    bar.ax.set_yticklabels(["-π", "0", "π"])
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure


def animate_packet(
    solution: Solution,
    grid: Grid,
    *,
    potential: Any = None,
    window: tuple[float, float] | None = None,
    frames_per_second: float = 20.0,
) -> FuncAnimation:
    """Return an animation of |ψ|, Re ψ and Im ψ, a frame for every saved row.

    Args:
        solution: What `propagate` returned with `save_every`.
        grid: Its grid.
        potential: V at the grid points, to be drawn in the background.
        window: Positions to show.
        frames_per_second: Speed.

    Example:
        >>> from jaxnum import plot
        >>> from jaxnum.schrodinger import Grid, gaussian_packet, propagate
        >>> grid = Grid(-10.0, 10.0, 101)
        >>> run = propagate(gaussian_packet(grid.x), None, grid, t1=1.0, num_steps=10, save_every=5)
        >>> import pathlib, tempfile
        >>> path = plot.save_animation(plot.animate_packet(run, grid), pathlib.Path(tempfile.mkdtemp()) / "packet.gif")
        >>> path.stat().st_size > 1000
        True
    """
    x, t, psi = _rows(solution, grid)
    check_positive("frames_per_second", frames_per_second)
    figure, ax = canvas.figure()
    size = np.abs(psi)
    top = 1.1 * float(size.max())
    if potential is not None:
        _background(ax, x, np.asarray(potential))
    lines: list[Line2D] = []
    for values, color, label in (
        (psi.real, canvas.BLUE, "Re ψ"),
        (psi.imag, canvas.ORANGE, "Im ψ"),
        (size, canvas.BLACK, "|ψ|"),
    ):
        lines += ax.plot(x, values[0], color=color, label=label, linewidth=2.0 if label == "|ψ|" else 1.2)
    ax.set(xlim=window or _window(x, size**2), ylim=(-top, top), xlabel="position x", ylabel="wave function")
    ax.legend(loc="upper right")
    clock = ax.set_title(f"t = {t[0]:.3g}")

    def show(frame: int) -> list:
        for line, values in zip(lines, (psi.real, psi.imag, size), strict=True):
            line.set_ydata(values[frame])
        clock.set_text(f"t = {t[frame]:.3g}")
        return [*lines, clock]

    return FuncAnimation(figure, show, frames=len(t), interval=1000 / frames_per_second, blit=False)


def save_animation(animation: FuncAnimation, path: str | Path, *, dots_per_inch: int = 80) -> Path:
    """Write an animation to a `.gif` (or `.webp`, `.apng`), or to an `.html` page that plays by itself.

    Args:
        animation: What `animate_packet` returned.
        path: File to write; its ending decides.
        dots_per_inch: Resolution.

    Returns:
        Path of the file.
    """
    path = Path(path)
    if not isinstance(animation, FuncAnimation):
        refuse("animation", "be an animation", f"is {type(animation).__name__}")
    dots_per_inch = as_count("dots_per_inch", dots_per_inch)
    speed = 1000 / animation._interval
    if path.suffix == ".html":
        with matplotlib.rc_context({"savefig.dpi": dots_per_inch, "figure.dpi": dots_per_inch}):
            path.write_text(animation.to_jshtml(fps=speed), encoding="utf-8")
    elif path.suffix in (".gif", ".webp", ".apng"):
        animation.save(path, writer=PillowWriter(fps=speed), dpi=dots_per_inch)
    else:
        refuse("path", "end in .gif, .webp, .apng or .html", f"ends in {path.suffix or 'nothing'}")
    return path


def _rows(solution: Any, grid: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not isinstance(solution, Solution) or "psi" not in solution.history:
        refuse("solution", "be what `propagate` returned", f"is {type(solution).__name__}")
    if not isinstance(grid, Grid):
        refuse("grid", "be a `Grid`", f"is {type(grid).__name__}")
    psi = np.asarray(solution.history.psi)
    if psi.ndim != 2 or psi.shape[1] != grid.num_points:
        refuse("grid", f"have {psi.shape[-1]} points, as the solution", f"has {grid.num_points}")
    return np.asarray(grid.x), np.asarray(solution.history.t), psi


def _window(x: np.ndarray, density: np.ndarray) -> tuple[float, float]:
    """Return the positions between which there is anything to see at any time."""
    seen = np.flatnonzero((density > 1e-4 * density.max()).any(axis=0))
    margin = 0.05 * (x[seen[-1]] - x[seen[0]])
    return max(x[0], x[seen[0]] - margin), min(x[-1], x[seen[-1]] + margin)


def _background(ax: Axes, x: np.ndarray, potential: np.ndarray) -> None:
    if potential.shape != x.shape:
        refuse("potential", f"have shape {x.shape}", f"has shape {potential.shape}")
    twin = ax.twinx()
    twin.fill_between(x, potential, min(0.0, float(potential.min())), color="#BBBBBB", alpha=0.5, linewidth=0)
    twin.set_ylabel("potential V")
    twin.grid(visible=False)
    twin.set_zorder(ax.get_zorder() - 1)
    ax.patch.set_visible(False)
