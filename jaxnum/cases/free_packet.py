"""A free wave packet that seemed to dip in the middle, and two walls that were not the same.

    i ∂ψ/∂t = -½ ∂²ψ/∂x²,    ψ(x, 0) = π^(-1/4) exp(-x²/2)

The script solves A ψ(t + dt) = B ψ(t) with hand-made Crank-Nicolson matrices and worries about the middle of Re ψ. The
middle is right. What is wrong sits in the last row of A and B, where the packet has not been yet.
"""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from jaxnum._checks import as_count, check_positive, refuse
from jaxnum.cases.story import Chapter, Picture, Story, Tell, silence
from jaxnum.diagnose.report import Table
from jaxnum.diagnose.waves.scheme import scheme
from jaxnum.diagnose.waves.wavefunction import wavefunction
from jaxnum.plot import canvas
from jaxnum.plot.schrodinger import packet, phase_strip
from jaxnum.schrodinger import Cayley, Grid, exact, gaussian_packet, propagate

TITLE = "My free wave packet dips in the middle. Is my Crank-Nicolson scheme wrong?"


@dataclass(frozen=True)
class Config:
    """What can be changed in this story."""

    half_length: float = 100.0
    """The grid runs from minus to plus this position."""
    num_points: int = 1201
    """Grid points, both ends included."""
    t1: float = 20.0
    """Time to stop at."""
    num_steps: int = 200
    """Time steps."""
    collision_momentum: float = 2.5
    """Momentum of the packets that are sent against the two ends."""

    def __post_init__(self) -> None:
        check_positive("half_length", self.half_length)
        check_positive("t1", self.t1)
        check_positive("collision_momentum", self.collision_momentum)
        object.__setattr__(self, "num_points", as_count("num_points", self.num_points, at_least=51))
        object.__setattr__(self, "num_steps", as_count("num_steps", self.num_steps, at_least=4))
        if self.num_points > 3001:
            refuse("num_points", "be at most 3001: the script's matrices are dense", f"is {self.num_points}")
        if self.half_length < 10:
            refuse("half_length", "be at least 10, ten times the width of the packet", f"is {self.half_length:g}")


def naive_matrices(num_points: int, dx: float, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Return A and B as the script builds them; look at the corners."""
    alpha = -1j * dt / (4 * dx**2)
    beta = +1j * dt / (4 * dx**2)
    a = np.zeros((num_points, num_points), complex)
    b = np.zeros((num_points, num_points), complex)
    for j in range(num_points):
        for matrix, c in ((a, alpha), (b, beta)):
            matrix[j, j] = 1 - 2 * c
            if j > 0:
                matrix[j, j - 1] = c
            if j < num_points - 1:
                matrix[j, j + 1] = c
    a[0, 0] = 1 - alpha
    a[-1, -1] = 1 - alpha
    b[0, 0] = 1 - beta
    b[-1, -1] = 1 - 2 * beta
    return a, b


def naive_run(psi: np.ndarray, step: np.ndarray, num_steps: int, *, zero_edges: bool = True) -> np.ndarray:
    """Multiply by A⁻¹B again and again, edge values set to zero before each step; return all rows."""
    rows = [psi.astype(complex)]
    for _ in range(num_steps):
        psi = rows[-1].copy()
        if zero_edges:
            psi[0] = psi[-1] = 0
        rows.append(step @ psi)
    return np.array(rows)


def run(config: Config = Config(), tell: Tell = silence) -> Story:
    """Tell the story."""
    tell(0.0, "running the script")
    x = np.linspace(-config.half_length, config.half_length, config.num_points)
    dx, dt = x[1] - x[0], config.t1 / config.num_steps
    t = np.linspace(0.0, config.t1, config.num_steps + 1)
    a, b = naive_matrices(config.num_points, dx, dt)
    step = np.linalg.solve(a, b)
    psi = naive_run(np.pi**-0.25 * np.exp(-(x**2) / 2), step, config.num_steps)
    grid = Grid(-config.half_length, config.half_length, config.num_points)
    truth = _exact(x, t)
    symptom = _symptom(psi, truth, x, t, dx)
    tell(0.35, "examining the run and the matrices")
    quarter = max(1, config.num_steps // 40)
    about_run = wavefunction(psi[::quarter], x, t[::quarter])
    about_step = scheme(a, b, dx=dx, dt=dt, potential=np.zeros(config.num_points))
    defect = np.abs(step.conj().T @ step - np.eye(config.num_points)).max(axis=1)
    tell(0.6, "sending packets against the ends")
    bounces = _bounces(config, dx)
    tell(0.8, "running the cure")
    cures = _cures(config, grid)
    reflected = _reflected(config, grid)
    tell(1.0, "done")
    arrays = {
        "x": x,
        "t": t,
        "distance_of_the_script": _distance(psi, truth, dx),
        "distance_of_the_cure": cures["order 4"][1],
        "t_of_the_cure": cures["order 4"][0],
        "density": np.abs(psi[::quarter]) ** 2,
        "defect": defect,
        **{f"norm_{name.replace(',', '').replace(' ', '_')}": norms for name, norms in bounces.items()},
    }
    return Story(
        name="free_packet",
        title=TITLE,
        symptom=symptom,
        diagnosis=_diagnosis(about_step, defect, bounces, psi, truth, x),
        cure=_cure(config, cures, reflected, grid, _distance(psi, truth, dx), t),
        diagnoses=(about_run, about_step),
        arrays=arrays,
    )


def _exact(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(partial(exact.free_packet, sigma=0.5**0.5), (None, 0)))(x, t))


def _distance(psi: np.ndarray, truth: np.ndarray, dx: float) -> np.ndarray:
    return np.sqrt(dx * (np.abs(psi - truth) ** 2).sum(axis=1))


def _root_mean_square(psi: np.ndarray, x: np.ndarray) -> np.ndarray:
    density = np.abs(psi) ** 2
    return np.sqrt(density @ x**2 / density.sum(axis=1))


def _quarters(rows: int) -> tuple[int, int, int]:
    """Return the rows after a quarter, a half and all of the steps."""
    last = rows - 1
    return last // 4, last // 2, last


def _symptom(psi: np.ndarray, truth: np.ndarray, x: np.ndarray, t: np.ndarray, dx: float) -> Chapter:
    norm = np.sqrt(dx * (np.abs(psi) ** 2).sum(axis=1))
    distance, width = _distance(psi, truth, dx), _root_mean_square(psi, x)
    facts = {"largest change of the norm": float(np.max(np.abs(norm - norm[0])))}
    for row in _quarters(len(t)):
        facts[f"L2 distance from the exact packet at t = {t[row]:g}"] = float(distance[row])
    facts[f"root of mean x squared at t = {t[-1]:g}"] = float(width[-1])
    facts[f"exact root of mean x squared at t = {t[-1]:g}"] = float(np.sqrt((1 + t[-1] ** 2) / 2))
    times = [np.argmin(np.abs(t - s)) for s in (0.0, 0.1 * t[-1], 0.3 * t[-1])]
    reach = 3.2 * float(np.sqrt((1 + t[times[-1]] ** 2) / 2))
    draw = partial(
        phase_strip,
        psi[times],
        [float(t[i]) for i in times],
        x,
        window=(-min(reach, x[-1]), min(reach, x[-1])),
        title="One peak in |ψ| at all times; Re ψ dips in the middle because the phase there turns",
    )
    text = (
        "A Gaussian packet at rest in free space is propagated with two hand-made Crank-Nicolson matrices. The norm "
        "stays what it was, and yet the plot looks wrong: after a short while the real part of the wave function sinks "
        "in the middle until two humps stand beside a hollow, with ripples on both sides.",
        "A free Gaussian packet should only become wider. Should there not be a single bump?",
    )
    picture = Picture(
        "phase",
        "The envelope |ψ| has a single peak and spreads. The color is the phase: it is one color at the start and a "
        "rainbow later, and Re ψ, the blue line, is zero wherever the phase is a right angle.",
        draw,
    )
    return Chapter(text, facts, (), (picture,))


def _bounces(config: Config, dx: float) -> dict[str, np.ndarray]:
    """Send packets against the ends of a short grid of the same spacing; return time and norms (steps + 1,)."""
    dt, num_steps = config.t1 / config.num_steps, config.num_steps // 2
    start = config.collision_momentum * num_steps * dt / 2
    num_points = int(np.clip(4 * start / dx, 50, 400))
    x = dx * (np.arange(num_points) - (num_points - 1) / 2)
    a, b = naive_matrices(num_points, dx, dt)
    mended = b.copy()
    mended[-1, -1] = np.conj(a[-1, -1])
    script, cure = np.linalg.solve(a, b), np.linalg.solve(a, mended)

    def norms(step: np.ndarray, side: int, zero_edges: bool) -> np.ndarray:
        center = side * max(x[-1] - start, 0.0)
        psi = gaussian_packet(x, center=center, sigma=2.0, momentum=side * config.collision_momentum)
        rows = naive_run(np.asarray(psi), step, num_steps, zero_edges=zero_edges)
        return np.sqrt(dx * (np.abs(rows) ** 2).sum(axis=1))

    return {
        "time": dt * np.arange(num_steps + 1),
        "first end": norms(script, -1, False),
        "last end": norms(script, 1, False),
        "last end, edges zeroed": norms(script, 1, True),
        "last end, mended": norms(cure, 1, False),
    }


def _diagnosis(about_step, defect, bounces, psi, truth, x) -> Chapter:
    n = len(x)
    width, right = _root_mean_square(psi, x)[-1], _root_mean_square(truth, x)[-1]
    facts = {
        "largest entry of U†U - 1 in the last row": float(defect[-1]),
        "in the row before": float(defect[-2]),
        "two rows before": float(defect[-3]),
        "three rows before": float(defect[-4]),
        "in the first half of the rows": float(defect[: n // 2].max()),
        "norm after a collision with the first end": float(bounces["first end"][-1]),
        "norm after a collision with the last end": float(bounces["last end"][-1]),
        "norm after a collision with the last end, edges set to zero": float(bounces["last end, edges zeroed"][-1]),
        "norm after a collision with the last end, corner mended": float(bounces["last end, mended"][-1]),
        "width lost on the grid, per cent": float(100 * (1 - width / right)),
    }
    text = [
        "What was seen is right. |ψ|² has a single peak at all times and spreads by √((1 + t²)/2). The phase of the "
        "spreading packet is different at every point and turns in time; where it is a right angle, Re ψ is zero. The "
        "dip in the middle is that phase: cos(½ arctan t) takes height from Re ψ, and Im ψ has it.",
    ]
    for finding in about_step.findings:
        text.append(f"{finding.message} {finding.cure}")
    text += [
        "The first row says 1 - α on the left and 1 - β on the right: both mean that the point outside has the value "
        "of the point inside, a zero-slope wall, and one is the conjugate of the other. The last row says 1 - α on the "
        "left and 1 - 2β on the right, a zero-slope wall and a hard wall at once. The matrix of one step is not "
        "unitary there, in the last rows and nowhere else.",
        "This does no harm while the packet stays away, and in this run it does. Packets that are sent against the two "
        "ends, here of a shorter grid, tell them apart: the first end reflects its packet whole, the last end "
        f"multiplies its norm by {bounces['last end'][-1]:.3g}. Setting the edge values to zero before each step does "
        f"not help; then the norm falls to {bounces['last end, edges zeroed'][-1]:.3g}. With the one entry mended it "
        "stays 1.",
        f"The other deviation is no mistake but a coarse grid: second differences let short waves run too slowly, and "
        f"the packet ends up {100 * (1 - width / right):.2g} % too narrow.",
    ]
    pictures = (
        Picture(
            "walls",
            "Left: a packet sent against the first end keeps its norm; against the last end it gains or loses, "
            "depending on whether the edges are set to zero. Right: which rows of one step miss unitarity.",
            partial(_draw_walls, bounces, defect),
        ),
    )
    return Chapter(tuple(text), facts, (), pictures)


def _cures(config: Config, grid: Grid) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """Return times, distances from the exact packet and the last width of runs with jaxnum."""
    x, dx = np.asarray(grid.x), float(grid.dx)
    runs = {}
    half = max(2, config.num_steps // 2)
    for name, method, steps in (
        ("order 2", Cayley(2, 2), config.num_steps),
        ("order 4", Cayley(4, 4), half),
    ):
        psi0 = gaussian_packet(grid.x, sigma=0.5**0.5)
        solution = propagate(psi0, None, grid, t1=config.t1, num_steps=steps, method=method, save_every=1)
        t, psi = np.asarray(solution.history.t), np.asarray(solution.history.psi)
        runs[name] = (t, _distance(psi, _exact(x, t), dx), float(solution.history.width[-1]), float(solution.residual))
    return runs


def _reflected(config: Config, grid: Grid):
    """Return a run with jaxnum of a packet that meets a wall."""
    start = float(np.clip(config.half_length - config.collision_momentum * config.t1 / 2, 0.0, config.half_length - 10))
    psi0 = gaussian_packet(grid.x, center=start, sigma=2.0, momentum=config.collision_momentum)
    return propagate(psi0, None, grid, t1=config.t1, num_steps=max(2, config.num_steps // 2), save_every=1)


def _cure(config: Config, cures: dict, reflected, grid: Grid, script: np.ndarray, t: np.ndarray) -> Chapter:
    x = np.asarray(grid.x)
    half = max(2, config.num_steps // 2)
    distance, width = cures["order 4"][1][-1], cures["order 4"][2]
    exact_width = float(np.sqrt((1 + config.t1**2) / 2))
    facts = {
        f"L2 distance at t = {config.t1:g}, order 2, {config.num_steps} steps": float(cures["order 2"][1][-1]),
        f"L2 distance at t = {config.t1:g}, order 4, {half} steps": float(distance),
        f"width at t = {config.t1:g}, order 4": float(width),
        "largest drift of the norm, order 4": float(cures["order 4"][3]),
        "largest drift of the norm in a collision with a wall": float(reflected.residual),
    }
    rows = (
        ("the script", config.num_steps, config.num_steps, float(script[-1])),
        ("jaxnum, Cayley(2, 2)", config.num_steps, config.num_steps, float(cures["order 2"][1][-1])),
        ("jaxnum, Cayley(4, 4)", half, 2 * half, float(distance)),
    )
    table = Table(f"On the same grid, at t = {config.t1:g}", ("run", "steps", "solves", "L2 distance"), rows)
    text = (
        "Mending the script takes one entry: 1 - β in the last corner of the right matrix, and no zeros before each "
        "step. In jaxnum a wall is a record, `Walls()`, and a step needs no right matrix at all: "
        "ψ(t + dt) = 2 (1 + i dt H/2)⁻¹ ψ(t) - ψ(t).",
        f"Fourth order in space and time costs the same here: {half} steps of two tridiagonal solves instead of "
        f"{config.num_steps} of one. The distance from the exact packet falls from {script[-1]:.4f} to "
        f"{distance:.5f}, and the width is {width:.4f} instead of {exact_width:.4f}.",
        f"A packet that meets the wall comes back whole: its norm changes by {float(reflected.residual):.1g}.",
    )
    pictures = (
        Picture(
            "accuracy",
            "Distance from the exact packet against time: the same number of tridiagonal solves, the orders differ.",
            partial(_draw_accuracy, t, script, cures),
        ),
        Picture(
            "reflection",
            "A packet meets a wall of jaxnum and comes back; where it overlaps with itself it interferes.",
            partial(_draw_reflection, reflected, grid, float(x[-1])),
        ),
    )
    return Chapter(text, facts, (table,), pictures)


def _draw_walls(bounces, defect):
    figure, (left, right) = canvas.figure(1, 2)
    styles = {
        "first end": (canvas.SKY, "-"),
        "last end": (canvas.RED, "-"),
        "last end, edges zeroed": (canvas.ORANGE, "-"),
        "last end, mended": (canvas.BLUE, "--"),
    }
    for name, (color, line) in styles.items():
        wide = 5 if name == "first end" else 1.6
        left.plot(bounces["time"], bounces[name], line, color=color, label=name, linewidth=wide)
    left.set(xlabel="time t", ylabel="norm of the packet", title="One end reflects, the other does not")
    left.legend(loc="lower left", frameon=False)
    last = 40
    rows = np.arange(len(defect) - last, len(defect))
    floor = 1e-17
    right.semilogy(rows, np.maximum(defect[-last:], floor), ".-", color=canvas.RED, label="last rows")
    right.axhline(defect[: len(defect) // 2].max(), color=canvas.GREEN, label="largest in the first half")
    right.set(xlabel="row", ylabel="largest entry of |U†U - 1|", title="The last corner breaks unitarity")
    right.legend(loc="upper left", frameon=False)
    return figure


def _draw_accuracy(t, script, cures):
    figure, ax = canvas.figure()
    ax.semilogy(t[1:], script[1:], color=canvas.RED, label="the script: order 2, one solve a step")
    when, distance = cures["order 2"][:2]
    ax.semilogy(when[10::10], distance[10::10], "o", color=canvas.ORANGE, markersize=4, label="jaxnum, Cayley(2, 2)")
    when, distance = cures["order 4"][:2]
    ax.semilogy(when[1:], distance[1:], "-", color=canvas.BLUE, label="jaxnum, Cayley(4, 4)")
    ax.set(xlabel="time t", ylabel="L2 distance from the exact packet", title="Same grid, same number of solves")
    ax.legend(loc="lower right", frameon=False)
    return figure


def _draw_reflection(reflected, grid, end):
    figure, ax = canvas.figure()
    packet(reflected, grid, ax=ax, window=(min(0.0, end - 60), end))
    ax.set_title("With Walls() the packet comes back whole")
    return figure
