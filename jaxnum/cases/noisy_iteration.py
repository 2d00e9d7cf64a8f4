"""A magnetosphere loop whose noise explodes after a few passes, filter or no filter: unstable, not noisy."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxnum._checks import as_count, check_positive, refuse
from jaxnum.cases.story import Chapter, Picture, Story, Tell, silence
from jaxnum.diagnose.iterations.boundary_conditions import boundary_conditions
from jaxnum.diagnose.iterations.fixed_point import fixed_point
from jaxnum.diagnose.report import Table
from jaxnum.jupiter import (
    JUPITER,
    CurrentDensity,
    Dipole,
    GaussianWindow,
    SmoothRamp,
    coupled_slopes,
    exact,
    feedback_length,
    naive_pass,
    pole_current_density,
    sweeps,
)
from jaxnum.numerics.fixed_point import arnoldi
from jaxnum.plot import jupiter as draw

_FIELD, _LAW = Dipole(), SmoothRamp()
_BINS = 600  # columns of a figure: more points than that are drawn as an envelope


@dataclass(frozen=True)
class Config:
    """What can be changed about the loop."""

    num_points: int = 200_000
    """Grid points between 5 and 100 planetary radii."""
    num_passes: int = 6
    """Passes of the loop."""
    relaxation: float = 0.5
    """How much of the new conductance is taken over in a pass."""
    window: int = 256
    """Length of the Gaussian filter in samples."""
    width: float = 40.0
    """Standard deviation of the filter in samples."""

    def __post_init__(self) -> None:
        as_count("num_points", self.num_points, at_least=1000)
        as_count("num_passes", self.num_passes, at_least=4)
        check_positive("relaxation", self.relaxation)
        if self.relaxation > 1:
            refuse("relaxation", "be at most 1", f"is {self.relaxation:g}")
        as_count("window", self.window)
        if self.window > self.num_points:
            refuse("window", f"be at most `num_points`, {self.num_points}", f"is {self.window}")
        check_positive("width", self.width)


# The script ---------------------------------------------------------------------------------------------------------

B, R, OMEGA, MDOT = 426400e-9, 71723e3, 1.75e-4, 1000.0


def conductance(j):
    """Return Σ in mho for a current density in A/m²."""
    micro = j * 1e6
    ramp = 0.5 * (np.sqrt(micro**2 + 0.01**2) + micro)
    return 0.05 + (0.1 + 9.9 * (1 + (micro / 0.25) ** 8) ** -0.125) * ramp


def angular_velocity(x, sigma):
    """Integrate the Hill-Pontius equation outward for ω/Ω, with the conductance as it is."""
    h = x[1] - x[0]
    drive = 8 * np.pi * B**2 * R**2 / MDOT * sigma / x**5
    decay = drive + 2 / x
    keep = ((1 - h / 2 * decay[:-1]) / (1 + h / 2 * decay[1:])).tolist()
    gain = (h / 2 * (drive[:-1] + drive[1:]) / (1 + h / 2 * decay[1:])).tolist()
    w = [1 - 2 / (drive[0] * x[0] + 6)]
    for a, g in zip(keep, gain, strict=True):
        w.append(a * w[-1] + g)
    return np.array(w)


def one_pass(x, sigma, window=None):
    """Return the current density that belongs to a conductance, and the conductance that belongs to that."""
    w = angular_velocity(x, sigma)
    current = 8 * np.pi * sigma * OMEGA * B * R**2 / x * (1 - w)
    j = np.gradient(current, x) * x**2 / (2 * np.pi * R**2)
    if window is not None:
        j = np.convolve(j, window, mode="same")
    return j, conductance(j)


def script(x, sigma, num_passes, relaxation, window=None):
    """Run the loop and return the current density of every pass."""
    densities = []
    with np.errstate(all="ignore"):
        for _ in range(num_passes):
            j, new = one_pass(x, sigma, window)
            sigma = (1 - relaxation) * sigma + relaxation * new
            densities.append(j)
    return densities


# The story ----------------------------------------------------------------------------------------------------------


def run(config: Config = Config(), tell: Tell = silence) -> Story:
    """Tell the story: the loop blows up, why it must, and the iteration that converges."""
    n, a = config.num_points, config.relaxation
    h = 95 / (n - 1)
    samples = np.arange(config.window) - (config.window - 1) / 2
    window = np.exp(-0.5 * (samples / config.width) ** 2)

    tell(0.0, "running the script, without and with its filter")
    x = np.linspace(5.0, 100.0, n)
    start = np.full_like(x, 0.05)
    plain = script(x, start, config.num_passes, a)
    filtered = script(x, start, config.num_passes, a, window / window.sum())

    tell(0.2, "solving with one condition at the outer edge")
    outer = CurrentDensity(pole_current_density(JUPITER, _LAW))
    solution = sweeps(JUPITER, _FIELD, _LAW, outer=outer, num_points=n)
    history = solution.history
    sigma, truth = np.asarray(history.conductance), np.asarray(history.current_density)

    tell(0.5, "starting the loop on the solution itself")
    grids = tuple(sorted({max(200, n // 100), max(400, n // 10), n}))
    errors = {m: _errors_from_solution(m, config, x, sigma, truth) for m in grids}

    tell(0.6, "looking for the mode that grows")
    update = jax.jit(partial(_update, x, None))

    def problem(m: int) -> tuple[Callable, np.ndarray]:
        at = np.linspace(5.0, 100.0, m)
        return update if m == n else jax.jit(partial(_update, at, None)), np.interp(at, x, sigma)

    loop = fixed_point(
        update, sigma, spacing=h, relaxation=a, refine=problem, num_vectors=16, num_passes=config.num_passes
    )
    filter_ = GaussianWindow(config.window, config.width)
    with_filter = fixed_point(
        jax.jit(partial(_update, x, filter_)),
        sigma,
        spacing=h,
        relaxation=a,
        unsmoothed=update,
        num_vectors=12,
        num_passes=config.num_passes,
    )
    vector, value = _leading_mode(*problem(max(200, n // 100)))
    mode_x = np.linspace(5.0, 100.0, vector.size)
    by_code = {finding.code: finding.evidence for finding in loop.findings}
    sizes = (vector.size, *by_code["unbounded-map"]["sizes"])
    radii = (float(np.abs(value)), *by_code["unbounded-map"]["spectral_radii"])

    tell(0.85, "counting boundary conditions")
    thin = np.linspace(0, n - 1, 2001).astype(int)
    pair = np.stack([np.asarray(history.omega), truth * 1e8], axis=1)
    ends = boundary_conditions(
        coupled_slopes, x[thin], pair[thin], jax.tree.map(jnp.asarray, (JUPITER, _FIELD, _LAW)), inner=1, outer=0
    )
    length = np.asarray(feedback_length(x, history.omega, truth, JUPITER, _FIELD, _LAW))
    moved = sweeps(JUPITER, _FIELD, _LAW, outer=outer, x0=7.0, num_points=n).history
    constant = _constant_conductance(0.05)

    tell(1.0, "done")
    measured = by_code["unstable-iteration"]
    gain_filtered = with_filter.findings[0].evidence if with_filter.findings else {}
    at = {place: _at(history, place) for place in (10.0, 20.0, 30.0)}
    inside = (x > 6) & (x < 95)
    coarse = {k: np.asarray(history[k])[thin] for k in ("x", "omega", "current", "current_density", "conductance")}
    arrays = {
        **coarse,
        "change_per_sweep": np.asarray(history.change)[: int(solution.num_steps)],
        "feedback_length": length[thin],
        "grid_sizes": np.array(sizes),
        "spectral_radii": np.array(radii),
        **{f"error_per_pass_{m}": e for m, e in errors.items()},
    }
    envelopes = {}
    for name, densities in (("plain", plain), ("filtered", filtered)):
        envelopes[name] = [_envelope(x, j) for j in densities]
        arrays[f"{name}_envelopes"] = np.stack([np.stack(e[1:]) for e in envelopes[name]])
    arrays["envelope_x"] = envelopes["plain"][0][0]

    last = config.num_passes
    shown = [(f"script, pass {k}", *envelopes["plain"][k - 1]) for k in (2, 3, 4)]
    shown += [(f"with filter, pass {k}", *envelopes["filtered"][k - 1]) for k in (2, 4, last)]
    predicted = [length.max() * (m - 1) / 95 for m in sizes]
    rates = {m: a * length.max() * (m - 1) / 95 for m in errors}
    peak = int(np.argmax(np.abs(vector)))
    near = slice(max(0, peak - 16), peak + 17)
    vector = vector / np.abs(vector).max()
    magnitude = _envelope(mode_x, np.abs(vector), 200)
    arrays |= {"mode_x": mode_x, "mode": np.stack([vector.real, vector.imag])}

    constants = {
        "K per mho": float(JUPITER.coupling),
        "K Σ b f at 5 R (Σ = 0.05 mho)": float(JUPITER.coupling) * 0.05 / 5**4,
        "grid spacing, R": h,
        "largest |j - j solution| on 6-95 R, pass 1, µA/m²": _worst(plain[0], truth, inside),
        **{f"the same, pass {k}": _worst(plain[k - 1], truth, inside) for k in range(2, config.num_passes + 1)},
        f"the same with the filter, pass {config.num_passes}": _worst(filtered[-1], truth, inside),
        "peak of the solution, µA/m²": 1e6 * float(truth.max()),
    }
    grown = errors[n]
    return Story(
        name="noisy_iteration",
        title="The noise in my magnetosphere explodes after a few iterations, and smoothing does not help",
        symptom=Chapter(
            (
                "The script couples Jupiter's magnetosphere to its ionosphere. From a conductance Σ it integrates the "
                "angular velocity, from that the radial current, differentiates the current with np.gradient to get "
                "the field-aligned current density j, and from j a new conductance, half of which is taken over.",
                f"On {n:,} points the first two passes look right. In the third a fuzz shows, in the fourth it is a "
                f"thousand times larger than the signal. A Gaussian filter of {config.window} samples "
                f"(σ = {config.width:g} samples) inside the loop delays that by two passes and does not prevent it; at "
                "the outer edge, where it pads with zeros, it makes matters worse from the start.",
            ),
            constants,
            pictures=(
                Picture(
                    "passes",
                    "Current density after passes 2, 3 and 4 of the script (above) and after passes 2, 4 and "
                    f"{config.num_passes} with the filter (below), beside the solution.",
                    lambda: draw.passes(shown, coarse, limit=0.03)[0].figure,
                ),
            ),
        ),
        diagnosis=Chapter(
            (
                "It is not noise. A pass takes a derivative of something that depends on Σ, so it multiplies a ripple "
                "of wavenumber k by ℓ k, where the feedback length ℓ = 4 Ω B Σ'(j) (1 - w) f/(x b) reaches "
                f"{length.max():.1f} radii. Central differences let the ripple of four cells through at k = 1/h: a "
                f"gain of {length.max() / h:.2g} per pass, halved by the relaxation.",
                f"That is what is measured: the leading mode of the linearized loop grows "
                f"{measured['growth_per_pass']:.3g} times in every pass and has a wavelength of "
                f"{measured['wavelength_cells']:.2f} cells. Rounding, 1e-16, is of order one after "
                f"{measured['passes_until_rounding_is_order_one']:.1f} passes, even when the loop is started on the "
                "exact solution.",
                "Twice the points, twice the gain: the map is an unbounded operator, and no fixed relaxation survives "
                f"refinement; on this grid it would have to be below {measured['largest_relaxation']:.0e}. The filter "
                f"reduces the growth to {gain_filtered.get('growth_per_pass', float('nan')):.3g} per pass. To stop it, "
                "it would have to be about 7 radii wide, as wide as the peak itself.",
                "Underneath, a condition is missing. ω and j form a two-point boundary-value problem: one mode decays "
                "outward and one grows. The script says what happens at the inner edge and nothing about the outer; "
                "there the one-sided stencil of np.gradient decides.",
            ),
            {
                "growth per pass, measured (Arnoldi)": measured["growth_per_pass"],
                "growth per pass, the linearized loop itself": measured["growth_of_the_linearized_loop"],
                "growth per pass, predicted (a ℓ/h)": a * length.max() / h,
                "growth of the error from pass 3 to 4, started on the solution": grown[3] / grown[2],
                "largest feedback length ℓ, R": length.max(),
                "its place, R": x[int(np.argmax(length))],
                "center of the fastest mode, R": 5 + measured["index"] * h,
                "its wavelength, cells": measured["wavelength_cells"],
                "exponent of the gain in the number of points": by_code["unbounded-map"]["exponent"],
                "growth per pass with the filter, measured": gain_filtered.get("growth_per_pass", float("nan")),
                "growth per pass with the filter, predicted (0.607 a ℓ/σ)": 0.607
                * a
                * length.max()
                / (config.width * h),
                "width of a filter that would stop it, R": 0.607 * length.max() * np.sqrt(a / (2 - a)),
                "ln of the error growth, marching outward": ends.findings[0].evidence["log_growth_outward"],
                "ln of the error growth, marching inward": ends.findings[0].evidence["log_growth_inward"],
            },
            (
                Table(
                    "Largest gain of one pass (spectral radius)",
                    ("points", "measured", "ℓ/h"),
                    tuple(zip(sizes, radii, predicted, strict=True)),
                ),
            ),
            (
                Picture(
                    "growth",
                    "Left: started on the exact solution, the error grows from rounding as predicted. Right: the gain "
                    "of a pass grows with the number of points.",
                    lambda: draw.growth(errors, rates, sizes, radii, predicted, mark=n)[0].figure,
                ),
                Picture(
                    "mode",
                    f"The mode that grows fastest, on {vector.size:,} points to be seen: where the feedback length is "
                    "largest, and four cells long.",
                    lambda: draw.mode(magnitude[0], magnitude[2], mode_x[near], vector.real[near])[0].figure,
                ),
            ),
        ),
        cure=Chapter(
            (
                "Integrate each quantity in its stable direction: ω outward from the inner edge, j inward from the "
                "outer edge, where one condition has to be given. Here it is j at the pole, -4ΩBΣ(j) = j, which makes "
                "the answer independent of where the edge is. Nothing is differenced, filtered or relaxed.",
                f"{int(solution.num_steps)} sweeps reduce the largest change of Σ to {float(solution.residual):.0e}, "
                f"each to {float(history.contraction):.2f} of the one before, on any grid. Moving the inner edge from "
                "5 to 7 radii leaves the current density at 20 radii where it was.",
                "With feedback the peak of the upward current is higher and sharper than with Σ = 0.05 mho throughout.",
            ),
            {
                "sweeps": int(solution.num_steps),
                "contraction per sweep": float(history.contraction),
                "last relative change of Σ": float(solution.residual),
                "j at the outer edge, µA/m²": 1e6 * float(outer.density),
                **{f"ω/Ω at {p:g} R": v["omega"] for p, v in at.items()},
                **{f"j at {p:g} R, µA/m²": 1e6 * v["current_density"] for p, v in at.items()},
                **{f"Σ at {p:g} R, mho": v["conductance"] for p, v in at.items()},
                **{f"radial current at {p:g} R, MA": 1e-6 * v["current"] for p, v in at.items()},
                "relative change of j at 20 R, inner edge at 7 R instead of 5": abs(
                    _at(moved, 20.0)["current_density"] / at[20.0]["current_density"] - 1
                ),
                "peak j over that with constant Σ": float(truth.max() / constant["current_density"].max()),
            },
            pictures=(
                Picture(
                    "magnetosphere",
                    "The converged magnetosphere, smooth to rounding, and the one with constant conductance.",
                    lambda: (
                        draw.magnetosphere(
                            coarse, reference=constant, label="with feedback", reference_label="Σ = 0.05 mho throughout"
                        )[0].figure
                    ),
                ),
            ),
        ),
        diagnoses=(loop, with_filter, ends),
        arrays=arrays,
    )


def _constant_conductance(sigma):
    """Return the closed form for a conductance that does not answer, for comparison."""

    @jax.jit
    def at(x):
        omega = exact.corotation(x, exact.hill_distance(JUPITER, sigma))
        return omega, exact.current(x, JUPITER, sigma), exact.current_density(x, JUPITER, sigma)

    x = np.linspace(5.0, 100.0, 381)
    omega, current, density = map(np.asarray, at(x))
    conductance = np.full_like(x, sigma)
    return {"x": x, "omega": omega, "current": current, "current_density": density, "conductance": conductance}


def _update(x, smoothing, sigma):
    return naive_pass(sigma, x, JUPITER, _FIELD, _LAW, smoothing=smoothing)[0]


def _errors_from_solution(m, config, x, sigma, truth):
    """Return the largest error of j on 6-95 R after each pass of the script, started on the solution, in µA/m²."""
    grid = np.linspace(5.0, 100.0, m)
    start, exact = (sigma, truth) if m == x.size else (np.interp(grid, x, sigma), np.interp(grid, x, truth))
    inside = (grid > 6) & (grid < 95)
    return np.array([_worst(j, exact, inside) for j in script(grid, start, config.num_passes, config.relaxation)])


def _leading_mode(update, sigma):
    """Return the eigenvector of a pass that grows fastest, and its eigenvalue."""
    sigma = jnp.asarray(sigma)
    traced = jax.jit(lambda v: jax.jvp(update, (sigma,), (v,))[1])
    start = np.random.default_rng(0).standard_normal(sigma.size)
    basis, hessenberg = arnoldi(lambda v: np.asarray(traced(jnp.asarray(v))), start, 16)
    values, vectors = np.linalg.eig(hessenberg[:-1])
    top = int(np.argmax(np.abs(values)))
    return basis[:-1].T @ vectors[:, top], values[top]


def _worst(j, truth, where):
    with np.errstate(all="ignore"):
        return 1e6 * float(np.max(np.abs(j - truth)[where]))


def _at(history, place):
    """Return the quantities at one distance by a cubic through the four nearest points."""
    x = np.asarray(history["x"])
    i = int(np.clip(np.searchsorted(x, place) - 2, 0, x.size - 4))
    t = (x[i : i + 4] - place) / (x[1] - x[0])
    return {
        name: float(np.polyval(np.polyfit(t, np.asarray(history[name])[i : i + 4], 3), 0.0))
        for name in ("omega", "current", "current_density", "conductance")
    }


def _envelope(x, y, num_bins=_BINS):
    """Return positions, lowest and highest value in each of many bins."""
    starts = np.linspace(0, x.size, num_bins + 1).astype(int)[:-1]
    y = np.where(np.isfinite(y), y, np.nan)
    return x[starts], np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
