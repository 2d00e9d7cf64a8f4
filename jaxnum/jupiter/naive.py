"""The loop that does not converge: a specimen, kept to be examined.

    Σ → ω → I_ρ → dI_ρ/dρ → j → Σ(j),    Σ ← (1 - a) Σ + a Σ(j)

One pass differentiates a quantity that depends on Σ, so it multiplies a ripple of wavenumber k by ℓ k with the

    feedback length  ℓ = 4 Ω B Σ'(j) (1 - w) f/(x b)      (planetary radii)

Central differences resolve k up to 1/h, at a wavelength of four cells: the gain is ℓ/h per pass, and a finer grid makes
it *worse*. With ℓ of up to 20.7 R no grid and no relaxation worth having will do. Use `sweeps` for answers.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxnum._checks import as_array, as_count, check_finite, check_positive, check_uniform, refuse
from jaxnum._solution import History, Solution
from jaxnum._status import Status
from jaxnum._typing import is_traced
from jaxnum.jupiter.conductance import check_law
from jaxnum.jupiter.corotation import check_range
from jaxnum.jupiter.fields import derivative, log_product, strength
from jaxnum.jupiter.system import check_record, check_system, in_one_dtype


@dataclass(frozen=True)
class GaussianWindow:
    """A smoother of the kind that is put into such a loop: a normalized Gaussian window, zeros beyond the ends.

    Attributes:
        num_samples: Length of the window in samples.
        width: Standard deviation in samples.
    """

    num_samples: int = 256
    width: float = 40.0

    def __post_init__(self) -> None:
        as_count("num_samples", self.num_samples)
        check_positive("width", self.width)

    def __call__(self, y: Array) -> Array:
        """Return `y` smoothed, as `np.convolve(y, window, mode="same")` would."""
        if self.num_samples > y.shape[0]:
            refuse("num_samples", f"be at most the number of points, {y.shape[0]}", f"is {self.num_samples}")
        offset = jnp.arange(self.num_samples, dtype=y.dtype) - (self.num_samples - 1) / 2
        window = jnp.exp(-0.5 * (offset / self.width) ** 2)
        # By FFT: a direct convolution of this length takes longer than all the rest of a pass.
        return jax.scipy.signal.fftconvolve(y, window / jnp.sum(window), mode="same")


def naive_pass(
    sigma: ArrayLike, x: ArrayLike, system: Any, field: Any, law: Any, *, smoothing: Any = None
) -> tuple[Array, History]:
    """Return what one pass of the loop makes of a conductance, and what it found on the way.

    A function of `sigma` alone is what `jaxnum.diagnose.fixed_point` examines:
    `lambda sigma: naive_pass(sigma, x, system, field, law)[0]`.

    Args:
        sigma: Conductance at the grid points, in mho, (n,).
        x: Evenly spaced grid in planetary radii, (n,).
        system: Planet.
        field: Magnetic field.
        law: Conductance law.
        smoothing: Function applied to the current density, for example `GaussianWindow()`; None smooths nothing.

    Returns:
        Σ(j), (n,), and a History of omega (ω/Ω), current (A) and current_density (A/m²), each (n,).

    Raises:
        ValueError: If an argument is not what it should be.
    """
    x = as_array("x", x, ndim=1, min_size=3)
    sigma = as_array("sigma", sigma, shape=x.shape, finite=False)
    check_uniform("x", x)
    _check(system, field, law, smoothing)
    system, field, law, sigma, x = in_one_dtype(system, field, law, sigma, x)
    return _pass(sigma, x, system, field, law, smoothing)


def naive_iteration(
    system: Any,
    field: Any,
    law: Any,
    *,
    num_points: int,
    num_passes: int,
    relaxation: float = 0.5,
    smoothing: Any = None,
    start: ArrayLike | None = None,
    x0: float = 5.0,
    x1: float = 100.0,
) -> Solution:
    """Run the loop that does not converge.

    Args:
        system: Planet.
        field: Magnetic field.
        law: Conductance law.
        num_points: Grid points, evenly spaced from `x0` to `x1`.
        num_passes: Passes through the loop.
        relaxation: a: how much of Σ(j) is taken over in a pass, above 0 and at most 1.
        smoothing: Function applied to the current density in each pass, for example `GaussianWindow()`.
        start: Conductance to start from, a number or (num_points,), in mho; by default Σ(0).
        x0: Inner edge in planetary radii.
        x1: Outer edge in planetary radii.

    Returns:
        Solution with `value` = Σ after the last pass; `history` holds x (num_points,), the conductance and
        current_density of every pass, (num_passes, num_points), omega and current of the last one, and change
        (num_passes,), the largest |Σ(j) - Σ| of each pass in mho. `residual` is the last change relative to the
        largest Σ; the status tells `diverged` as soon as changes grow.

    Raises:
        ValueError: If an argument is not what it should be.

    Example:
        >>> from jaxnum.jupiter import JUPITER, Dipole, SmoothRamp, naive_iteration
        >>> print(naive_iteration(JUPITER, Dipole(), SmoothRamp(), num_points=2000, num_passes=9).status)
        diverged
    """
    _check(system, field, law, smoothing)
    num_points = as_count("num_points", num_points, at_least=3)
    num_passes = as_count("num_passes", num_passes)
    check_positive("relaxation", relaxation)
    if not is_traced(relaxation) and relaxation > 1:
        refuse("relaxation", "be at most 1", f"is {float(relaxation):g}")
    check_range(x0, x1)
    if start is not None:
        start = as_array("start", start)
        if start.shape not in ((), (num_points,)):
            refuse("start", f"be a number or have shape ({num_points},)", f"has shape {start.shape}")
    system, field, law, relaxation, x0, x1, start = in_one_dtype(system, field, law, relaxation, x0, x1, start)
    return _iterate(system, field, law, relaxation, x0, x1, start, num_points, num_passes, smoothing)


def feedback_length(x: ArrayLike, omega: ArrayLike, current_density: ArrayLike, system: Any, field: Any, law: Any):
    """Return ℓ, by which a pass of the loop multiplies a ripple: ℓ k for a wavenumber k.

    Args:
        x: Distances in planetary radii, (n,).
        omega: ω/Ω there.
        current_density: j there, in A/m².
        system: Planet.
        field: Magnetic field.
        law: Conductance law.

    Returns:
        ℓ in planetary radii, (n,).

    Raises:
        ValueError: If an argument is not what it should be.
    """
    x = as_array("x", x)
    omega = as_array("omega", omega, shape=x.shape)
    j = as_array("current_density", current_density, shape=x.shape)
    _check(system, field, law, None)
    return _feedback_length(*in_one_dtype(x, omega, j, system, field, law))


@jax.jit
def _feedback_length(x, omega, j, system, field, law):
    slope = derivative(law.value, j)
    return system.current_density_scale * slope * (1 - omega) * field.flux(x) / (x * strength(field, x))


def _check(system, field, law, smoothing):
    check_system(system)
    check_record("field", field, "flux")
    check_law("law", law)
    if smoothing is not None and not callable(smoothing):
        refuse("smoothing", "be a function of the current density or None", f"is {type(smoothing).__name__}")
    for name in ("num_samples", "width"):
        if isinstance(smoothing, GaussianWindow):
            check_finite(name, getattr(smoothing, name))


def _gradient(y, step):
    """Central differences, one-sided at the ends: `np.gradient`."""
    inner = (y[2:] - y[:-2]) / (2 * step)
    return jnp.concatenate([(y[1:2] - y[:1]) / step, inner, (y[-1:] - y[-2:-1]) / step])


@partial(jax.jit, static_argnames="smoothing")
def _pass(sigma, x, system, field, law, smoothing):
    step = (x[-1] - x[0]) / (x.shape[0] - 1)
    f, b = field.flux(x), strength(field, x)
    drive = system.coupling * sigma * f * b / x
    decay = drive + 2 / x
    # Implicit trapezoid for w' = drive - decay w, from the slow manifold at the inner edge.
    slope = -derivative(partial(log_product, field), jnp.log(x[0]))
    first = 1 - 2 / (drive[0] * x[0] + slope + 2)
    keep = (1 - step / 2 * decay[:-1]) / (1 + step / 2 * decay[1:])
    gain = step / 2 * (drive[:-1] + drive[1:]) / (1 + step / 2 * decay[1:])

    def advance(w, row):
        w = row[0] * w + row[1]
        return w, w

    rest = jax.lax.scan(advance, first, (keep, gain))[1]
    omega = jnp.concatenate([first[None], rest])
    current = system.current_scale * sigma * f * (1 - omega)
    j = _gradient(current, step) / (2 * jnp.pi * system.radius**2 * x * b)
    if smoothing is not None:
        j = smoothing(j)
    return law.value(j), History(omega=omega, current=current, current_density=j)


@partial(jax.jit, static_argnames=("num_points", "num_passes", "smoothing"))
def _iterate(system, field, law, relaxation, x0, x1, start, num_points, num_passes, smoothing):
    x = jnp.linspace(x0, x1, num_points)
    sigma = law.value(jnp.zeros_like(x)) if start is None else jnp.broadcast_to(start, x.shape)

    def body(sigma, _):
        new, found = _pass(sigma, x, system, field, law, smoothing)
        change = jnp.max(jnp.abs(new - sigma))
        sigma = (1 - relaxation) * sigma + relaxation * new
        return sigma, (sigma, change, found)

    sigma, (sigmas, change, found) = jax.lax.scan(body, sigma, length=num_passes)
    residual = change[-1] / jnp.max(jnp.abs(sigma))
    history = History(
        x=x,
        conductance=sigmas,
        current_density=found.current_density,
        omega=found.omega[-1],
        current=found.current[-1],
        change=change,
    )
    status = Status.first(
        (~jnp.all(jnp.isfinite(sigma)) | ~jnp.isfinite(residual), Status.nonfinite),
        (change[-1] > 10 * jnp.min(change), Status.diverged),
        (residual > jnp.sqrt(jnp.finfo(x.dtype).eps), Status.not_converged),
    )
    return Solution(sigma, history, residual, jnp.int32(num_passes), status)
